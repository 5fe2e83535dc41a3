//! Parts of a head's bytes.

/// The maximum size of a head, which a [`Span`] can address.
pub(super) const MAX_SIZE: usize = u32::MAX as usize;

/// A range of a head's bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Returns the span of `part`, which lies within `bytes`.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a head is smaller than 4 GiB"
    )]
    pub(super) fn of(part: &[u8], bytes: &[u8]) -> Self {
        let start = part.as_ptr().addr().wrapping_sub(bytes.as_ptr().addr());
        Self {
            start: start as u32,
            end: (start + part.len()) as u32,
        }
    }

    pub(super) const fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    pub(super) fn of_bytes(self, bytes: &[u8]) -> &[u8] {
        bytes
            .get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}

/// The bytes of a head that is joined from its parts.
pub(super) struct Joined(Vec<u8>);

impl Joined {
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(512))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "a head of 4 GiB is refused before a span of it is used"
    )]
    pub(super) fn add(&mut self, part: &[u8]) -> Span {
        let start = self.0.len() as u32;
        self.0.extend_from_slice(part);
        Span {
            start,
            end: self.0.len() as u32,
        }
    }
}
