//! The labels that a device says of itself. They become names of cohorts, in metrics and on screens, so that a server
//! refuses what could be read as something else there; it is refused here already.

use std::fmt;
use std::str::FromStr;

/// Most labels of one device.
pub const LABELS_MAX: usize = 16;
/// Longest key and longest value, in bytes.
pub const NAME_MAX_BYTES: usize = 64;

/// Labels, in the order in which they were given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeviceLabels(Vec<(String, String)>);

/// Text that is no list of labels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLabels {
    /// Not of the form `k=v`.
    #[error("{0:?} is no label: write k=v, several as k=v,k=v")]
    Form(String),
    /// A key or a value that a server refuses.
    #[error(
        "{0:?} is no key or value of a label: 1 to {NAME_MAX_BYTES} bytes, no space at its ends, no quotes, no `=`, no \
         backslash and no control characters"
    )]
    Name(String),
    /// A key twice.
    #[error("the label {0:?} is there twice")]
    Twice(String),
    /// Too many.
    #[error("more than {LABELS_MAX} labels")]
    TooMany,
}

impl DeviceLabels {
    /// The labels.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// As a hello carries them: a line a label.
    pub fn to_lines(&self) -> String {
        self.iter().map(|(key, value)| format!("{key}={value}\n")).collect()
    }

    /// One more.
    ///
    /// # Errors
    /// A server would refuse it.
    pub fn add(&mut self, key: &str, value: &str) -> Result<(), BadLabels> {
        if let Some(bad) = [key, value].into_iter().find(|name| !is_name(name)) {
            return Err(BadLabels::Name(bad.to_owned()));
        }
        if self.iter().any(|(known, _)| known == key) {
            return Err(BadLabels::Twice(key.to_owned()));
        }
        if self.0.len() == LABELS_MAX {
            return Err(BadLabels::TooMany);
        }
        self.0.push((key.to_owned(), value.to_owned()));
        Ok(())
    }
}

/// `carrier=a,region=eu`; nothing for no labels.
impl FromStr for DeviceLabels {
    type Err = BadLabels;

    fn from_str(text: &str) -> Result<Self, BadLabels> {
        let mut labels = Self::default();
        for label in text.split(',').filter(|_| !text.trim().is_empty()) {
            let (key, value) = label.split_once('=').ok_or_else(|| BadLabels::Form(label.to_owned()))?;
            labels.add(key.trim(), value.trim())?;
        }
        Ok(labels)
    }
}

impl fmt::Display for DeviceLabels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<String> = self.iter().map(|(key, value)| format!("{key}={value}")).collect();
        f.write_str(&labels.join(","))
    }
}

fn is_name(text: &str) -> bool {
    let is_plain = |c: char| !c.is_control() && !matches!(c, '=' | ',' | '"' | '\'' | '\\');
    !text.is_empty() && text.len() <= NAME_MAX_BYTES && text.trim() == text && text.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_and_told_as_lines() {
        let labels: DeviceLabels = "carrier=a, region=eu west".parse().expect("labels");
        assert_eq!(labels.to_lines(), "carrier=a\nregion=eu west\n");
        assert_eq!(labels.to_string(), "carrier=a,region=eu west");
        assert_eq!("".parse(), Ok(DeviceLabels::default()));
    }

    #[test]
    fn what_a_server_refuses_is_refused_with_the_reason() {
        let bad = |text: &str| text.parse::<DeviceLabels>().expect_err("bad");
        assert_eq!(bad("carrier"), BadLabels::Form("carrier".to_owned()));
        assert_eq!(bad("a=b,"), BadLabels::Form(String::new()));
        assert_eq!(bad("=a"), BadLabels::Name(String::new()));
        assert_eq!(bad("a=b=c"), BadLabels::Name("b=c".to_owned()));
        assert_eq!(bad("a=\"b\""), BadLabels::Name("\"b\"".to_owned()));
        assert_eq!(bad("a=b,a=c"), BadLabels::Twice("a".to_owned()));
        let many: Vec<String> = (0..=LABELS_MAX).map(|i| format!("k{i}=v")).collect();
        assert_eq!(bad(&many.join(",")), BadLabels::TooMany);
        assert!(matches!(bad(&format!("k={}", "x".repeat(65))), BadLabels::Name(_)));
    }
}
