//! The name of a stream that only its client knows.

use std::fmt;

/// The secret name of a stream, under which its topics are changed and kept.
///
/// A client that knows the token of a stream can follow and change it, so the token must not be
/// guessable. A server that renders the page makes it with [`random`](Self::random), and a script
/// with `crypto.randomUUID()`. [`bound_to`](Self::bound_to) binds it to a user, so that it is
/// of no use to others. It is a part of the stream's URL, because `EventSource` reconnects with
/// the same URL.
///
/// `Debug` does not show it, so that it does not get into logs.
///
/// ```
/// use sse_net::{Request, StreamToken};
///
/// /// The token in the query of a user's request.
/// fn token(request: &Request, user: &str) -> Option<StreamToken> {
///     let token = StreamToken::parse(&request.query_value("token")?)?;
///     Some(token.bound_to(user))
/// }
/// # let _ = token;
/// assert!(StreamToken::parse("0b8a1c5e-9d2f-4c41-a7d5-2f1f0a1c9b3e").is_some());
/// assert!(StreamToken::parse("guess me").is_none());
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct StreamToken {
    text: Box<str>,
    user: Option<Box<str>>,
}

impl StreamToken {
    /// Returns a new token: 128 random bits of the system's generator, as 32 hexadecimal digits.
    ///
    /// # Panics
    ///
    /// If the system has no random numbers.
    #[must_use]
    pub fn random() -> Self {
        let mut bits = [0; 16];
        getrandom::fill(&mut bits).expect("the system has random numbers");
        let text = format!("{:032x}", u128::from_be_bytes(bits));
        Self {
            text: text.into(),
            user: None,
        }
    }

    /// Returns the token with this text: 22 to 64 letters and digits of ASCII, `-` and `_`.
    ///
    /// That is room for 128 random bits in base64, as hexadecimal digits or as a UUID. `None` if
    /// the text is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_token = LEN.contains(&text.len()) && text.bytes().all(is_valid);
        is_token.then(|| Self {
            text: text.into(),
            user: None,
        })
    }

    /// Binds the token to a user, such as the one of the session.
    ///
    /// Another user's request with the same text then names another stream.
    #[must_use]
    pub fn bound_to(mut self, user: &str) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Returns the text, without the user.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for StreamToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamToken").finish_non_exhaustive()
    }
}

/// The lengths of a token's text.
const LEN: std::ops::RangeInclusive<usize> = 22..=64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_room_for_128_bits_and_needs_no_escape() {
        let token = StreamToken::random();
        assert_eq!(StreamToken::parse(token.as_str()), Some(token.clone()));
        assert_ne!(StreamToken::random(), token);
        assert_ne!(token.clone().bound_to("ann"), token);
        assert_eq!(format!("{token:?}"), "StreamToken { .. }");
        for (text, is_token) in [
            (&*"a".repeat(22), true),
            (&*"-_Z9".repeat(16), true),
            ("", false),
            (&*"a".repeat(21), false),
            (&*"a".repeat(65), false),
            (&*"ä".repeat(20), false),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n", false),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa b", false),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa%00", false),
        ] {
            assert_eq!(StreamToken::parse(text).is_some(), is_token, "{text:?}");
        }
    }
}
