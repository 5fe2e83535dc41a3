//! Response headers.

use std::borrow::Cow;

use crate::event::{Fault, Field, FieldError};
use crate::http::list::is_token_byte;

/// Headers whose names and values are valid, so that they cannot inject others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Headers(Cow<'static, [Header]>);

pub(crate) type Header = (Cow<'static, str>, Cow<'static, str>);

impl Headers {
    pub(crate) const fn new() -> Self {
        Self(Cow::Borrowed(&[]))
    }

    pub(crate) const fn constant(headers: &'static [Header]) -> Self {
        Self(Cow::Borrowed(headers))
    }

    /// Sets a header. It replaces any of the same name.
    pub(crate) fn insert(
        &mut self,
        name: Cow<'static, str>,
        value: Cow<'static, str>,
    ) -> Result<(), FieldError> {
        check_name(&name)?;
        check_value(&value)?;
        let headers = self.0.to_mut();
        headers.retain(|(other, _)| !other.eq_ignore_ascii_case(&name));
        headers.push((name, value));
        Ok(())
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

pub(super) fn encode_line(name: &str, value: &str, out: &mut Vec<u8>) {
    for part in [name, ": ", value, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

fn check_name(name: &str) -> Result<(), FieldError> {
    const RESERVED: [&str; 5] = [
        "Connection",
        "Content-Length",
        "Content-Type",
        "Transfer-Encoding",
        "Upgrade",
    ];
    if name.is_empty() {
        return Err(FieldError::new(Field::HeaderName, Fault::Empty));
    }
    if let Some(offset) = name.bytes().position(|byte| !is_token_byte(byte)) {
        return Err(FieldError::character(Field::HeaderName, name, offset));
    }
    if RESERVED
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
