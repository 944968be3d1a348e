//! The neighbours on the same plants: each is tuned to the true capacity at the start, and still none may be better than
//! Flyball in both loss and use.

use std::path::Path;

use flyball::scenario::load;
use flyball::simulate;
use flyball::simulate::metrics::{METRICS, Measured};
use flyball::simulate::plan::Plan;
use flyball::simulate::scenario::{LawKind, Scenario};
use libtest_mimic::Failed;

/// Laws that Flyball's is measured against.
const BASELINES: [LawKind; 4] = [LawKind::Threshold, LawKind::Jaeger, LawKind::Datadog, LawKind::Aimd];
/// Seeds of which the medians are compared: fewer than for a promise, because the distances are wide.
const SEEDS: u64 = 3;

/// "Better" is less lost, and more of the capacity used while it was scarce.
pub(crate) fn none_is_better(file: &Path) -> Result<(), Failed> {
    let scenario = sampling(file)?;
    let of = |law| {
        let medians = medians(&scenario, law);
        ["loss_ratio", "utilization"].map(|metric| medians.get(metric).expect("a metric's name"))
    };
    let ours = of(scenario.law);
    for law in BASELINES {
        let theirs = of(law);
        if theirs[0] < ours[0] && theirs[1] > ours[1] {
            let (name, law) = (&scenario.name, law.as_str());
            return Err(format!("{name}: [loss_ratio, utilization] of {law} {theirs:?}, of ours {ours:?}").into());
        }
    }
    Ok(())
}

/// The local limit takes four fifths of a surge's loss, which no law that moves probabilities alone can.
pub(crate) fn local_limit_cuts_the_worst_minute_to_a_fifth(file: &Path) -> Result<(), Failed> {
    let scenario = sampling(file)?;
    let ours = median(&scenario, scenario.law, "worst_60s_loss");
    let best = BASELINES.map(|law| median(&scenario, law, "worst_60s_loss")).into_iter().fold(f64::INFINITY, f64::min);
    at_most(ours, best / 5.0, "worst_60s_loss over a fifth of the best baseline's")
}

/// The dead band saves commands, against a law that has the same.
pub(crate) fn commands_are_two_thirds_of_aimd(file: &Path) -> Result<(), Failed> {
    let scenario = sampling(file)?;
    let (ours, aimd) = (median(&scenario, scenario.law, "commands"), median(&scenario, LawKind::Aimd, "commands"));
    at_most(ours, 0.65 * aimd, "commands over 0.65 of aimd's")
}

fn sampling(file: &Path) -> Result<Scenario, Failed> {
    match load::load(file, None).map_err(|problems| problems.to_string())? {
        Plan::Sampling(scenario) => Ok(*scenario),
        Plan::Fleet(_) => Err("a fleet's scenario has other baselines".into()),
    }
}

fn at_most(ours: f64, most: f64, what: &str) -> Result<(), Failed> {
    if ours <= most { Ok(()) } else { Err(format!("{what}: {ours} > {most}").into()) }
}

fn median(scenario: &Scenario, law: LawKind, metric: &str) -> f64 {
    medians(scenario, law).get(metric).expect("a metric's name")
}

fn medians(scenario: &Scenario, law: LawKind) -> Measured {
    let measured = |seed| {
        let score = simulate::run(scenario, law, seed).score;
        Measured::of(&score, &score)
    };
    Measured::median(&METRICS, &(1..=SEEDS).map(measured).collect::<Vec<_>>())
}
