//! The labels that a device says: lines of `k=v`. They become names of cohorts, in metrics and on screens: what could
//! be read as something else there is refused.

use crate::keepalive::cohort::Labels;

/// Most labels of one device.
pub(super) const LABELS_MAX: usize = 16;
/// Longest key and longest value, in bytes.
const NAME_MAX_BYTES: usize = 64;

/// The labels of a hello; `None` where a line is none, too long, or one too many. Empty lines count for nothing; of two
/// lines with one key the later counts.
pub(super) fn labels(text: &str) -> Option<Labels> {
    let mut labels = Labels::new();
    for line in text.split('\n').filter(|line| !line.is_empty()) {
        let (key, value) = line.split_once('=')?;
        if !is_name(key) || !is_name(value) {
            return None;
        }
        labels.insert(key.into(), value.into());
        if labels.len() > LABELS_MAX {
            return None;
        }
    }
    Some(labels)
}

/// As a prefix file has it: no quotes, no `=`, no comma (it parts labels in a cohort's name), no control characters.
fn is_name(text: &str) -> bool {
    let is_plain = |c: char| !c.is_control() && !matches!(c, '=' | ',' | '"' | '\'' | '\\');
    !text.is_empty() && text.len() <= NAME_MAX_BYTES && text.trim() == text && text.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_labels() {
        let read = labels("carrier=a\n\nregion=eu west\ncarrier=b\n").expect("labels");
        let read: Vec<String> = read.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(read, ["carrier=b", "region=eu west"]);
        assert_eq!(labels("").map(|labels| labels.len()), Some(0));
    }

    #[test]
    fn what_could_be_read_as_something_else_is_refused() {
        let long = format!("k={}", "x".repeat(65));
        let many: String = (0..=LABELS_MAX).map(|i| format!("k{i}=v\n")).collect();
        let bad =
            ["carrier", "=a", "a=", "a=b=c", "a=b,c", "a=\"b", "a=b\u{7}", "a=b\r", " a=b", "a=b ", "\u{202e}=\0"];
        for text in bad.into_iter().chain([long.as_str(), many.as_str()]) {
            assert_eq!(labels(text), None, "{text:?}");
        }
    }
}
