//! The first message of a session: read, bounded and authenticated before it makes any state.

use std::net::IpAddr;
use std::time::Duration;

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::labels::{BadLabels, DeviceLabels};
use flyball_sdk::device::session;

use super::refusal::Refusal;
use crate::fleet::keys::MasterKeys;
use crate::keepalive::cohort::Labels;
use crate::proto::flyball_v1::{self as proto, DeviceMessage, device_message};

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

/// As in a heartbeat's hello: the same names are refused.
fn labels(told: &proto::Hello) -> Result<Labels, BadLabels> {
    let mut labels = DeviceLabels::default();
    told.labels.iter().try_for_each(|(key, value)| labels.add(key, value))?;
    Ok(labels.iter().map(|(key, value)| (key.into(), value.into())).collect())
}
