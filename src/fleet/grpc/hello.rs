//! The first message of a session: read, bounded and authenticated before it makes any state.

use std::net::IpAddr;
use std::time::Duration;

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::session;

use super::refusal::Refusal;
use crate::fleet::keys::MasterKeys;
use crate::keepalive::cohort::Labels;
use crate::proto::flyball_v1::{self as proto, DeviceMessage, device_message};

/// Labels of a device, and their bytes, keys and values together; as in a heartbeat's hello.
pub(super) const LABELS_MAX: usize = 32;
pub(super) const LABELS_MAX_BYTES: usize = flyball_sdk::device::wire::LABELS_MAX_BYTES;

/// Generations have 48 bits, as in a heartbeat.
pub(super) const GENERATION_MAX: u64 = (1 << 48) - 1;

/// A device that has shown that it is one of ours.
#[derive(Debug)]
pub(super) struct Hello {
    pub(super) device: DeviceId,
    pub(super) key_id: u16,
    pub(super) boot: u32,
    pub(super) labels: Labels,
    /// Of the order that the device has in force.
    pub(super) generation: u64,
    pub(super) can_probe: bool,
    pub(super) lost: Option<Lost>,
    pub(super) peer: IpAddr,
}

/// What the device says of the end of the session before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) silence: Duration,
    pub(super) is_reset: bool,
}

impl Hello {
    pub(super) fn read(message: DeviceMessage, peer: IpAddr, keys: &MasterKeys) -> Result<Self, Refusal> {
        let Some(device_message::Kind::Hello(told)) = message.kind else { return Err(Refusal::Order) };
        let id = told.device_id.as_slice().try_into();
        let device = DeviceId(id.map_err(|_| Refusal::DeviceId { bytes: told.device_id.len() })?);
        let key_id = u16::try_from(told.key_id).map_err(|_| Refusal::KeyId)?;
        let key = keys.device(key_id, device).ok_or(Refusal::KeyId)?;
        if !session::is_token(&key, device, told.boot, &told.token) {
            return Err(Refusal::Token);
        }
        Ok(Self {
            device,
            key_id,
            boot: told.boot,
            labels: labels(&told)?,
            generation: told.generation.min(GENERATION_MAX),
            can_probe: told.can_probe,
            lost: told.lost.map(Lost::from),
            peer,
        })
    }
}

impl From<proto::LostSession> for Lost {
    fn from(told: proto::LostSession) -> Self {
        Self { silence: Duration::from_millis(u64::from(told.silence_ms)), is_reset: told.is_reset }
    }
}

fn labels(told: &proto::Hello) -> Result<Labels, Refusal> {
    let bytes: usize = told.labels.iter().map(|(key, value)| key.len() + value.len()).sum();
    let is_text = |text: &str| !text.chars().any(char::is_control);
    let are_named = told.labels.iter().all(|(key, value)| !key.is_empty() && is_text(key) && is_text(value));
    if told.labels.len() > LABELS_MAX || bytes > LABELS_MAX_BYTES || !are_named {
        return Err(Refusal::Labels);
    }
    Ok(told.labels.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect())
}
