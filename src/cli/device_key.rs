//! `flyball device-key`: the key that a device carries, derived from a master key and the device's id.

use std::path::PathBuf;

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::key::derive;

use super::Failure;
use crate::fleet::keys::MasterKeys;

/// Arguments of `flyball device-key`.
#[derive(Debug, clap::Args)]
pub(super) struct DeviceKeyArgs {
    /// The master keys: lines of KEYID:64 hex digits. `openssl rand -hex 32` makes the digits of one.
    #[arg(long, value_name = "F")]
    master_key_file: PathBuf,
    /// The device: 32 hex digits, a UUID, or any other text.
    #[arg(long, value_name = "ID")]
    id: DeviceId,
    /// Which of the master keys; without it the last in the file, which is the newest where new ones are added below.
    #[arg(long, value_name = "N")]
    key_id: Option<u16>,
}

/// Prints `KEYID:64 hex`, which is what `flyball device --key-file` reads.
pub(super) fn device_key(arguments: DeviceKeyArgs) -> Result<(), Failure> {
    let file = arguments.master_key_file;
    let masters = MasterKeys::read(&file).map_err(|problems| Failure::Invalid(problems.to_string()))?;
    let (key_id, master) = one_of(&masters, arguments.key_id)
        .ok_or_else(|| Failure::Invalid(super::device::no_such_key(&file, &masters, arguments.key_id)))?;
    let key = derive(master, key_id, arguments.id);
    let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    super::print(&format!("{key_id}:{digits}"))
}

/// The key with this id; without one, the last.
pub(super) fn one_of(keys: &MasterKeys, key_id: Option<u16>) -> Option<(u16, &[u8; 32])> {
    let key_id = key_id.or_else(|| keys.ids().last())?;
    keys.get(key_id).map(|key| (key_id, key))
}
