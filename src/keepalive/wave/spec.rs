//! What a rollout is told: what is to be released, what devices show, what people say; and where it is then.

use std::sync::Arc;
use std::time::Duration;

use flyball_sdk::device::id::DeviceId;
use serde::{Deserialize, Serialize};

use super::plan::WavePolicy;
use super::stake::Gates;

/// What is to be released.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// Unique; the salt of who is first.
    pub id: Arc<str>,
    /// The cohort's name.
    pub cohort: Arc<str>,
    /// The interval before, without jitter.
    pub from: Duration,
    /// The interval after.
    pub to: Duration,
    /// Part of the interval that a device adds at most.
    pub jitter: f64,
    /// How.
    pub policy: WavePolicy,
    /// What is asked.
    pub gates: Gates,
    /// Part of the cohort's beats that was missed before, as far as known.
    pub usual_failures: f64,
}

/// What one device showed since it was told of last: one a device and round is enough, and more do not count. A device
/// that fell silent is told of too, with the beats that were due: silence is what too long an interval looks like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evidence {
    /// Who.
    pub device: DeviceId,
    /// Beats that were due.
    pub due: u32,
    /// Of these, beats that came in time and were confirmed.
    pub confirmed: u32,
    /// The longest gap between two beats, as a ratio to the longest wait that was *intended*.
    pub gap_ratio: Option<f32>,
    /// Whether a packet to the last address was confirmed, where one was sent.
    pub is_reached: Option<bool>,
    /// Whether it confirmed the order that its arm has. It counts in any case, as it was drawn; but a release that
    /// nobody follows does not pass.
    pub has_adopted: bool,
}

/// Where a rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A wave is judged.
    Running,
    /// It could not be, in time: a person is asked.
    Held,
    /// Nothing is judged.
    Paused,
    /// All devices have the new interval.
    Released,
    /// All have the old one.
    RolledBack,
}

/// What a person can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// On to the next wave, whatever the gates say.
    Promote,
    /// Back to the old interval.
    Abort,
    /// Stop judging.
    Pause,
    /// Judge this wave anew.
    Resume,
}

impl Command {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Promote, Self::Abort, Self::Pause, Self::Resume];

    /// The word of the API and of scenarios.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Abort => "abort",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }

    /// The command of this word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|command| command.as_str() == word)
    }
}

/// A command that makes no sense now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a rollout that is {state:?} takes no {command:?}")]
pub struct Refused {
    /// The command.
    pub command: Command,
    /// Where the rollout is.
    pub state: State,
}
