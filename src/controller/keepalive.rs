//! The second loop: what the edges saw goes into the governor as it comes; once a second it decides, and what changed is
//! told: orders to all by a swap, commands to the edge that the device comes by. It takes no hint of what changed, and
//! does not retry: an edge that is full is told again by a later decision.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::audit::AuditLog;
use super::released::{Heard, RolloutRoom, Value};
use super::rollouts::{RolloutBoard, RolloutCommand, RolloutCommands};
use crate::cluster::ledger::Ledger;
use crate::cluster::store::Saver;
use crate::fleet::cohorts::CohortTable;
use crate::fleet::grpc::GatewayHandle;
use crate::fleet::heartbeat::handle::Handle;
use crate::fleet::wiring::{COMMANDS_QUEUE, OBSERVATIONS_QUEUE, Wiring};
use crate::keepalive::cohort::Transport;
use crate::keepalive::governor::Governor;
use crate::keepalive::governor::memory::Memory;
use crate::keepalive::observation::Observation;
use crate::keepalive::order::{DeviceCommand, Orders};
use crate::keepalive::policy::Fleets;
use crate::keepalive::report::CohortReport;
use crate::policy::PolicySet;
use crate::source::Asker;
use crate::time::Clock;

/// Time between two decisions. A halved timeout is answered within one heartbeat; a second is nothing beside it.
const DECIDE_EVERY: Duration = Duration::from_secs(1);
/// Decisions between two savings: a minute's learning is lost at most.
const DECISIONS_A_SAVING: u32 = 60;
/// The same while a rollout is under way, beside its steps, which are saved as they happen.
const DECISIONS_A_SAVING_ROLLOUTS: u32 = 5;
/// Batches of observations that are taken in at once, so that a flood of them delays no decision.
const BATCHES_AT_ONCE: usize = 64;

/// Owner of all state of the second loop.
#[derive(Debug)]
pub struct KeepaliveLoop {
    clock: Clock,
    governor: Governor,
    fleets: Arc<Fleets>,
    cohorts: Arc<CohortTable>,
    /// Cohorts that the governor was told.
    told: usize,
    orders: Arc<ArcSwap<Orders>>,
    changed: watch::Sender<u64>,
    reports: CohortReports,
    doors: Vec<(Transport, mpsc::Sender<Vec<DeviceCommand>>)>,
    heartbeats: Option<Handle>,
    gateways: Option<GatewayHandle>,
    observe: mpsc::Sender<Vec<Observation>>,
    observed: mpsc::Receiver<Vec<Observation>>,
    saver: Option<Saver<Memory>>,
    /// What is to be saved was not taken, or has not been offered.
    is_save_due: bool,
    rollouts: RolloutRoom,
}

/// Where the rest of the house reads what is known of each cohort. Cheap to clone: clones share it.
#[derive(Debug, Clone, Default)]
pub struct CohortReports(Arc<ArcSwap<Cohorts>>);

/// All cohorts at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Cohorts {
    /// Of the orders in force.
    pub generation: u64,
    /// By index.
    pub reports: Vec<CohortReport>,
    /// Grows where the reports are others than before.
    pub revision: u64,
}

impl CohortReports {
    /// As they are now.
    pub fn load(&self) -> Arc<Cohorts> {
        self.0.load_full()
    }

    /// Takes the place of what was there.
    pub fn publish(&self, generation: u64, reports: Vec<CohortReport>) {
        let before = self.0.load();
        let revision = before.revision + u64::from(before.reports != reports);
        self.0.store(Arc::new(Cohorts { generation, reports, revision }));
    }
}

impl KeepaliveLoop {
    /// Starts from what an earlier process knew. The first orders are published at once: a device that asks before
    /// anything was seen is answered.
    pub fn new(clock: Clock, policies: &PolicySet, memory: Memory, saver: Option<Saver<Memory>>) -> Self {
        let fleets = policies.fleets();
        let mut governor = Governor::new(Arc::clone(&fleets));
        governor.remember(memory);
        let (observe, observed) = mpsc::channel(OBSERVATIONS_QUEUE);
        let mut this = Self {
            clock,
            governor,
            cohorts: Arc::new(CohortTable::new(Arc::clone(&fleets))),
            fleets,
            told: 0,
            orders: Arc::default(),
            changed: watch::Sender::new(0),
            reports: CohortReports::default(),
            doors: Vec::new(),
            heartbeats: None,
            gateways: None,
            observe,
            observed,
            saver,
            is_save_due: false,
            rollouts: RolloutRoom::new(),
        };
        this.decide();
        this
    }

    /// What an edge is given whose devices come by `transport`; one edge a transport.
    pub fn wiring(&mut self, transport: Transport) -> Wiring {
        let (sender, commands) = mpsc::channel(COMMANDS_QUEUE);
        self.doors.push((transport, sender));
        Wiring {
            orders: Arc::clone(&self.orders),
            changed: self.changed.subscribe(),
            commands,
            observations: self.observe.clone(),
            cohorts: Arc::clone(&self.cohorts),
        }
    }

    /// Whose devices are asked for their labels after other fleets came into force.
    pub fn set_heartbeats(&mut self, handle: Handle) {
        self.heartbeats = Some(handle);
    }

    /// Whose devices are put into their cohorts anew then.
    pub fn set_gateways(&mut self, handle: GatewayHandle) {
        self.gateways = Some(handle);
    }

    /// Where what happens is written down, records of rollouts that an earlier process wrote, and who is asked for the
    /// values of queries.
    pub fn set_books(&mut self, audit: AuditLog, written: &[Vec<u8>], ledger: Option<Ledger>, asker: Option<Asker>) {
        self.rollouts.set_books(audit, written, ledger, asker);
    }

    /// Where records of rollouts are read, and commands about them are taken.
    pub fn rollouts(&self) -> (RolloutBoard, RolloutCommands) {
        self.rollouts.doors()
    }

    /// For who only sees: the way in for observations, and the cohorts that they are of.
    pub fn inlet(&self) -> (mpsc::Sender<Vec<Observation>>, Arc<CohortTable>) {
        (self.observe.clone(), Arc::clone(&self.cohorts))
    }

    /// Where the reports appear.
    pub fn reports(&self) -> CohortReports {
        self.reports.clone()
    }

    /// Runs until `shutdown`; what was learnt is saved before it returns.
    pub async fn run(mut self, mut policies: watch::Receiver<Arc<PolicySet>>, shutdown: CancellationToken) {
        let mut decisions = interval(DECIDE_EVERY);
        decisions.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut since_saving, mut batches) = (0, Vec::with_capacity(BATCHES_AT_ONCE));
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Ok(()) = policies.changed() => self.replace_fleets(&policies.borrow_and_update().clone()),
                // Before what was seen: a flood of it must not delay a decision.
                _ = decisions.tick() => {
                    self.decide();
                    since_saving += 1;
                    if self.is_save_due || since_saving >= self.decisions_a_saving() {
                        since_saving = 0;
                        self.save();
                    }
                }
                Some(heard) = self.rollouts.heard() => match heard {
                    Heard::Command(command) => self.obey(command),
                    Heard::Value(value) => self.sample(&value),
                },
                _ = self.observed.recv_many(&mut batches, BATCHES_AT_ONCE) => self.take(&mut batches),
            }
        }
        if let Some(saver) = self.saver.take() {
            saver.finish(self.governor.memory());
        }
        self.rollouts.finish();
    }

    fn replace_fleets(&mut self, policies: &PolicySet) {
        let fleets = policies.fleets();
        if *fleets == *self.fleets {
            return;
        }
        self.fleets = Arc::clone(&fleets);
        self.cohorts.set_fleets(Arc::clone(&fleets));
        self.governor.set_fleets(fleets);
        self.decide();
        // Afterwards: what a device tells now is put where it belongs by the new ones.
        self.heartbeats.iter().for_each(Handle::ask_for_labels);
        self.gateways.iter().for_each(GatewayHandle::resettle);
    }

    fn take(&mut self, batches: &mut Vec<Vec<Observation>>) {
        // A cohort is there before the first observation of it is sent.
        self.tell_cohorts();
        batches.drain(..).flatten().for_each(|observation| self.governor.observe(&observation));
    }

    fn tell_cohorts(&mut self) {
        for entry in self.cohorts.since(self.told) {
            self.governor.add_cohort(&entry);
            self.told += 1;
        }
    }

    fn decide(&mut self) {
        self.tell_cohorts();
        let now = self.clock.now();
        let decided = self.governor.decide(now);
        let generation = decided.orders.generation;
        if decided.is_changed {
            let reports = self.governor.reports();
            self.rollouts.note_paces(&self.orders.load(), &decided.orders, &reports, now.wall);
            self.orders.store(decided.orders);
            self.changed.send_replace(generation);
        }
        self.reports.publish(generation, self.governor.reports());
        self.command(decided.commands);
        self.is_save_due |= !decided.events.is_empty();
        self.rollouts.note(self.governor.rollouts(), &decided.events, now.wall);
        self.rollouts.ask(&self.governor, now);
    }

    /// What a person says is decided at once, so that who asked sees what came of it.
    fn obey(&mut self, command: RolloutCommand) {
        let RolloutCommand { id, command, who, why, reply } = command;
        let done = self.governor.command(&id, command, (&who, &why), self.clock.now().wall);
        self.decide();
        if self.is_save_due {
            self.save();
        }
        let _ = reply.send(self.rollouts.result(&id, command, done));
    }

    fn sample(&mut self, value: &Value) {
        self.governor.sample(&value.rollout, value.query, value.sample, self.clock.now().wall);
    }

    /// Each command to the edge that its device comes by; what an edge has no room for is left out.
    fn command(&self, commands: Vec<DeviceCommand>) {
        let orders = self.orders.load();
        let transport = |command: &DeviceCommand| orders.cohort(command.cohort).map(|order| order.key.transport);
        for (door, sender) in &self.doors {
            let of_door: Vec<DeviceCommand> =
                commands.iter().filter(|command| transport(command) == Some(*door)).copied().collect();
            if !of_door.is_empty() && sender.try_send(of_door).is_err() {
                tracing::debug!(transport = %door, "commands are left out: the edge is busy");
            }
        }
    }

    fn save(&mut self) {
        if let Some(saver) = &self.saver {
            self.is_save_due = !saver.save(self.governor.memory());
        }
    }

    /// The evidence of a rollout is worth more than a minute of learning.
    fn decisions_a_saving(&self) -> u32 {
        if self.rollouts.is_under_way() { DECISIONS_A_SAVING_ROLLOUTS } else { DECISIONS_A_SAVING }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keepalive::cohort::Labels;
    use crate::keepalive::policy::Fleet;

    fn looped(memory: Memory) -> KeepaliveLoop {
        KeepaliveLoop::new(Clock::start(), &PolicySet::default(), memory, None)
    }

    fn labels(carrier: &str) -> Labels {
        [("carrier".into(), carrier.into()), ("region".into(), "eu".into())].into()
    }

    /// Waits, on paused time, until `is_so`.
    async fn until(is_so: impl Fn() -> bool) {
        for _ in 0..100 {
            if is_so() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("it did not come to that in 10 s");
    }

    #[test]
    fn orders_are_there_before_the_loop_runs() {
        let this = looped(Memory::default());
        let orders = this.orders.load();
        assert_eq!((orders.cohorts.len(), this.reports().load().reports.len()), (1, 1));
        assert!(orders.generation > 0 && *this.changed.borrow() == orders.generation);
    }

    #[test]
    fn a_generation_that_devices_have_seen_is_not_used_again() {
        let newest = u64::MAX >> 17;
        let this = looped(Memory { generation: newest, ..Memory::default() });
        assert!(this.orders.load().generation > newest);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cohort_that_an_edge_met_has_an_order_a_second_later() {
        let (mut this, shutdown) = (looped(Memory::default()), CancellationToken::new());
        let (edge, reports) = (this.wiring(Transport::Udp), this.reports());
        let (_policies, receiver) = watch::channel(Arc::default());
        let running = tokio::spawn(this.run(receiver, shutdown.clone()));
        let index = edge.cohorts.resolve(&labels("a"), Transport::Udp);
        until(|| edge.orders.load().cohorts.len() == 2).await;
        let order = Arc::clone(edge.orders.load().cohort(index).expect("an order"));
        assert_eq!(&*order.key.name, "carrier=a,region=eu");
        assert_eq!(reports.load().reports[1].fleet.as_deref(), Some("default"));
        shutdown.cancel();
        running.await.expect("ends well");
    }

    #[tokio::test(start_paused = true)]
    async fn fleets_that_are_reloaded_pace_anew() {
        let (mut this, shutdown) = (looped(Memory::default()), CancellationToken::new());
        let edge = this.wiring(Transport::Udp);
        let (policies, receiver) = watch::channel(Arc::default());
        let running = tokio::spawn(this.run(receiver, shutdown.clone()));
        let index = edge.cohorts.resolve(&labels("a"), Transport::Udp);
        until(|| edge.orders.load().cohorts.len() == 2).await;
        let before = edge.orders.load().cohort(index).expect("an order").pace;
        let mut fleet = Fleet::named("default");
        fleet.interval.min = Duration::from_secs(40);
        policies.send_replace(Arc::new(PolicySet { policies: Vec::new(), fleets: vec![Arc::new(fleet)] }));
        until(|| edge.orders.load().cohort(index).expect("an order").pace.generation > before.generation).await;
        let after = edge.orders.load().cohort(index).expect("an order").pace;
        assert!(after.interval >= Duration::from_secs(40) && before.interval < after.interval, "{before:?} {after:?}");
        shutdown.cancel();
        running.await.expect("ends well");
    }

    #[test]
    fn a_command_goes_to_the_edge_that_its_device_comes_by() {
        use crate::keepalive::order::DeviceOrder;
        use flyball_sdk::device::id::DeviceId;
        let mut this = looped(Memory::default());
        let (mut udp, mut tcp) = (this.wiring(Transport::Udp), this.wiring(Transport::Tcp));
        let [a, b] = [Transport::Udp, Transport::Tcp].map(|transport| this.cohorts.resolve(&labels("a"), transport));
        this.decide();
        let command =
            |cohort| DeviceCommand { device: DeviceId([1; 16]), cohort, order: DeviceOrder::Cohort, is_urgent: false };
        this.command(vec![command(a), command(b)]);
        assert_eq!(udp.commands.try_recv().expect("its own"), [command(a)]);
        assert_eq!(tcp.commands.try_recv().expect("its own"), [command(b)]);
        assert!(udp.commands.try_recv().is_err() && tcp.commands.try_recv().is_err());
    }
}
