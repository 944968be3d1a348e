//! TCP connections through the lab's NAT: how long they live, and those that are established while nothing gets through.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use aya::programs::{BtfTracePoint, CgroupAttachMode, SockOps};
use flyball::lab::{Carrier, Device, Lab, Nat, SERVER};
use flyball::monitor::mirror::Record;
use libtest_mimic::{Failed, Trial};

use super::watch::{Event, Watch, btf, chain, settings};
use crate::support::child::wait_for;
use crate::support::lab::trial;

/// Three timeouts are 1.4 s with Linux's first one; a busy machine takes longer.
const TOLD_MAX: Duration = Duration::from_secs(10);
/// And the fourth, which must not be told again, 3 s after the first packet that was lost.
const NEXT_TIMEOUT: Duration = Duration::from_millis(3_500);
/// Between the first and the third timeout: 400 and 800 ms, and what Linux adds for the round trip.
const GAP: std::ops::Range<Duration> = Duration::from_millis(1_000)..Duration::from_millis(2_500);
const LIFE: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(60);

const SOCK_OPS: bool = true;
const TRACEPOINTS: bool = true;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("tcp::a_dead_downlink_is_told_once_by_sock_ops_alone", || dead_downlink(SOCK_OPS, false)),
        trial("tcp::a_dead_downlink_is_told_once_by_the_tracepoints_alone", || dead_downlink(false, TRACEPOINTS)),
        trial("tcp::a_dead_downlink_is_told_once_by_both", || dead_downlink(SOCK_OPS, TRACEPOINTS)),
        trial("tcp::a_connection_is_counted_with_its_life", life),
        trial("tcp::a_connection_of_another_port_is_not_counted", other_port),
    ]
}

struct Bed {
    watch: Watch,
    listener: TcpListener,
    device: Device,
    carrier: Carrier,
    _lab: Lab,
    /// sock_ops and tracepoints see every namespace: a port that the machine itself gave out is no other trial's.
    _reserved: TcpListener,
}

impl Bed {
    fn new(has_sock_ops: bool, has_tracepoints: bool) -> Result<Self, Failed> {
        let reserved = TcpListener::bind("127.0.0.1:0")?;
        let port = reserved.local_addr()?.port();
        let lab = Lab::start()?;
        let carrier = lab.carrier(&Nat::random_ports(LONG))?;
        let device = lab.device(&carrier)?;
        let listener = lab.server().enter(|| TcpListener::bind((SERVER, port)))??;
        let mut watch = Watch::load(&settings("heartbeat", &[port]))?;
        if has_sock_ops {
            attach_sock_ops(&mut watch)?;
        }
        if has_tracepoints {
            attach_tracepoints(&mut watch)?;
        }
        Ok(Self { watch, listener, device, carrier, _lab: lab, _reserved: reserved })
    }

    /// The device's end, the server's, and where the server sees the device.
    fn connect(&self) -> Result<(TcpStream, TcpStream, SocketAddr), Failed> {
        let address = self.listener.local_addr()?;
        let client = self.device.namespace().enter(|| TcpStream::connect(address))??;
        let (server, peer) = self.listener.accept()?;
        client.set_read_timeout(Some(TOLD_MAX))?;
        Ok((client, server, peer))
    }
}

fn attach_sock_ops(watch: &mut Watch) -> Result<(), Failed> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let cgroup2 = mounts.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4));
    let root = File::open(cgroup2.ok_or("no cgroup2 is mounted")?)?;
    let program: &mut SockOps = watch.ebpf.program_mut("flyball_sockops").ok_or("no such program")?.try_into()?;
    program.load().map_err(chain)?;
    // A link: whoever else is attached stays.
    program.attach(root, CgroupAttachMode::Single).map_err(chain)?;
    Ok(())
}

fn attach_tracepoints(watch: &mut Watch) -> Result<(), Failed> {
    for (name, tracepoint) in [("flyball_state", "inet_sock_set_state"), ("flyball_retransmit", "tcp_retransmit_skb")] {
        let program: &mut BtfTracePoint = watch.ebpf.program_mut(name).ok_or("no such program")?.try_into()?;
        program.load(tracepoint, btf()?).map_err(chain)?;
        program.attach().map_err(chain)?;
    }
    Ok(())
}

fn dead_downlink(has_sock_ops: bool, has_tracepoints: bool) -> Result<(), Failed> {
    let mut bed = Bed::new(has_sock_ops, has_tracepoints)?;
    let (mut client, mut server, peer) = bed.connect()?;
    server.write_all(b"alive")?;
    client.read_exact(&mut [0; 5])?;
    assert_eq!(bed.watch.events(), []);

    bed.carrier.cut()?;
    let cut = Instant::now();
    server.write_all(b"lost")?;
    let told: Record = wait_for("a record", TOLD_MAX, || bed.watch.records().first().copied());
    let until_told = cut.elapsed();
    assert_eq!(Event::from(&told), Event::new("tcp_unreachable", [0; 16], peer, peer));
    let gap = Duration::from_nanos(told.gap);
    assert!(GAP.contains(&gap) && gap < until_told, "{gap:?}, told {until_told:?} after the cut");

    server.write_all(b"lost too")?;
    std::thread::sleep(NEXT_TIMEOUT.saturating_sub(cut.elapsed()));
    assert_eq!(bed.watch.events(), [], "once is enough");
    assert_eq!(bed.watch.counts()?.unreachable, 1);
    Ok(())
}

/// Whoever ends it.
fn life() -> Result<(), Failed> {
    let bed = Bed::new(SOCK_OPS, TRACEPOINTS)?;
    let connected = Instant::now();
    let (first, second) = (bed.connect()?, bed.connect()?);
    std::thread::sleep(LIFE);
    for (goes, stays) in [(&first.0, &first.1), (&second.1, &second.0)] {
        goes.shutdown(Shutdown::Write)?;
        stays.set_read_timeout(Some(TOLD_MAX))?;
        let mut stays = stays;
        assert_eq!(stays.read(&mut [0; 1])?, 0, "the end");
    }
    drop((first, second));
    wait_for("both ends", TOLD_MAX, || bed.watch.counts().ok().filter(|counts| counts.connections == 2));
    let counts = bed.watch.counts()?;
    let lives = Duration::from_nanos(counts.life_sum);
    assert!(lives + Duration::from_millis(50) >= 2 * LIFE && lives <= 2 * connected.elapsed(), "{lives:?}");
    assert_eq!((counts.lives.iter().sum::<u64>(), counts.unreachable), (2, 0));
    Ok(())
}

fn other_port() -> Result<(), Failed> {
    let watched = Bed::new(SOCK_OPS, TRACEPOINTS)?;
    let other = Bed::new(SOCK_OPS, false)?;
    drop(other.connect()?);
    wait_for("its end", TOLD_MAX, || other.watch.counts().ok().filter(|counts| counts.connections == 1));
    assert_eq!(watched.watch.counts()?.connections, 0);
    Ok(())
}
