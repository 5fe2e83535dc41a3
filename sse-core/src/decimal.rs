//! Decimal numbers, of which each has one spelling.

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
