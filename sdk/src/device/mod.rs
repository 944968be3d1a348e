//! The device side of keepalive: the heartbeat datagram, its keys, and the pace that a device beats at. No runtime, no
//! clock: what is here is shared by devices, the server and the simulator, so that they cannot disagree.

pub mod endpoint;
#[cfg(feature = "device-grpc")]
pub mod grpc;
pub mod id;
pub mod jitter;
pub mod key;
pub mod labels;
pub mod machine;
pub mod probe;
pub mod session;
#[cfg(all(feature = "udp", unix))]
pub mod state_file;
#[cfg(all(feature = "udp", unix))]
pub mod udp;
pub mod wire;
