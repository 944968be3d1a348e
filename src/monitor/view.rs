//! Frames, put together: what was counted by cohort, the monitor's own troubles, what the device map holds. The table of
//! `flyball monitor`, its live view and `/metrics` all read this one state, so that they cannot disagree.
//!
//! Bounded: there are as many cohorts as there are names; an event of one beyond them is of the unknown one, as in the
//! kernel, and counts of one beyond them are none of ours: two rows never have one name.
//! A copy of a view shares its cohorts, and costs as much as its list of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytemuck::Zeroable;

use super::event::{Decoder, Event, UnknownKind};
use super::frame::{Census, Frame};
use super::mirror::{Record, Troubles};
use super::totals::Totals;
use crate::time::WallTime;

/// Everything read so far.
#[derive(Debug, Clone)]
pub struct View {
    decoder: Decoder,
    cohorts: BTreeMap<u16, Arc<Cohort>>,
    troubles: Troubles,
    census: Option<Census>,
    unreadable: u64,
}

/// What is known of one cohort.
#[derive(Debug, Clone, Default)]
pub struct Cohort {
    /// Its name.
    pub name: Arc<str>,
    /// What was counted.
    pub totals: Totals,
    /// Devices that the map holds; `None` before the first look through it.
    pub devices: Option<u32>,
    /// The longest gap that an event told.
    told: Option<Duration>,
}

/// The longest gap, as exactly as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Longest {
    /// An event told it.
    Exactly(Duration),
    /// It was shorter than the threshold of events: only its bucket is known.
    Below(Duration),
    /// It is beyond the last bucket.
    Beyond(Duration),
}

impl View {
    /// Nothing read yet.
    pub fn new(decoder: Decoder) -> Self {
        Self { decoder, cohorts: BTreeMap::new(), troubles: Troubles::zeroed(), census: None, unreadable: 0 }
    }

    /// Takes one frame in; a record is the event that it tells.
    ///
    /// # Errors
    /// The record is of a kind that this version does not know; it is counted too.
    pub fn take(&mut self, frame: Frame) -> Result<Option<Event>, UnknownKind> {
        match frame {
            Frame::Record(record) => return self.record(&record).map(Some),
            Frame::Counts { cohort, .. } if !self.decoder.is_named(cohort) => {}
            Frame::Counts { cohort, counts } => self.cohort(cohort).totals = Totals::from(&*counts),
            Frame::Troubles(troubles) => self.troubles = troubles,
            Frame::Census(census) => self.count_devices(census),
        }
        Ok(None)
    }

    /// The wall's time was set: `zero` is now the wall time at the kernel's time 0.
    pub fn set_zero(&mut self, zero: WallTime) {
        self.decoder.set_zero(zero);
    }

    /// All cohorts of which anything was counted, by name.
    pub fn cohorts(&self) -> Vec<&Cohort> {
        let mut cohorts: Vec<&Cohort> = self.cohorts.values().map(AsRef::as_ref).filter(|c| !c.is_empty()).collect();
        cohorts.sort_by(|a, b| a.name.cmp(&b.name));
        cohorts
    }

    /// All cohorts together, under the name `all`.
    pub fn all(&self) -> Cohort {
        let mut all = Cohort { name: "all".into(), ..Cohort::default() };
        for cohort in self.cohorts.values() {
            all.totals.merge(&cohort.totals);
            all.told = all.told.max(cohort.told);
        }
        all.devices = self.census.as_ref().map(|census| census.devices);
        all
    }

    /// The monitor's own troubles.
    pub fn troubles(&self) -> &Troubles {
        &self.troubles
    }

    /// What the device map holds; `None` before the first look through it.
    pub fn census(&self) -> Option<&Census> {
        self.census.as_ref()
    }

    /// Records of a kind that this version does not know.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    fn record(&mut self, record: &Record) -> Result<Event, UnknownKind> {
        let event = self.decoder.event(record).inspect_err(|_| self.unreadable += 1)?;
        let told = event.device.and(event.gap);
        if told.is_some() {
            let cohort = self.cohort(record.cohort);
            cohort.told = cohort.told.max(told);
        }
        Ok(event)
    }

    fn count_devices(&mut self, census: Census) {
        for (number, cohort) in &mut self.cohorts {
            let devices = census.by_cohort.get(usize::from(*number)).copied().unwrap_or(0);
            Arc::make_mut(cohort).devices = Some(devices);
        }
        for (devices, number) in census.by_cohort.iter().zip(0..) {
            if *devices > 0 && self.decoder.is_named(number) {
                self.cohort(number).devices = Some(*devices);
            }
        }
        self.census = Some(census);
    }

    fn cohort(&mut self, number: u16) -> &mut Cohort {
        let number = if self.decoder.is_named(number) { number } else { 0 };
        let name = || Arc::new(Cohort { name: self.decoder.cohort(number), ..Cohort::default() });
        Arc::make_mut(self.cohorts.entry(number).or_insert_with(name))
    }
}

impl Cohort {
    /// The longest gap; `None` without any.
    pub fn longest(&self) -> Option<Longest> {
        let gaps = &self.totals.gaps;
        match self.told {
            Some(told) if gaps.is_longest(told) => Some(Longest::Exactly(told)),
            _ if gaps.count() == 0 => None,
            _ => Some(
                gaps.ceiling().map_or_else(|| Longest::Beyond(gaps.quantile(1.0).unwrap_or_default()), Longest::Below),
            ),
        }
    }

    /// The gap that a share of `q` does not exceed; never beyond the longest where that is known exactly.
    pub fn gap(&self, q: f64) -> Option<Duration> {
        let gap = self.totals.gaps.quantile(q)?;
        match self.longest() {
            Some(Longest::Exactly(longest)) => Some(gap.min(longest)),
            _ => Some(gap),
        }
    }

    fn is_empty(&self) -> bool {
        self.devices.unwrap_or(0) == 0 && self.told.is_none() && self.totals.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::key::Key;
    use crate::monitor::prefixes::UNKNOWN;
    use crate::monitor::synthetic::{census, counts, rebinding, seconds, troubles};

    fn view() -> View {
        let names = vec![UNKNOWN.into(), "carrier=b,region=eu".into(), "carrier=a,region=eu".into()];
        View::new(Decoder::new(Key::Heartbeat, names, WallTime::default()))
    }

    fn take(view: &mut View, frames: impl IntoIterator<Item = Frame>) -> Vec<Event> {
        frames.into_iter().filter_map(|frame| view.take(frame).expect("a known kind")).collect()
    }

    #[test]
    fn a_later_count_takes_the_place_of_the_one_before() {
        let mut view = view();
        take(&mut view, [counts(1, &[15.0]), counts(1, &[15.0, 16.0]), counts(2, &[20.0])]);
        let names: Vec<(&str, u64)> = view.cohorts().iter().map(|c| (c.name.as_ref(), c.totals.gaps.count())).collect();
        assert_eq!(names, [("carrier=a,region=eu", 1), ("carrier=b,region=eu", 2)]);
        assert_eq!(view.all().totals.gaps.count(), 3);
    }

    #[test]
    fn the_longest_gap_is_exact_where_an_event_told_it() {
        let mut view = view();
        take(&mut view, [counts(1, &[15.0])]);
        let below = |view: &View| view.cohorts()[0].longest();
        assert!(matches!(below(&view), Some(Longest::Below(most)) if most > seconds(15.0) && most < seconds(17.0)));
        take(&mut view, [Frame::Record(rebinding(1, 45.1)), counts(1, &[15.0, 45.1])]);
        assert_eq!(below(&view), Some(Longest::Exactly(seconds(45.1))));
        take(&mut view, [counts(1, &[15.0, 45.1, 9_000.0])]);
        assert!(matches!(below(&view), Some(Longest::Beyond(_))), "{:?}", below(&view));
    }

    #[test]
    fn devices_are_those_that_the_map_holds() {
        let mut view = view();
        take(&mut view, [counts(1, &[15.0]), census(&[0, 3, 4]), troubles(9)]);
        let devices: Vec<Option<u32>> = view.cohorts().iter().map(|cohort| cohort.devices).collect();
        assert_eq!((devices, view.all().devices), (vec![Some(4), Some(3)], Some(7)));
        take(&mut view, [census(&[0, 2])]);
        let devices: Vec<Option<u32>> = view.cohorts().iter().map(|cohort| cohort.devices).collect();
        assert_eq!(devices, [Some(2)], "a cohort that is empty again is not shown");
        assert_eq!(view.troubles().unknown_egress, 9);
    }

    #[test]
    fn a_record_of_another_version_is_counted() {
        let mut view = view();
        assert_eq!(view.take(Frame::Record(Record { kind: 99, ..rebinding(1, 1.0) })), Err(UnknownKind(99)));
        assert_eq!(view.unreadable(), 1);
    }

    #[test]
    fn a_cohort_beyond_all_numbers_is_the_unknown_one_and_brings_no_counts() {
        let mut view = view();
        take(&mut view, [counts(0, &[15.0]), counts(u16::MAX, &[15.0, 16.0]), Frame::Record(rebinding(u16::MAX, 2.0))]);
        let cohorts = view.cohorts();
        assert_eq!((cohorts.len(), cohorts[0].name.as_ref(), cohorts[0].totals.gaps.count()), (1, UNKNOWN, 1));
    }
}
