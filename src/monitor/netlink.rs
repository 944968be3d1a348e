//! The four questions to the kernel's rtnetlink that nobody else asks for us: is there a link of this name and is it
//! up, which filters hang at it, remove one, remove the qdisc they hung at.
//!
//! Answers are read as far as their fixed headers, never their attributes: what a newer kernel adds there cannot
//! confuse us. The socket belongs to the network namespace in which it was opened, whichever thread asks.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

/// The kernel answers at once; this is for one that does not.
const ANSWER_SECONDS_MAX: i64 = 2;
/// The largest datagram that the kernel makes for a dump.
const DATAGRAM_BYTES: usize = 65_536;
const INTERFACE_NAME_MAX: usize = 15;

// include/uapi/linux/netlink.h, rtnetlink.h, pkt_sched.h
const RTM_GETLINK: u16 = 18;
const RTM_DELQDISC: u16 = 37;
const RTM_DELTFILTER: u16 = 45;
const RTM_GETTFILTER: u16 = 46;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const HEADER_BYTES: usize = 16;
const IFLA_IFNAME: u16 = 3;
const ARPHRD_ETHER: u16 = 1;
const ARPHRD_LOOPBACK: u16 = 772;
const IFF_UP: u32 = 1;
const IFF_RUNNING: u32 = 0x40;
const ETH_P_ALL: u16 = 3;
const TC_H_CLSACT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;

/// An interface as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    /// Packets can come: it is up, and so is its carrier.
    pub(super) is_up: bool,
    /// Its packets have an Ethernet header in front; tunnels' and point-to-point links' have none.
    pub(super) is_ethernet: bool,
}

/// Which way packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    Ingress,
    Egress,
}

/// A classifier at a clsact qdisc.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) index: u32,
    pub(super) hook: Hook,
    pub(super) handle: u32,
    pub(super) priority: u16,
    /// Its name is that of one of our programs.
    pub(super) has_our_name: bool,
}

impl Hook {
    pub(super) const BOTH: [Self; 2] = [Self::Ingress, Self::Egress];

    const fn parent(self) -> u32 {
        match self {
            Self::Ingress => 0xffff_fff2,
            Self::Egress => 0xffff_fff3,
        }
    }
}

/// A socket of one network namespace.
#[derive(Debug)]
pub(super) struct Netlink(OwnedFd);

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        let (family, protocol) = (AddressFamily::Netlink, SockProtocol::NetlinkRoute);
        let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(ANSWER_SECONDS_MAX))?;
        Ok(Self(socket))
    }

    /// The link of this name; `None` if there is none.
    pub(super) fn link(&self, name: &str) -> io::Result<Option<Link>> {
        if name.is_empty() || name.len() > INTERFACE_NAME_MAX || name.contains('\0') {
            return Ok(None);
        }
        // struct ifinfomsg, all zero, and the name.
        let mut body = vec![0; 16];
        push_attribute(&mut body, IFLA_IFNAME, name.as_bytes());
        match self.ask(RTM_GETLINK, NLM_F_ACK, &body) {
            Ok(answers) => Ok(answers.iter().find_map(|answer| read_link(answer))),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All filters on one side of a link; none also where there is no qdisc for them.
    pub(super) fn filters(&self, index: u32, hook: Hook) -> io::Result<Vec<Filter>> {
        let answers = self.ask(RTM_GETTFILTER, NLM_F_DUMP, &tc_message(index, 0, hook.parent(), 0));
        match answers {
            Ok(answers) => Ok(answers.iter().filter_map(|answer| read_filter(answer, hook)).collect()),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOENT | libc::ENODEV)) => {
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn remove_filter(&self, filter: &Filter) -> io::Result<()> {
        let which = u32::from(filter.priority) << 16 | u32::from(ETH_P_ALL.to_be());
        let body = tc_message(filter.index, filter.handle, filter.hook.parent(), which);
        self.ask(RTM_DELTFILTER, NLM_F_ACK, &body).map(drop)
    }

    pub(super) fn remove_clsact(&self, index: u32) -> io::Result<()> {
        self.ask(RTM_DELQDISC, NLM_F_ACK, &tc_message(index, CLSACT_HANDLE, TC_H_CLSACT, 0)).map(drop)
    }

    /// Bodies of the answers.
    fn ask(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let mut message = Vec::with_capacity(HEADER_BYTES + body.len());
        message.extend(u32::try_from(HEADER_BYTES + body.len()).expect("a short question").to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        message.extend([0; 8]);
        message.extend(body);
        let fd = self.0.as_raw_fd();
        send(fd, &message, MsgFlags::empty())?;
        let (mut answers, mut datagram) = (Vec::new(), vec![0; DATAGRAM_BYTES]);
        loop {
            let bytes = match recv(fd, &mut datagram, MsgFlags::empty()) {
                Err(Errno::EINTR) => continue,
                received => received?,
            };
            if read_datagram(&datagram[..bytes], &mut answers)? {
                return Ok(answers);
            }
        }
    }
}

/// Collects the bodies of one datagram; `true` at the end of the answer.
fn read_datagram(mut rest: &[u8], answers: &mut Vec<Vec<u8>>) -> io::Result<bool> {
    while let Some((length, kind)) = Option::zip(u32_at(rest, 0), u16_at(rest, 4)) {
        let end = (length as usize).clamp(HEADER_BYTES, rest.len().max(HEADER_BYTES));
        let body = rest.get(HEADER_BYTES..end).unwrap_or_default();
        match kind {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => return error_of(body).map(|()| true),
            _ => answers.push(body.to_vec()),
        }
        rest = rest.get(end.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn error_of(body: &[u8]) -> io::Result<()> {
    match u32_at(body, 0).map(u32::cast_signed) {
        Some(0) => Ok(()),
        Some(negative) => Err(io::Error::from_raw_os_error(negative.saturating_neg())),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// struct ifinfomsg
fn read_link(body: &[u8]) -> Option<Link> {
    let (kind, index, flags) = (u16_at(body, 2)?, u32_at(body, 4)?, u32_at(body, 8)?);
    let is_up = flags & IFF_UP != 0 && flags & IFF_RUNNING != 0;
    Some(Link { index, is_up, is_ethernet: matches!(kind, ARPHRD_ETHER | ARPHRD_LOOPBACK) })
}

/// struct tcmsg. Every chain is told of too, with handle 0.
fn read_filter(body: &[u8], hook: Hook) -> Option<Filter> {
    let (index, handle, which) = (u32_at(body, 4)?, u32_at(body, 8)?, u32_at(body, 16)?);
    let holds = |name: &[u8]| body.windows(name.len()).any(|window| window == name);
    let has_our_name = holds(b"flyball_from") || holds(b"flyball_to");
    let priority = u16::try_from(which >> 16).expect("half a word");
    (handle != 0).then_some(Filter { index, hook, handle, priority, has_our_name })
}

fn tc_message(index: u32, handle: u32, parent: u32, which: u32) -> Vec<u8> {
    [0, index, handle, parent, which].into_iter().flat_map(u32::to_ne_bytes).collect()
}

fn push_attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len() + 1).expect("a short attribute");
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.push(0);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map(u32::from_ne_bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).and_then(|two| two.try_into().ok()).map(u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_there_and_nonsense_is_not() {
        let netlink = Netlink::open().expect("every Linux has it");
        assert!(netlink.link("lo").expect("asked").is_some_and(|lo| lo.index == 1 && lo.is_ethernet));
        for name in ["", "no such", "a name that is too long for one", "nul\0"] {
            assert_eq!(netlink.link(name).expect("asked"), None, "{name}");
        }
    }

    #[test]
    fn a_cut_answer_is_no_answer() {
        let mut answers = Vec::new();
        for bytes in 0..40 {
            let datagram: Vec<u8> =
                [200u32, 16].into_iter().flat_map(u32::to_ne_bytes).chain([7; 40]).take(bytes).collect();
            assert!(!read_datagram(&datagram, &mut answers).expect("no error in it"));
        }
        assert!(read_link(&[0; 7]).is_none() && read_filter(&[0; 19], Hook::Ingress).is_none());
        assert!(error_of(&[1]).is_err());
    }
}
