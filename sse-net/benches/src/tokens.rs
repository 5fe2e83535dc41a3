//! The tokens of a made-up model, and the question that it is asked, for both servers.

use std::pin::Pin;
use std::task::{Context, Poll};

use serde::{Deserialize, Serialize};
use tokio_stream::Stream;

/// The number of tokens of a long answer.
pub const COUNT: usize = 5_000;

/// The body of a request.
#[derive(Debug, Deserialize)]
pub struct Question {
    pub text: String,
}

/// A token as a client of a model endpoint gets it.
#[derive(Debug, Serialize)]
pub struct Token {
    index: usize,
    content: &'static str,
    finish_reason: Option<&'static str>,
}

/// Yields tokens: all at once, or each only when its task is polled again.
#[derive(Debug)]
pub struct Tokens {
    left: usize,
    is_ready: bool,
    yields: bool,
}

impl Tokens {
    /// Creates tokens that are ready at once.
    #[must_use]
    pub const fn ready(count: usize) -> Self {
        Self {
            left: count,
            is_ready: false,
            yields: false,
        }
    }

    /// Creates tokens that become ready one by one.
    #[must_use]
    pub const fn one_by_one(count: usize) -> Self {
        Self {
            yields: true,
            ..Self::ready(count)
        }
    }
}

impl Stream for Tokens {
    type Item = Token;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Token>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.is_ready = !self.is_ready;
        if self.is_ready && self.yields {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.left -= 1;
        Poll::Ready(Some(Token {
            index: self.left,
            content: " wherefore",
            finish_reason: None,
        }))
    }
}
