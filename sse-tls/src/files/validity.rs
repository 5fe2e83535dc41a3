//! When certificates are valid.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};

/// From when until when the certificate of a file is valid.
#[derive(Debug, Clone)]
pub(crate) struct Validity {
    file: PathBuf,
    not_before: UnixTime,
    not_after: UnixTime,
}

impl Validity {
    /// That of the first certificate of a chain. If rustls does not say, it is always.
    pub(crate) fn of(file: &Path, certificate: &CertificateDer<'_>) -> Self {
        let mut validity = Self {
            file: file.to_owned(),
            not_before: at(0),
            not_after: at(u64::MAX),
        };
        // Validity is the first that is judged, and what is wrong is told with its limit.
        for now in [at(0), at(u64::MAX)] {
            match judge(certificate, now) {
                Err(CertificateError::NotValidYetContext { not_before, .. }) => {
                    validity.not_before = not_before;
                }
                Err(CertificateError::ExpiredContext { not_after, .. }) => {
                    validity.not_after = not_after;
                }
                _ => {}
            }
        }
        validity
    }

    pub(crate) fn warning(&self, now: UnixTime) -> Option<Warning> {
        let file = self.file.clone();
        if now > self.not_after {
            let since = system_time(self.not_after);
            return Some(Warning::Expired { file, since });
        }
        (now < self.not_before).then(|| Warning::NotYetValid {
            file,
            from: system_time(self.not_before),
        })
    }

    pub(crate) fn not_after(&self) -> SystemTime {
        system_time(self.not_after)
    }
}

/// Judges a certificate at a time, without anybody who vouches for it.
fn judge(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let judged = ParsedCertificate::try_from(certificate).and_then(|parsed| {
        let nobody = RootCertStore::empty();
        verify_server_cert_signed_by_trust_anchor(&parsed, &nobody, &[], now, &[])
    });
    match judged {
        Err(Error::InvalidCertificate(error)) => Err(error),
        _ => Ok(()),
    }
}

/// What is wrong with a certificate that is used all the same, since clients can be told to
/// take it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// It has expired.
    Expired {
        /// The file that it is in.
        file: PathBuf,
        /// When it did.
        since: SystemTime,
    },
    /// It is not valid yet.
    NotYetValid {
        /// The file that it is in.
        file: PathBuf,
        /// When it will be.
        from: SystemTime,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, what, date, after) = match self {
            Self::Expired { file, since } => (file, "expired on", since, "clients refuse it"),
            Self::NotYetValid { file, from } => (
                file,
                "is not valid before",
                from,
                "is this machine's clock right?",
            ),
        };
        let file = file.display();
        let date = Date::of(*date);
        write!(f, "the certificate in {file} {what} {date}; {after}")
    }
}

/// A day of the Gregorian calendar, in UTC.
struct Date {
    year: u64,
    month: u64,
    day: u64,
}

impl Date {
    fn of(time: SystemTime) -> Self {
        let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        // Days since 1 March of the year 0: leap days come last in their years, years of 400
        // years are alike, and months take turns of 153 days in 5.
        let days = since_epoch.as_secs() / 86_400 + 719_468;
        let (era, days) = (days / 146_097, days % 146_097);
        let year = (days - days / 1460 + days / 36_524 - days / 146_096) / 365;
        let days = days - (365 * year + year / 4 - year / 100);
        let month = (5 * days + 2) / 153;
        Self {
            year: era * 400 + year + u64::from(month >= 10),
            month: (month + 2) % 12 + 1,
            day: days - (153 * month + 2) / 5 + 1,
        }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

const fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

/// The latest that RFC 5280 knows is the year 9999, which every system's clock can tell.
fn system_time(time: UnixTime) -> SystemTime {
    const LATEST: u64 = 253_402_300_799;
    UNIX_EPOCH + Duration::from_secs(time.as_secs().min(LATEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (seconds, date) in [
            (0, "1970-01-01"),
            (86_399, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_709_164_800, "2024-02-29"),
            (1_735_603_200, "2024-12-31"),
            (1_735_689_600, "2025-01-01"),
            (4_107_542_400, "2100-03-01"),
            (u64::MAX, "9999-12-31"),
        ] {
            let time = system_time(at(seconds));
            assert_eq!(Date::of(time).to_string(), date, "{seconds}");
        }
    }
}
