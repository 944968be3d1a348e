//! The key `fleet.netem`.

use std::time::Duration;

use crate::scenario::keys::{Keys, TIME_MAX};
use crate::scenario::raw::fleet::RawFleetPlan;
use crate::scenario::raw::netem::{RawNetem, RawStates};
use crate::simulate::fleet::scenario::{Carriers, LossModel};
use crate::simulate::netem::schedule::{Impairment, Place};
use crate::simulate::netem::{Chance, DELAY_MAX, Direction, Distribution, Loss, Netem, RATE_RANGE, Rate, Reorder};

const ENTRIES_MAX: usize = 1_000;
const PART: std::ops::RangeInclusive<f64> = 0.0..=1.0;
const TIME: std::ops::RangeInclusive<Duration> = Duration::ZERO..=DELAY_MAX;
/// One of these must be said, or nothing is done.
const EFFECTS: [&str; 9] = ["delay", "jitter", "loss", "bursts", "states", "duplicate", "corrupt", "rate", "limit"];
/// A key, and the one without which it means nothing.
const NEEDS: [(&str, &str); 9] = [
    ("distribution", "jitter"),
    ("delay_correlation", "jitter"),
    ("loss_correlation", "loss"),
    ("duplicate_correlation", "duplicate"),
    ("corrupt_correlation", "corrupt"),
    ("reorder", "delay"),
    ("reorder_correlation", "reorder"),
    ("gap", "reorder"),
    ("overhead", "rate"),
];

pub(super) fn netem(
    plan: &RawFleetPlan,
    duration: Duration,
    carriers: &Carriers,
    keys: &mut Keys<'_, '_>,
) -> Vec<Impairment> {
    let raw = plan.netem.as_deref().unwrap_or_default();
    if raw.len() > ENTRIES_MAX {
        keys.fail("netem", format_args!("at most {ENTRIES_MAX}"));
        return Vec::new();
    }
    let each = raw.iter().enumerate();
    each.map(|(i, raw)| entry(raw, duration, carriers, &mut keys.under(&format!("netem[{i}]")))).collect()
}

fn entry(raw: &RawNetem, duration: Duration, carriers: &Carriers, keys: &mut Keys<'_, '_>) -> Impairment {
    let from = keys.time("at", raw.at, Duration::ZERO, Duration::ZERO..=TIME_MAX);
    if from >= duration {
        keys.fail("at", "not before the end of the run; see `duration`");
    }
    let lasts = keys.time("for", raw.lasts, TIME_MAX, Duration::from_millis(1)..=TIME_MAX);
    let place = one_of("on", raw.on.as_deref(), &Place::ALL, Place::Devices, keys);
    let directions = [("both", None), ("up", Some(Direction::Up)), ("down", Some(Direction::Down))];
    let direction = one_of("direction", raw.direction.as_deref(), &directions, None, keys);
    let is_known = |name: &str| carriers.named.iter().any(|carrier| *carrier.name == *name);
    if raw.carrier.is_some() && place == Place::Server {
        keys.fail("carrier", "the server's link is one for all");
    } else if raw.carrier.as_deref().is_some_and(|name| !is_known(name)) {
        keys.fail("carrier", "no carrier under `fleet.carriers` has this name");
    }
    check_relations(keys);
    let carrier = raw.carrier.as_deref().map(Into::into);
    Impairment { from, until: (from + lasts).min(duration), place, carrier, direction, netem: values(raw, keys) }
}

fn check_relations(keys: &mut Keys<'_, '_>) {
    if !EFFECTS.iter().any(|key| keys.is_written(key)) {
        keys.fail("", format_args!("does nothing: needs one of {}", EFFECTS.join(", ")));
    }
    for (key, needed) in NEEDS {
        if keys.is_written(key) && !keys.is_written(needed) {
            keys.fail(key, format_args!("means nothing without `{needed}`"));
        }
    }
    let losses: Vec<&str> = ["loss", "bursts", "states"].into_iter().filter(|key| keys.is_written(key)).collect();
    if let [_, second, ..] = losses[..] {
        keys.fail(second, format_args!("beside `{}`: a link loses one way or the other", losses[0]));
    }
}

fn values(raw: &RawNetem, keys: &mut Keys<'_, '_>) -> Netem {
    let reorder = chance(["reorder", "reorder_correlation"], raw.reorder, raw.reorder_correlation, keys);
    let gap = keys.count("gap", raw.gap, 1, 1..=1_000_000);
    let delay = keys.time("delay", raw.delay, Duration::ZERO, TIME);
    if raw.reorder.is_some() && raw.delay.is_some() && delay.is_zero() {
        keys.fail("reorder", "with a `delay` of 0s: there is nobody to overtake");
    }
    Netem {
        delay,
        jitter: keys.time("jitter", raw.jitter, Duration::ZERO, TIME),
        distribution: one_of(
            "distribution",
            raw.distribution.as_deref(),
            &Distribution::ALL,
            Distribution::Uniform,
            keys,
        ),
        delay_correlation: keys.number("delay_correlation", raw.delay_correlation, 0.0, PART),
        loss: loss(raw, keys),
        duplicate: chance(["duplicate", "duplicate_correlation"], raw.duplicate, raw.duplicate_correlation, keys),
        reorder: (reorder.probability > 0.0).then_some(Reorder { chance: reorder, gap }),
        corrupt: chance(["corrupt", "corrupt_correlation"], raw.corrupt, raw.corrupt_correlation, keys),
        rate: rate(raw, keys),
        limit: raw.limit.map(|limit| keys.count("limit", Some(limit), 1_000, 1..=10_000_000)),
        seed: None,
    }
}

fn loss(raw: &RawNetem, keys: &mut Keys<'_, '_>) -> Loss {
    if let Some(bursts) = &raw.bursts {
        let model: LossModel = super::bursts(bursts, &mut keys.under("bursts"));
        return model.as_netem();
    }
    if let Some(states) = &raw.states {
        return states_of(states, &mut keys.under("states"));
    }
    Loss::Random(chance(["loss", "loss_correlation"], raw.loss, raw.loss_correlation, keys))
}

fn states_of(raw: &RawStates, keys: &mut Keys<'_, '_>) -> Loss {
    let RawStates { p13, p31, p32, p14, p23 } = *raw;
    let p13 = keys.required_number("p13", p13, PART);
    let p32 = keys.number("p32", p32, 0.0, PART);
    let p31 = keys.number("p31", p31, (1.0 - p13).min(1.0 - p32), PART);
    let p14 = keys.number("p14", p14, 0.0, PART);
    for (one, other, sum) in [("p14", "p13", p13 + p14), ("p32", "p31", p31 + p32)] {
        if sum > 1.0 {
            keys.fail(one, format_args!("together with `{other}` above 1"));
        }
    }
    Loss::States { p13, p31, p32, p14, p23: keys.number("p23", p23, 1.0, PART) }
}

fn chance(
    [probability, correlation]: [&str; 2],
    written: Option<f64>,
    correlated: Option<f64>,
    keys: &mut Keys<'_, '_>,
) -> Chance {
    Chance {
        probability: keys.number(probability, written, 0.0, PART),
        correlation: keys.number(correlation, correlated, 0.0, PART),
    }
}

fn rate(raw: &RawNetem, keys: &mut Keys<'_, '_>) -> Option<Rate> {
    let range = *RATE_RANGE.start() as f64..=*RATE_RANGE.end() as f64;
    let overhead = keys.number("overhead", raw.overhead, 0.0, -64.0..=1_000.0);
    let bits = keys.number("rate", Some(raw.rate?), *range.start(), range);
    Some(Rate { bits_per_second: bits as u64, packet_overhead: overhead as i32 })
}

/// The value of this name.
/// What this word means, of those that are known.
pub(super) fn one_of<T: Copy>(
    key: &str,
    written: Option<&str>,
    known: &[(&str, T)],
    default: T,
    keys: &mut Keys<'_, '_>,
) -> T {
    let Some(written) = written else { return default };
    known.iter().find(|(name, _)| *name == written).map_or_else(
        || {
            let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            keys.fail(key, format_args!("known are {}", names.join(", ")));
            default
        },
        |(_, value)| *value,
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::document::SourceFile;
    use crate::scenario::load::parse;
    use crate::simulate::fleet::run;
    use crate::simulate::fleet::scenario::{FleetLaw, FleetScenario};
    use crate::simulate::netem::schedule::Link;
    use crate::simulate::plan::Plan;

    /// Two carriers for a minute, with these lines under `fleet`, and these at the top.
    fn scenario(fleet: &str, top: &str) -> FleetScenario {
        let text = format!(
            "duration: 60s\nwarmup: 10s\npolicy: {{interval: {{min: 1s, max: 4s}}}}\n{top}\nfleet:\n  start_within: 1s\n  \
             carriers:\n    - {{name: a, devices: 20, timeout: 6s}}\n    - {{name: b, devices: 20, timeout: 6s}}\n{fleet}"
        );
        match parse(&Arc::new(SourceFile { path: "netem.yaml".into(), text }), None) {
            Ok(Plan::Fleet(scenario)) => *scenario,
            other => panic!("{other:?}"),
        }
    }

    fn mistakes(entry: &str) -> String {
        let text = format!("fleet:\n  carriers: [{{name: a, devices: 2, timeout: 6s}}]\n  netem: [{{{entry}}}]\n");
        let refused = parse(&Arc::new(SourceFile { path: "netem.yaml".into(), text }), None);
        format!("{:?}", refused.expect_err(entry))
    }

    #[test]
    fn each_mistake_is_named() {
        for (entry, expected) in [
            ("at: 1m", "does nothing"),
            ("on: moon, delay: 1s", "known are devices, carriers, server"),
            ("on: server, carrier: a, delay: 1s", "one for all"),
            ("carrier: z, delay: 1s", "has this name"),
            ("direction: left, delay: 1s", "known are both, up, down"),
            ("at: 2d, delay: 1s", "not before the end"),
            ("loss: 0.1, states: {p13: 0.1}", "one way or the other"),
            ("states: {p13: 0.6, p14: 0.6}", "together with `p13`"),
            ("reorder: 0.5, loss: 0.1", "without `delay`"),
            ("delay: 0s, reorder: 0.5", "nobody to overtake"),
            ("rate: 5", "from 1000"),
            ("delay: 1s, distribution: normal", "without `jitter`"),
        ] {
            let found = mistakes(entry);
            assert!(found.contains(expected), "{entry}: {found}");
        }
    }

    #[test]
    fn a_link_is_told_what_its_entry_and_the_fleet_say() {
        let fleet = "  loss: 0.02\n  netem:\n    - {delay: 50ms, at: 10s, for: 20s, carrier: a}\n    \
                     - {loss: 0.5, at: 20s, for: 5s, direction: up}\n    - {on: server, rate: 1000000, at: 30s}\n";
        let scenario = scenario(fleet, "faults: [{at: 15s, loss: 0.04}]");
        let seconds = Duration::from_secs;
        assert_eq!(scenario.netem_changes(), [0, 10, 15, 20, 25, 30].map(seconds));
        let device = |at, carrier, direction| {
            let netem = scenario.netem_at(seconds(at), Link { place: Place::Devices, carrier, direction });
            netem.map(|netem| (netem.delay.as_millis(), netem.loss))
        };
        let lost = |part| Loss::Random(Chance::of(part));
        assert_eq!(device(0, "a", Direction::Up), Some((0, lost(0.02))));
        assert_eq!(device(10, "a", Direction::Up), Some((50, lost(0.02))));
        assert_eq!(device(15, "a", Direction::Down), Some((50, lost(0.04))));
        assert_eq!(
            device(20, "a", Direction::Up),
            Some((0, lost(0.5))),
            "the last entry, and nothing of the one before"
        );
        assert_eq!(device(20, "a", Direction::Down), Some((50, lost(0.04))));
        assert_eq!(device(15, "b", Direction::Up), Some((0, lost(0.04))));
        let server =
            |at| scenario.netem_at(seconds(at), Link { place: Place::Server, carrier: "", direction: Direction::Up });
        assert_eq!((server(29), server(30).map(|netem| netem.limit())), (None, Some(2_442)));
    }

    #[test]
    fn a_cable_in_the_schedule_changes_no_run() {
        let without = run(&scenario("  loss: 0.05\n", ""), FleetLaw::Adaptive, 1);
        // Another way through the same plant: at the server's link, where nothing is lost.
        let with = scenario("  loss: 0.05\n  netem: [{on: server, limit: 1000}]\n", "");
        assert_eq!(run(&with, FleetLaw::Adaptive, 1).score, without.score);
    }

    /// A beat each second behind a NAT that forgets after six.
    #[test]
    fn delays_losses_and_copies_reach_the_fleet() {
        let law = FleetLaw::Fixed { seconds: 1, has_second_acks: false };
        let coverage = |fleet: &str| run(&scenario(fleet, ""), law, 1).score.coverage_learnt;
        assert!(coverage("  loss: 0\n  netem: [{delay: 300ms, jitter: 50ms, duplicate: 0.5, reorder: 0.2}]\n") > 0.999);
        assert!(coverage("  loss: 0\n  netem: [{on: devices, loss: 1, at: 20s}]\n") < 0.5);
        // Behind the NAT nothing of the device's is lost: its binding is refreshed, as a real NAT's.
        assert!(coverage("  loss: 0\n  netem: [{on: carriers, loss: 1, at: 20s}]\n") > 0.999);
        assert!(coverage("  loss: 0\n  netem: [{corrupt: 1, direction: up}]\n") < 0.01);
    }
}
