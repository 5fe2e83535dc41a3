//! The methods that an upgrader allows.

use std::borrow::Cow;

use crate::event::{Fault, Field, FieldError};
use crate::http::list::check_token;
use crate::http::response::Rejection;

/// The allowed methods.
#[derive(Debug, Clone)]
pub(super) struct Methods(Cow<'static, [Cow<'static, str>]>);

impl Methods {
    pub(super) fn new<'m>(methods: impl IntoIterator<Item = &'m str>) -> Result<Self, FieldError> {
        let checked = methods.into_iter().map(|method| {
            check_method(method)?;
            Ok(Cow::Owned(method.to_owned()))
        });
        Ok(Self(
            checked.collect::<Result<Vec<_>, FieldError>>()?.into(),
        ))
    }

    /// Returns the methods, separated by commas.
    pub(super) fn list(&self) -> String {
        self.0.join(", ")
    }

    /// Returns the value of `Allow`.
    pub(super) fn allow(&self) -> String {
        format!("{}, OPTIONS", self.list())
    }

    /// Refuses a method that is not allowed.
    pub(super) fn check(&self, method: &[u8]) -> Result<(), Rejection> {
        if self.0.iter().any(|allowed| allowed.as_bytes() == method) {
            return Ok(());
        }
        if self.0 == DEFAULT {
            return Err(Rejection::METHOD_NOT_ALLOWED);
        }
        let methods = self.list();
        let reason = format!("the method is not allowed; use one of {methods}");
        Err(Rejection::method_not_allowed(&methods).because(reason))
    }
}

impl Default for Methods {
    fn default() -> Self {
        Self(Cow::Borrowed(DEFAULT))
    }
}

const DEFAULT: &[Cow<'static, str>] = &[Cow::Borrowed("GET"), Cow::Borrowed("HEAD")];

/// Returns whether a request with this method changes nothing: RFC 9110, 9.2.1.
pub(super) fn is_safe(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS")
}

/// Checks that a client may send this method: a token other than `CONNECT`.
pub(crate) fn check_method(method: &str) -> Result<(), FieldError> {
    check_token(Field::Method, method)?;
    if method == "CONNECT" {
        return Err(FieldError::new(Field::Method, Fault::Malformed));
    }
    Ok(())
}
