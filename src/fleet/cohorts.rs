//! Which cohort a device is of. Cohorts come into being as devices of them appear, up to a bound; from then on they are
//! numbers, which the edges look up in the orders without a string in sight.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use flyball_sdk::device::jitter::Pace;

use crate::keepalive::cohort::{CohortEntry, CohortIndex, CohortKey, Labels, Transport, UNKNOWN};
use crate::keepalive::interval;
use crate::keepalive::policy::Fleets;

/// Most cohorts; a device of one more is of the cohort of unknown devices.
pub const COHORTS_MAX: usize = 4_096;

/// All cohorts so far. One for the process; cheap to ask for what is known, and it takes a lock only for what a device
/// tells when it registers.
#[derive(Debug)]
pub struct CohortTable {
    fleets: ArcSwap<Fleets>,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    entries: Vec<Arc<CohortEntry>>,
    by_key: HashMap<(CohortKey, Option<Arc<str>>), CohortIndex>,
}

impl CohortTable {
    /// Holds the cohort of unknown devices, index 0, and no other.
    pub fn new(fleets: Arc<Fleets>) -> Self {
        let key = CohortKey { name: UNKNOWN.into(), transport: Transport::Udp };
        let entry = Arc::new(CohortEntry { key: key.clone(), labels: Labels::new(), fleet: None });
        let by_key = HashMap::from([((key, None), CohortIndex(0))]);
        let known = Mutex::new(Known { entries: vec![entry], by_key });
        Self { fleets: ArcSwap::new(fleets), known }
    }

    /// Other fleets from now on. Cohorts that are known stay; devices are put anew when they register or say hello.
    pub fn set_fleets(&self, fleets: Arc<Fleets>) {
        self.fleets.store(fleets);
    }

    /// The cohort of a device with these labels.
    pub fn resolve(&self, labels: &Labels, transport: Transport) -> CohortIndex {
        let fleets = self.fleets.load();
        let (fleet, key) = fleets.cohort_of(labels, transport);
        let mut known = self.known.lock().expect("nothing panics under this lock");
        let identity = (key, fleet.map(|fleet| Arc::clone(&fleet.name)));
        if let Some(index) = known.by_key.get(&identity) {
            return *index;
        }
        if known.entries.len() >= COHORTS_MAX {
            return CohortIndex(0);
        }
        let by = fleet.map_or(&[][..], |fleet| &fleet.cohort_by);
        let kept = labels.iter().filter(|(key, _)| by.contains(*key)).map(|(k, v)| (Arc::clone(k), Arc::clone(v)));
        let (key, fleet) = identity.clone();
        let index = CohortIndex(u32::try_from(known.entries.len()).expect("bounded far below"));
        known.entries.push(Arc::new(CohortEntry { key, labels: kept.collect(), fleet }));
        known.by_key.insert(identity, index);
        index
    }

    /// What a device is told before the loop has ordered anything for its cohort: the floor of its fleet, as the oldest
    /// order there is. Takes a lock, for the second that a cohort is new.
    pub fn first_pace(&self, cohort: CohortIndex) -> Pace {
        let fleets = self.fleets.load();
        let known = self.known.lock().expect("nothing panics under this lock");
        let name = known.entries.get(cohort.0 as usize).and_then(|entry| entry.fleet.clone());
        let fleet = fleets.fleets.iter().find(|fleet| Some(&fleet.name) == name.as_ref());
        let bounds = fleet.map(|fleet| fleet.interval).unwrap_or_default();
        interval::pace(&bounds, interval::floor(&bounds), 0)
    }

    /// The cohorts from `first` on, in the order of their indices: what came since somebody looked last.
    pub fn since(&self, first: usize) -> Vec<Arc<CohortEntry>> {
        let known = self.known.lock().expect("nothing panics under this lock");
        known.entries.get(first..).unwrap_or_default().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keepalive::policy::Fleet;

    fn table() -> CohortTable {
        CohortTable::new(Arc::new(Fleets { fleets: vec![Arc::new(Fleet::named("gateways"))] }))
    }

    fn labels(carrier: &str) -> Labels {
        [("carrier", carrier), ("region", "eu"), ("serial", "1")].map(|(k, v)| (k.into(), v.into())).into()
    }

    #[test]
    fn devices_with_the_same_labels_are_of_one_cohort() {
        let table = table();
        let a = table.resolve(&labels("a"), Transport::Udp);
        assert_eq!(a, table.resolve(&labels("a"), Transport::Udp));
        assert_ne!(a, table.resolve(&labels("a"), Transport::Tcp));
        assert_eq!(CohortIndex(0), CohortTable::new(Arc::default()).resolve(&labels("a"), Transport::Udp));
        let names: Vec<String> = table.since(1).iter().map(|entry| entry.key.name.to_string()).collect();
        assert_eq!(names, ["carrier=a,region=eu"; 2]);
        assert_eq!(table.since(1)[0].labels.len(), 2, "only what makes the cohort");
    }

    #[test]
    fn before_the_loops_first_order_a_device_is_told_the_floor_of_its_own_fleet() {
        let mut slow = Fleet::named("gateways");
        slow.interval.min = std::time::Duration::from_secs(60);
        let table = CohortTable::new(Arc::new(Fleets { fleets: vec![Arc::new(slow)] }));
        let known = table.resolve(&labels("a"), Transport::Udp);
        let first = |cohort| (table.first_pace(cohort).interval.as_secs(), table.first_pace(cohort).generation);
        assert_eq!(first(known), (60, 0));
        assert_eq!(first(CohortIndex(0)), (15, 0));
    }

    #[test]
    fn one_cohort_too_many_is_unknown() {
        let table = table();
        for i in 1..COHORTS_MAX {
            assert_eq!(table.resolve(&labels(&i.to_string()), Transport::Udp).0 as usize, i);
        }
        assert_eq!(table.resolve(&labels("another"), Transport::Udp), CohortIndex(0));
        assert_eq!(table.resolve(&labels("7"), Transport::Udp), CohortIndex(7));
    }
}
