//! What is known of NATs: pins of fleet files, and cohorts that a Flyball has learnt.
//!
//! A pin that fits a device by all its labels is the operator's word and counts alone, as in the loop itself. Otherwise
//! the worst counts of what fits: a label that a file does not tell may be anything.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::rows::Group;
use crate::keepalive::cohort::{Labels, Transport};
use crate::keepalive::policy::{Fleets, IntervalBounds};
use crate::time::WallTime;

/// Labels that tell cohorts apart where no fleet says so.
const LABELS: [&str; 2] = ["carrier", "region"];

/// How sure a lifetime is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Certainty {
    /// The operator's word.
    Pinned,
    /// Learnt: between its bounds.
    Learnt,
    /// The floor cannot serve it.
    Hostile,
    /// Tests are under way: it has outlived the lower bound, and may be anything up to the upper.
    Learning,
}

/// How long the NATs of a cohort keep a binding.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Known {
    /// As everywhere: `carrier=a,region=eu`.
    pub(super) cohort: String,
    pub(super) labels: Labels,
    /// `None` = both.
    pub(super) transport: Option<Transport>,
    pub(super) certainty: Certainty,
    pub(super) lower: Duration,
    pub(super) upper: Duration,
    /// Where that comes from, in words.
    pub(super) evidence: String,
}

/// All that is known.
#[derive(Debug, Default)]
pub(super) struct Knowledge {
    fleets: Option<Arc<Fleets>>,
    now: Option<WallTime>,
    known: Vec<Known>,
    /// Places in `known` by each label that they have.
    by_label: HashMap<(Arc<str>, Arc<str>), Vec<usize>>,
    /// Where it is from, for the reader.
    pub(super) sources: Vec<String>,
}

impl Certainty {
    /// The API's word.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Pinned => "pinned",
            Self::Learnt => "learnt",
            Self::Hostile => "hostile",
            Self::Learning => "learning",
        }
    }
}

impl Knowledge {
    /// Pins that are in force, and the bounds.
    pub(super) fn take_fleets(&mut self, fleets: Arc<Fleets>, files: &[PathBuf], now: WallTime) {
        for pin in fleets.fleets.iter().flat_map(|fleet| &fleet.pins).filter(|pin| is_in_force(pin.until, now)) {
            let names: Vec<String> = pin.cohort.iter().map(|(key, value)| format!("{key}={value}")).collect();
            self.push(Known {
                cohort: names.join(","),
                labels: pin.cohort.clone(),
                transport: None,
                certainty: Certainty::Pinned,
                lower: pin.nat_timeout,
                upper: pin.nat_timeout,
                evidence: format!("pin: {}", pin.reason),
            });
        }
        self.sources.extend(files.iter().map(|file| format!("fleet file {}", file.display())));
        self.fleets = Some(fleets);
        self.now = Some(now);
    }

    /// Cohorts of a running Flyball, or of one that ran.
    pub(super) fn take_learnt(&mut self, known: Vec<Known>, source: String) {
        let cohorts = known.len();
        known.into_iter().for_each(|known| self.push(known));
        self.sources.push(format!("{source} ({cohorts} cohorts)"));
    }

    fn push(&mut self, known: Known) {
        for (key, value) in &known.labels {
            self.by_label.entry((key.clone(), value.clone())).or_default().push(self.known.len());
        }
        self.known.push(known);
    }

    /// Labels that tell one cohort from another, here.
    pub(super) fn keys(&self) -> Vec<Arc<str>> {
        let mut keys: BTreeSet<Arc<str>> = self.known.iter().flat_map(|known| known.labels.keys()).cloned().collect();
        for fleet in self.fleets.iter().flat_map(|fleets| &fleets.fleets) {
            keys.extend(fleet.matches.iter().map(|(key, _)| key.clone()));
            keys.extend(fleet.cohort_by.iter().cloned());
        }
        keys.extend(LABELS.map(Arc::from));
        keys.into_iter().collect()
    }

    /// Bounds of the fleet that takes these devices; `None` where no fleet file is at hand, or none takes them.
    pub(super) fn bounds(&self, group: &Group) -> Option<IntervalBounds> {
        let fleets = self.fleets.as_ref()?;
        fleets.fleets.iter().find(|fleet| fleet.is_match(&group.labels)).map(|fleet| fleet.interval)
    }

    /// The lifetime that these devices have to live with.
    pub(super) fn of(&self, group: &Group) -> Option<&Known> {
        if let Some(pinned) = self.pinned(group) {
            return Some(pinned);
        }
        let mut places: Vec<usize> = group
            .labels
            .iter()
            .filter_map(|(k, v)| self.by_label.get(&(k.clone(), v.clone())))
            .flatten()
            .copied()
            .collect();
        places.sort_unstable();
        places.dedup();
        let fitting = places.into_iter().map(|place| &self.known[place]).filter(|known| is_possible(known, group));
        fitting.min_by_key(|known| known.worst())
    }

    /// The first pin, in its fleet's order, whose labels these devices all have.
    fn pinned(&self, group: &Group) -> Option<&Known> {
        let fleet = self.fleets.as_ref()?.fleets.iter().find(|fleet| fleet.is_match(&group.labels))?;
        let has = |labels: &Labels| labels.iter().all(|(key, value)| group.labels.get(key) == Some(value));
        let now = self.now?;
        let pin = fleet.pins.iter().find(|pin| has(&pin.cohort) && is_in_force(pin.until, now))?;
        self.known.iter().find(|known| {
            known.certainty == Certainty::Pinned && known.labels == pin.cohort && known.lower == pin.nat_timeout
        })
    }
}

impl Known {
    /// What an interval is held against: a lifetime that is still looked for has only shown what it is not.
    pub(super) fn limit(&self) -> Duration {
        if self.certainty == Certainty::Learning { self.upper } else { self.lower }
    }

    fn worst(&self) -> (Duration, Duration) {
        (self.limit(), self.lower)
    }
}

fn is_in_force(until: Option<WallTime>, now: WallTime) -> bool {
    until.is_none_or(|until| now < until)
}

/// Whether nothing that is told of the devices speaks against it.
fn is_possible(known: &Known, group: &Group) -> bool {
    known.transport.is_none_or(|transport| transport == group.transport)
        && known.labels.iter().all(|(key, value)| group.labels.get(key).is_none_or(|told| told == value))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::keepalive::policy::{Fleet, Pin};

    pub(in crate::cli::intervals) fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    pub(in crate::cli::intervals) fn group(pairs: &[(&str, &str)]) -> Group {
        Group { labels: labels(pairs), transport: Transport::Udp }
    }

    pub(in crate::cli::intervals) fn known(pairs: &[(&str, &str)], certainty: Certainty, bounds: [u64; 2]) -> Known {
        let [lower, upper] = bounds.map(Duration::from_secs);
        let name: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let (cohort, labels, transport) = (name.join(","), labels(pairs), Some(Transport::Udp));
        Known { cohort, labels, transport, certainty, lower, upper, evidence: "seen".to_owned() }
    }

    pub(in crate::cli::intervals) fn knowledge(known: Vec<Known>) -> Knowledge {
        let mut knowledge = Knowledge::default();
        knowledge.take_learnt(known, "a test".to_owned());
        knowledge
    }

    fn lower(knowledge: &Knowledge, pairs: &[(&str, &str)]) -> Option<u64> {
        knowledge.of(&group(pairs)).map(|known| known.lower.as_secs())
    }

    #[test]
    fn a_label_that_is_not_told_may_be_anything() {
        let eu = known(&[("carrier", "a"), ("region", "eu")], Certainty::Learnt, [110, 112]);
        let us = known(&[("carrier", "a"), ("region", "us")], Certainty::Learnt, [60, 62]);
        let knowledge = knowledge(vec![eu, us]);
        assert_eq!(lower(&knowledge, &[("carrier", "a"), ("region", "eu")]), Some(110));
        assert_eq!(lower(&knowledge, &[("carrier", "a")]), Some(60));
        assert_eq!(lower(&knowledge, &[("carrier", "a"), ("region", "as")]), None);
        assert_eq!(lower(&knowledge, &[("carrier", "b")]), None);
        assert_eq!(lower(&knowledge, &[]), None, "of whom nothing is told, nothing is known");
    }

    #[test]
    fn a_pin_that_fits_is_the_operators_word() {
        let pin = |labels, seconds, until| Pin {
            cohort: labels,
            nat_timeout: Duration::from_secs(seconds),
            until,
            reason: "measured".into(),
        };
        let now = WallTime::from_unix_ms(1_000);
        let mut fleet = Fleet::named("f");
        fleet.pins = vec![
            pin(labels(&[("carrier", "a")]), 1, Some(now)),
            pin(labels(&[("carrier", "a")]), 300, None),
            pin(labels(&[("carrier", "a"), ("region", "eu")]), 20, None),
        ];
        let mut knowledge = knowledge(vec![known(&[("carrier", "a")], Certainty::Learnt, [60, 62])]);
        knowledge.take_fleets(Arc::new(Fleets { fleets: vec![Arc::new(fleet)] }), &[], now);
        assert_eq!(lower(&knowledge, &[("carrier", "a")]), Some(300), "the first that fits and has not ended");
        assert_eq!(lower(&knowledge, &[("carrier", "a"), ("region", "eu")]), Some(300));
        assert_eq!(lower(&knowledge, &[("region", "eu")]), Some(20), "the carrier may be that one");
    }

    #[test]
    fn connections_are_not_judged_by_datagrams() {
        let knowledge = knowledge(vec![known(&[("carrier", "a")], Certainty::Learnt, [60, 62])]);
        let tcp = Group { transport: Transport::Tcp, ..group(&[("carrier", "a")]) };
        assert!(knowledge.of(&tcp).is_none());
    }
}
