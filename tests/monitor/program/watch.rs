//! The program, loaded and attached by hand: what it tells by itself, with nothing of ours above it.

use std::fmt::Display;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::OnceLock;
use std::time::Duration;

use aya::maps::{HashMap, MapData, PerCpuArray, RingBuf};
use aya::programs::{SchedClassifier, TcAttachType, TestRun, TestRunOptions};
use aya::{Btf, Ebpf};
use flyball::lab::{Namespace, UPLINK};
use flyball::monitor::load;
use flyball::monitor::mirror::{
    CohortCounts, Device, DeviceKey, RECORD_BLIND, RECORD_REBOOTED, Record, Troubles, record_kind,
};
use flyball::monitor::settings::Settings;
use libtest_mimic::Failed;

/// Short enough to wait for, far above the beats of a trial.
const GAP: Duration = Duration::from_secs(1);
/// More than any trial has.
const DEVICES: u32 = 1_024;
/// "Go on to whoever is next": the only verdict there may be.
const TCX_NEXT: i32 = -1;
/// Longest packet of a test run.
pub(crate) const TEST_RUN_BYTES_MAX: usize = 3_900;

/// What a trial watches, unless it says otherwise.
pub(crate) fn settings(key: &str, ports: &[u16]) -> Settings {
    Settings {
        interfaces: Vec::new(),
        key: key.parse().expect("a key"),
        ports: ports.to_vec(),
        gap: GAP,
        devices: DEVICES,
        prefixes: Default::default(),
    }
}

/// A record without its times, to be compared whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) what: &'static str,
    pub(crate) device: [u8; 16],
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) missed: u32,
    pub(crate) flags: u8,
}

impl Event {
    pub(crate) fn new(what: &'static str, device: [u8; 16], from: SocketAddr, to: SocketAddr) -> Self {
        Self { what, device, from, to, missed: 0, flags: 0 }
    }
}

impl From<&Record> for Event {
    fn from(record: &Record) -> Self {
        let address = |bytes: [u8; 16], port| {
            let ip = Ipv6Addr::from(bytes);
            SocketAddr::new(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4), port)
        };
        let what = match record.kind {
            record_kind::NEW => "new",
            record_kind::REBINDING => "rebinding",
            record_kind::MIGRATION => "migration",
            record_kind::GAP => "gap",
            record_kind::JUMP => "jump",
            record_kind::TCP_UNREACHABLE => "tcp_unreachable",
            _ => "?",
        };
        Self {
            what,
            device: record.device,
            from: address(record.from, record.from_port),
            to: address(record.to, record.to_port),
            missed: record.missed,
            flags: record.flags & (RECORD_BLIND | RECORD_REBOOTED),
        }
    }
}

/// The loaded object. Detached and gone when dropped.
pub(crate) struct Watch {
    pub(crate) ebpf: Ebpf,
    records: RingBuf<MapData>,
}

impl Watch {
    /// Loaded, with nothing attached.
    pub(crate) fn load(settings: &Settings) -> Result<Self, Failed> {
        let mut ebpf = load::open(settings, Some(btf()?)).map_err(chain)?;
        let records = RingBuf::try_from(ebpf.take_map("records").ok_or("no map `records`")?)?;
        Ok(Self { ebpf, records })
    }

    /// At the uplink of this namespace, both ways.
    pub(crate) fn attach(settings: &Settings, namespace: &Namespace) -> Result<Self, Failed> {
        let mut watch = Self::load(settings)?;
        for (name, side) in [("flyball_from", TcAttachType::Ingress), ("flyball_to", TcAttachType::Egress)] {
            let program = watch.classifier(name)?;
            namespace.enter(|| program.attach(UPLINK, side).map(drop))?.map_err(chain)?;
        }
        Ok(watch)
    }

    /// The classifier, in the kernel.
    pub(crate) fn classifier(&mut self, name: &str) -> Result<&mut SchedClassifier, Failed> {
        let program: &mut SchedClassifier = self.ebpf.program_mut(name).ok_or("no such program")?.try_into()?;
        if program.fd().is_err() {
            program.load().map_err(chain)?;
        }
        Ok(program)
    }

    /// Hands the packet to the program, which must leave it as it is and send it on. Returns false where the kernel
    /// refuses to run such a packet.
    pub(crate) fn run(&mut self, name: &str, packet: &[u8]) -> Result<bool, Failed> {
        let mut out = [0; TEST_RUN_BYTES_MAX + 256];
        let mut options = TestRunOptions::new();
        options.data_in = Some(packet);
        options.data_out = Some(&mut out);
        let Ok(result) = self.classifier(name)?.test_run(options) else { return Ok(false) };
        let verdict = result.return_value.cast_signed();
        if verdict != TCX_NEXT {
            return Err(format!("{name} returned {verdict}").into());
        }
        if out[..packet.len()] != *packet || out[packet.len()..].iter().any(|byte| *byte != 0) {
            return Err(format!("{name} changed the packet").into());
        }
        Ok(true)
    }

    /// Everything told since the last call.
    pub(crate) fn records(&mut self) -> Vec<Record> {
        let mut records = Vec::new();
        while let Some(item) = self.records.next() {
            records.push(bytemuck::pod_read_unaligned(&item));
        }
        records
    }

    /// The same without times.
    pub(crate) fn events(&mut self) -> Vec<Event> {
        self.records().iter().map(Event::from).collect()
    }

    /// The device as the program keeps it.
    pub(crate) fn device(&self, id: [u8; 16]) -> Result<Device, Failed> {
        Ok(self.devices()?.get(&DeviceKey { id }, 0)?)
    }

    /// The map of devices.
    pub(crate) fn devices(&self) -> Result<HashMap<&MapData, DeviceKey, Device>, Failed> {
        Ok(HashMap::try_from(self.ebpf.map("devices").ok_or("no map `devices`")?)?)
    }

    /// Makes the program forget the device.
    pub(crate) fn forget(&mut self, id: [u8; 16]) -> Result<(), Failed> {
        let map = self.ebpf.map_mut("devices").ok_or("no map `devices`")?;
        Ok(HashMap::<_, DeviceKey, Device>::try_from(map)?.remove(&DeviceKey { id })?)
    }

    /// Counted of devices and connections that no prefix covers.
    pub(crate) fn counts(&self) -> Result<CohortCounts, Failed> {
        let map = self.ebpf.map("cohorts").ok_or("no map `cohorts`")?;
        Ok(sum(PerCpuArray::try_from(map)?.get(&0, 0)?.iter()))
    }

    /// The program's own troubles.
    pub(crate) fn troubles(&self) -> Result<Troubles, Failed> {
        let map = self.ebpf.map("troubles").ok_or("no map `troubles`")?;
        Ok(sum(PerCpuArray::try_from(map)?.get(&0, 0)?.iter()))
    }
}

/// The kernel's types, which take long to read.
pub(crate) fn btf() -> Result<&'static Btf, Failed> {
    static BTF: OnceLock<Btf> = OnceLock::new();
    match BTF.get() {
        Some(btf) => Ok(btf),
        None => Btf::from_sys_fs().map(|btf| BTF.get_or_init(|| btf)).map_err(|error| chain(error).into()),
    }
}

/// All CPUs together: these types are nothing but counters.
fn sum<'a, T: bytemuck::Pod>(values: impl Iterator<Item = &'a T>) -> T {
    let mut total = T::zeroed();
    for value in values {
        let counters = bytemuck::cast_slice_mut::<T, u64>(std::slice::from_mut(&mut total));
        let more = bytemuck::cast_slice::<T, u64>(std::slice::from_ref(value));
        counters.iter_mut().zip(more).for_each(|(counter, more)| *counter += more);
    }
    total
}

/// The error with its sources, which say what the kernel said.
pub(crate) fn chain(error: impl std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |source| source.source());
    sources.fold(error.to_string(), |said, source| format!("{said}: {}", source as &dyn Display))
}
