//! What the builder methods of an event take, and what integers data can be.

use super::event_type::EventType;
use super::id::EventId;

/// What [`Event::id`](crate::Event::id) takes: an [`EventId`] or an integer.
///
/// Text has to be checked first: `EventId::from_static("…")` in a constant, or
/// [`Event::try_id`](crate::Event::try_id).
///
/// ```compile_fail,E0277
/// let event = sse_core::Event::new().id("first"); // its error message names both ways
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event ID",
    label = "expected an integer, an `EventId` or a `&EventId`",
    note = "for text that is known at compile time, use a constant: `const FIRST: EventId = EventId::from_static(\"first\");` and `.id(FIRST)`",
    note = "for text that is known at run time, use the method that checks it: `.try_id(text)?`"
)]
pub trait IntoEventId<'a>: sealed::Sealed {
    /// Converts into the ID.
    fn into_event_id(self) -> EventId<'a>;
}

/// What [`Event::event`](crate::Event::event) takes: an [`EventType`].
///
/// Text has to be checked first: `EventType::from_static("…")` in a constant, or
/// [`Event::try_event`](crate::Event::try_event).
///
/// ```compile_fail,E0277
/// let event = sse_core::Event::new().event("tick"); // its error message names both ways
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event type",
    label = "expected an `EventType` or a `&EventType`",
    note = "for text that is known at compile time, use a constant: `const TICK: EventType = EventType::from_static(\"tick\");` and `.event(TICK)`",
    note = "for text that is known at run time, use the method that checks it: `.try_event(text)?`"
)]
pub trait IntoEventType<'a>: sealed::Sealed {
    /// Converts into the type.
    fn into_event_type(self) -> EventType<'a>;
}

/// An integer of any width, which can be sent as data.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an integer",
    note = "use `write_float` for floats, and `write_display` for other values"
)]
pub trait Integer: sealed::Integer {}

impl<'a> IntoEventId<'a> for EventId<'a> {
    #[inline]
    fn into_event_id(self) -> Self {
        self
    }
}

impl<'a> IntoEventId<'a> for &'a EventId<'_> {
    #[inline]
    fn into_event_id(self) -> EventId<'a> {
        self.into()
    }
}

impl<'a> IntoEventType<'a> for EventType<'a> {
    #[inline]
    fn into_event_type(self) -> Self {
        self
    }
}

impl<'a> IntoEventType<'a> for &'a EventType<'_> {
    #[inline]
    fn into_event_type(self) -> EventType<'a> {
        self.into()
    }
}

macro_rules! impl_into_event_id {
    ($($integer:ty)*) => {$(
        impl sealed::Sealed for $integer {}

        impl<'a> IntoEventId<'a> for $integer {
            #[inline]
            fn into_event_id(self) -> EventId<'a> {
                self.into()
            }
        }
    )*};
}

macro_rules! impl_integer {
    ($($integer:ty)*) => {$(
        impl Integer for $integer {}

        impl sealed::Integer for $integer {
            #[inline]
            fn format(self, buffer: &mut itoa::Buffer) -> &str {
                buffer.format(self)
            }
        }
    )*};
}

impl_into_event_id!(u8 u16 u32 u64 usize i8 i16 i32 i64 isize);
impl_integer!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize);

impl sealed::Sealed for EventId<'_> {}
impl sealed::Sealed for &EventId<'_> {}
impl sealed::Sealed for EventType<'_> {}
impl sealed::Sealed for &EventType<'_> {}

/// Keeps the traits above to this crate, and `itoa` out of its signatures.
#[expect(unnameable_types, reason = "so that no other crate implements them")]
mod sealed {
    pub trait Sealed {}

    pub trait Integer {
        fn format(self, buffer: &mut itoa::Buffer) -> &str;
    }
}
