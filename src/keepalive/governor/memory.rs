//! What the second loop hands to a later process: what was learnt of each cohort, and the last generation.
//!
//! A cohort's evidence is handed on as that of a few devices, its offers as they are: after a restart a fleet goes on at
//! its pace, and is tested again by and by instead of all at once.
//!
//! Devices that are worse off than their cohort are handed on by name, with what they have shown: the cohort's pace would
//! cost them messages until a test or a beat of theirs shows so again.
//!
//! Limits: of more than [`LOWER_MAX`] such devices the rest begins anew.

use std::sync::Arc;

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::probe::Cell;
use serde::{Deserialize, Serialize};

use super::cohort::{Cohort, place};
use super::comparisons::Comparison;
use super::devices::{Device, Devices};
use super::release::ReleaseMemory;
use crate::keepalive::cohort::{CohortEntry, CohortKey, Transport};
use crate::keepalive::device::{Offer, Shown};
use crate::keepalive::lifetime::channel::Channel;
use crate::keepalive::mixture::{Bracket, Outcome};
use crate::keepalive::observation::BindingClass;
use crate::keepalive::ports::Ports;

/// Devices whose evidence is handed on, for each cohort: 40 exclude a box of a sixth at 99.9 %.
const BRACKETS_MAX: usize = 40;
/// Devices that are worse off than their cohort and are handed on, of all cohorts together.
pub(super) const LOWER_MAX: usize = 65_536;
/// Exchanges that the loss is handed on as: it may be another now.
const EXCHANGES_MAX: u64 = 2_000;

/// What a later process needs to know.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// The newest generation that devices may have seen.
    pub generation: u64,
    /// By cohort.
    #[serde(default)]
    pub cohorts: Vec<CohortMemory>,
    /// AB tests of fleet files.
    #[serde(default)]
    pub comparisons: Vec<Comparison>,
}

/// What was learnt of a cohort.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CohortMemory {
    name: Arc<str>,
    is_tcp: bool,
    fleet: Option<Arc<str>>,
    /// Cells: at least, at most.
    offers: Vec<[u16; 2]>,
    /// Whether most devices were paced by them.
    is_proven: bool,
    /// Expired flows with their port kept, and with another.
    ports: [u32; 2],
    /// Exchanges in short gaps, and unanswered ones.
    exchanges: [u32; 2],
    /// Of stream bindings and of unreplied ones: device, longest silence survived, shortest expired (0 = none), and how
    /// likely all expiries were false.
    brackets: [Vec<(String, u16, u16, f32)>; 2],
    /// Devices that live shorter than the cohort's offers: the longest silence survived, the shortest expired (0 = none).
    #[serde(default)]
    lower: Vec<(String, u16, u16)>,
    /// What is released of it, and the rollout under way.
    #[serde(default)]
    release: Option<ReleaseMemory>,
}

impl CohortMemory {
    /// Devices that were worse off, and what they had shown.
    pub(super) fn worse_off(&self) -> impl Iterator<Item = (DeviceId, Shown)> {
        self.lower.iter().take(LOWER_MAX).filter_map(|(device, survived, expired)| {
            Some((device.parse().ok()?, Shown::of(Cell::new(*survived), Cell::new(*expired))))
        })
    }

    /// Devices whose evidence is kept: 0 where nothing was learnt.
    pub fn devices(&self) -> usize {
        self.brackets[place(BindingClass::Stream)].len()
    }

    /// The cohort that it is of. Its labels are read off its name; none where they cannot be.
    pub fn entry(&self) -> CohortEntry {
        let transport = if self.is_tcp { Transport::Tcp } else { Transport::Udp };
        let key = CohortKey { name: Arc::clone(&self.name), transport };
        CohortEntry { labels: key.labels(), key, fleet: self.fleet.clone() }
    }

    /// Whether it is of this cohort.
    pub fn is_of(&self, entry: &CohortEntry) -> bool {
        self.name == entry.key.name
            && self.is_tcp == (entry.key.transport == Transport::Tcp)
            && self.fleet == entry.fleet
    }
}

impl Cohort {
    /// What a later process needs to know of it.
    pub(super) fn memory(&self, devices: &Devices, room: &mut usize) -> CohortMemory {
        let [sent, unanswered] = self.sent;
        let kept = sent.min(EXCHANGES_MAX);
        let unanswered = (unanswered as f64 * kept as f64 / (sent.max(1)) as f64) as u32;
        CohortMemory {
            name: Arc::clone(&self.entry.key.name),
            is_tcp: self.entry.key.transport == Transport::Tcp,
            fleet: self.entry.fleet.clone(),
            offers: self.offers.iter().map(|offer| [offer.lower.number(), offer.upper.number()]).collect(),
            is_proven: self.is_remembered || self.told.order.pace.interval > self.floor(),
            ports: [self.ports.kept, self.ports.moved],
            exchanges: [kept as u32, unanswered],
            brackets: [BindingClass::Stream, BindingClass::Unreplied].map(|class| {
                let brackets = self.boxes[place(class)].lowest().brackets();
                brackets.iter().take(BRACKETS_MAX).map(written).collect()
            }),
            lower: self.lower(devices, room),
            release: self.release_memory(),
        }
    }

    fn lower(&self, devices: &Devices, room: &mut usize) -> Vec<(String, u16, u16)> {
        if self.counts.lower == 0 {
            return Vec::new();
        }
        let lower = self.members.iter().map(|slot| devices.get(*slot)).filter(|device| self.is_lower(device));
        let cell = |cell: Option<Cell>| cell.map_or(0, Cell::number);
        let written =
            |device: &Device| (device.id.to_string(), cell(device.shown.survived()), cell(device.shown.expired()));
        let written: Vec<_> = lower.take(*room).map(written).collect();
        *room -= written.len();
        written
    }

    /// Takes up what an earlier process knew of it.
    pub(super) fn remember(&mut self, memory: &CohortMemory) {
        let offer = |[lower, upper]: &[u16; 2]| Offer { lower: Cell::new(*lower), upper: Cell::new(*upper) };
        self.offers = memory.offers.iter().map(offer).filter(|offer| offer.lower.number() > 0).collect();
        self.offers.sort_unstable();
        self.is_remembered = memory.is_proven && !self.offers.is_empty();
        let [kept, moved] = memory.ports;
        self.ports = Ports { kept, moved };
        let [sent, unanswered] = memory.exchanges;
        self.channel = Channel::new();
        self.sent = [0; 2];
        self.take_loss(sent, unanswered);
        for (class, brackets) in [BindingClass::Stream, BindingClass::Unreplied].into_iter().zip(&memory.brackets) {
            for (device, survived, expired, false_probability) in brackets.iter().take(BRACKETS_MAX) {
                let Ok(device) = device.parse::<DeviceId>() else { continue };
                let learning = self.of(class).lowest_mut();
                if *survived > 0 {
                    learning.observe(device, Cell::new(*survived), Outcome::Survived);
                }
                if *expired > 0 {
                    let false_probability = f64::from(*false_probability).clamp(0.0, 1.0);
                    learning.observe(device, Cell::new(*expired), Outcome::Expired { false_probability });
                }
            }
        }
        self.remember_release(memory.release.as_ref());
        self.is_dirty = true;
        self.look_at_all();
    }
}

fn written(bracket: &Bracket) -> (String, u16, u16, f32) {
    let expired = if bracket.has_expired() { bracket.expired } else { 0 };
    (bracket.device.to_string(), bracket.survived, expired, bracket.false_probability)
}
