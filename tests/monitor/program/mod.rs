//! The program in the kernel, told apart from everything above it: each kind of key with real traffic, what is no packet
//! of a device, a map that is too small, and TCP.

mod bed;
mod dtls;
mod eviction;
mod frame;
mod fuzz;
mod heartbeat;
mod offset;
mod quic;
mod reference;
mod tcp;
mod watch;
mod wire;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    let keys = [heartbeat::trials(), offset::trials(), quic::trials(), dtls::trials()];
    let others = [fuzz::trials(), wire::trials(), eviction::trials(), tcp::trials()];
    keys.into_iter().chain(others).flatten().collect()
}
