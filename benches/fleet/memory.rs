//! What does a registered device take?
//!
//! A million devices register as they do in the field, over the socket; the server keeps them over restarts, so that the
//! copy for the disk is in the figure: the most that this process ever had in use, less what it had before.

use crate::running::Running;
use crate::{fleet, flood::Flood, thread, verdict};

const DEVICES: usize = 1_000_000;
const BYTES_MAX: f64 = 300e6;

pub(crate) fn row() -> bool {
    let state = tempfile::tempdir().expect("a folder");
    let flood = Flood::new();
    let before = thread::resident_bytes();
    let server = Running::kept(DEVICES, state.path().to_owned());
    fleet::register(DEVICES, server.address(), &flood.socket);
    let (devices, in_use) = (server.devices(), thread::resident_bytes() - before);
    // Its end writes all of them.
    drop(server);
    let most = thread::resident_bytes_max() - before;
    let kept: u64 =
        state.path().read_dir().expect("a folder").flatten().map(|file| file.metadata().map_or(0, |m| m.len())).sum();
    let is_within = most as f64 <= BYTES_MAX && devices == DEVICES && kept > 0;
    println!(
        "\n{devices} devices registered: {:.0} MB of memory, {:.0} bytes each; {:.0} MB at most, while {:.0} MB were \
         written{}",
        in_use as f64 / 1e6,
        in_use as f64 / devices as f64,
        most as f64 / 1e6,
        kept as f64 / 1e6,
        verdict(is_within)
    );
    is_within
}
