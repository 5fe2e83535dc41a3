//! Positions in a log.

/// A position between two events of a [`Log`](crate::Log).
///
/// It is the number of bytes ever appended before it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor(u64);

impl Cursor {
    /// The cursor before the first event.
    pub const START: Self = Self(0);

    /// A cursor later than any event.
    pub const MAX: Self = Self(u64::MAX);

    pub(crate) const fn advance(self, bytes: usize) -> Self {
        Self(self.0.saturating_add(bytes as u64))
    }

    /// Returns the bytes up to a `later` cursor, or 0 if that is earlier.
    #[must_use]
    pub fn distance(self, later: Self) -> usize {
        usize::try_from(later.0.saturating_sub(self.0)).unwrap_or(usize::MAX)
    }
}
