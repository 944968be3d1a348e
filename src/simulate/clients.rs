//! The SDKs of one service: what they are told, and when they come to do it.

use std::time::Duration;

use flyball_sdk::{LocalLimit, LocalLimitSettings};
use rand::RngExt;
use rand_distr::{Distribution, Exp};
use rand_pcg::Pcg64Mcg;

use super::scenario::{Adoption, Clients};
use crate::sampling::local::LocalShare;

/// A process that starts samples with the SDK's own initial probability until its first answer, for so long.
const FIRST_ANSWER_SECONDS: f64 = 1.0;

/// All instances of one service.
#[derive(Debug, Clone)]
pub(super) struct Fleet {
    adoption: Adoption,
    restart_every: Option<Duration>,
    initial: Vec<f64>,
    told: Vec<f64>,
    share: Option<LocalShare>,
    instances: Vec<Instance>,
    /// Over the instances, weighted by their load, by operation.
    mean: Vec<f64>,
    /// No instance changes before this.
    due: f64,
}

/// One process.
#[derive(Debug, Clone)]
pub(super) struct Instance {
    /// Its part of the service's load.
    pub load: f64,
    /// What it samples with, by operation.
    pub adopted: Vec<f64>,
    /// The SDK's own limit, where it is in use.
    pub limit: Option<LocalLimit>,
    /// When it takes up what is told then.
    adopts_at: f64,
    restarts_at: f64,
}

impl Fleet {
    /// `operations`: how many; all start with `initial`.
    pub(super) fn new(clients: &Clients, operations: usize, initial: f64, random: &mut Pcg64Mcg) -> Self {
        let initial = vec![initial; operations];
        let count = clients.instances.max(1);
        let loads: Vec<f64> = (1..=count).map(|i| f64::from(i).powf(-clients.skew)).collect();
        let total: f64 = loads.iter().sum();
        let together: f64 = random.random();
        let instance = |load: &f64| Instance {
            load: load / total,
            adopted: initial.clone(),
            limit: clients.has_local_limit.then(new_limit),
            adopts_at: match clients.adoption {
                Adoption::Stream { .. } => f64::INFINITY,
                Adoption::Poll { every, is_synchronised } => {
                    let phase = if is_synchronised { together } else { random.random() };
                    phase * every.as_secs_f64()
                }
            },
            restarts_at: 0.0,
        };
        let mut instances: Vec<Instance> = loads.iter().map(instance).collect();
        for instance in &mut instances {
            instance.restarts_at = next_restart(0.0, clients.restart_every, random);
        }
        let mut fleet = Self {
            adoption: clients.adoption,
            restart_every: clients.restart_every,
            told: initial.clone(),
            share: None,
            mean: initial.clone(),
            initial,
            instances,
            due: 0.0,
        };
        fleet.plan();
        fleet
    }

    /// Publishes probabilities by operation, and the share. Returns whether the probabilities differ from what was told
    /// before.
    pub(super) fn tell(&mut self, t: f64, told: &[f64], share: Option<LocalShare>) -> bool {
        let is_new = self.told != told;
        if !is_new && LocalShare::is_close(self.share, share) {
            return false;
        }
        self.told.clear();
        self.told.extend_from_slice(told);
        self.share = share;
        if let Adoption::Stream { delay } = self.adoption {
            let at = t + delay.as_secs_f64();
            for instance in &mut self.instances {
                // A push on its way is not called back by the next; it carries the newest either way.
                instance.adopts_at = instance.adopts_at.min(at);
            }
            self.plan();
        }
        is_new
    }

    /// Time passes.
    pub(super) fn step(&mut self, t: f64, random: &mut Pcg64Mcg) {
        if t < self.due {
            return;
        }
        for instance in &mut self.instances {
            if t >= instance.restarts_at {
                instance.adopted.clone_from(&self.initial);
                instance.limit = instance.limit.take().map(|_| new_limit());
                instance.adopts_at = t + FIRST_ANSWER_SECONDS;
                instance.restarts_at = next_restart(t, self.restart_every, random);
            } else if t >= instance.adopts_at {
                instance.adopted.clone_from(&self.told);
                if let Some(limit) = &mut instance.limit {
                    limit.adopt(Duration::from_secs_f64(t), self.share.and_then(sdk_share));
                }
                instance.adopts_at = match self.adoption {
                    Adoption::Stream { .. } => f64::INFINITY,
                    Adoption::Poll { every, .. } => instance.adopts_at + every.as_secs_f64(),
                };
            }
        }
        self.mean = mean(&self.instances, self.initial.len());
        self.plan();
    }

    /// What is told.
    pub(super) fn told(&self) -> &[f64] {
        &self.told
    }

    /// What is done, by operation, over the instances.
    pub(super) fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Each process.
    pub(super) fn instances_mut(&mut self) -> &mut [Instance] {
        &mut self.instances
    }

    fn plan(&mut self) {
        self.due = self.instances.iter().map(|i| i.adopts_at.min(i.restarts_at)).fold(f64::INFINITY, f64::min);
    }
}

fn new_limit() -> LocalLimit {
    LocalLimit::new(LocalLimitSettings::default())
}

/// As it comes over the wire.
fn sdk_share(share: LocalShare) -> Option<flyball_sdk::LocalShare> {
    flyball_sdk::LocalShare::new(share.expected_traces_per_second, share.share_traces_per_second)
}

fn mean(instances: &[Instance], operations: usize) -> Vec<f64> {
    let mut mean = vec![0.0; operations];
    for instance in instances {
        mean.iter_mut().zip(&instance.adopted).for_each(|(m, p)| *m += instance.load * p);
    }
    mean
}

fn next_restart(t: f64, every: Option<Duration>, random: &mut Pcg64Mcg) -> f64 {
    let life = every.and_then(|every| Exp::new(1.0 / every.as_secs_f64()).ok());
    life.map_or(f64::INFINITY, |life| t + life.sample(random))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn clients(adoption: Adoption) -> Clients {
        Clients {
            instances: 40,
            adoption,
            has_local_limit: false,
            ignoring: 0.0,
            ignoring_probability: 0.1,
            restart_every: None,
            skew: 0.0,
        }
    }

    #[test]
    fn a_stream_reaches_everyone_after_its_delay_and_polling_spreads_over_its_period() {
        let mut random = Pcg64Mcg::seed_from_u64(1);
        let mut pushed =
            Fleet::new(&clients(Adoption::Stream { delay: Duration::from_millis(600) }), 1, 0.1, &mut random);
        assert!(pushed.tell(10.0, &[0.5], None) && !pushed.tell(10.0, &[0.5], None));
        pushed.step(10.4, &mut random);
        assert_eq!(pushed.mean(), [0.1]);
        pushed.step(10.6, &mut random);
        assert!((pushed.mean()[0] - 0.5).abs() < 1e-9);
        let poll = Adoption::Poll { every: Duration::from_secs(60), is_synchronised: false };
        let mut polled = Fleet::new(&clients(poll), 1, 0.0, &mut random);
        polled.tell(0.0, &[1.0], None);
        (0..150).for_each(|i| polled.step(f64::from(i) * 0.2, &mut random));
        assert!((0.25..0.75).contains(&polled.mean()[0]), "{:?}", polled.mean());
        (150..301).for_each(|i| polled.step(f64::from(i) * 0.2, &mut random));
        assert!((polled.mean()[0] - 1.0).abs() < 1e-9);
    }
}
