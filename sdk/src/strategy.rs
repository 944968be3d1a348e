//! What root spans are to be sampled at: immutable once built, swapped whole, read on every root span.
//!
//! Whatever a server sends is checked here and nowhere else. A strategy with a number that means nothing is refused as
//! a whole, because half of a strategy was never decided by anyone; the last good one stays.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::limit::{LocalShare, Roots};
use crate::proto;
use crate::rate::Rate;

/// Operations kept of one strategy; servers send the hottest first.
const OPERATIONS_MAX: usize = 256;

/// Rates for the operations listed and for the rest.
#[derive(Debug)]
pub(crate) struct Strategy {
    generation: u64,
    rest: Priced,
    operations: HashMap<Box<str>, Operation>,
    share: Option<LocalShare>,
}

/// A rate, and how many root spans had it since the last count.
#[derive(Debug)]
struct Priced {
    rate: Rate,
    roots: AtomicU64,
}

/// One listed operation.
#[derive(Debug)]
struct Operation {
    priced: Priced,
    /// Whether a root span had this name since the last report.
    was_met: AtomicBool,
}

/// Why a strategy was not adopted.
#[derive(Debug, thiserror::Error, PartialEq)]
pub(crate) enum StrategyError {
    #[error("the probability of {of} is {value}, which is not a number between 0 and 1")]
    NotFinite { of: String, value: f64 },
    #[error("the {of} traces/s are {value}, which is no rate")]
    NoRate { of: &'static str, value: f64 },
    #[error("generation {offered} is older than {held}, the one in force")]
    Older { offered: u64, held: u64 },
}

impl Strategy {
    /// One rate for everything, older than whatever a server sends.
    pub(crate) fn initial(rate: Rate) -> Self {
        Self { generation: 0, rest: Priced::new(rate), operations: HashMap::new(), share: None }
    }

    /// Empty names are skipped, the first of two equal names wins, and what exceeds [`OPERATIONS_MAX`] falls to the
    /// rate of the rest.
    pub(crate) fn new(
        generation: u64,
        probability: f64,
        listed: impl IntoIterator<Item = (String, f64)>,
    ) -> Result<Self, StrategyError> {
        let rest = Priced::new(parse("all other operations", probability)?);
        let mut operations = HashMap::new();
        for (name, probability) in listed {
            if operations.len() == OPERATIONS_MAX {
                break;
            }
            let rate = parse(&name, probability)?;
            if !name.is_empty() {
                let operation = Operation { priced: Priced::new(rate), was_met: AtomicBool::new(false) };
                operations.entry(name.into_boxed_str()).or_insert(operation);
            }
        }
        Ok(Self { generation, rest, operations, share: None })
    }

    /// As pushed by the stream.
    pub(crate) fn from_push(pushed: proto::Strategy) -> Result<Self, StrategyError> {
        let operations = pushed.operations.into_iter().map(|operation| (operation.name, operation.probability));
        let share = share(pushed.expected_traces_per_second, pushed.share_traces_per_second)?;
        Ok(Self { share, ..Self::new(pushed.generation, pushed.probability, operations)? })
    }

    /// This strategy if it may follow `held`: generations only grow, and an equal one is taken, because a server that
    /// has nothing newer says what it has. What `held` noted for the next report goes along.
    pub(crate) fn succeeding(self, held: &Self) -> Result<Self, StrategyError> {
        if self.generation < held.generation {
            return Err(StrategyError::Older { offered: self.generation, held: held.generation });
        }
        for (name, operation) in &self.operations {
            let was_met = held.operations.get(name).is_some_and(|old| old.was_met.load(Ordering::Relaxed));
            operation.was_met.store(was_met, Ordering::Relaxed);
        }
        Ok(self)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Of operations that are not listed.
    pub(crate) fn probability(&self) -> f64 {
        self.rest.rate.probability()
    }

    pub(crate) fn operation_count(&self) -> usize {
        self.operations.len()
    }

    /// What the service is expected to cause and what it may, if the server tells.
    pub(crate) fn share(&self) -> Option<LocalShare> {
        self.share
    }

    /// The rate of a root span with this name, and whether the name is listed. Notes a listed name for the report, and
    /// counts the span where the strategy has a share.
    pub(crate) fn rate_of(&self, name: &str) -> (Rate, Listed) {
        if self.operations.is_empty() {
            return (self.count(&self.rest), Listed::NoneAre);
        }
        let Some(operation) = self.operations.get(name) else { return (self.count(&self.rest), Listed::No) };
        // Reading first keeps the cache line shared among the cores once the flag is up.
        if !operation.was_met.load(Ordering::Relaxed) {
            operation.was_met.store(true, Ordering::Relaxed);
        }
        (self.count(&operation.priced), Listed::Yes)
    }

    fn count(&self, priced: &Priced) -> Rate {
        if self.share.is_some() {
            priced.roots.fetch_add(1, Ordering::Relaxed);
        }
        priced.rate
    }

    /// The root spans since the last call.
    pub(crate) fn take_roots(&self) -> Roots {
        let operations = self.operations.values().map(|operation| &operation.priced);
        operations.chain([&self.rest]).map(Priced::take).fold(Roots::default(), Roots::and)
    }

    /// The listed names met since the last call.
    pub(crate) fn take_met(&self) -> Vec<String> {
        let met = self.operations.iter().filter(|(_, operation)| operation.was_met.swap(false, Ordering::Relaxed));
        met.map(|(name, _)| name.to_string()).collect()
    }
}

impl Priced {
    fn new(rate: Rate) -> Self {
        Self { rate, roots: AtomicU64::new(0) }
    }

    fn take(&self) -> Roots {
        // Reading first keeps the cache lines of operations that rest.
        match self.roots.load(Ordering::Relaxed) {
            0 => Roots::default(),
            _ => Roots::uniform(self.roots.swap(0, Ordering::Relaxed) as f64, self.rate.probability()),
        }
    }
}

/// Whether a name is among the listed operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listed {
    Yes,
    No,
    /// The strategy lists no operation, so that an unlisted name tells nothing.
    NoneAre,
}

fn parse(of: &str, value: f64) -> Result<Rate, StrategyError> {
    Rate::new(value).ok_or_else(|| StrategyError::NotFinite { of: of.to_owned(), value })
}

/// Absent numbers are zeros, and no limit.
fn share(expected: f64, share: f64) -> Result<Option<LocalShare>, StrategyError> {
    for (of, value) in [("expected", expected), ("share's", share)] {
        if !(0.0..f64::INFINITY).contains(&value) {
            return Err(StrategyError::NoRate { of, value });
        }
    }
    Ok(LocalShare::new(expected, share))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strategy(generation: u64, operations: &[(&str, f64)]) -> Result<Strategy, StrategyError> {
        Strategy::new(generation, 0.5, operations.iter().map(|(name, p)| ((*name).to_owned(), *p)))
    }

    fn probability_of(strategy: &Strategy, name: &str) -> f64 {
        strategy.rate_of(name).0.probability()
    }

    #[test]
    fn a_listed_operation_has_its_own_rate_and_the_others_share_one() {
        let strategy = strategy(1, &[("GET /", 0.25), ("GET /health", 0.0)]).expect("valid");
        let rates = ["GET /", "GET /health", "GET", "get /", ""].map(|name| probability_of(&strategy, name));
        assert_eq!(rates, [0.25, 0.0, 0.5, 0.5, 0.5]);
    }

    #[test]
    fn only_the_first_256_operations_are_kept() {
        let names: Vec<String> = (0..300).map(|n| format!("op {n}")).collect();
        let strategy = Strategy::new(1, 0.5, names.into_iter().map(|name| (name, 0.25))).expect("valid");
        assert_eq!(strategy.operation_count(), 256);
        assert_eq!([probability_of(&strategy, "op 255"), probability_of(&strategy, "op 256")], [0.25, 0.5]);
    }

    #[test]
    fn empty_names_are_skipped_and_the_first_of_two_equal_names_wins() {
        let strategy = strategy(1, &[("", 0.9), ("a", 0.1), ("a", 0.2)]).expect("valid");
        assert_eq!((strategy.operation_count(), probability_of(&strategy, "a")), (1, 0.1));
    }

    #[test]
    fn one_number_that_means_nothing_refuses_the_whole_strategy() {
        let refused = strategy(1, &[("a", 0.1), ("b", f64::INFINITY)]).expect_err("infinite");
        assert_eq!(refused, StrategyError::NotFinite { of: "b".to_owned(), value: f64::INFINITY });
        assert!(Strategy::new(1, f64::NAN, []).is_err());
    }

    #[test]
    fn roots_are_counted_by_what_they_are_worth_where_there_is_a_share() {
        let pushed = |expected, share| {
            let operations = vec![proto::Operation { name: "a".to_owned(), probability: 0.5 }];
            let strategy = proto::Strategy { generation: 1, probability: 0.1, operations, ..Default::default() };
            Strategy::from_push(proto::Strategy {
                expected_traces_per_second: expected,
                share_traces_per_second: share,
                ..strategy
            })
        };
        let met = |strategy: &Strategy| ["a", "a", "b"].map(|name| probability_of(strategy, name));
        let strategy = pushed(10.0, 20.0).expect("valid");
        met(&strategy);
        let roots = strategy.take_roots();
        assert_eq!((roots.count, roots.traces), (3.0, 1.1));
        assert!((roots.squares - 0.51).abs() < 1e-12);
        assert_eq!(strategy.take_roots(), Roots::default());
        let without = pushed(0.0, 0.0).expect("valid");
        met(&without);
        assert_eq!((without.share(), without.take_roots()), (None, Roots::default()));
        for (expected, share) in [(f64::NAN, 1.0), (1.0, f64::INFINITY), (-1.0, 1.0)] {
            assert!(matches!(pushed(expected, share), Err(StrategyError::NoRate { .. })));
        }
    }

    #[test]
    fn generations_only_grow_and_an_equal_one_is_taken() {
        let held = strategy(7, &[]).expect("valid");
        let refused = strategy(6, &[]).and_then(|older| older.succeeding(&held)).expect_err("older");
        assert_eq!(refused, StrategyError::Older { offered: 6, held: 7 });
        for generation in [7, 8, u64::MAX] {
            assert!(strategy(generation, &[]).and_then(|next| next.succeeding(&held)).is_ok());
        }
    }

    #[test]
    fn names_met_are_reported_once_and_survive_a_new_strategy() {
        let held = strategy(1, &[("a", 0.1), ("b", 0.1)]).expect("valid");
        assert_eq!([held.rate_of("a").1, held.rate_of("z").1], [Listed::Yes, Listed::No]);
        let next = strategy(2, &[("a", 0.2), ("c", 0.1)]).and_then(|next| next.succeeding(&held)).expect("newer");
        assert_eq!((next.take_met(), next.take_met()), (vec!["a".to_owned()], vec![]));
    }
}
