//! Where the demo listens: the usual ports, or the next free ones.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;

use anyhow::Context as _;

use super::peers::Peers;
use crate::config::{AdminConfig, Config, LogConfig, LogFormat, ServeConfig};

/// As many ports after the usual one are tried.
const PORTS_TRIED: u16 = 1_000;

/// Where the demo listens.
pub(super) struct Addresses {
    /// Without a source, policies and a fleet.
    pub(super) config: Config,
    /// Where gateways are answered.
    pub(super) fleet_grpc: SocketAddr,
}

/// The usual ports, or the next free ones where they are taken. They are held until the controller binds them, so that
/// a second demo that starts meanwhile takes others.
pub(super) fn free_addresses() -> anyhow::Result<(Addresses, Vec<TcpListener>)> {
    let mut held = Vec::new();
    let mut free = |port: u16| -> anyhow::Result<SocketAddr> {
        let bound =
            (port..port.saturating_add(PORTS_TRIED)).find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
        let bound =
            bound.with_context(|| format!("no free port between {port} and {}", port.saturating_add(PORTS_TRIED)))?;
        let address = bound.local_addr()?;
        held.push(bound);
        Ok(address)
    };
    let (http, grpc, admin) = (free(5778)?, vec![free(5779)?, free(14250)?], free(5780)?);
    let fleet_grpc = free(5784)?;
    let config = Config {
        source: Peers::no_source().into(),
        monitor: None,
        fleet: None,
        alerts: None,
        policies: PathBuf::new(),
        serve: ServeConfig { http, grpc, connections_max: 1_024, streams_per_connection_max: 128 },
        admin: AdminConfig { listen: admin, token_file: None },
        state: None,
        log: LogConfig { filter: "warn".to_owned(), format: LogFormat::Text },
    };
    Ok((Addresses { config, fleet_grpc }, held))
}

/// The same for heartbeats. Not held: who takes it in the moment between is told.
pub(super) fn free_udp(port: u16) -> anyhow::Result<SocketAddr> {
    let bound = (port..port.saturating_add(PORTS_TRIED)).find_map(|port| UdpSocket::bind(("127.0.0.1", port)).ok());
    let bound =
        bound.with_context(|| format!("no free port between {port} and {}", port.saturating_add(PORTS_TRIED)))?;
    Ok(bound.local_addr()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_demos_at_once_take_different_ports() {
        let (Addresses { config: first, .. }, _held) = free_addresses().expect("ports");
        let (Addresses { config: second, .. }, _also_held) = free_addresses().expect("other ports");
        assert_ne!(first.serve.http, second.serve.http);
        assert_ne!(first.admin.listen, second.admin.listen);
        assert!(first.serve.grpc.iter().all(|grpc| !second.serve.grpc.contains(grpc)));
    }
}
