//! The validity periods of certificates.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};

/// The validity period of the certificate in a file.
#[derive(Debug, Clone)]
pub(super) struct Validity {
    file: PathBuf,
    not_before: UnixTime,
    not_after: UnixTime,
}

impl Validity {
    /// Returns the validity of a certificate; unlimited if rustls does not report it.
    pub(super) fn of(file: &Path, certificate: &CertificateDer<'_>) -> Self {
        let mut validity = Self {
            file: file.to_owned(),
            not_before: at(0),
            not_after: at(u64::MAX),
        };
        // rustls checks the validity first, and its error contains the limit.
        for now in [at(0), at(u64::MAX)] {
            match verify(certificate, now) {
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

    pub(super) fn warning(&self, now: UnixTime) -> Option<Warning> {
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

    pub(super) fn not_after(&self) -> SystemTime {
        system_time(self.not_after)
    }
}

/// Verifies a certificate at a time, with no trusted authority.
fn verify(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let verified = ParsedCertificate::try_from(certificate).and_then(|parsed| {
        let no_roots = RootCertStore::empty();
        verify_server_cert_signed_by_trust_anchor(&parsed, &no_roots, &[], now, &[])
    });
    match verified {
        Err(Error::InvalidCertificate(error)) => Err(error),
        _ => Ok(()),
    }
}

/// A certificate that is in use though it has expired or is not valid yet.
///
/// It is used because clients can be configured to accept it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// The certificate has expired.
    Expired {
        /// The certificate's file.
        file: PathBuf,
        /// When the certificate expired.
        since: SystemTime,
    },
    /// The certificate is not valid yet.
    NotYetValid {
        /// The certificate's file.
        file: PathBuf,
        /// When the certificate becomes valid.
        from: SystemTime,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, what, date, advice) = match self {
            Self::Expired { file, since } => (
                file,
                "expired on",
                since,
                "clients refuse it until it is renewed",
            ),
            Self::NotYetValid { file, from } => (
                file,
                "is not valid before",
                from,
                "check the clock of this machine",
            ),
        };
        let file = file.display();
        let date = Date::of(*date);
        write!(f, "the certificate in {file} {what} {date}; {advice}")
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
        // Days since 1 March of the year 0, so that a leap day is the last of its year. The
        // calendar repeats every 400 years, and the lengths of months every 5 months (153 days).
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

/// Limits times to the year 9999, the last of RFC 5280; `SystemTime` may overflow beyond.
fn system_time(time: UnixTime) -> SystemTime {
    const LATEST: u64 = 253_402_300_799;
    UNIX_EPOCH + Duration::from_secs(time.as_secs().min(LATEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_follow_the_gregorian_calendar() {
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
