//! The traits that event IDs and event types share.

/// Implements the traits of checked text, which compares, hashes and prints as its text.
macro_rules! impl_text {
    ($name:ident) => {
        impl AsRef<str> for $name<'_> {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl std::fmt::Display for $name<'_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Debug::fmt(self.as_str(), f)
            }
        }

        impl PartialEq for $name<'_> {
            fn eq(&self, other: &Self) -> bool {
                self.as_str() == other.as_str()
            }
        }

        impl Eq for $name<'_> {}

        impl PartialEq<str> for $name<'_> {
            fn eq(&self, other: &str) -> bool {
                self.as_str() == other
            }
        }

        impl PartialEq<&str> for $name<'_> {
            fn eq(&self, other: &&str) -> bool {
                self.as_str() == *other
            }
        }

        impl std::hash::Hash for $name<'_> {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                self.as_str().hash(state);
            }
        }

        impl<'a> TryFrom<&'a str> for $name<'a> {
            type Error = FieldError;

            fn try_from(text: &'a str) -> Result<Self, FieldError> {
                Self::new(text)
            }
        }

        impl<'a> TryFrom<&'a String> for $name<'a> {
            type Error = FieldError;

            fn try_from(text: &'a String) -> Result<Self, FieldError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name<'_> {
            type Error = FieldError;

            fn try_from(text: String) -> Result<Self, FieldError> {
                Self::new(text)
            }
        }

        impl<'a> From<&'a $name<'_>> for $name<'a> {
            fn from(text: &'a $name<'_>) -> Self {
                Self::trusted(std::borrow::Cow::Borrowed(text.as_str()))
            }
        }
    };
}

pub(super) use impl_text;
