//! A sampler under test, as the scenarios see it: it decides often, and says how often it sampled.

use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use serde::Deserialize;

/// A client polls every second or oftener; the rest is for machines that are busy with something else.
const ADOPTION_MAX: Duration = Duration::from_secs(60);

/// Time between two counts.
const PAUSE: Duration = Duration::from_millis(100);

/// A right sampler is farther off its mean than this many standard deviations once in 1.7 million counts; and then the
/// next count decides.
const DEVIATIONS_MAX: f64 = 5.0;

/// What the sampler decided since it was asked last.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Count {
    /// Root spans of each operation.
    pub(crate) of: u32,
    /// How many of them were sampled, in the order in which the operations were given.
    pub(crate) sampled: Vec<u32>,
    /// How often the SDK complained since it started.
    pub(crate) errors: u32,
}

/// A real sampler, wherever it runs.
pub(crate) trait Sampler {
    /// Lets it decide.
    fn count(&mut self) -> Result<Count, Failed>;

    /// Waits until it samples these shares of its operations.
    fn expect(&mut self, probabilities: &[f64]) -> Result<(), Failed> {
        let deadline = Instant::now() + ADOPTION_MAX;
        loop {
            let count = self.count()?;
            if count.shows(probabilities) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("expected shares of {probabilities:?}, the last count was {count:?}").into());
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// No fetch failed and no answer was odd, from the first one on.
    fn expect_no_complaints(&mut self) -> Result<(), Failed> {
        match self.count()?.errors {
            0 => Ok(()),
            errors => Err(format!("the SDK complained {errors} times; its words are above").into()),
        }
    }
}

impl Count {
    fn shows(&self, probabilities: &[f64]) -> bool {
        self.sampled.len() == probabilities.len()
            && self.sampled.iter().zip(probabilities).all(|(sampled, p)| shows(*sampled, self.of, *p))
    }
}

/// Never and always are exact; between them the binomial distribution decides, and neither is good enough.
fn shows(sampled: u32, of: u32, probability: f64) -> bool {
    if probability == 0.0 || probability == 1.0 {
        return sampled == if probability == 0.0 { 0 } else { of };
    }
    let mean = f64::from(of) * probability;
    let deviation = (mean * (1.0 - probability)).sqrt();
    sampled > 0 && sampled < of && (f64::from(sampled) - mean).abs() <= DEVIATIONS_MAX * deviation
}
