//! The lab of a test: carriers `a`, `b`, … and a server that answers by hand and remembers what reached it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use flyball::lab::{Carrier, Device, Lab, Nat, SERVER, SERVER_V6, UPLINK};
use flyball::monitor::key::Key;
use flyball::monitor::prefixes::Prefixes;
use flyball::monitor::settings::Settings;
use libtest_mimic::Failed;

use super::phone::{ANSWER, Beat, Passed, Phone, WAIT_MAX, receive};

/// From one attempt over a new link to the next. It drops packets until the kernel's link watch has noticed it, which it
/// does once a second.
const AGAIN: Duration = Duration::from_millis(100);
/// How often a push is tried.
const PUSHES_MAX: usize = 3;

/// A running lab.
pub(crate) struct Stage {
    pub(crate) carriers: Vec<Carrier>,
    pub(crate) lab: Lab,
    server: UdpSocket,
    server_v6: Option<UdpSocket>,
    /// At a port that is not watched.
    doorbell: UdpSocket,
    folder: tempfile::TempDir,
    phones: AtomicU32,
    arrived: AtomicU64,
    answered: AtomicU64,
}

impl Stage {
    /// A carrier for each NAT; devices of the first are `carrier=a,region=eu`, of the second `carrier=b,region=eu`.
    pub(crate) fn start(nats: &[Nat]) -> Result<Self, Failed> {
        let lab = Lab::start()?;
        let carriers = nats.iter().map(|nat| lab.carrier(nat)).collect::<Result<Vec<_>, _>>()?;
        let server = lab.server_udp()?;
        let port = server.local_addr()?.port();
        let server_v6 = has_ipv6().then(|| lab.server().udp((SERVER_V6, port).into())).transpose()?;
        let any = if server_v6.is_some() { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { SERVER.into() };
        let doorbell = lab.server().udp((any, 0).into())?;
        let folder = tempfile::tempdir()?;
        let (phones, arrived, answered) = (AtomicU32::new(1), AtomicU64::new(0), AtomicU64::new(0));
        let stage = Self { carriers, lab, server, server_v6, doorbell, folder, phones, arrived, answered };
        std::fs::write(stage.prefixes(), stage.table())?;
        Ok(stage)
    }

    /// The `prefixes.csv` of the carriers.
    pub(crate) fn prefixes(&self) -> PathBuf {
        self.folder().join("prefixes.csv")
    }

    /// For files of the test.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn table(&self) -> String {
        let rows = self
            .carriers
            .iter()
            .zip('a'..)
            .map(|(carrier, name)| format!("{},{name},eu\n{},{name},eu\n", carrier.prefix(), carrier.prefix_v6()));
        "prefix,carrier,region\n".to_owned() + &rows.collect::<String>()
    }

    /// The server's port, which is watched.
    pub(crate) fn port(&self) -> u16 {
        self.server.local_addr().expect("bound").port()
    }

    /// What the monitor is told.
    pub(crate) fn settings(&self, gap: Duration) -> Result<Settings, Failed> {
        Ok(Settings {
            interfaces: vec![UPLINK.to_owned()],
            key: Key::Heartbeat,
            ports: vec![self.port()],
            gap,
            devices: 1_000,
            prefixes: Prefixes::read(&self.prefixes())?,
        })
    }

    /// A device behind the carrier of this number, whose packets pass.
    pub(crate) fn device(&self, carrier: usize) -> Result<Device, Failed> {
        let device = self.lab.device(&self.carriers[carrier])?;
        self.wait_for_links(&device)?;
        Ok(device)
    }

    /// Until packets pass between the device and the server, so that each after these takes its usual time.
    pub(crate) fn wait_for_links(&self, device: &Device) -> Result<(), Failed> {
        let port = self.doorbell.local_addr()?.port();
        self.ring(&device.udp()?, (SERVER, port).into())?;
        if self.server_v6.is_some() { self.ring(&device.udp_v6()?, (SERVER_V6, port).into()) } else { Ok(()) }
    }

    fn ring(&self, socket: &UdpSocket, doorbell: SocketAddr) -> Result<(), Failed> {
        let started = Instant::now();
        while started.elapsed() < WAIT_MAX {
            socket.send_to(&[0], doorbell)?;
            let rung = receive(&self.doorbell, &mut [0], AGAIN)?;
            let Some((_, from)) = rung else { continue };
            self.doorbell.send_to(&[0], from)?;
            if receive(socket, &mut [0], AGAIN)?.is_some() {
                return Ok(());
            }
        }
        Err("no packet passes between a new device and the server".into())
    }

    /// A device behind the carrier of this number, with one socket.
    pub(crate) fn phone(&self, carrier: usize) -> Result<(Device, Phone), Failed> {
        let device = self.device(carrier)?;
        let phone = self.phone_on(&device)?;
        Ok((device, phone))
    }

    /// One more socket, and a name of its own, on a device that is there.
    pub(crate) fn phone_on(&self, device: &Device) -> Result<Phone, Failed> {
        Ok(self.name(device.udp()?, self.server.local_addr()?))
    }

    /// The same over IPv6; `None` where the kernel has none.
    pub(crate) fn phone_v6_on(&self, device: &Device) -> Result<Option<Phone>, Failed> {
        let Some(server) = &self.server_v6 else { return Ok(None) };
        Ok(Some(self.name(device.udp_v6()?, server.local_addr()?)))
    }

    fn name(&self, socket: UdpSocket, server: SocketAddr) -> Phone {
        Phone::new(self.phones.fetch_add(1, Ordering::Relaxed), socket, server)
    }

    /// One heartbeat, which reaches the server.
    pub(crate) fn beat(&self, phone: &mut Phone) -> Result<Beat, Failed> {
        let before = Instant::now();
        phone.send()?;
        let mut datagram = [0; 100];
        let received = receive(self.socket(phone.server), &mut datagram, WAIT_MAX)?;
        let (length, from) = received.ok_or("the beat did not reach the server")?;
        let passed = (before, Instant::now());
        if datagram[..length] != phone.last_beat() {
            return Err(format!("not the beat of device {}, but of {:x?}", phone.id, &datagram[8..12]).into());
        }
        self.arrived.fetch_add(1, Ordering::Relaxed);
        Ok(Beat { passed, from })
    }

    /// A heartbeat with its ack.
    pub(crate) fn answered_beat(&self, phone: &mut Phone) -> Result<Beat, Failed> {
        let beat = self.beat(phone)?;
        self.push(&beat)?;
        if phone.hears()? { Ok(beat) } else { Err("the ack did not pass the NAT at once".into()) }
    }

    /// The server sends to where this beat came from.
    pub(crate) fn push(&self, to: &Beat) -> Result<Passed, Failed> {
        let before = Instant::now();
        self.socket(to.from).send_to(&ANSWER, to.from)?;
        self.answered.fetch_add(1, Ordering::Relaxed);
        Ok((before, Instant::now()))
    }

    /// The same, again where it is lost on a busy machine. Returns when the one passed that the device heard.
    pub(crate) fn push_until_heard(&self, to: &Beat, phone: &Phone) -> Result<Passed, Failed> {
        for _ in 0..PUSHES_MAX {
            let passed = self.push(to)?;
            if !phone.hears_nothing()? {
                return Ok(passed);
            }
        }
        Err(format!("the NAT forgot device {}", phone.id).into())
    }

    fn socket(&self, peer: SocketAddr) -> &UdpSocket {
        self.server_v6.as_ref().filter(|_| peer.is_ipv6()).unwrap_or(&self.server)
    }

    /// Heartbeats that reached the server, and packets that it sent.
    pub(crate) fn passed(&self) -> (u64, u64) {
        (self.arrived.load(Ordering::Relaxed), self.answered.load(Ordering::Relaxed))
    }
}

fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}
