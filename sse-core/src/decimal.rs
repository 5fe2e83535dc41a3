//! Decimal numbers of which each has one spelling.

/// Parses a number without leading zeros; `None` if it does not fit.
#[inline]
pub(crate) fn parse(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 1 && digits[0] == b'0' {
        return None;
    }
    // Nineteen digits do not overflow, which is cheaper to know than to check.
    let (most, others) = digits.split_at(digits.len().min(19));
    let digit = |digit: &u8| match digit.wrapping_sub(b'0') {
        digit @ 0..10 => Some(u64::from(digit)),
        _ => None,
    };
    let mut number = 0;
    for byte in most {
        number = 10 * number + digit(byte)?;
    }
    for byte in others {
        number = number.checked_mul(10)?.checked_add(digit(byte)?)?;
    }
    Some(number)
}

/// Parses eight digits, which may begin with zeros.
///
/// All of them are in one register, the first in its lowest byte. Each step combines neighbours:
/// to four numbers below 100, to two below 10,000, and to one.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the number is in the lower half"
)]
pub(crate) fn parse_eight(digits: &[u8; 8]) -> Option<u32> {
    let digits = u64::from_le_bytes(*digits) ^ 0x3030_3030_3030_3030;
    // A byte above nine has a high half, or gets one when six is added.
    let high_halves = digits | digits.wrapping_add(0x0606_0606_0606_0606);
    if high_halves & 0xf0f0_f0f0_f0f0_f0f0 != 0 {
        return None;
    }
    let pairs = (10 * digits + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (100 * pairs + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    Some((10_000 * fours + (fours >> 32)) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_digits_are_one_number() {
        for number in [0, 1, 9, 10, 12_345_678, 90_000_000, 99_999_999, 10_203_040] {
            let digits = format!("{number:08}").into_bytes();
            assert_eq!(
                parse_eight(digits.as_slice().try_into().unwrap()),
                Some(number)
            );
        }
    }

    #[test]
    fn any_other_byte_is_no_digit() {
        for place in 0..8 {
            for byte in 0..=u8::MAX {
                let mut digits = *b"99999999";
                digits[place] = byte;
                let is_digit = byte.is_ascii_digit();
                assert_eq!(
                    parse_eight(&digits).is_some(),
                    is_digit,
                    "{byte} at {place}"
                );
            }
        }
    }
}
