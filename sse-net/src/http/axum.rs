//! The traits of axum: a [`Subscription`] is a response, a [`LastEventId`] an extractor.

use std::convert::Infallible;

use axum_core::extract::FromRequestParts;
use axum_core::response::{IntoResponse, Response};
use http::request::Parts;

use super::request::LastEventId;
use crate::topic::Subscription;

impl<S: Send + Sync> FromRequestParts<S> for LastEventId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.uri, &parts.headers))
    }
}

impl IntoResponse for Subscription {
    fn into_response(self) -> Response {
        Self::into_response(self).into_response()
    }
}
