//! Response headers.

use std::borrow::Cow;

use crate::event::{Fault, Field, FieldError};
use crate::http::list::check_token;

/// Headers of a response, with valid names and values, so that they cannot inject others.
///
/// For headers that are made before the response, or that several responses share.
///
/// ```
/// use sse_core::{Headers, Response};
///
/// let headers = Headers::new()
///     .with("Set-Cookie", "seen=1; Path=/; HttpOnly")?
///     .with("Set-Cookie", "theme=dark; Path=/")?;
/// let page = Response::new(200).with_body("text/html", "<h1>Hey</h1>").with_headers(headers);
/// assert_eq!(page.headers().filter(|(name, _)| *name == "Set-Cookie").count(), 2);
/// # Ok::<(), sse_core::FieldError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headers(Cow<'static, [Header]>);

pub(crate) type Header = (Cow<'static, str>, Cow<'static, str>);

impl Headers {
    /// Creates an empty list. Costs nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(Cow::Borrowed(&[]))
    }

    /// Sets a header. It replaces any of the same name, except `Set-Cookie`.
    ///
    /// A response may set several cookies, each in a separate line (RFC 6265, section 3).
    ///
    /// # Errors
    ///
    /// The name is not a token or is one of the framing, such as `Content-Length`; or the
    /// value has a control character.
    pub fn with(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<Cow<'static, str>>,
    ) -> Result<Self, FieldError> {
        self.insert(name.into(), value.into())?;
        Ok(self)
    }

    pub(crate) const fn constant(headers: &'static [Header]) -> Self {
        Self(Cow::Borrowed(headers))
    }

    /// Sets a header; see [`with`](Self::with).
    pub(crate) fn insert(
        &mut self,
        name: Cow<'static, str>,
        value: Cow<'static, str>,
    ) -> Result<(), FieldError> {
        check_name(&name, &RESERVED)?;
        check_value(&value)?;
        self.set(name, value);
        Ok(())
    }

    /// Sets all of `headers`.
    pub(super) fn extend(&mut self, headers: Self) {
        for (name, value) in headers.0.into_owned() {
            self.set(name, value);
        }
    }

    /// Sets a header, which is valid.
    fn set(&mut self, name: Cow<'static, str>, value: Cow<'static, str>) {
        let headers = self.0.to_mut();
        if !name.eq_ignore_ascii_case("Set-Cookie") {
            headers.retain(|(other, _)| !other.eq_ignore_ascii_case(&name));
        }
        headers.push((name, value));
    }

    /// Adds a header unless there is one of that name. The value has to be valid.
    pub(crate) fn add_default(&mut self, name: &'static str, value: &'static str) {
        if !self.has(name) {
            self.add(name, value);
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        let mut names = self.0.iter().map(|(name, _)| name);
        names.any(|other| other.eq_ignore_ascii_case(name))
    }

    /// Adds `Origin` to `Vary`.
    pub(crate) fn vary_by_origin(&mut self) {
        let headers = self.0.to_mut();
        let vary = headers
            .iter_mut()
            .find(|(name, _)| name.eq_ignore_ascii_case("Vary"));
        let Some((_, names)) = vary else {
            return self.add("Vary", "Origin");
        };
        let mut named = names.split(',').map(str::trim);
        if !named.any(|name| name == "*" || name.eq_ignore_ascii_case("Origin")) {
            names.to_mut().push_str(", Origin");
        }
    }

    /// Adds a header. The value has to be valid.
    pub(crate) fn add(&mut self, name: &'static str, value: impl Into<Cow<'static, str>>) {
        self.0.to_mut().push((Cow::Borrowed(name), value.into()));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for (name, value) in self.iter() {
            encode_line(name, value, out);
        }
    }
}

impl Default for Headers {
    fn default() -> Self {
        Self::new()
    }
}

pub(super) fn encode_line(name: &str, value: &str, out: &mut Vec<u8>) {
    for part in [name, ": ", value, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Checks that `name` is a token and none of the `reserved` names.
pub(crate) fn check_name(name: &str, reserved: &[&str]) -> Result<(), FieldError> {
    check_token(Field::HeaderName, name)?;
    if reserved
        .iter()
        .any(|reserved| reserved.eq_ignore_ascii_case(name))
    {
        return Err(FieldError::new(Field::HeaderName, Fault::Reserved));
    }
    Ok(())
}

pub(crate) fn check_value(value: &str) -> Result<(), FieldError> {
    match value
        .bytes()
        .position(|byte| byte.is_ascii_control() && byte != b'\t')
    {
        Some(offset) => Err(FieldError::character(Field::HeaderValue, value, offset)),
        None => Ok(()),
    }
}

/// The headers that [`Response`](super::Response) writes itself.
const RESERVED: [&str; 5] = [
    "Connection",
    "Content-Length",
    "Content-Type",
    "Transfer-Encoding",
    "Upgrade",
];
