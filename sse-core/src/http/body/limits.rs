//! Limits of a body.

/// Limits of a [`BodyReader`](crate::BodyReader).
///
/// None of them bounds the memory for the content, because a reader keeps none of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct BodyLimits {
    pub(super) max_length: u64,
    pub(super) max_chunk_line: usize,
    pub(super) max_extensions: usize,
    pub(super) max_trailers_size: usize,
    pub(super) max_trailers: usize,
}

impl BodyLimits {
    /// The default of [`max_chunk_line`](Self::max_chunk_line): 1 KiB.
    pub const DEFAULT_MAX_CHUNK_LINE: usize = 1 << 10;

    /// The default of [`max_extensions`](Self::max_extensions): 16 KiB.
    pub const DEFAULT_MAX_EXTENSIONS: usize = 16 << 10;

    /// The default of [`max_trailers_size`](Self::max_trailers_size): 8 KiB.
    pub const DEFAULT_MAX_TRAILERS_SIZE: usize = 8 << 10;

    /// The default of [`max_trailers`](Self::max_trailers): 64.
    pub const DEFAULT_MAX_TRAILERS: usize = 64;

    /// Creates the default limits.
    pub const fn new() -> Self {
        Self {
            max_length: u64::MAX,
            max_chunk_line: Self::DEFAULT_MAX_CHUNK_LINE,
            max_extensions: Self::DEFAULT_MAX_EXTENSIONS,
            max_trailers_size: Self::DEFAULT_MAX_TRAILERS_SIZE,
            max_trailers: Self::DEFAULT_MAX_TRAILERS,
        }
    }

    /// Sets the maximum length of the body in bytes. Default: unlimited.
    ///
    /// Event streams have no length; a server that reads requests should set a limit.
    pub const fn max_length(mut self, bytes: u64) -> Self {
        self.max_length = bytes;
        self
    }

    /// Sets the maximum length of the line of a chunk size in bytes. Default: 1 KiB.
    ///
    /// It includes the extensions, but not the line end.
    pub const fn max_chunk_line(mut self, bytes: usize) -> Self {
        self.max_chunk_line = bytes;
        self
    }

    /// Sets by how many bytes all chunk extensions may exceed the body. Default: 16 KiB.
    ///
    /// A peer that makes the reader skip extensions thus has to send content, too, and a
    /// stream of any length may have extensions.
    pub const fn max_extensions(mut self, bytes: usize) -> Self {
        self.max_extensions = bytes;
        self
    }

    /// Sets the maximum size of all trailers in bytes. Default: 8 KiB.
    ///
    /// It includes their line ends, but not the blank line after them.
    pub const fn max_trailers_size(mut self, bytes: usize) -> Self {
        self.max_trailers_size = bytes;
        self
    }

    /// Sets the maximum number of trailers. Default: 64.
    pub const fn max_trailers(mut self, count: usize) -> Self {
        self.max_trailers = count;
        self
    }
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self::new()
    }
}
