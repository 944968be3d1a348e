//! Rollouts as wholes: what they do, what they say, and how often they are wrong.

use super::simulation::{Fleet, Tally};

fn tally(fleet: Fleet, runs: u64) -> Tally {
    Tally::of((0..runs).map(|seed| fleet.run(seed)).collect())
}

#[test]
fn a_canary_is_stopped_after_thirteen_thousand_beats() {
    let tally = tally(Fleet::canary(20_000), 200);
    assert!(tally.beats() < 13_500.0 && tally.beats_quantile(0.95) < 29_000.0, "{}", tally.beats());
    assert!(tally.stopped_ratio() > 0.97, "{}", tally.stopped_ratio());
}

#[test]
fn a_good_release_reaches_everybody() {
    for correlation in [0.0, 0.1] {
        let tally = tally(Fleet { correlation, ..Fleet::good(2_000) }, 100);
        assert!(tally.stopped_ratio() < 0.011, "{}", tally.stopped_ratio());
        assert!(tally.released_ratio() > 0.9, "{}", tally.released_ratio());
    }
}
