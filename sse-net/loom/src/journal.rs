//! In place of the journal: the topics of the models have none.

use std::convert::Infallible;
use std::path::PathBuf;

use sse_core::Cursor;

#[derive(Clone)]
pub(crate) struct Journal {
    pub(crate) dir: PathBuf,
    never: Infallible,
}

impl Journal {
    pub(crate) fn tell(&self, (): &()) {
        match self.never {}
    }
}

#[derive(Debug)]
pub(crate) struct JournalState;

pub(crate) type JournalError = std::io::Error;

pub(crate) mod disk {
    use std::io;
    use std::path::Path;

    pub(crate) fn failed(_: &str, _: &Path) -> impl FnOnce(io::Error) -> io::Error {
        |error| error
    }
}

pub(crate) mod keeper {
    use super::*;
    use crate::segments::Segments;
    use crate::sync::Arc;
    use crate::topic::Shared;

    pub(crate) struct Keeper(Infallible);

    impl Keeper {
        pub(crate) fn start(
            _: &Arc<Shared>,
            journal: Journal,
            _: Segments,
        ) -> Result<Self, std::io::Error> {
            match journal.never {}
        }

        pub(crate) fn is_awaited(&self) -> bool {
            match self.0 {}
        }

        pub(crate) fn wait(&self, _: Cursor, _: Cursor) -> bool {
            match self.0 {}
        }

        pub(crate) fn flush(&self) -> bool {
            match self.0 {}
        }
    }

    pub(crate) struct Progress(Infallible);

    impl Progress {
        pub(crate) fn wakes(&mut self, _: Cursor, _: bool) -> bool {
            match self.0 {}
        }

        pub(crate) fn state(&self, _: Cursor) -> JournalState {
            match self.0 {}
        }
    }
}

pub(crate) mod segments {
    use sse_core::{Log, Now, Retention};

    use super::*;

    pub(crate) struct Segments;

    impl Segments {
        pub(crate) fn open(
            journal: &Journal,
            _: Retention,
            _: Now,
            _: &mut impl FnMut(()),
        ) -> Result<(Self, Log), JournalError> {
            match journal.never {}
        }
    }
}
