//! Streams and errors in the shapes of model endpoints.

#![cfg(all(feature = "http", feature = "json"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::{Value, json};
use sse_core::shapes::{anthropic, openai};
use sse_core::{Event, Rejection};

fn wire(event: &Event<'_>) -> String {
    let mut out = Vec::new();
    event.encode(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn an_openai_error_is_a_response_or_an_event() {
    for (error, status, body) in [
        (
            openai::Error::new(404, "there is no model \"x\"").code("model_not_found"),
            404,
            json!({"error": {
                "message": "there is no model \"x\"", "type": "invalid_request_error",
                "param": null, "code": "model_not_found",
            }}),
        ),
        (
            openai::Error::from(Rejection::TOO_MANY_REQUESTS),
            429,
            json!({"error": {
                "message": "the client sends too many requests; retry later",
                "type": "rate_limit_error", "param": null, "code": null,
            }}),
        ),
        (
            openai::Error::new(500, "line\nbreak"),
            500,
            json!({"error": {
                "message": "line\nbreak", "type": "server_error", "param": null, "code": null,
            }}),
        ),
    ] {
        let response = error.to_response();
        assert_eq!(response.status(), status);
        assert_eq!(
            response.headers().next(),
            Some(("Content-Type", "application/json"))
        );
        assert_eq!(
            serde_json::from_slice::<Value>(response.body()).unwrap(),
            body
        );
        let event = wire(&error.to_event());
        let data = event
            .strip_prefix("data: ")
            .unwrap()
            .strip_suffix("\n\n")
            .unwrap();
        assert_eq!(serde_json::from_str::<Value>(data).unwrap(), body);
    }
    assert_eq!(wire(&openai::done()), "data: [DONE]\n\n");
}

#[test]
fn an_anthropic_error_is_a_response_or_an_event() {
    for (status, kind) in [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (415, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (529, "overloaded_error"),
    ] {
        let error = anthropic::Error::new(status, "why");
        let body = json!({"type": "error", "error": {"type": kind, "message": "why"}});
        let response = error.to_response();
        assert_eq!(response.status(), status);
        assert_eq!(
            serde_json::from_slice::<Value>(response.body()).unwrap(),
            body
        );
        assert_eq!(
            wire(&error.to_event()),
            format!("event: error\ndata: {body}\n\n")
        );
    }
}

#[test]
fn a_response_keeps_the_headers_of_its_rejection() {
    let busy = Rejection::UNAVAILABLE.header("Retry-After", "30").unwrap();
    for response in [
        openai::Error::from(busy.clone()).to_response(),
        anthropic::Error::from(busy).to_response(),
    ] {
        let headers = Vec::from_iter(response.headers());
        assert!(headers.contains(&("Retry-After", "30")));
        assert!(headers.contains(&("Cache-Control", "no-store")));
    }
}

#[test]
fn an_anthropic_event_has_its_type_in_its_data() {
    for (fields, data) in [
        (json!({}), r#"{"type":"x"}"#),
        (json!({"index": 0}), r#"{"type":"x","index":0}"#),
        (json!({"a": {}}), r#"{"type":"x","a":{}}"#),
    ] {
        let event = anthropic::event("x", &fields).unwrap();
        assert_eq!(wire(&event), format!("event: x\ndata: {data}\n\n"));
    }
    assert_eq!(
        wire(&anthropic::ping()),
        "event: ping\ndata: {\"type\":\"ping\"}\n\n"
    );
    let error = anthropic::event("x", &[1]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the data cannot be serialised as JSON: the fields are not an object"
    );
}
