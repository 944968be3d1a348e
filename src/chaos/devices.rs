//! The devices: a process for each household, as users start them, and what they say.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use flyball_sdk::device::id::DeviceId;

use super::bed::{Bed, PORT, reap};
use super::board::Board;
use super::error::ChaosError;
use super::plan::{HouseholdPlan, LabPlan};
use super::pusher;
use crate::lab::{Carrier, Device, Direction, Impair, Netem, SERVER};

/// All devices.
pub(super) struct Devices {
    pub(super) board: Arc<Board>,
    pub(super) households: Vec<Household>,
    program: PathBuf,
    keys: PathBuf,
    bounds: (Duration, Duration),
    start_within: Duration,
    is_following_up: bool,
}

/// Devices in one process.
pub(super) struct Household {
    plan: HouseholdPlan,
    device: Device,
    child: Option<Child>,
    is_on: Arc<AtomicBool>,
    /// From when to when it was on; the last may be open.
    pub(super) on: Vec<(Instant, Option<Instant>)>,
}

impl Devices {
    /// The households' namespaces; nobody is started.
    pub(super) fn make(plan: &LabPlan, bed: &Bed, program: PathBuf) -> Result<Self, ChaosError> {
        let household = |of: &HouseholdPlan| {
            let device = bed.lab.device(&bed.boxes[of.at_box])?;
            Ok(Household { plan: of.clone(), device, child: None, is_on: Arc::default(), on: Vec::new() })
        };
        let households: Result<Vec<Household>, ChaosError> = plan.households.iter().map(household).collect();
        Ok(Self {
            board: Arc::default(),
            households: households?,
            program,
            keys: bed.keys(),
            bounds: plan.scenario.bounds(),
            start_within: plan.scenario.start_within,
            is_following_up: plan.scenario.are_following_up,
        })
    }

    /// Starts a household; its devices one after the other, or all at once.
    pub(super) fn power_on(&mut self, at: usize, is_first: bool) -> Result<(), ChaosError> {
        let household = &mut self.households[at];
        if household.child.is_some() {
            return Ok(());
        }
        let within = if is_first { self.start_within } else { Duration::ZERO };
        let ms = |time: Duration| format!("{}ms", time.as_millis());
        let mut command = Command::new(&self.program);
        command.args(["device", "--json", "--server", &format!("{SERVER}:{PORT}"), "--id", &household.plan.id]);
        command.args(["--count", &household.plan.devices.to_string(), "--start-within", &ms(within)]);
        command.args(["--min", &ms(self.bounds.0), "--max", &ms(self.bounds.1), "--master-key-file"]).arg(&self.keys);
        command.args((!self.is_following_up).then_some("--no-follow-up"));
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = household.device.namespace().spawn(&mut command)?;
        if let Some(stdout) = child.stdout.take() {
            listen(stdout, at, Arc::clone(&self.board));
        }
        household.child = Some(child);
        household.is_on.store(true, Ordering::Relaxed);
        household.on.push((Instant::now(), None));
        Ok(())
    }

    /// Ends a household as a power cut does.
    pub(super) fn power_off(&mut self, at: usize) {
        let household = &mut self.households[at];
        let Some(mut child) = household.child.take() else { return };
        household.is_on.store(false, Ordering::Relaxed);
        reap(&mut child);
        if let Some((_, until)) = household.on.last_mut() {
            *until = Some(Instant::now());
        }
    }

    /// A household is behind another box, with the sockets that it has.
    pub(super) fn move_to(&mut self, at: usize, carrier: &Carrier) -> Result<(), ChaosError> {
        Ok(self.households[at].device.move_to(carrier)?)
    }

    /// No process has ended by itself.
    pub(super) fn alive(&mut self) -> Result<(), ChaosError> {
        for child in self.households.iter_mut().filter_map(|household| household.child.as_mut()) {
            let failed = |source| ChaosError::Child { what: "look after devices", source };
            if let Some(status) = child.try_wait().map_err(failed)? {
                let source = std::io::Error::other(format!("a process of devices ended by itself ({status})"));
                return Err(failed(source));
            }
        }
        Ok(())
    }

    /// Datagrams that all of them have sent.
    pub(super) fn sent(&self) -> Result<u64, ChaosError> {
        self.households.iter().map(|household| sent(household.device.namespace())).sum()
    }

    /// Where pushes are to be listened for.
    pub(super) fn ears(&self) -> Vec<pusher::Household<impl Fn(u16) -> Option<DeviceId> + Send + 'static>> {
        let ears = self.households.iter().enumerate().map(|(at, household)| {
            let board = Arc::clone(&self.board);
            let namespace = household.device.namespace().clone();
            pusher::Household { namespace, owner: move |port| board.owner(at, port) }
        });
        ears.collect()
    }

    /// The longest time between two beats of a device, while it is on.
    pub(super) fn longest(&self) -> impl Fn(DeviceId) -> Option<Duration> + Send + 'static {
        let board = Arc::clone(&self.board);
        let on: Vec<Arc<AtomicBool>> = self.households.iter().map(|household| Arc::clone(&household.is_on)).collect();
        move |device| {
            let (told, household) = board.last(device)?;
            on[household].load(Ordering::Relaxed).then_some(told.longest)
        }
    }
}

impl Household {
    /// Its link does this, one way, from now on; `None` = nothing.
    pub(super) fn impair(&self, direction: Direction, netem: Option<&Netem>) -> Result<(), ChaosError> {
        impair(&self.device, direction, netem)
    }

    pub(super) fn devices(&self) -> u32 {
        self.plan.devices
    }
}

impl Drop for Household {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            reap(child);
        }
    }
}

/// A link does this, one way, from now on; `None` = nothing.
pub(super) fn impair(link: &impl Impair, direction: Direction, netem: Option<&Netem>) -> Result<(), ChaosError> {
    match netem {
        Some(netem) => _ = link.impair(direction, netem)?,
        None => link.unimpair(direction)?,
    }
    Ok(())
}

fn listen(stdout: ChildStdout, household: usize, board: Arc<Board>) {
    std::thread::spawn(move || {
        let lines = BufReader::new(stdout).lines();
        lines.map_while(Result::ok).for_each(|line| board.take(household, &line));
    });
}

/// `OutDatagrams` of UDP, as the kernel counts them in a namespace.
fn sent(namespace: &crate::lab::Namespace) -> Result<u64, ChaosError> {
    let text = namespace.enter(|| std::fs::read_to_string("/proc/thread-self/net/snmp"))?;
    let failed = |source| ChaosError::Child { what: "read /proc/net/snmp", source };
    let text = text.map_err(failed)?;
    let mut rows = text.lines().filter(|line| line.starts_with("Udp:")).map(|line| line.split(' '));
    let counted = rows.next().zip(rows.next()).and_then(|(names, values)| {
        names.zip(values).find(|(name, _)| *name == "OutDatagrams").and_then(|(_, value)| value.parse().ok())
    });
    counted.ok_or_else(|| failed(std::io::Error::other("it has no Udp: OutDatagrams")))
}
