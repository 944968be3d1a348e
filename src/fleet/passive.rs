//! What the monitor saw in the kernel, on its way to the loop. Each silence goes one way only, so that none counts twice:
//!
//! - Devices that beat to our own server: to the server, which knows who they are. It tells the loop what agrees with
//!   their authentic heartbeats, and leaves its own measure out while somebody watches.
//! - All others (a QUIC server's, another port's): straight to the loop, as a silence of the cohort that the monitor's
//!   prefixes name. Nobody authenticates these ids: who can send from a carrier's addresses can bias what is learnt of
//!   that carrier. The floor and the ceiling of the fleet bound what comes of it.

use std::sync::Arc;

use flyball_sdk::device::id::DeviceId;
use tokio::sync::mpsc;

use super::cohorts::CohortTable;
use super::heartbeat::handle::Handle;
use crate::keepalive::cohort::{Labels, Transport};
use crate::keepalive::observation::{BindingClass, Observation, ObservationKind, Silence};
use crate::monitor::clock::KernelClock;
use crate::monitor::event::{Gap, Outcome};

/// Where silences go.
#[derive(Debug)]
pub enum Passive {
    /// To the server whose devices they are of.
    Server(Handle),
    /// To the loop.
    Loop(Direct),
}

/// The way past the server.
#[derive(Debug)]
pub struct Direct {
    /// To the loop.
    pub observations: mpsc::Sender<Vec<Observation>>,
    /// Which cohort a name is.
    pub cohorts: Arc<CohortTable>,
    /// Joins the kernel's times with the process's.
    pub clock: KernelClock,
}

impl Passive {
    /// To the server, which from now on, and for as long as this lives, leaves its own measure out.
    pub fn watching(server: Handle) -> Self {
        server.set_watched(true);
        Self::Server(server)
    }

    /// Takes one silence in; waits for nobody.
    pub fn take(&self, gap: &Gap) {
        match self {
            Self::Server(handle) => handle.offer(gap),
            Self::Loop(direct) => {
                if let Some(observation) = direct.observation(gap) {
                    // A loop that is behind loses some: statistics lose nothing but time by it.
                    let _ = direct.observations.try_send(vec![observation]);
                }
            }
        }
    }
}

impl Drop for Passive {
    fn drop(&mut self) {
        if let Self::Server(handle) = self {
            handle.set_watched(false);
        }
    }
}

impl Direct {
    /// A device that moved on purpose says nothing of its NAT.
    fn observation(&self, gap: &Gap) -> Option<Observation> {
        let has_moved = match gap.outcome {
            Outcome::Survived => false,
            Outcome::Rebound => true,
            Outcome::Migrated => return None,
        };
        let silence = Silence {
            device: device(gap),
            class: if gap.is_stream { BindingClass::Stream } else { BindingClass::Unreplied },
            silence: gap.silence,
            gap: gap.gap,
            has_moved,
            is_same_address: gap.path.from.ip() == gap.path.to.ip(),
            is_doubtful: gap.is_rebooted || gap.missed > 0,
        };
        let cohort = self.cohorts.resolve(&labels(&gap.cohort), Transport::Udp);
        Some(Observation { at: self.clock.mono(gap.kernel_at), cohort, kind: ObservationKind::Silence(silence) })
    }
}

/// Names of other lengths than ours, with zeros behind.
fn device(gap: &Gap) -> DeviceId {
    let mut id = [0; 16];
    id.iter_mut().zip(gap.device.as_bytes()).for_each(|(to, byte)| *to = *byte);
    DeviceId(id)
}

/// `carrier=a,region=unknown`: what is not known is no label.
fn labels(name: &str) -> Labels {
    let pairs = name.split(',').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(_, value)| *value != "unknown").map(|(key, value)| (key.into(), value.into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keepalive::policy::{Fleet, Fleets};
    use crate::monitor::clock::KernelTime;
    use crate::monitor::event::Decoder;
    use crate::monitor::key::Key;
    use crate::monitor::synthetic;
    use crate::time::{MonoTime, WallTime};

    fn gap() -> Gap {
        let names = vec!["carrier=unknown,region=unknown".into(), "carrier=a,region=eu".into()];
        let decoder = Decoder::new(Key::Heartbeat, names, WallTime::default());
        decoder.event(&synthetic::rebinding(1, 45.1)).expect("a known kind").ended_gap().expect("a known silence")
    }

    fn direct() -> (Direct, mpsc::Receiver<Vec<Observation>>) {
        let (observations, observed) = mpsc::channel(4);
        let fleets = Fleets { fleets: vec![Arc::new(Fleet::named("gateways"))] };
        let cohorts = Arc::new(CohortTable::new(Arc::new(fleets)));
        let clock = KernelClock::joined(KernelTime(0), MonoTime::default());
        (Direct { observations, cohorts, clock }, observed)
    }

    fn taken(gap: &Gap) -> Option<Silence> {
        let (direct, mut observed) = direct();
        Passive::Loop(direct).take(gap);
        match observed.try_recv().ok()?.pop()?.kind {
            ObservationKind::Silence(silence) => Some(silence),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_rebinding_is_a_silence_of_the_named_cohort_that_moved() {
        let silence = taken(&gap()).expect("told");
        assert!(silence.has_moved && silence.is_same_address && !silence.is_doubtful, "{silence:?}");
        assert_eq!((silence.silence, silence.class), (synthetic::seconds(45.1), BindingClass::Unreplied));
        let (direct, mut observed) = direct();
        let names = |direct: &Direct| -> Vec<String> {
            direct.cohorts.since(1).iter().map(|entry| entry.key.name.to_string()).collect()
        };
        direct.observations.try_send(vec![direct.observation(&gap()).expect("told")]).expect("room");
        assert_eq!(observed.try_recv().expect("told")[0].cohort.0, 1);
        assert_eq!(names(&direct), vec!["carrier=a,region=eu".to_owned()]);
    }

    #[test]
    fn a_push_that_may_not_have_passed_leaves_both_times() {
        let refreshed = Gap { silence: synthetic::seconds(5.0), gap: synthetic::seconds(50.0), ..gap() };
        let silence = taken(&refreshed).expect("told");
        assert_eq!((silence.silence, silence.gap), (synthetic::seconds(5.0), synthetic::seconds(50.0)));
    }

    #[test]
    fn another_address_a_restart_and_missing_packets_are_told_and_a_migration_is_not() {
        let mut roamed = gap();
        roamed.path.to.set_ip([192, 0, 2, 9].into());
        assert!(!taken(&roamed).expect("told").is_same_address);
        assert!(taken(&Gap { is_rebooted: true, ..gap() }).expect("told").is_doubtful);
        assert!(taken(&Gap { missed: 1, ..gap() }).expect("told").is_doubtful);
        assert_eq!(taken(&Gap { outcome: Outcome::Migrated, ..gap() }), None);
    }
}
