//! What a response head means for a client.

use super::error::{ClientError, ErrorResponse, RedirectError};
use super::request::Target;
use super::source::EventSource;
use crate::http::{MEDIA_TYPE, ResponseHead};

/// What a response head means.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The stream begins.
    Open,
    /// The stream has ended for good.
    End,
    /// The request is sent again to this target.
    Follow(Target),
    /// The request may be sent again.
    Retry,
    /// The response is final, and its body is kept.
    Refuse,
    /// The response is final.
    Fail(ClientError),
}

/// Judges a response to a request for `target`.
pub(super) fn judge(head: &ResponseHead, source: &EventSource, target: &Target) -> Verdict {
    match head.status() {
        200 if head.media_type().as_deref() != Some(MEDIA_TYPE) => Verdict::Refuse,
        200 => match head.content_coding() {
            Some(coding) => Verdict::Fail(ClientError::ContentCoding(coding)),
            None => Verdict::Open,
        },
        204 => Verdict::End,
        status @ (301 | 302 | 303 | 307 | 308) => {
            match redirect(status, head.header("location"), source, target) {
                Ok(target) => Verdict::Follow(target),
                Err(error) => Verdict::Fail(ClientError::Redirect(error)),
            }
        }
        408 | 425 | 429 | 500..=599 if !source.is_strict => Verdict::Retry,
        _ => Verdict::Refuse,
    }
}

/// Returns the error of a final response, once its body has been read.
pub(super) fn refusal(response: ErrorResponse) -> ClientError {
    match response.status() {
        200 => ClientError::NotAnEventStream(Box::new(response)),
        _ => ClientError::Status(Box::new(response)),
    }
}

fn redirect(
    status: u16,
    location: Option<&str>,
    source: &EventSource,
    target: &Target,
) -> Result<Target, RedirectError> {
    let location = location.unwrap_or_default().trim();
    if location.is_empty() {
        return Err(RedirectError::NoLocation);
    }
    let limit = source.settings.max_redirects;
    if target.redirects >= limit {
        return Err(RedirectError::TooMany { limit });
    }
    let bad = || RedirectError::BadLocation(location.to_owned());
    let from = target.url(source);
    let url = from.resolve(location).map_err(|_| bad())?;
    if url.unix_path().is_some() && !from.has_origin_of(&url) {
        // A server elsewhere does not choose among the sockets of this machine.
        return Err(bad());
    }
    if from.is_https() && !url.is_https() {
        return Err(RedirectError::Insecure(location.to_owned()));
    }
    let is_get = matches!(target.method(source), "GET" | "HEAD");
    Ok(Target {
        is_foreign: target.is_foreign || !source.url.has_origin_of(&url),
        url: Some(Box::new(url)),
        // Fetch, "HTTP-redirect fetch", step 12.
        is_bare: target.is_bare
            || (status == 303 && !is_get)
            || (matches!(status, 301 | 302) && target.method(source) == "POST"),
        redirects: target.redirects + 1,
    })
}
