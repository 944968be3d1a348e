//! Numbers and names as people read them. Names come from strangers' metrics and end in terminals and pages, where a
//! control character is a command: `Plain` spells those out.

use std::fmt::{self, Write as _};
use std::time::Duration;

/// A number with at most three significant digits below 100 and thousands separated above; `?` unless it is finite.
pub(crate) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "?".to_owned();
    }
    if value.abs() >= 100.0 {
        return thousands(value.round());
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    // Three significant digits: 12.3, 1.23, 0.123, 0.00123.
    let magnitude = value.abs().log10().floor();
    let decimals = (2.0 - magnitude).clamp(0.0, 12.0) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A ratio as a percentage.
pub(crate) fn percent(ratio: f64) -> String {
    format!("{} %", number(ratio * 100.0))
}

/// A length of time, in the unit that suits it.
pub(crate) fn duration(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0 => format!("{} ms", length.as_millis()),
        1..=9 => format!("{:.1} s", length.as_secs_f64()),
        10..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::from(if value < 0.0 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Text from a stranger, with whatever could steer a terminal or reorder a line spelt as `\u{1b}`.
pub(crate) struct Plain<'a>(pub(crate) &'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(self.0.len());
        for c in self.0.chars() {
            if steers(c) { write!(text, "{}", c.escape_unicode())? } else { text.push(c) }
        }
        f.pad(&text)
    }
}

/// Control characters, line and paragraph separators, bidirectional overrides and isolates, and the byte order mark.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_significant_digits_and_separate_thousands() {
        let cases = [
            (0.0, "0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (0.00123456, "0.00123"),
            (0.25, "0.25"),
            (12.345, "12.3"),
            (10.0, "10"),
            (99.99, "100"),
            (1234.4, "1,234"),
            (1_000_000.0, "1,000,000"),
            (-1234.0, "-1,234"),
            (f64::NAN, "?"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text, "{value}");
        }
    }

    #[test]
    fn durations_read_in_the_unit_that_suits_them() {
        let cases = [(0.25, "250 ms"), (9.5, "9.5 s"), (42.0, "42 s"), (300.0, "5 min"), (7300.0, "2 h")];
        for (seconds, text) in cases {
            assert_eq!(duration(Duration::from_secs_f64(seconds)), text);
        }
    }

    #[test]
    fn a_name_cannot_steer_a_terminal_or_reorder_a_line() {
        assert_eq!(Plain("a\u{1b}[2J\n\u{202e}é<b>").to_string(), r"a\u{1b}[2J\u{a}\u{202e}é<b>");
    }
}
