//! The program in the kernel, told apart from everything above it: each kind of key with real traffic, what is no packet
//! of a device, a map that is too small, and TCP.

mod bed;
mod heartbeat;
mod watch;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    [heartbeat::trials()].into_iter().flatten().collect()
}
