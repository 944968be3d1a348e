//! The way between a device and the server: packets are lost, alone or in bursts, and the device is switched off.

use flyball_sdk::device::probe::{ProbeOutcome, TRIES};
use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use super::draw::NatBox;

/// Once in so many seconds a device is switched off.
const OFF_EVERY_SECONDS: f64 = 8.0 * 3_600.0;

/// A two-state channel, stepped once a try (Gilbert and Elliott): packets are lost with the state's probability in each
/// direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// In the good state.
    pub loss: f64,
    /// In the bad one.
    pub loss_bad: f64,
    /// From good to bad, at each step.
    pub fails: f64,
    /// From bad to good.
    pub recovers: f64,
}

impl Link {
    /// Loses packets independently of each other.
    pub const fn independent(loss: f64) -> Self {
        Self { loss, loss_bad: loss, fails: 0.0, recovers: 1.0 }
    }

    /// In bursts of three tries, as facts from the field have it.
    pub const fn bursts() -> Self {
        Self { loss: 0.002, loss_bad: 0.6, fails: 0.005, recovers: 0.3 }
    }

    /// One test of a silence, and how many controls came back.
    pub fn test(self, nat: NatBox, silence: f64, random: &mut Pcg64Mcg) -> (ProbeOutcome, u8) {
        if random.random_bool(1.0 - (-silence / OFF_EVERY_SECONDS).exp()) {
            return (ProbeOutcome::Lost, 0);
        }
        let is_alive = nat.is_alive(silence, random);
        let (mut controls, mut passed) = (0, false);
        let mut is_bad = self.starts_bad(random);
        for _ in 0..TRIES {
            let loss = if is_bad { self.loss_bad } else { self.loss };
            let [asked, answered, arrived] = [(); 3].map(|()| !random.random_bool(loss));
            controls += u8::from(asked && answered);
            passed |= is_alive && asked && arrived;
            is_bad = random.random_bool(if is_bad { 1.0 - self.recovers } else { self.fails });
        }
        match (passed, controls) {
            (true, _) => (ProbeOutcome::Survived, controls),
            (false, 0) => (ProbeOutcome::Lost, 0),
            (false, _) => (ProbeOutcome::Expired, controls),
        }
    }

    /// Of so many exchanges in short gaps, minutes apart: those that nothing answered.
    pub fn short_gaps(self, sent: u32, random: &mut Pcg64Mcg) -> u32 {
        let lost = (0..sent).filter(|_| {
            let loss = if self.starts_bad(random) { self.loss_bad } else { self.loss };
            random.random_bool(loss) || random.random_bool(loss)
        });
        lost.count() as u32
    }

    fn starts_bad(self, random: &mut Pcg64Mcg) -> bool {
        random.random_bool(self.fails / (self.fails + self.recovers))
    }
}
