//! Event data serialised as JSON.

use std::error::Error;
use std::{fmt, io};

use serde::Serialize;

use super::Event;

impl Event<'_> {
    /// Serialises `value` as JSON and sets it as the data.
    ///
    /// [`Stream::write_json`](crate::Stream::write_json) does the same without the
    /// intermediate `String`.
    ///
    /// # Errors
    ///
    /// The value cannot be serialised.
    pub fn json_data(self, value: &(impl Serialize + ?Sized)) -> Result<Self, JsonError> {
        Ok(self.data(serde_json::to_string(value).map_err(JsonError)?))
    }
}

/// A value that cannot be serialised as JSON.
///
/// It converts into an [`io::Error`] of kind [`InvalidInput`](io::ErrorKind::InvalidInput).
#[derive(Debug)]
pub struct JsonError(pub(crate) serde_json::Error);

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the data cannot be serialised as JSON: {}", self.0)
    }
}

impl Error for JsonError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

impl From<JsonError> for io::Error {
    fn from(error: JsonError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}
