//! The limiter in a fleet of its own: Poisson streams on fake time, and a controller who answers when a test says so.

use std::time::Duration;

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

const SLOT: f64 = 0.1;

/// One instance under a Poisson stream, settled ten times a second as the sampler does.
struct Instance {
    limit: LocalLimit,
    now: f64,
    random: StdRng,
    /// Since the last look: root spans, those that met a factor below 1, traces passed (expected).
    roots: f64,
    limited: f64,
    passed: f64,
}

impl Instance {
    fn new(seed: u64) -> Self {
        let limit = LocalLimit::new(LocalLimitSettings::default());
        let random = StdRng::seed_from_u64(seed);
        Self { limit, now: 0.0, random, roots: 0.0, limited: 0.0, passed: 0.0 }
    }

    /// One that has done `rate` root spans/s at `probability` for five minutes.
    fn settled(seed: u64, rate: f64, probability: f64, expected: f64, share: f64) -> Self {
        let mut instance = Self::new(seed);
        instance.told(expected, share);
        instance.run(300.0, rate, probability);
        instance.look();
        instance
    }

    fn told(&mut self, expected: f64, share: f64) {
        self.limit.adopt(Duration::from_secs_f64(self.now), LocalShare::new(expected, share));
    }

    fn run(&mut self, seconds: f64, rate: f64, probability: f64) {
        for _ in 0..(seconds / SLOT).round() as u64 {
            let count = poisson(&mut self.random, rate * SLOT);
            let factor = self.limit.factor();
            self.now += SLOT;
            self.roots += count;
            self.limited += if factor < 1.0 { count } else { 0.0 };
            self.passed += count * probability * factor;
            if count > 0.0 {
                self.limit.observe_many(Duration::from_secs_f64(self.now), Roots::uniform(count, probability));
            }
        }
    }

    /// Traces passed, and the part of the root spans that met a limit, since the last look.
    fn look(&mut self) -> (f64, f64) {
        let seen = (self.passed, if self.roots > 0.0 { self.limited / self.roots } else { 0.0 });
        (self.roots, self.limited, self.passed) = (0.0, 0.0, 0.0);
        seen
    }
}

/// Knuth's for small means, the normal approximation for large ones.
fn poisson(random: &mut StdRng, mean: f64) -> f64 {
    if mean > 50.0 {
        let uniforms: f64 = (0..12).map(|_| random.random::<f64>()).sum();
        return (mean + (uniforms - 6.0) * mean.sqrt()).round().max(0.0);
    }
    let (limit, mut product, mut count) = ((-mean).exp(), random.random::<f64>(), 0.0);
    while product > limit {
        product *= random.random::<f64>();
        count += 1.0;
    }
    count
}

#[test]
fn a_steady_stream_of_any_rate_is_not_limited() {
    for (seed, rate) in [0.05, 0.3, 0.5, 0.7, 1.0, 2.0, 5.0, 20.0, 100.0, 1e3, 2e4].into_iter().enumerate() {
        for probability in [1.0, 0.3, 0.001] {
            let expected = rate * probability * 7.0;
            let mut instance = Instance::new(seed as u64);
            instance.told(expected, expected);
            instance.run(3_000.0_f64.max(300.0 / rate).min(20_000.0), rate, probability);
            let (_, limited) = instance.look();
            assert!(limited < 0.01, "{limited} of the root spans at {rate}/s and {probability}");
        }
    }
}

#[test]
fn a_rare_operation_at_one_beside_a_hot_one_at_a_thousandth_is_not_limited() {
    for seed in 0..5 {
        let mut instance = Instance::new(seed);
        instance.told(5.0, 5.0);
        let (mut limited, mut slots) = (0, 0);
        for _ in 0..20_000 {
            instance.now += SLOT;
            let (rare, hot) = (poisson(&mut instance.random, 0.05), poisson(&mut instance.random, 20.0));
            let roots = Roots::uniform(rare, 1.0).and(Roots::uniform(hot, 0.001));
            limited += u32::from(instance.limit.observe_many(Duration::from_secs_f64(instance.now), roots) < 1.0);
            slots += 1;
        }
        assert!(limited * 100 < slots, "{limited} of {slots}");
    }
}

#[test]
fn a_surge_passes_little_more_than_k_times_the_usual() {
    for (rate, share_of_surge) in [(100.0, 0.18), (1_000.0, 0.15), (20_000.0, 0.14)] {
        let mut instance = Instance::settled(1, rate, 0.5, 4.0 * rate * 0.5, 4.0 * rate * 0.5);
        instance.run(1.0, 10.0 * rate, 0.5);
        let (first, _) = instance.look();
        assert!(first < 0.4 * 10.0 * rate * 0.5, "{first} in the first second at {rate}/s");
        instance.run(10.0, 10.0 * rate, 0.5);
        let (passed, _) = instance.look();
        let part = passed / (10.0 * 10.0 * rate * 0.5);
        assert!((0.1..share_of_surge).contains(&part), "{part} at {rate}/s");
    }
}

#[test]
fn a_share_with_room_lets_a_surge_into_the_room() {
    let mut instance = Instance::settled(1, 1_000.0, 0.5, 1_000.0, 4_000.0);
    instance.run(20.0, 4_000.0, 0.5);
    assert_eq!(instance.look().1, 0.0);
    instance.run(20.0, 40_000.0, 0.5);
    let (passed, _) = instance.look();
    assert!((1.0..1.8).contains(&(passed / (20.0 * 2_000.0))), "{passed}");
}

#[test]
fn a_strategy_that_answers_the_surge_ends_the_limit_at_once() {
    for (probability, expected) in [(0.05, 2_000.0), (0.5, 20_000.0)] {
        let mut instance = Instance::settled(1, 1_000.0, 0.5, 2_000.0, 2_000.0);
        instance.run(6.0, 10_000.0, 0.5);
        assert!(instance.limit.factor() < 0.2);
        instance.look();
        instance.told(expected, expected);
        instance.run(300.0, 10_000.0, probability);
        assert_eq!(instance.look().1, 0.0, "at {probability}");
    }
}

#[test]
fn strategies_that_come_every_five_seconds_neither_open_nor_close_the_limit() {
    let mut steady = Instance::settled(1, 1_000.0, 0.5, 2_000.0, 2_000.0);
    let mut surged = Instance::settled(2, 1_000.0, 0.5, 2_000.0, 2_000.0);
    for i in 0..10 {
        // The demand that they are made from is noisy.
        let expected = 2_000.0 * (1.0 + 0.05 * f64::from(i % 3 - 1));
        [&mut steady, &mut surged].into_iter().for_each(|instance| instance.told(expected, 2_000.0));
        steady.run(5.0, 1_000.0, 0.5);
        surged.run(5.0, 10_000.0, 0.5);
    }
    assert_eq!(steady.look().1, 0.0);
    let (passed, _) = surged.look();
    assert!(passed / (50.0 * 5_000.0) < 0.2, "{passed}");
}

#[test]
fn skewed_instances_cause_what_they_usually_do_and_together_k_times_the_share() {
    let rates = [1_000.0, 300.0, 100.0, 30.0, 10.0];
    let total: f64 = rates.iter().sum();
    let mut fleet: Vec<Instance> =
        (0..).zip(rates).map(|(seed, rate)| Instance::settled(seed, rate, 0.5, 0.5 * total, 0.5 * total)).collect();
    let mut all = 0.0;
    for (instance, rate) in fleet.iter_mut().zip(rates) {
        instance.run(60.0, rate, 0.5);
        assert!(instance.look().1 < 0.01, "the one of {rate}/s");
        instance.run(2.0, 10.0 * rate, 0.5);
        instance.look();
        instance.run(10.0, 10.0 * rate, 0.5);
        all += instance.look().0;
    }
    let times = all / (10.0 * 0.5 * total);
    assert!((1.2..1.7).contains(&times), "{times} times the share");
}

#[test]
fn load_that_moves_here_becomes_the_usual_while_the_controller_is_silent() {
    let mut instance = Instance::settled(1, 200.0, 0.5, 1_000.0, 1_000.0);
    instance.run(180.0, 600.0, 0.5);
    instance.look();
    instance.run(60.0, 600.0, 0.5);
    assert!(instance.look().1 < 0.01);
}

#[test]
fn without_a_stream_the_limit_opens_slowly_and_does_open() {
    let mut instance = Instance::settled(1, 1_000.0, 0.5, 2_000.0, 2_000.0);
    instance.limit.lose_stream();
    instance.run(120.0, 10_000.0, 0.5);
    let (passed, _) = instance.look();
    assert!(passed / (120.0 * 500.0) < 2.0, "{passed} in two minutes");
    instance.run(1_200.0, 10_000.0, 0.5);
    assert_eq!(instance.limit.factor(), 1.0);
}

#[test]
fn nothing_is_limited_before_the_part_is_known_nor_without_a_share() {
    let mut instance = Instance::new(1);
    instance.run(60.0, 1_000.0, 0.5);
    instance.told(2_000.0, 2_000.0);
    instance.run(20.0, 1_000.0, 0.5);
    instance.run(9.0, 50_000.0, 0.5);
    assert_eq!((instance.look().1, instance.limit.part()), (0.0, None), "restarted");
    instance.run(120.0, 1_000.0, 0.5);
    assert!(instance.limit.part().is_some());
    instance.limit.adopt(Duration::from_secs_f64(instance.now), None);
    instance.look();
    instance.run(10.0, 50_000.0, 0.5);
    assert_eq!(instance.look().1, 0.0);
}

#[test]
fn an_idle_instance_that_wakes_is_not_limited_by_its_idleness() {
    for idle in [10.0, 19.0, 25.0, 29.0, 45.0, 3_600.0] {
        let mut instance = Instance::new(1);
        instance.told(1_000.0, 1_000.0);
        instance.run(idle, 0.05, 1.0);
        instance.run(120.0, 100.0, 1.0);
        let limited = instance.look().1;
        assert!(limited < 0.01, "{limited} after {idle} s");
    }
    let mut instance = Instance::settled(1, 100.0, 1.0, 1_000.0, 1_000.0);
    instance.now += 3_600.0;
    instance.run(120.0, 1_000.0, 1.0);
    assert!(instance.look().1 < 0.01);
}

#[test]
fn a_short_hold_keeps_the_part_and_a_long_one_forgets_it() {
    for (seconds, is_kept) in [(15.0, true), (120.0, false)] {
        let mut instance = Instance::settled(1, 1_000.0, 0.5, 2_000.0, 2_000.0);
        instance.limit.adopt(Duration::from_secs_f64(instance.now), None);
        instance.run(seconds, 1_000.0, 0.5);
        instance.told(2_000.0, 2_000.0);
        assert_eq!(instance.limit.part().is_some(), is_kept);
    }
}

#[test]
fn counts_adjusted_by_the_effective_probability_stay_true() {
    let mut instance = Instance::settled(1, 1_000.0, 0.5, 2_000.0, 2_000.0);
    let (mut counted, mut truth) = (0.0, 0.0);
    for _ in 0..300 {
        instance.run(SLOT, 10_000.0, 0.5);
        let effective = 0.5 * instance.limit.factor();
        let sampled = (0..1_000).filter(|_| instance.random.random::<f64>() < effective).count();
        (counted, truth) = (counted + sampled as f64 / effective, truth + 1_000.0);
    }
    assert!(instance.look().1 > 0.9);
    // One sampled root span stands for 1 / 0.07: the deviation is sqrt(13 x truth), here 0.7 %.
    assert!((counted / truth - 1.0_f64).abs() < 0.03, "{counted} of {truth}");
}

#[test]
fn numbers_that_mean_nothing_are_no_share() {
    for (expected, share) in [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0), (f64::NAN, 1.0), (1.0, f64::INFINITY)] {
        assert_eq!(LocalShare::new(expected, share), None);
    }
    let raised = LocalShare::new(10.0, 5.0).expect("usable");
    assert_eq!(Some(raised), LocalShare::new(10.0, 10.0));
}

#[derive(Debug, Clone)]
enum Step {
    Roots(f64, f64, f64),
    Told(f64, f64),
    Withdrawn,
    Lost,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pause = prop_oneof![0.0..0.01f64, 0.05..0.2f64, 0.5..100.0f64];
    let step = prop_oneof![
        20 => (pause, 0.0..1e6f64, 0.0..=1.0f64).prop_map(|(pause, n, p)| Step::Roots(pause, n.floor(), p)),
        2 => (0.0..1e6f64, 0.0..1e6f64).prop_map(|(expected, share)| Step::Told(expected, share)),
        1 => Just(Step::Withdrawn),
        1 => Just(Step::Lost),
    ];
    prop::collection::vec(step, 1..300)
}

proptest! {
    #[test]
    fn the_factor_is_above_zero_and_never_above_one(steps in steps(), k in 0.0..3.0f64) {
        let mut limit = LocalLimit::new(LocalLimitSettings { k, ..LocalLimitSettings::default() });
        let mut now = 0.0;
        for step in steps {
            let at = Duration::from_secs_f64(now);
            match step {
                Step::Roots(pause, count, probability) => {
                    now += pause;
                    limit.observe_many(Duration::from_secs_f64(now), Roots::uniform(count, probability));
                }
                Step::Told(expected, share) => limit.adopt(at, LocalShare::new(expected, share)),
                Step::Withdrawn => limit.adopt(at, None),
                Step::Lost => limit.lose_stream(),
            }
            prop_assert!(limit.factor() > 0.0 && limit.factor() <= 1.0, "{}", limit.factor());
            prop_assert!(limit.part().is_none_or(|part| part >= 0.0 && part.is_finite()));
        }
    }

    #[test]
    fn an_infinite_k_limits_nothing(rate in 1.0..1e4f64, surge in 1.0..100.0f64) {
        let settings = LocalLimitSettings { k: f64::INFINITY, ..LocalLimitSettings::default() };
        let mut instance = Instance { limit: LocalLimit::new(settings), ..Instance::new(1) };
        instance.told(rate, rate);
        instance.run(60.0, rate, 0.01);
        instance.run(3.0, rate * surge, 0.01);
        prop_assert_eq!(instance.look().1, 0.0);
    }
}
