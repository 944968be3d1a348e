//! The smallest device: beats until it is ended, and says what happens.
//!
//! `cargo run -p flyball-sdk --no-default-features --features udp --example device -- HOST:PORT ID KEYID:64HEX`, with the key that
//! `flyball device-key --master-key-file F --id ID` prints.

use std::time::{Duration, SystemTime};

use flyball_sdk::device::endpoint::Endpoint;
use flyball_sdk::device::key::MacKey;
use flyball_sdk::device::labels::DeviceLabels;
use flyball_sdk::device::machine::{Machine, Memory, Settings};
use flyball_sdk::device::udp::{UdpDevice, UdpFleet};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, id, key] = &arguments[..] else { return Err("usage: device HOST:PORT ID KEYID:64HEX".into()) };
    let (key_id, key) = key.split_once(':').and_then(parsed).ok_or("the key is KEYID:64 hex digits")?;
    // A device with flash keeps its memory there: see `state_file`.
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let memory = Memory::for_next_boot(None, seconds);
    let machine = Machine::new(Settings::new(id.parse()?, key_id), memory, Duration::ZERO);
    let labels: DeviceLabels = "model=example".parse()?;
    let device = UdpDevice::new(Endpoint::new(machine, MacKey::new(&key), &labels), server);
    UdpFleet::new(vec![device])?.run(|_, event| println!("{event:?}"))?;
    Ok(())
}

fn parsed((key_id, digits): (&str, &str)) -> Option<(u16, [u8; 32])> {
    let mut key = [0; 32];
    for (i, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some((key_id.parse().ok()?, key)).filter(|_| digits.len() == 64)
}
