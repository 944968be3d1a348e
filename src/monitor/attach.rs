//! Puts the two classifiers where the packets are: `flyball_from` on the way in, `flyball_to` on the way out.
//!
//! A tcx link is held by a file descriptor: however this process ends, the link ends with it. It goes to the head, so
//! that nobody before us takes packets away unseen. Kernels without tcx (before 6.6) have clsact, whose filters stay
//! behind when a process is killed, and nobody else cleans them up. So a filter says in its handle whose it is, by a
//! port that it watches: where nobody holds the lock on that port, it is a leftover, and swept.

use std::io;

use aya::Ebpf;
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, qdisc_add_clsact};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType, TcError, TcHandle};

use super::error::AttachError;
use super::lock::{self, PortLocks};
use super::netlink::{Filter, Hook, Link, Netlink};

/// In the upper half of a filter's handle: ours, at a qdisc that was there before.
const MARK: u16 = 0xf1b0;
/// Ours, at a qdisc that we made, and remove.
const MARK_WITH_QDISC: u16 = 0xf1b1;
/// Of clsact filters: before all others.
const PRIORITY_FIRST: u16 = 1;
/// The kernel takes one before those that it chose for others.
const PRIORITY_ANY: u16 = 0;

/// Where to attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Via {
    /// tcx, and clsact where the kernel has none.
    #[default]
    Best,
    /// clsact, as on a kernel without tcx.
    Clsact,
}

/// Both classifiers on one interface, until this is dropped.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) index: u32,
    // In the order in which they are dropped.
    _filters: [SchedClassifierLink; 2],
    _qdisc: Option<Qdisc>,
    _locks: PortLocks,
}

/// Which interface, and for which ports.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) name: &'a str,
    pub(super) link: Link,
    pub(super) ports: &'a [u16],
}

/// Loads both programs for such a link, unless they are.
fn load(ebpf: &mut Ebpf, link: Link) -> Result<(), AttachError> {
    for hook in Hook::BOTH {
        match program(ebpf, hook, link).load() {
            Ok(()) | Err(ProgramError::AlreadyLoaded) => {}
            Err(error) => return Err(AttachError::of_program(error, program_name(hook, link))),
        }
    }
    Ok(())
}

/// Locks the ports, sweeps what killed runs left, and attaches.
pub(super) fn attach(ebpf: &mut Ebpf, place: Place<'_>, via: Via) -> Result<Attached, AttachError> {
    let locks = PortLocks::take(place.name, place.link, place.ports)?;
    load(ebpf, place.link)?;
    let netlink = Netlink::open().map_err(AttachError::Netlink)?;
    let swept_qdisc = sweep(&netlink, place).map_err(AttachError::Netlink)?;
    let inherited = swept_qdisc.then_some(Qdisc { netlink, index: place.link.index });
    let (filters, qdisc) = match via {
        Via::Best => match both(ebpf, place, tcx) {
            Err((_, error)) if is_without_tcx(&error) => via_clsact(ebpf, place, inherited)?,
            tried => (tried.map_err(|(hook, error)| refused(place, hook, error))?, None),
        },
        Via::Clsact => via_clsact(ebpf, place, inherited)?,
    };
    Ok(Attached { index: place.link.index, _filters: filters, _qdisc: qdisc, _locks: locks })
}

type Filters = [SchedClassifierLink; 2];

fn via_clsact(
    ebpf: &mut Ebpf,
    place: Place<'_>,
    inherited: Option<Qdisc>,
) -> Result<(Filters, Option<Qdisc>), AttachError> {
    let qdisc = match qdisc_add_clsact(place.name) {
        Ok(()) => Some(Qdisc::of(place.link.index)?),
        Err(error) if errno(&error) == Some(libc::EEXIST) => inherited,
        Err(error) => return Err(refused(place, Hook::Ingress, error.into())),
    };
    let mark = if qdisc.is_some() { MARK_WITH_QDISC } else { MARK };
    let filters = both(ebpf, place, |program, place, hook| {
        // The first place may be taken by a classifier of another kind.
        let first = clsact(program, place, hook, mark, PRIORITY_FIRST);
        first.or_else(|_| clsact(program, place, hook, mark, PRIORITY_ANY))
    });
    Ok((filters.map_err(|(hook, error)| refused(place, hook, error))?, qdisc))
}

type Attempt = Result<SchedClassifierLink, ProgramError>;

fn both(
    ebpf: &mut Ebpf,
    place: Place<'_>,
    attach: impl Fn(&mut SchedClassifier, Place<'_>, Hook) -> Attempt,
) -> Result<Filters, (Hook, ProgramError)> {
    let mut one = |hook| attach(program(ebpf, hook, place.link), place, hook).map_err(|error| (hook, error));
    Ok([one(Hook::Ingress)?, one(Hook::Egress)?])
}

fn tcx(program: &mut SchedClassifier, place: Place<'_>, hook: Hook) -> Attempt {
    let options = TcAttachOptions::TcxOrder(LinkOrder::first());
    let link = program.attach_with_options(place.name, side(hook), options)?;
    program.take_link(link)
}

fn clsact(program: &mut SchedClassifier, place: Place<'_>, hook: Hook, mark: u16, priority: u16) -> Attempt {
    let options = NlOptions { priority, handle: handle(mark, place.ports), ..NlOptions::default() };
    let link = program.attach_with_options(place.name, side(hook), TcAttachOptions::Netlink(options))?;
    program.take_link(link)
}

/// A kernel that does not know tcx finds nothing of this kind to attach to.
fn is_without_tcx(error: &ProgramError) -> bool {
    matches!(error, ProgramError::SyscallError(error)
        if matches!(error.io_error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)))
}

fn refused(place: Place<'_>, hook: Hook, error: ProgramError) -> AttachError {
    let direction = match hook {
        Hook::Ingress => "ingress",
        Hook::Egress => "egress",
    };
    AttachError::Attach { interface: place.name.to_owned(), direction, source: Box::new(error) }
}

fn errno(error: &TcError) -> Option<i32> {
    match error {
        TcError::NetlinkError(error) => error.raw_os_error(),
        TcError::IoError(error) => error.raw_os_error(),
        _ => None,
    }
}

fn program(ebpf: &mut Ebpf, hook: Hook, link: Link) -> &mut SchedClassifier {
    let program = ebpf.program_mut(program_name(hook, link)).expect("it is in the object");
    program.try_into().expect("it is in a classifier's section")
}

/// Behind an Ethernet header, packets that are not ours are told off sooner.
const fn program_name(hook: Hook, link: Link) -> &'static str {
    match (hook, link.is_ethernet) {
        (Hook::Ingress, true) => "flyball_from",
        (Hook::Ingress, false) => "flyball_from_l3",
        (Hook::Egress, true) => "flyball_to",
        (Hook::Egress, false) => "flyball_to_l3",
    }
}

const fn side(hook: Hook) -> TcAttachType {
    match hook {
        Hook::Ingress => TcAttachType::Ingress,
        Hook::Egress => TcAttachType::Egress,
    }
}

/// One of the ports stands for all: who holds its lock holds the filter.
fn handle(mark: u16, ports: &[u16]) -> TcHandle {
    TcHandle::new(mark, ports.iter().copied().min().unwrap_or(0))
}

/// The mark and the port of a filter, if it is one of ours.
fn owner(filter: &Filter) -> Option<(u16, u16)> {
    let [high, higher, ..] = filter.handle.to_be_bytes();
    let (mark, port) = (u16::from_be_bytes([high, higher]), (filter.handle & 0xffff) as u16);
    (filter.has_our_name && (mark == MARK || mark == MARK_WITH_QDISC)).then_some((mark, port))
}

/// Removes the filters that killed runs left; the locks on `place.ports` are ours. `true` if the qdisc is left over too.
fn sweep(netlink: &Netlink, place: Place<'_>) -> io::Result<bool> {
    let mut has_qdisc = false;
    for hook in Hook::BOTH {
        for filter in netlink.filters(place.link.index, hook)? {
            let Some((mark, port)) = owner(&filter) else { continue };
            if !place.ports.contains(&port) && lock::is_held(place.link.index, port) {
                continue;
            }
            netlink.remove_filter(&filter)?;
            has_qdisc |= mark == MARK_WITH_QDISC;
            tracing::info!(interface = place.name, ?hook, port, "a filter that a killed run left was removed");
        }
    }
    Ok(has_qdisc)
}

/// A clsact qdisc that we made. Whoever came to use it meanwhile keeps it: it costs nothing while it is empty.
#[derive(Debug)]
struct Qdisc {
    netlink: Netlink,
    index: u32,
}

impl Qdisc {
    fn of(index: u32) -> Result<Self, AttachError> {
        Ok(Self { netlink: Netlink::open().map_err(AttachError::Netlink)?, index })
    }
}

impl Drop for Qdisc {
    fn drop(&mut self) {
        let is_empty = |hook| self.netlink.filters(self.index, hook).is_ok_and(|filters| filters.is_empty());
        if Hook::BOTH.into_iter().all(is_empty) {
            // The interface may be gone, and the qdisc with it.
            let _ = self.netlink.remove_clsact(self.index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_ours_by_its_name_and_its_mark() {
        let handle = u32::from(handle(MARK_WITH_QDISC, &[5784, 5783]));
        let ours = Filter { index: 1, hook: Hook::Ingress, handle, priority: 1, has_our_name: true };
        assert_eq!(owner(&ours), Some((MARK_WITH_QDISC, 5783)));
        assert_eq!(owner(&Filter { has_our_name: false, ..ours }), None);
        assert_eq!(owner(&Filter { handle: 1, ..ours }), None, "of another loader of the same object");
    }
}
