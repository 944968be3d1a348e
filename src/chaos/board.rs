//! What devices said of themselves, read from their JSON lines.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use flyball_sdk::device::id::DeviceId;
use serde::Deserialize;

/// Paces of one device that are kept; one that is told more is not worth more.
const TOLD_MAX: usize = 2_000;
/// Most of the lines are this event, of which nothing is kept.
const ACKED: &str = "{\"event\":\"acked\"";

/// All devices.
#[derive(Debug, Default)]
pub(super) struct Board {
    devices: Mutex<HashMap<DeviceId, Said>>,
    ports: Mutex<HashMap<(usize, u16), DeviceId>>,
    tests: AtomicU64,
}

/// What one said.
#[derive(Debug, Clone)]
pub(super) struct Said {
    /// Its household's place.
    pub(super) household: usize,
    /// The port of its main socket.
    pub(super) port: u16,
    /// Paces, and when it was told them.
    pub(super) paces: Vec<Told>,
}

/// A pace that was told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    /// When.
    pub(super) at: Instant,
    /// The shortest time between two beats.
    pub(super) interval: Duration,
    /// The longest.
    pub(super) longest: Duration,
    /// Whether no pace serves its NAT.
    pub(super) is_hostile: bool,
}

#[derive(Deserialize)]
struct Line {
    event: String,
    device: String,
    local: Option<String>,
    interval_s: Option<f64>,
    jitter_s: Option<f64>,
    hostile: Option<bool>,
}

impl Board {
    /// Takes a line that a household said.
    pub(super) fn take(&self, household: usize, line: &str) {
        if line.starts_with(ACKED) {
            return;
        }
        let Ok(line) = serde_json::from_str::<Line>(line) else { return };
        let Ok(device) = line.device.parse::<DeviceId>() else { return };
        match line.event.as_str() {
            "probed" => {
                self.tests.fetch_add(1, Ordering::Relaxed);
            }
            "connected" => {
                let port = line.local.as_deref().and_then(|local| local.rsplit_once(':')?.1.parse().ok());
                self.opened(device, household, port.unwrap_or(0));
            }
            "pace" => {
                let seconds =
                    |value: Option<f64>| Duration::try_from_secs_f64(value.unwrap_or(0.0)).unwrap_or_default();
                let (interval, jitter) = (seconds(line.interval_s), seconds(line.jitter_s));
                let is_hostile = line.hostile.unwrap_or(false);
                let told = Told { at: Instant::now(), interval, longest: interval + jitter, is_hostile };
                self.with(device, household, |said| {
                    said.paces.truncate(TOLD_MAX - 1);
                    said.paces.push(told);
                });
            }
            _ => {}
        }
    }

    fn opened(&self, device: DeviceId, household: usize, port: u16) {
        let mut ports = self.ports.lock().expect("nothing panics under this lock");
        self.with(device, household, |said| {
            ports.remove(&(household, said.port));
            said.port = port;
        });
        ports.insert((household, port), device);
    }

    /// Whose a port of a household is.
    pub(super) fn owner(&self, household: usize, port: u16) -> Option<DeviceId> {
        self.ports.lock().expect("nothing panics under this lock").get(&(household, port)).copied()
    }

    /// What a device was told last, and its household.
    pub(super) fn last(&self, device: DeviceId) -> Option<(Told, usize)> {
        let devices = self.lock();
        let said = devices.get(&device)?;
        said.paces.last().map(|told| (*told, said.household))
    }

    /// Devices that were told a pace by a server, now.
    pub(super) fn told(&self) -> usize {
        self.lock().values().filter(|said| !said.paces.is_empty()).count()
    }

    /// Tests that came to an end.
    pub(super) fn tests(&self) -> u64 {
        self.tests.load(Ordering::Relaxed)
    }

    /// Everything that was said.
    pub(super) fn all(&self) -> HashMap<DeviceId, Said> {
        self.lock().clone()
    }

    /// How many of them have which interval now, for people.
    pub(super) fn intervals(&self) -> String {
        let mut counts = BTreeMap::new();
        for told in self.lock().values().filter_map(|said| said.paces.last()) {
            *counts.entry(told.interval).or_insert(0) += 1;
        }
        let mut counts: Vec<(Duration, u32)> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts.truncate(3);
        counts.iter().map(|(interval, count)| format!("{count} at {interval:?}")).collect::<Vec<_>>().join(", ")
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DeviceId, Said>> {
        self.devices.lock().expect("nothing panics under this lock")
    }

    fn with(&self, device: DeviceId, household: usize, change: impl FnOnce(&mut Said)) {
        change(self.lock().entry(device).or_insert(Said { household, port: 0, paces: Vec::new() }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_devices_say_is_kept_and_what_is_no_line_of_theirs_is_not() {
        let board = Board::default();
        let id = "abababababababababababababababab";
        let say = |what: &str| board.take(2, &format!("{{\"event\":{what},\"device\":\"{id}\",\"at\":\"x\"}}"));
        say("\"connected\",\"local\":\"10.0.1.1:4711\",\"server\":\"203.0.113.1:5783\"");
        say("\"pace\",\"generation\":7,\"interval_s\":2.2,\"jitter_s\":0.5,\"retry_s\":0.1,\"hostile\":false");
        say("\"probed\",\"silence_s\":3.0");
        board.take(2, "no json");
        let device: DeviceId = id.parse().expect("an id");
        assert_eq!((board.owner(2, 4711), board.owner(1, 4711)), (Some(device), None));
        let (told, household) = board.last(device).expect("told");
        assert_eq!(
            (told.interval, told.longest, household),
            (Duration::from_millis(2_200), Duration::from_millis(2_700), 2)
        );
        assert_eq!((board.told(), board.tests()), (1, 1));
        say("\"connected\",\"local\":\"10.0.1.1:4712\",\"server\":\"203.0.113.1:5783\"");
        assert_eq!((board.owner(2, 4711), board.owner(2, 4712)), (None, Some(device)));
    }
}
