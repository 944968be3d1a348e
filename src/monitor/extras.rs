//! The programs that watch TCP. Each is optional: heartbeats are measured without them, and what cannot be attached is
//! named in a note for whoever started the monitor.

use std::fs::{self, File};
use std::path::PathBuf;

use aya::programs::{BtfTracePoint, CgroupAttachMode, ProgramError, SockOps};
use aya::{Btf, Ebpf};
use caps::Capability;

use super::capability;
use super::error::tail;

/// Programs and the tracepoints they are for.
const TRACEPOINTS: [(&str, &str); 2] =
    [("flyball_state", "inet_sock_set_state"), ("flyball_retransmit", "tcp_retransmit_skb")];

/// Without CAP_PERFMON the verifier puts a fence behind what a CPU must not speculate on: measured, 330 ns a heartbeat
/// above an empty program instead of 100.
const GUARDED: &str = "the kernel guards the programs against speculation, and a packet costs it three times as much: \
                       CAP_PERFMON at the start, dropped after it, spares that";

#[derive(Debug, thiserror::Error)]
enum ExtraError {
    #[error("no cgroup2 is mounted")]
    NoCgroup,
    #[error("{}", path.display())]
    Cgroup { path: PathBuf, source: std::io::Error },
    #[error("needs {0}")]
    Capability(Capability),
    #[error(transparent)]
    Program(#[from] ProgramError),
}

/// Attaches what can be; a note for each of the others. They stay attached as long as `ebpf` lives.
pub(super) fn attach(ebpf: &mut Ebpf, btf: &Btf) -> Vec<String> {
    let mut notes = Vec::new();
    if !capability::has(Capability::CAP_PERFMON) {
        notes.push(GUARDED.to_owned());
    }
    if let Err(error) = attach_sockops(ebpf) {
        notes.push(format!("TCP connections are not watched as they begin: {}", said(&error)));
    }
    if let Err(error) = attach_tracepoints(ebpf, btf) {
        notes.push(format!("TCP connections that were there before are not watched: {}", said(&error)));
    }
    notes
}

/// In one line.
fn said(error: &ExtraError) -> String {
    match error {
        ExtraError::Program(ProgramError::LoadError { io_error, verifier_log }) => {
            format!("kernel refuses the program: {io_error}; its verifier says: {}", tail(&verifier_log.to_string()))
        }
        ExtraError::Program(ProgramError::SyscallError(error)) => format!("{}: {}", error.call, error.io_error),
        ExtraError::Cgroup { path, source } => format!("{}: {source}", path.display()),
        other => other.to_string(),
    }
}

fn attach_sockops(ebpf: &mut Ebpf) -> Result<(), ExtraError> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let path = cgroup2(&mounts).ok_or(ExtraError::NoCgroup)?;
    let root = File::open(&path).map_err(|source| ExtraError::Cgroup { path, source })?;
    let program = ebpf.program_mut("flyball_sockops").expect("it is in the object");
    let program: &mut SockOps = program.try_into().expect("it is in a sockops section");
    program.load()?;
    // A link is one of many anyway, and the kernel refuses the flag that says so.
    program.attach(root, CgroupAttachMode::Single)?;
    Ok(())
}

fn attach_tracepoints(ebpf: &mut Ebpf, btf: &Btf) -> Result<(), ExtraError> {
    if !capability::has(Capability::CAP_PERFMON) {
        return Err(ExtraError::Capability(Capability::CAP_PERFMON));
    }
    for (name, tracepoint) in TRACEPOINTS {
        let program = ebpf.program_mut(name).expect("it is in the object");
        let program: &mut BtfTracePoint = program.try_into().expect("it is in a tp_btf section");
        program.load(tracepoint, btf)?;
        program.attach()?;
    }
    Ok(())
}

/// Where the root of a cgroup2 hierarchy is mounted (proc(5), mountinfo): alone, or beside the older ones.
fn cgroup2(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, path) = (fields.next()?, fields.next()?);
        let is_root = filesystem.split(' ').next()? == "cgroup2" && root == "/";
        is_root.then(|| PathBuf::from(path.replace("\\040", " ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_of_cgroup2_is_found_wherever_it_is_mounted() {
        let before = "25 1 0:22 / /sys rw,nosuid shared:2 - sysfs sysfs rw\n\
                      30 25 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      31 25 0:27 /docker/1 /mnt rw - cgroup2 cgroup2 rw\n";
        let hybrid = format!("{before}32 25 0:27 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw\n");
        assert_eq!(cgroup2(&hybrid), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(cgroup2(before), None, "only a part of the tree");
        assert_eq!(cgroup2("nonsense"), None);
    }
}
