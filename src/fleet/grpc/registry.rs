//! Which devices are here, and the latest session of each.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arc_swap::ArcSwap;
use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::jitter::Pace;

use super::hello::Hello;
use super::post::Post;
use super::refusal::Refusal;
use crate::fleet::cohorts::CohortTable;
use crate::keepalive::alarm::ratios::Ratios;
use crate::keepalive::alarm::{GONE_AFTER, SCAN_MAX};
use crate::keepalive::cohort::{CohortIndex, Transport};
use crate::keepalive::observation::{Beat, BindingClass, Observation, ObservationKind, Silence};
use crate::keepalive::order::{DeviceCommand, DeviceOrder, Orders};
use crate::time::MonoTime;

/// A device that has no order may be silent for this long: the longest interval of a fleet by default, and its jitter.
const SILENCE_MAX: Duration = Duration::from_secs(45 * 60);

/// A beat is late beyond this part of the round, and a second.
const LATE_PART: u32 = 8;
const LATE_MIN: Duration = Duration::from_secs(1);
/// Devices that are absent and still count as late; more are forgotten.
const ABSENT_MAX: usize = 10_000;

/// All devices of this door, those that went away less than their patience ago included.
#[derive(Debug)]
pub(super) struct Registry {
    table: Mutex<Table>,
    /// Most devices.
    max: usize,
    /// On top of the pace, until a silent device is absent.
    patience: Duration,
}

#[derive(Debug, Default)]
struct Table {
    devices: HashMap<DeviceId, Known>,
    /// The latest sessions of devices that are absent: they are late, until they are gone.
    absent: HashMap<DeviceId, Arc<Post>>,
    is_draining: bool,
}

#[derive(Debug)]
struct Known {
    /// Of the latest session.
    post: Arc<Post>,
    is_open: bool,
    /// In place of the cohort's; outlives a session.
    own: Option<Pace>,
}

impl Known {
    fn present(&self) -> ObservationKind {
        let Post { device, can_probe, .. } = *self.post;
        ObservationKind::Present { device, can_probe, has_own: self.own.is_some() }
    }

    fn pace(&self, orders: &Orders) -> Option<Pace> {
        self.own.or_else(|| orders.decided(self.post.cohort()).map(|order| order.pace))
    }
}

/// A session that has begun.
#[derive(Debug)]
pub(super) struct Entered {
    pub(super) post: Arc<Post>,
    pub(super) seen: Vec<Observation>,
}

impl Registry {
    pub(super) fn new(max: usize, patience: Duration) -> Self {
        Self { table: Mutex::default(), max, patience }
    }

    /// Begins a session, and ends the one that the device had. Where nothing is decided for its cohort yet, it is told
    /// nothing, and keeps what it has: that is news as soon as it is decided.
    pub(super) fn enter(
        &self,
        hello: &Hello,
        cohort: CohortIndex,
        orders: &ArcSwap<Orders>,
        now: MonoTime,
    ) -> Result<Entered, Refusal> {
        let mut table = self.table();
        // Under the lock: what is published afterwards finds this session among those that it is news for.
        let orders = orders.load();
        if table.is_draining {
            return Err(Refusal::Drain);
        }
        let before = table.devices.get(&hello.device);
        if before.is_some_and(|known| hello.boot < known.post.boot) {
            return Err(Refusal::StaleBoot);
        }
        if before.is_none() && table.devices.len() >= self.max {
            return Err(Refusal::Full);
        }
        let is_as_before =
            before.is_some_and(|known| known.post.cohort() == cohort && known.post.can_probe == hello.can_probe);
        let own = before.filter(|known| known.post.cohort() == cohort).and_then(|known| known.own);
        let lost = before.filter(|known| known.is_open).and_then(|known| lost(hello, &known.post, now));
        let pace = own.or_else(|| orders.decided(cohort).map(|order| order.pace));
        let broken = before.filter(|known| known.is_open && is_as_before && hello.boot == known.post.boot);
        let broken = broken.filter(|known| known.post.peer == hello.peer && tells_beats(&orders, cohort).is_some());
        let broken = broken.map(|known| missed(known.post.device));
        let last = before.map(|known| &known.post).or_else(|| table.absent.get(&hello.device));
        let rebindings = last.map_or(0, |last| last.rebindings.saturating_add(u32::from(last.peer != hello.peer)));
        let has_others = last.is_some_and(|last| last.cohort() != cohort);
        let mut post = Post::new(hello, cohort, pace, has_others, now);
        post.rebindings = rebindings;
        let post = Arc::new(post);
        let known = Known { post: Arc::clone(&post), is_open: true, own };
        if let Some(before) = table.devices.insert(hello.device, known) {
            before.post.end(Refusal::Replaced);
        }
        table.absent.remove(&hello.device);
        let present =
            ObservationKind::Present { device: hello.device, can_probe: hello.can_probe, has_own: own.is_some() };
        let lost = lost.filter(|_| is_as_before).map(ObservationKind::Silence);
        let kinds = (!is_as_before).then_some(present).into_iter().chain(lost).chain(broken);
        Ok(Entered { post, seen: kinds.map(|kind| Observation { at: now, cohort, kind }).collect() })
    }

    /// The stream of this session is over.
    pub(super) fn leave(&self, post: &Arc<Post>) {
        if let Some(known) = self.table().devices.get_mut(&post.device)
            && Arc::ptr_eq(&known.post, post)
        {
            known.is_open = false;
        }
    }

    /// Takes out the devices that are absent, and ends their sessions. While a rollout is judged, each that is silent for
    /// longer than any wait of it is told of, whichever interval it has, and for as long.
    pub(super) fn sweep(&self, orders: &Orders, now: MonoTime) -> Vec<Observation> {
        let mut absent = Vec::new();
        let mut table = self.table();
        let Table { devices, absent: remembered, .. } = &mut *table;
        remembered.retain(|_, post| post.silent_for(now).0 < GONE_AFTER);
        devices.retain(|_, known| {
            let (silent_for, longest) = known.post.silent_for(now);
            let round = tells_beats(orders, known.post.cohort());
            let late = round.map(|round| round + self.patience.min(round / LATE_PART) + LATE_MIN);
            let longest = longest.unwrap_or(SILENCE_MAX).max(late.zip(round).map_or(Duration::ZERO, |(a, b)| a + b));
            let is_here = silent_for <= longest + self.patience;
            if late.zip(round).is_some_and(|(late, round)| (late..late + round).contains(&silent_for)) {
                let kind = missed(known.post.device);
                absent.push(Observation { at: now, cohort: known.post.cohort(), kind });
            }
            if !is_here {
                known.post.end(Refusal::Silent);
                if remembered.len() < ABSENT_MAX {
                    remembered.insert(known.post.device, Arc::clone(&known.post));
                }
                absent.push(Observation {
                    at: now,
                    cohort: known.post.cohort(),
                    kind: ObservationKind::Absent { device: known.post.device },
                });
            }
            is_here
        });
        absent
    }

    /// Puts every device into its cohort anew. One that moves is present there, and has no pace of its own any more.
    pub(super) fn resettle(&self, cohorts: &CohortTable, now: MonoTime) -> Vec<Observation> {
        let mut moved = Vec::new();
        for known in self.table().devices.values_mut() {
            let cohort = cohorts.resolve(&known.post.labels, Transport::Tcp);
            if cohort != known.post.cohort() {
                known.post.move_to(cohort);
                known.own = None;
                let kind = known.present();
                moved.push(Observation { at: now, cohort, kind });
            }
        }
        moved
    }

    /// Ends the sessions under these key ids.
    pub(super) fn retire(&self, key_ids: &[u16]) {
        for known in self.table().devices.values().filter(|known| key_ids.contains(&known.post.key_id)) {
            known.post.end(Refusal::Retired);
        }
    }

    /// Takes over a command; a pace is pushed by the next look at [`Registry::news`]. One that was decided for the cohort
    /// that the device was in before is dropped: where the loop was not reached when the device moved, it is told again.
    pub(super) fn command(&self, command: &DeviceCommand, now: MonoTime) -> Option<Observation> {
        let mut table = self.table();
        let known = table.devices.get_mut(&command.device)?;
        let cohort = known.post.cohort();
        if cohort != command.cohort {
            return Some(Observation { at: now, cohort, kind: known.present() });
        }
        match command.order {
            DeviceOrder::Own(pace) => known.own = Some(pace),
            DeviceOrder::Cohort => known.own = None,
            DeviceOrder::Probe { order, class } => known.post.probe(order, class),
        }
        None
    }

    /// Open sessions for which the orders have another pace than they were told: shorter ones first, since those are
    /// repairs.
    pub(super) fn news(&self, orders: &Orders) -> Vec<(Arc<Post>, Pace)> {
        let (mut shorter, mut longer) = (Vec::new(), Vec::new());
        for known in self.table().devices.values().filter(|known| known.is_open) {
            let Some(pace) = known.pace(orders) else { continue };
            match known.post.is_news(&pace) {
                Some(true) => shorter.push((Arc::clone(&known.post), pace)),
                Some(false) => longer.push((Arc::clone(&known.post), pace)),
                None => {}
            }
        }
        shorter.append(&mut longer);
        shorter
    }

    /// Where the devices of each cohort stand, by its index.
    pub(super) fn census(&self, now: MonoTime) -> Vec<Ratios> {
        let mut census: Vec<Ratios> = Vec::new();
        let table = self.table();
        for post in table.devices.values().map(|known| &known.post).chain(table.absent.values()) {
            let index = post.cohort().0 as usize;
            census.resize(census.len().max(index + 1), Ratios::default());
            census[index].add(post.standing(now));
        }
        census
    }

    /// The worst devices of a cohort, whether they have a stream, and how many more there are.
    pub(super) fn worst(&self, cohort: CohortIndex, now: MonoTime) -> (Vec<(Arc<Post>, bool)>, u64) {
        let table = self.table();
        let open = table.devices.values().map(|known| (&known.post, known.is_open));
        let all = open.chain(table.absent.values().map(|post| (post, false)));
        let mut worst: Vec<(Arc<Post>, bool)> = all
            .filter(|(post, _)| post.cohort() == cohort)
            .map(|(post, is_open)| (Arc::clone(post), is_open))
            .collect();
        drop(table);
        worst.sort_by_cached_key(|(post, _)| (Reverse((post.standing(now) * 1e3) as u64), post.device.0));
        let more = worst.len().saturating_sub(SCAN_MAX) as u64;
        worst.truncate(SCAN_MAX);
        (worst, more)
    }

    /// Ends all sessions, and lets none begin.
    pub(super) fn drain(&self) {
        let mut table = self.table();
        table.is_draining = true;
        for known in table.devices.values() {
            known.post.end(Refusal::Drain);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("nothing panics under this lock")
    }
}

/// The longest wait of the rollout that judges the cohort's beats.
fn tells_beats(orders: &Orders, cohort: CohortIndex) -> Option<Duration> {
    orders.decided(cohort).and_then(|order| order.tell_beats)
}

/// A beat that did not come, or not over the session that it was expected on.
fn missed(device: DeviceId) -> ObservationKind {
    let beat = Beat { device, is_confirmed: false, gap_ratio: None, is_reached: None, has_adopted: false };
    ObservationKind::Beat(beat)
}

/// What the end of the session before says of its binding.
///
/// A NAT that has forgotten a connection drops the next beat, answers it with a reset, or passes it on from another port,
/// which our kernel answers with a reset. To us the session looks open until the device comes back, so one that we saw
/// end is no evidence, nor is one where something of ours was under way (our kernel gives such a connection up in a
/// coverage hole, and resets it afterwards). A reset to the same boot at the same address is left: an expiry. A beat that
/// nothing answered may have met a hole, so it is doubtful; so is what came from another address.
fn lost(hello: &Hello, before: &Post, now: MonoTime) -> Option<Silence> {
    let lost = hello.lost.filter(|_| hello.boot == before.boot)?;
    let gap = before.silence(now)?;
    let is_same_address = hello.peer == before.peer;
    Some(Silence {
        device: hello.device,
        class: BindingClass::Stream,
        silence: lost.silence.min(gap),
        gap,
        has_moved: true,
        is_same_address,
        is_doubtful: !lost.is_reset || !is_same_address,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keepalive::cohort::{CohortKey, Labels};
    use crate::keepalive::order::CohortOrder;
    use crate::proto::flyball_v1::server_message::Kind;

    fn hello(boot: u32, peer: [u8; 4]) -> Hello {
        let (device, labels) = (DeviceId([1; 16]), Labels::new());
        Hello { device, key_id: 1, boot, labels, generation: 0, can_probe: false, lost: None, peer: peer.into() }
    }

    fn pace(generation: u64, seconds: u64) -> Pace {
        Pace { generation, interval: Duration::from_secs(seconds), jitter: 64, retry: 0, is_hostile: false }
    }

    /// One order a cohort, from that of unknown devices on.
    fn orders(paces: &[Pace]) -> Orders {
        let order = |pace: &Pace| CohortOrder {
            key: CohortKey { name: "any".into(), transport: Transport::Tcp },
            pace: *pace,
            second_ack_after: None,
            tell_silences_from: Duration::ZERO,
            tell_beats: None,
        };
        let generation = paces.iter().map(|pace| pace.generation).max().unwrap_or(0);
        Orders { generation, cohorts: paces.iter().map(order).map(Arc::new).collect() }
    }

    /// What is pushed when these orders are published, and the generation that the device is told it under.
    fn told(registry: &Registry, orders: &Orders, now: MonoTime) -> Vec<(Pace, u64)> {
        let pushed = registry.news(orders).into_iter().map(|(post, pace)| {
            post.order(pace);
            match post.take(now).as_slice() {
                [Kind::Order(order)] => (pace, order.generation),
                other => panic!("{other:?}"),
            }
        });
        pushed.collect()
    }

    /// A device that has the order of this generation comes before the first decision on its cohort.
    fn early(generation: u64) -> (Registry, Arc<Post>) {
        let registry = Registry::new(10, Duration::from_secs(60));
        let hello = Hello { generation, ..hello(1, [192, 0, 2, 1]) };
        let only_unknown = ArcSwap::from_pointee(orders(&[pace(9, 15)]));
        let entered = registry.enter(&hello, CohortIndex(1), &only_unknown, MonoTime::default()).expect("enters");
        (registry, entered.post)
    }

    #[test]
    fn before_the_first_decision_on_its_cohort_a_session_is_told_nothing_and_then_that() {
        let now = MonoTime::default();
        for (had, decided, told_as) in [(0, 20, 20), (20, 20, 20), (21, 20, 22), (7, 20, 20)] {
            let (registry, post) = early(had);
            assert_eq!(post.take(now), [], "not what unknown devices have");
            assert_eq!(told(&registry, &orders(&[pace(9, 15)]), now), []);
            let orders = orders(&[pace(9, 15), pace(decided, 80)]);
            assert_eq!(told(&registry, &orders, now), [(pace(decided, 80), told_as)], "it had {had}");
            assert_eq!(told(&registry, &orders, now), [], "once");
        }
    }

    #[test]
    fn a_pace_of_its_own_is_told_before_anything_is_decided_on_its_cohort() {
        let (registry, post) = early(7);
        let own = DeviceOrder::Own(pace(12, 30));
        let command = DeviceCommand { device: post.device, cohort: CohortIndex(1), order: own, is_urgent: false };
        assert_eq!(registry.command(&command, MonoTime::default()), None);
        assert_eq!(told(&registry, &orders(&[pace(9, 15)]), MonoTime::default()), [(pace(12, 30), 12)]);
    }

    #[test]
    fn a_command_for_the_cohort_before_is_dropped_and_the_loop_told_of_the_move() {
        let (registry, post) = early(7);
        let own = DeviceOrder::Own(pace(12, 30));
        let command = DeviceCommand { device: post.device, cohort: CohortIndex(2), order: own, is_urgent: false };
        let seen = registry.command(&command, MonoTime::default()).expect("the loop is told where the device is");
        let is_present = matches!(seen.kind, ObservationKind::Present { device, .. } if device == post.device);
        assert!(seen.cohort == CohortIndex(1) && is_present, "{seen:?}");
        assert_eq!(told(&registry, &orders(&[pace(9, 15)]), MonoTime::default()), []);
    }

    #[test]
    fn another_cohorts_order_of_the_same_decision_is_told_as_a_newer_one() {
        let registry = Registry::new(10, Duration::from_secs(60));
        let published = ArcSwap::from_pointee(orders(&[pace(9, 15), pace(20, 1_800), pace(20, 60)]));
        let enters = |cohort, peer, generation| {
            let hello = Hello { generation, ..hello(1, peer) };
            let entered = registry.enter(&hello, CohortIndex(cohort), &published, MonoTime::default()).expect("enters");
            match entered.post.take(MonoTime::default()).as_slice() {
                [Kind::Order(order)] => order.generation,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(enters(1, [192, 0, 2, 1], 0), 20);
        assert_eq!(enters(1, [192, 0, 2, 2], 20), 20, "what it has is not told as a change");
        assert_eq!(enters(2, [192, 0, 2, 3], 20), 21);
    }

    #[test]
    fn a_device_that_moves_to_a_cohort_without_an_order_keeps_what_it_has() {
        let (registry, both) = (Registry::new(10, Duration::from_secs(60)), orders(&[pace(9, 15), pace(20, 80)]));
        let (now, published) = (MonoTime::default(), ArcSwap::from_pointee(both.clone()));
        let entered = registry.enter(&hello(1, [192, 0, 2, 1]), CohortIndex(1), &published, now).expect("enters");
        assert_eq!(entered.post.take(now).len(), 1);
        entered.post.ack(20, now);
        entered.post.move_to(CohortIndex(2));
        assert_eq!(told(&registry, &both, now), []);
        let decided = orders(&[pace(9, 15), pace(20, 80), pace(30, 40)]);
        assert_eq!(told(&registry, &decided, now), [(pace(30, 40), 30)]);
    }

    #[test]
    fn a_session_from_another_address_is_a_rebinding_also_of_a_device_that_was_absent() {
        let (registry, orders) = (Registry::new(10, Duration::from_secs(60)), ArcSwap::default());
        let (cohort, day) = (CohortIndex(1), Duration::from_secs(12 * 3_600));
        let mut now = MonoTime::default();
        for (boot, peer, rebindings) in [(1, [192, 0, 2, 1], 0), (1, [192, 0, 2, 1], 0), (2, [192, 0, 2, 2], 1)] {
            registry.enter(&hello(boot, peer), cohort, &orders, now).expect("enters");
            assert_eq!(registry.worst(cohort, now).0[0].0.health(now).rebindings, rebindings);
        }
        now = now.plus(day);
        assert!(!registry.sweep(&orders.load(), now).is_empty(), "it is absent");
        registry.enter(&hello(2, [192, 0, 2, 1]), cohort, &orders, now).expect("enters");
        assert_eq!(registry.worst(cohort, now).0[0].0.health(now).rebindings, 2);
    }
}
