//! Why the monitor cannot watch, and what to do about it.

use std::io;

use aya::{BtfError, EbpfError, maps::MapError, programs::ProgramError};
use caps::Capability;

/// Lines of the verifier's log that are told: it ends with its reason.
const VERIFIER_LINES: usize = 6;

/// Why the monitor cannot watch.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The thread has not what it takes.
    #[error(
        "needs {0}: run as root, or give the binary `setcap cap_bpf,cap_net_admin,cap_perfmon+ep`, or its unit those as AmbientCapabilities="
    )]
    Capability(Capability),
    /// CO-RE needs the kernel's types.
    #[error("kernel has no BTF: /sys/kernel/btf/vmlinux cannot be read; use a kernel built with CONFIG_DEBUG_INFO_BTF")]
    NoBtf(#[source] BtfError),
    /// There is no interface of this name.
    #[error("interface `{name}` does not exist here; there are: {there}")]
    NoInterface {
        /// As configured.
        name: String,
        /// Names of those that exist.
        there: String,
    },
    /// Another monitor counts the same packets already.
    #[error("port already watched: port {port} on `{interface}` by {}; stop that one, or watch another port", holder(*.pid))]
    AlreadyWatched {
        /// Which port.
        port: u16,
        /// By name.
        interface: String,
        /// Of the other monitor; `None` where it cannot be told.
        pid: Option<i32>,
    },
    /// The socket that keeps others away cannot be made.
    #[error("the lock on port {port} of `{interface}` cannot be taken")]
    Lock {
        /// Which port.
        port: u16,
        /// By name.
        interface: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Kernel memory for the maps.
    #[error(
        "no memory for map `{map}` of a monitor of {devices} devices: set fewer `devices`, or raise the memory limit"
    )]
    NoMemory {
        /// Which map.
        map: String,
        /// As configured.
        devices: u32,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The kernel refuses a map.
    #[error(
        "kernel refuses map `{map}`; it must be 5.15 or later, and a container must share the host's user namespace"
    )]
    Map {
        /// Which map.
        map: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The kernel refuses a program.
    #[error("kernel refuses program `{program}`{}", verdict(.verifier))]
    Program {
        /// Which program.
        program: &'static str,
        /// The end of the verifier's log; empty where it was not asked.
        verifier: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The object does not fit the kernel.
    #[error("the eBPF object does not fit this kernel")]
    Object(#[source] Box<EbpfError>),
    /// The program is loaded, and cannot be put where the packets are.
    #[error("cannot attach to the {direction} of `{interface}`")]
    Attach {
        /// By name.
        interface: String,
        /// `ingress` or `egress`.
        direction: &'static str,
        /// Why.
        #[source]
        source: Box<ProgramError>,
    },
    /// Interfaces cannot be asked for.
    #[error("interfaces cannot be asked for over netlink")]
    Netlink(#[source] io::Error),
    /// What is not needed any more cannot be given away.
    #[error("cannot drop capabilities")]
    Drop(#[source] caps::errors::CapsError),
    /// A map cannot be filled.
    #[error("the cohorts cannot be told to the kernel")]
    Steer(#[source] super::steering::SteerError),
    /// The monitor's own map is not in its object, or of another type.
    #[error("the eBPF object is not the one that this build expects")]
    Mismatch(#[source] MapError),
}

fn holder(pid: Option<i32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

fn verdict(verifier: &str) -> String {
    if verifier.is_empty() { String::new() } else { format!("; its verifier says: {verifier}") }
}

impl AttachError {
    /// Of loading the object with its maps.
    pub(super) fn of_object(error: EbpfError, devices: u32) -> Self {
        match error {
            EbpfError::MapError(MapError::CreateError { name: map, io_error: source }) => {
                // A map's size is checked against what the kernel can count, then its memory is asked for.
                let is_memory = matches!(source.raw_os_error(), Some(libc::ENOMEM | libc::E2BIG));
                if is_memory { Self::NoMemory { map, devices, source } } else { Self::Map { map, source } }
            }
            other => Self::Object(Box::new(other)),
        }
    }

    /// Of loading a program.
    pub(super) fn of_program(error: ProgramError, program: &'static str) -> Self {
        match error {
            ProgramError::LoadError { io_error: source, verifier_log } => {
                Self::Program { program, verifier: tail(&verifier_log.to_string()), source }
            }
            other => Self::Object(Box::new(EbpfError::ProgramError(other))),
        }
    }
}

/// The last lines that say something; the very last are statistics.
pub(super) fn tail(log: &str) -> String {
    let is_statistics =
        |line: &str| ["processed ", "verification time ", "stack depth "].iter().any(|s| line.starts_with(s));
    let is_told = |line: &&str| !line.trim().is_empty() && !is_statistics(line);
    let lines: Vec<&str> = log.lines().filter(is_told).collect();
    lines[lines.len().saturating_sub(VERIFIER_LINES)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifiers_last_words_are_told() {
        let log = "0: (b7) r0 = 1\n\n1: (61) r2 = *(u32 *)(r1 +0)\nR1 invalid mem access 'scalar'\nprocessed 2 insns\n";
        assert_eq!(tail(log), "0: (b7) r0 = 1 | 1: (61) r2 = *(u32 *)(r1 +0) | R1 invalid mem access 'scalar'");
        assert_eq!(tail(""), "");
    }

    #[test]
    fn a_map_without_memory_is_told_from_a_refused_one() {
        let create =
            |errno| MapError::CreateError { name: "devices".into(), io_error: io::Error::from_raw_os_error(errno) };
        let error = |errno| AttachError::of_object(create(errno).into(), 7);
        assert!(matches!(error(libc::ENOMEM), AttachError::NoMemory { devices: 7, .. }));
        assert!(matches!(error(libc::EPERM), AttachError::Map { .. }));
    }
}
