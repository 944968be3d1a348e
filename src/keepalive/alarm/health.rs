//! What a scan finds of one device.

use std::sync::Arc;
use std::time::Duration;

use flyball_sdk::device::id::DeviceId;
use serde::{Deserialize, Serialize};

use super::ratios::ratio;

/// Beats in a row by which a device shows that it has a pace of its own.
pub const OFF_PACE_MIN: u8 = 2;
/// How far a gap may be from what was told without being another pace: a part of it, and a part of a second for the way.
const PACE_SLACK: f64 = 0.1;
const WAY_SLACK: Duration = Duration::from_millis(500);

/// One device, at the end of the scan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceHealth {
    /// Who.
    #[serde(with = "id_text")]
    pub device: DeviceId,
    /// Its label `serial`, where it told one.
    pub serial: Option<Arc<str>>,
    /// Its label `firmware`, where it told one.
    pub firmware: Option<Arc<str>>,
    /// Since it was heard last.
    pub silent_for: Duration,
    /// Its last gap that ended.
    pub gap: Duration,
    /// The longest wait that it was told.
    pub intended: Duration,
    /// Times that it came from another address, since it registered.
    pub rebindings: u32,
    /// Whether it answered.
    pub reach: Reach,
    /// Whether it beats by another pace than it was told.
    pub pace: Obedience,
}

/// What came of the probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// It answered.
    Answered,
    /// It did not: off, out of coverage, or its binding is gone.
    Silent,
    /// It was not asked: its address is not known, or has not been proven since a restart.
    NotAsked,
}

/// Whether a device does what it is told, as its own beats show: packets that the way lost are not held against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Obedience {
    /// Its beats come as told, or it has not beaten often enough to say.
    AsTold,
    /// Beats in a row came later than the longest wait that it was told, and none was missing.
    Slower,
    /// They came sooner than the shortest.
    Faster,
}

/// Beats in a row that were off the pace, counted up to [`OFF_PACE_MIN`]: later ones above zero, sooner ones below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OffPace(i8);

impl OffPace {
    /// A gap that the device itself chose, against the shortest and the longest wait that it had been told.
    pub fn take(&mut self, gap: Duration, told: [Duration; 2]) {
        let [shortest, longest] = told;
        let most = OFF_PACE_MIN as i8;
        if gap > longest.mul_f64(1.0 + PACE_SLACK) + WAY_SLACK {
            self.0 = (self.0.max(0) + 1).min(most);
        } else if gap + WAY_SLACK < shortest.mul_f64(1.0 - PACE_SLACK) {
            self.0 = (self.0.min(0) - 1).max(-most);
        } else {
            self.0 = 0;
        }
    }

    /// What that says.
    pub const fn obedience(self) -> Obedience {
        const MOST: i8 = OFF_PACE_MIN as i8;
        match self.0 {
            MOST.. => Obedience::Slower,
            n if n <= -MOST => Obedience::Faster,
            _ => Obedience::AsTold,
        }
    }
}

impl DeviceHealth {
    /// Where it stands: its last gap or the one that is open, to what was intended.
    pub fn ratio(&self) -> f64 {
        ratio(self.silent_for.max(self.gap), self.intended)
    }

    /// Whether it is overdue now.
    pub fn is_overdue(&self) -> bool {
        self.silent_for > self.intended.mul_f64(1.0 + PACE_SLACK) + WAY_SLACK
    }
}

impl Reach {
    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Silent => "silent",
            Self::NotAsked => "not_asked",
        }
    }
}

impl Obedience {
    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AsTold => "as_told",
            Self::Slower => "slower",
            Self::Faster => "faster",
        }
    }
}

/// A device's id as the text that it is wherever people read it.
mod id_text {
    use flyball_sdk::device::id::DeviceId;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(id: &DeviceId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<DeviceId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(gaps: &[f64]) -> Obedience {
        let mut off = OffPace::default();
        let told = [80, 100].map(Duration::from_secs);
        gaps.iter().for_each(|gap| off.take(Duration::from_secs_f64(*gap), told));
        off.obedience()
    }

    #[test]
    fn a_device_ignores_its_orders_when_two_beats_in_a_row_say_so() {
        assert_eq!(after(&[180.0]), Obedience::AsTold);
        assert_eq!(after(&[180.0; 30]), Obedience::Slower);
        assert_eq!(after(&[180.0, 90.0, 180.0, 90.0, 180.0]), Obedience::AsTold);
        assert_eq!(after(&[30.0; 2]), Obedience::Faster);
        assert_eq!(after(&[180.0, 30.0, 180.0]), Obedience::AsTold);
        assert_eq!(after(&[105.0, 109.0, 73.0, 72.0]), Obedience::AsTold, "clocks and ways differ");
    }
}
