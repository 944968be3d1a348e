//! Which devices are here, and the latest session of each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::jitter::Pace;

use super::hello::Hello;
use super::post::Post;
use super::refusal::Refusal;
use crate::fleet::cohorts::CohortTable;
use crate::keepalive::cohort::{CohortIndex, Transport};
use crate::keepalive::observation::{BindingClass, Observation, ObservationKind, Silence};
use crate::keepalive::order::{DeviceCommand, DeviceOrder, Orders};
use crate::time::MonoTime;

/// A device that has no order may be silent for this long: the longest interval of a fleet by default, and its jitter.
const SILENCE_MAX: Duration = Duration::from_secs(45 * 60);

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
    fn pace(&self, orders: &Orders) -> Option<Pace> {
        self.own.or_else(|| orders.cohort(self.post.cohort()).map(|order| order.pace))
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

    /// Begins a session, and ends the one that the device had.
    pub(super) fn enter(
        &self,
        hello: &Hello,
        cohort: CohortIndex,
        orders: &Orders,
        now: MonoTime,
    ) -> Result<Entered, Refusal> {
        let mut table = self.table();
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
        let pace = own.or_else(|| orders.cohort(cohort).map(|order| order.pace));
        let post = Arc::new(Post::new(hello, cohort, pace, now));
        let known = Known { post: Arc::clone(&post), is_open: true, own };
        if let Some(before) = table.devices.insert(hello.device, known) {
            before.post.end(Refusal::Replaced);
        }
        let present = ObservationKind::Present { device: hello.device, can_probe: hello.can_probe };
        let lost = lost.filter(|_| is_as_before).map(ObservationKind::Silence);
        let kinds = (!is_as_before).then_some(present).into_iter().chain(lost);
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

    /// Takes out the devices that are absent, and ends their sessions.
    pub(super) fn sweep(&self, now: MonoTime) -> Vec<Observation> {
        let mut absent = Vec::new();
        self.table().devices.retain(|_, known| {
            let (silent_for, longest) = known.post.silent_for(now);
            let is_here = silent_for <= longest.unwrap_or(SILENCE_MAX) + self.patience;
            if !is_here {
                known.post.end(Refusal::Silent);
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
                let kind = ObservationKind::Present { device: known.post.device, can_probe: known.post.can_probe };
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

    /// Takes over a command; a pace is pushed by the next look at [`Registry::news`].
    pub(super) fn command(&self, command: &DeviceCommand) {
        if let Some(known) = self.table().devices.get_mut(&command.device) {
            match command.order {
                DeviceOrder::Own(pace) => known.own = Some(pace),
                DeviceOrder::Cohort => known.own = None,
                DeviceOrder::Probe { order, class } => known.post.probe(order, class),
            }
        }
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
