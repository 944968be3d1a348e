//! Numbers as servers write them, read where they stand.
//!
//! Times and most values have few digits: an integer and a power of ten that are exact as `f64`, and one division of
//! these is rounded once, as parsing is. Everything else is parsed by the standard library.

/// Digits that a number may have for its integer to be exact as `f64`.
const EXACT_DIGITS_MAX: usize = 15;
/// Powers of ten that are exact too.
const POWERS: [f64; EXACT_DIGITS_MAX + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// The number in front of the closing quote, and its length; NaN where it is none. `None` where it holds escapes.
pub(super) fn quoted_number(text: &str) -> Option<(f64, usize)> {
    if let Some((value, length)) = decimal(text.as_bytes())
        && text.as_bytes().get(length) == Some(&b'"')
    {
        return Some((value, length));
    }
    let length = text.bytes().position(|byte| byte == b'"')?;
    let number = &text[..length];
    (!number.contains('\\')).then(|| (number.parse().unwrap_or(f64::NAN), length))
}

/// The digits that `text` begins with, as `123` or `123.456`, and how many bytes they take; `None` where there are none,
/// or too many to be exact.
pub(super) fn decimal(text: &[u8]) -> Option<(f64, usize)> {
    let digits = |from: usize| text[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole = digits(0);
    let fraction = if text.get(whole) == Some(&b'.') { digits(whole + 1) } else { 0 };
    if whole == 0 || whole + fraction > EXACT_DIGITS_MAX {
        return None;
    }
    let length = if fraction > 0 { whole + 1 + fraction } else { whole };
    let value = |sum: u64, byte: &u8| sum * 10 + u64::from(byte - b'0');
    let integer = text[..length].iter().filter(|byte| **byte != b'.').fold(0, value);
    Some((integer as f64 / POWERS[fraction], length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_are_what_the_standard_library_reads(text in "-?[0-9]{1,20}(\\.[0-9]{1,20})?(e-?[0-9]{1,2})?") {
            let quoted = format!("{text}\"]");
            prop_assert_eq!(quoted_number(&quoted), Some((text.parse().expect("a number"), text.len())));
        }
    }
}
