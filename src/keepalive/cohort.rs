//! What devices have in common: their labels, and how they come. One cohort is learnt as one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A device's labels, sorted by key.
pub type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// A cohort's place in every list of cohorts. Cohorts are never taken out while the process runs: 0 is always the one of
/// devices of which nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CohortIndex(pub u32);

/// What the device's packets are carried by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A connection.
    Tcp,
}

/// A cohort's name: `carrier=a,region=eu`, keys sorted, and its transport.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CohortKey {
    /// The labels in one string; `unknown` where a device has none of them.
    pub name: Arc<str>,
    /// How its devices come.
    pub transport: Transport,
}

/// A cohort as the edges found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CohortEntry {
    /// Which.
    pub key: CohortKey,
    /// The labels that make it: what `carrier` and `region` are lets cohorts learn from each other.
    pub labels: Labels,
    /// The fleet that takes its devices, by name; `None` where none does.
    pub fleet: Option<Arc<str>>,
}

/// The name of the cohort of devices without labels.
pub const UNKNOWN: &str = "unknown";

impl CohortKey {
    /// By these of a device's labels; one that the device lacks is `unknown`.
    pub fn of(labels: &Labels, by: &[Arc<str>], transport: Transport) -> Self {
        let mut by: Vec<&str> = by.iter().map(AsRef::as_ref).collect();
        by.sort_unstable();
        by.dedup();
        if by.iter().all(|key| !labels.contains_key(*key)) {
            return Self { name: UNKNOWN.into(), transport };
        }
        let value = |key: &str| labels.get(key).map_or(UNKNOWN, AsRef::as_ref);
        let parts: Vec<String> = by.iter().map(|key| format!("{key}={}", value(key))).collect();
        Self { name: parts.join(",").into(), transport }
    }

    /// The labels that its name says: none of `unknown`, nor of a name whose values hold `,` or `=`.
    pub fn labels(&self) -> Labels {
        let parts: Option<Labels> = self.name.split(',').map(|part| part.split_once('=')).map(pair).collect();
        parts.unwrap_or_default()
    }
}

fn pair(part: Option<(&str, &str)>) -> Option<(Arc<str>, Arc<str>)> {
    let (key, value) = part?;
    (!value.contains('=')).then(|| (key.into(), value.into()))
}

impl Transport {
    /// The name in keys, metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cohort_is_named_by_its_labels_in_one_order() {
        let labels: Labels =
            [("region", "eu"), ("carrier", "a"), ("model", "x")].map(|(k, v)| (k.into(), v.into())).into();
        let by = |keys: &[&str]| {
            let keys: Vec<Arc<str>> = keys.iter().map(|key| (*key).into()).collect();
            CohortKey::of(&labels, &keys, Transport::Udp).name.to_string()
        };
        assert_eq!(by(&["region", "carrier"]), "carrier=a,region=eu");
        assert_eq!(by(&["carrier", "firmware"]), "carrier=a,firmware=unknown");
        assert_eq!(by(&["firmware"]), "unknown");
    }
}
