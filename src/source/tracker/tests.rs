//! A policy's one signal, fed poll by poll.

use std::borrow::Cow;

use super::*;

const SECOND: i64 = 1000;

/// A policy's one signal, fed poll by poll. Series are written `service@instance`.
struct Bench {
    tracker: Tracker,
    targets: Targets,
}

impl Bench {
    fn new() -> Self {
        let grouping = Grouping::Names { service: "service".into(), operation: None };
        let (hold, interval) = (Duration::from_secs(30), Duration::from_secs(5));
        Self { tracker: Tracker::new(grouping, hold, Some(interval), 100), targets: Targets::default() }
    }

    fn poll(&mut self, now: i64, answer: &[(&str, &[(i64, f64)])]) -> Measured {
        for (key, samples) in answer {
            self.observe(key, samples).expect("few series");
        }
        self.targets.settle(self.tracker.gap_max_ms(), now * SECOND);
        self.tracker.settle(&self.targets, now * SECOND)
    }

    fn observe(&mut self, key: &str, samples: &[(i64, f64)]) -> Result<u64, TooManySeries> {
        let samples: Vec<Sample> = samples.iter().filter_map(|(at, value)| Sample::new(at * SECOND, *value)).collect();
        let (service, instance) = key.split_once('@').expect("service@instance");
        let observation = Observation { key, known: None, samples: &samples, target: None, starts_anew: false };
        self.tracker.observe(observation, &mut self.targets, || {
            let pairs = [("service", service), ("instance", instance)];
            Some(Labels(pairs.map(|(l, v)| (Cow::Borrowed(l), Cow::Borrowed(v))).to_vec()))
        })
    }

    fn rows(&self, measured: &Measured) -> Vec<(String, f64, &'static str)> {
        let mark = |r: &Row| match (r.is_warming, r.is_stale) {
            (false, false) => "",
            (true, false) => "warming",
            (false, true) => "stale",
            (true, true) => "warming, stale",
        };
        let name = |r: &Row| self.tracker.groups().get(r.group).service.to_string();
        let mut rows: Vec<_> = measured.rows.iter().map(|r| (name(r), r.per_second, mark(r))).collect();
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        rows
    }
}

fn row(service: &str, per_second: f64, mark: &'static str) -> (String, f64, &'static str) {
    (service.to_owned(), per_second, mark)
}

#[test]
fn a_poll_reads_what_is_new_and_says_over_which_time() {
    let mut bench = Bench::new();
    let first = bench.poll(10, &[("cart@a", &[(0, 0.0), (5, 50.0), (10, 100.0)])]);
    assert_eq!((bench.rows(&first), first.over_ms), (vec![row("cart", 10.0, "")], Some((0, 10_000))));
    let second = bench.poll(15, &[("cart@a", &[(5, 50.0), (10, 100.0), (15, 250.0)])]);
    assert_eq!((bench.rows(&second), second.over_ms), (vec![row("cart", 30.0, "")], Some((10_000, 15_000))));
    let nothing_new = bench.poll(19, &[("cart@a", &[(10, 100.0), (15, 250.0)])]);
    assert_eq!((bench.rows(&nothing_new), nothing_new.over_ms), (bench.rows(&second), second.over_ms));
}

#[test]
fn a_series_born_on_a_scraped_target_rises_from_zero() {
    let mut bench = Bench::new();
    bench.poll(10, &[("cart@a", &[(5, 1.0), (10, 1.0)])]);
    let burst = bench.poll(15, &[("cart@a", &[(10, 1.0), (15, 1.0)]), ("pay@a", &[(15, 5000.0)])]);
    assert_eq!(bench.rows(&burst), [row("cart", 0.0, ""), row("pay", 1000.0, "")]);
    assert_eq!(burst.over_ms, Some((10_000, 15_000)));
}

#[test]
fn a_series_that_begins_anew_is_joined_to_nothing_and_one_that_ended_is_not_held() {
    let mut bench = Bench::new();
    bench.poll(10, &[("cart@a", &[(5, 100.0), (10, 200.0)])]);
    let samples = [(12, 0.0), (15, 60.0)].map(|(at, value)| Sample { at_ms: at * SECOND, value });
    let observation = Observation { key: "cart@a", known: None, samples: &samples, target: None, starts_anew: true };
    let no_labels = || -> Option<Labels<'static>> { None };
    assert_eq!(bench.tracker.observe(observation, &mut bench.targets, no_labels), Ok(0));
    let anew = bench.poll(15, &[("pay@b", &[(10, 0.0), (15, 0.0)])]);
    assert_eq!((bench.rows(&anew)[0].clone(), anew.over_ms), (row("cart", 20.0, ""), Some((10_000, 15_000))));
    bench.tracker.end("cart@a");
    let ended = bench.poll(16, &[]);
    assert_eq!(bench.rows(&ended), [row("pay", 0.0, "")]);
}

#[test]
fn nothing_is_born_in_the_first_poll_nor_on_a_new_target() {
    let mut bench = Bench::new();
    let first = bench.poll(10, &[("cart@a", &[(5, 1.0), (10, 1.0)]), ("pay@a", &[(10, 5000.0)])]);
    assert_eq!(bench.rows(&first), [row("cart", 0.0, ""), row("pay", 0.0, "warming")]);
    let scaled = bench.poll(15, &[("cart@a", &[(10, 1.0), (15, 1.0)]), ("cart@b", &[(15, 9000.0)])]);
    assert_eq!(bench.rows(&scaled)[0], row("cart", 0.0, "warming"));
    let known = bench.poll(20, &[("cart@a", &[(15, 1.0), (20, 1.0)]), ("cart@b", &[(15, 9000.0), (20, 9050.0)])]);
    assert_eq!(bench.rows(&known)[0], row("cart", 10.0, ""));
}

#[test]
fn a_target_back_from_silence_does_not_bear_its_old_counts() {
    let mut bench = Bench::new();
    bench.poll(10, &[("cart@a", &[(5, 1e6), (10, 1e6)])]);
    bench.poll(500, &[]);
    let back = bench.poll(505, &[("cart@a", &[(505, 2e6)])]);
    assert_eq!(bench.rows(&back), [row("cart", 0.0, "warming")]);
}

#[test]
fn stopped_series_hold_their_rate_and_say_so() {
    let mut bench = Bench::new();
    let both: [(&str, &[(i64, f64)]); 2] = [("cart@a", &[(5, 0.0), (10, 50.0)]), ("cart@b", &[(5, 0.0), (10, 100.0)])];
    bench.poll(10, &both);
    let half = bench.poll(25, &[("cart@a", &[(15, 100.0), (20, 150.0), (25, 200.0)])]);
    assert_eq!(bench.rows(&half), [row("cart", 30.0, "stale")]);
    let replaced = bench.poll(45, &[("cart@a", &[(35, 300.0), (40, 350.0), (45, 400.0)])]);
    assert_eq!(bench.rows(&replaced), [row("cart", 10.0, "")], "after the window, others have taken over");
    let dead = bench.poll(100, &[]);
    assert_eq!((bench.rows(&dead), dead.newest_ms), (vec![row("cart", 10.0, "stale")], Some(45_000)));
    let forgotten = bench.poll(400, &[]);
    assert_eq!((bench.rows(&forgotten), forgotten.newest_ms), (vec![], None));
}

#[test]
fn duplicates_and_nameless_series_are_counted_not_summed() {
    let mut bench = Bench::new();
    assert_eq!(bench.observe("cart@a", &[(5, 0.0), (10, 50.0)]), Ok(0));
    assert_eq!(bench.observe("cart@a", &[(5, 0.0), (10, 50.0)]), Ok(1));
    assert_eq!(bench.observe("@a", &[(5, 0.0), (10, 50.0)]), Ok(1));
    let measured = bench.poll(10, &[]);
    assert_eq!(bench.rows(&measured), [row("cart", 10.0, "")]);
}

#[test]
fn series_beyond_the_bound_are_refused() {
    let mut bench = Bench::new();
    for n in 0..100 {
        assert_eq!(bench.observe(&format!("s{n}@a"), &[(5, 0.0)]), Ok(0));
    }
    assert_eq!(bench.observe("one-more@a", &[(5, 0.0)]), Err(TooManySeries));
}
