//! Dates of HTTP.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

/// Returns `time` as an IMF-fixdate, at most in the year 9999: RFC 9110, 5.6.7.
pub(crate) fn imf_fixdate(time: SystemTime) -> [u8; 29] {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since_epoch.as_secs().min(LAST_SECOND);
    let (last, date) = LAST.get();
    if seconds == last {
        return date;
    }
    let date = format(seconds);
    LAST.set((seconds, date));
    date
}

thread_local! {
    /// The last date of this thread and its second. Many responses have the same.
    static LAST: Cell<(u64, [u8; 29])> = const { Cell::new((0, EPOCH)) };
}

fn format(seconds: u64) -> [u8; 29] {
    // Divisions by constants are much faster in 32 bits.
    let [days, second] =
        [seconds / DAY, seconds % DAY].map(|part| u32::try_from(part).unwrap_or(u32::MAX));
    let (year, month, day) = civil(days);
    let mut date = EPOCH;
    date[..3].copy_from_slice(WEEKDAYS[(days % 7) as usize]);
    date[5..7].copy_from_slice(&two_digits(day));
    date[8..11].copy_from_slice(MONTHS[month]);
    date[12..14].copy_from_slice(&two_digits(year / 100));
    date[14..16].copy_from_slice(&two_digits(year % 100));
    date[17..19].copy_from_slice(&two_digits(second / 3600));
    date[20..22].copy_from_slice(&two_digits(second / 60 % 60));
    date[23..25].copy_from_slice(&two_digits(second % 60));
    date
}

/// Returns the digits of a number below 100.
const fn two_digits(number: u32) -> [u8; 2] {
    let [tens, ..] = (number / 10).to_le_bytes();
    let [ones, ..] = (number % 10).to_le_bytes();
    [b'0' + tens, b'0' + ones]
}

/// Returns the year, the month from 0 and the day from 1 in the Gregorian calendar.
///
/// Years are counted from March, so that the leap day is the last of its year, and months
/// have the lengths 31, 30, 31, 30, 31 over and over.
const fn civil(days_since_epoch: u32) -> (u32, usize, u32) {
    let days = days_since_epoch + DAYS_TO_EPOCH;
    let (era, day_of_era) = (days / DAYS_OF_ERA, days % DAYS_OF_ERA);
    let leap_days = day_of_era / 1460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months_since_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months_since_march + 2) / 5 + 1;
    let month = ((months_since_march + 2) % 12) as usize;
    let year = 400 * era + year_of_era + (month < 2) as u32;
    (year, month, day)
}

const EPOCH: [u8; 29] = *b"Thu, 01 Jan 1970 00:00:00 GMT";

const DAY: u64 = 24 * 3600;

/// 9999-12-31, 23:59:59.
const LAST_SECOND: u64 = 253_402_300_799;

/// The days from 1 March of the year 0 to 1 January 1970.
const DAYS_TO_EPOCH: u32 = 719_468;

/// The days of 400 years.
const DAYS_OF_ERA: u32 = 146_097;

/// The first is that of 1 January 1970.
const WEEKDAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The dates are those that `TZ=UTC date -d @SECONDS` prints.
    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"), // RFC 9110, 5.6.7
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (978_307_199, "Sun, 31 Dec 2000 23:59:59 GMT"),
            (1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT"),
            (1_740_787_199, "Fri, 28 Feb 2025 23:59:59 GMT"),
            (1_740_787_200, "Sat, 01 Mar 2025 00:00:00 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (LAST_SECOND, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (LAST_SECOND + 1, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            for _ in 0..2 {
                assert_eq!(imf_fixdate(time), expected.as_bytes(), "{seconds}");
            }
        }
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(&imf_fixdate(before), b"Thu, 01 Jan 1970 00:00:00 GMT");
    }

    #[test]
    fn days_follow_each_other() {
        let date = |day: u32| {
            let date = imf_fixdate(UNIX_EPOCH + Duration::from_secs(u64::from(day) * DAY));
            String::from_utf8(date.to_vec()).unwrap()
        };
        let mut last = civil(0);
        for day in 1..60_000 {
            let next = civil(day);
            let is_next_day = (next.0, next.1, next.2) == (last.0, last.1, last.2 + 1);
            let is_first = next.2 == 1 && last.2 >= 28;
            assert!(is_next_day || is_first, "{}", date(day));
            last = next;
        }
    }
}
