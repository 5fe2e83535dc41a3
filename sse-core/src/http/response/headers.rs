//! Response headers.

use std::borrow::Cow;
use std::{fmt, iter, mem};

use memchr::memchr;

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
#[derive(Clone, PartialEq, Eq)]
pub struct Headers {
    /// Their wire form, each line with its end.
    lines: Cow<'static, str>,
    /// Stored, because every response asks for it.
    has_date: bool,
}

impl Headers {
    /// Creates an empty list. Costs nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self::constant("")
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
        name: impl AsRef<str>,
        value: impl AsRef<str>,
    ) -> Result<Self, FieldError> {
        self.insert(name.as_ref(), value.as_ref())?;
        Ok(self)
    }

    /// Returns the headers with these lines. They have to be valid, and none may be `Date`.
    pub(crate) const fn constant(lines: &'static str) -> Self {
        Self {
            lines: Cow::Borrowed(lines),
            has_date: false,
        }
    }

    /// Sets a header; see [`with`](Self::with).
    pub(crate) fn insert(&mut self, name: &str, value: &str) -> Result<(), FieldError> {
        check_name(name, &RESERVED)?;
        check_value(value)?;
        self.set(name, value);
        Ok(())
    }

    /// Sets the content type as the first header, or removes it if it is empty.
    pub(super) fn set_content_type(&mut self, content_type: &str) {
        if self.iter().next() == Some((CONTENT_TYPE, content_type)) {
            return;
        }
        self.remove(CONTENT_TYPE);
        if !content_type.is_empty() {
            let others = mem::take(self);
            self.add(CONTENT_TYPE, content_type);
            self.lines.to_mut().push_str(&others.lines);
            self.has_date = others.has_date;
        }
    }

    /// Sets all of `headers`.
    pub(super) fn extend(&mut self, headers: Self) {
        if self.lines.is_empty() {
            *self = headers;
            return;
        }
        for (name, value) in headers.iter() {
            self.set(name, value);
        }
    }

    /// Sets a header, which is valid.
    fn set(&mut self, name: &str, value: &str) {
        if !name.eq_ignore_ascii_case("Set-Cookie") {
            self.remove(name);
        }
        self.add(name, value);
    }

    fn remove(&mut self, name: &str) {
        if !self.has(name) {
            return;
        }
        let mut kept = Self::new();
        for (other, value) in self.iter() {
            if !other.eq_ignore_ascii_case(name) {
                kept.add(other, value);
            }
        }
        *self = kept;
    }

    /// Adds a header unless there is one of that name. The value has to be valid.
    pub(crate) fn add_default(&mut self, name: &str, value: &str) {
        if !self.has(name) {
            self.add(name, value);
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    pub(super) const fn has_date(&self) -> bool {
        self.has_date
    }

    fn find(&self, name: &str) -> Option<(&str, &str)> {
        let mut headers = self.iter();
        headers.find(|(other, _)| other.eq_ignore_ascii_case(name))
    }

    /// Adds the name of a request header to `Vary`, if there is one, and returns whether there is.
    pub(crate) fn extend_vary(&mut self, name: &str) -> bool {
        let Some((vary, names)) = self.find("Vary") else {
            return false;
        };
        let mut named = names.split(',').map(str::trim);
        if !named.any(|named| named == "*" || named.eq_ignore_ascii_case(name)) {
            let (vary, names) = (vary.to_owned(), format!("{names}, {name}"));
            self.set(&vary, &names);
        }
        true
    }

    /// Adds a header. The value has to be valid.
    pub(crate) fn add(&mut self, name: &str, value: &str) {
        self.has_date |= name.eq_ignore_ascii_case("Date");
        let lines = self.lines.to_mut();
        for part in [name, ": ", value, "\r\n"] {
            lines.push_str(part);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = &*self.lines;
        iter::from_fn(move || {
            let name = memchr(b':', rest.as_bytes())?;
            let value = memchr(b'\r', rest.as_bytes())?;
            let header = (&rest[..name], &rest[name + 2..value]);
            rest = &rest[value + 2..];
            Some(header)
        })
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.lines.as_bytes()
    }
}

impl Default for Headers {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
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

const CONTENT_TYPE: &str = "Content-Type";

/// The headers that follow from the body, and those of the connection.
const RESERVED: [&str; 5] = [
    "Connection",
    "Content-Length",
    CONTENT_TYPE,
    "Transfer-Encoding",
    "Upgrade",
];
