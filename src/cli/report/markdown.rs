//! A rollout in words and tables. Names come from elsewhere (labels of carriers, reasons that people typed) and are spelt
//! so that they stay text.

use std::fmt::Write as _;
use std::time::Duration;

use crate::admin::rollout_json::{ArmJson, GateJson, KindJson, RolloutJson, StepJson};
use crate::admin::text::{Plain, duration, number, percent};
use crate::keepalive::wave::gate::Verdict;
use crate::keepalive::wave::spec::State;
use crate::keepalive::wave::stake::STOP;

/// The whole report; `pictures` are gates and the names of their files.
pub(super) fn report(rollout: &RolloutJson, pictures: &[(&str, &str)]) -> String {
    let mut out = String::new();
    let title = match rollout.kind {
        KindJson::Waves => "Rollout",
        KindJson::Ab => "AB test",
    };
    let _ = writeln!(out, "# {title} {}\n\n{}\n", cell(&rollout.id), verdict(rollout));
    facts(&mut out, rollout);
    gates(&mut out, rollout);
    for (gate, file) in pictures {
        let _ = writeln!(out, "![{}]({file})\n", cell(gate));
    }
    history(&mut out, rollout);
    if rollout.kind == KindJson::Ab {
        out += NOT_DRAWN;
    }
    out.trim_end().to_owned() + "\n"
}

/// What an AB test cannot show.
const NOT_DRAWN: &str = "## What this cannot show\n\n\
The groups were chosen and not drawn: what differs between them besides the plan (radio, carriers, weather) is told \
apart from the plan only as far as it differed before, in the time that both had the same interval.\n";

/// In one sentence or two.
fn verdict(rollout: &RolloutJson) -> String {
    let last = rollout.history.last();
    let why = last.map(|step| format!(": {}", cell(&step.why))).unwrap_or_default();
    let at = format!("wave {} of {}", rollout.wave, rollout.waves);
    let text = match rollout.state {
        State::Running => format!("**Running**, {at}: {}", so_far(rollout.verdict)),
        State::Held => format!("**Held**, {at}{why}. A person promotes or aborts it"),
        State::Paused => {
            format!("**Paused**, {at}{why}. Nothing is judged until a person resumes, promotes or aborts it")
        }
        State::Released => format!("**Released**{why}"),
        State::RolledBack => format!("**Rolled back** in {at}{why}"),
    };
    text + "."
}

fn so_far(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "all gates pass, and it is held for its least time",
        Verdict::Fail => "a gate fails",
        Verdict::Inconclusive => "not decided yet",
        Verdict::Error => "something that it asks for cannot be had",
    }
}

fn facts(out: &mut String, rollout: &RolloutJson) {
    *out += "| | |\n|---|---|\n";
    let interval = match rollout.from_s > 0.0 {
        true => {
            let change = (rollout.to_s / rollout.from_s - 1.0) * 100.0;
            format!("{} to {} ({}{} %)", seconds(rollout.from_s), seconds(rollout.to_s), sign(change), number(change))
        }
        false => seconds(rollout.to_s),
    };
    let devices = format!(
        "{} here, {} to have the new interval, {} have confirmed it",
        rollout.devices, rollout.devices_new, rollout.devices_adopted
    );
    let mut rows = vec![
        ("cohort", format!("{} ({})", cell(&rollout.cohort), cell(&rollout.transport))),
        ("fleet", rollout.fleet.as_deref().map_or_else(|| "none".to_owned(), cell)),
        ("interval", interval),
        ("devices", devices),
        ("waves", percents(&rollout.percent)),
        ("a round", seconds(rollout.round_s)),
        ("missed before it began", percent(rollout.usual_failures)),
        ("began", cell(&rollout.started_at)),
    ];
    if let Some(groups) = &rollout.groups {
        let shown = |names: &[String]| names.iter().map(|name| cell(name)).collect::<Vec<_>>().join(", ");
        rows.push(("control, by its ", format!("{}: {}", cell(&groups.by), shown(&groups.a))));
        rows.push(("treated", format!("{}: {}", cell(&groups.by), shown(&groups.b))));
    }
    rows.extend(rollout.ended_at.as_deref().map(|at| ("ended", cell(at))));
    for (name, value) in rows {
        let _ = writeln!(out, "| {name} | {value} |");
    }
    out.push('\n');
}

fn gates(out: &mut String, rollout: &RolloutJson) {
    let _ = writeln!(out, "## Gates, wave {} of {}\n", rollout.wave, rollout.waves);
    if rollout.gates.is_empty() {
        *out += "None has seen anything.\n\n";
        return;
    }
    *out += "| gate | verdict | new interval | old interval | evidence that the new one is worse |\n|---|---|---|---|---|\n";
    for gate in &rollout.gates {
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} | {} |",
            cell(&gate.name),
            gate.verdict.as_str(),
            shown(gate, true),
            shown(gate, false),
            number(gate.evidence)
        );
    }
    let together: f64 = rollout.gates.iter().map(|gate| gate.evidence).sum();
    let _ = writeln!(
        out,
        "\nEvidence of all gates together: {}; at {} it is rolled back, which happens by chance to one rollout in as many.\n",
        number(together),
        number(STOP)
    );
}

fn shown(gate: &GateJson, is_treated: bool) -> String {
    if let Some(query) = &gate.query {
        let last = query.last.and_then(|last| if is_treated { last.treated } else { last.control });
        return last.map_or_else(|| "no value".to_owned(), number);
    }
    let arm = if is_treated { &gate.treated } else { &gate.control };
    let p99 = gate.gap_ratio_p99.and_then(|pair| if is_treated { pair.treated } else { pair.control });
    let p99 = p99.map(|ratio| format!("; p99 {} x the interval", number(ratio))).unwrap_or_default();
    outcomes(arm) + &p99
}

fn outcomes(arm: &ArmJson) -> String {
    let Some(ratio) = arm.ratio else { return "nothing seen".to_owned() };
    let ArmJson { outcomes, failures, devices_failed, .. } = arm;
    format!("{:.3} % of {outcomes}; {failures} failed, of {devices_failed} devices", ratio * 100.0)
}

fn history(out: &mut String, rollout: &RolloutJson) {
    *out += "## What happened\n\n| when | wave | what | who | why |\n|---|---|---|---|---|\n";
    for StepJson { at, who, what, why, wave, .. } in &rollout.history {
        let [at, what, who, why] = [at, what, who, why].map(|text| cell(text));
        let _ = writeln!(out, "| {at} | {wave} | {} | {who} | {why} |", what.replace('_', " "));
    }
    out.push('\n');
}

fn percents(percent: &[u8]) -> String {
    percent.iter().map(|percent| format!("{percent} %")).collect::<Vec<_>>().join(", ")
}

fn seconds(seconds: f64) -> String {
    match Duration::try_from_secs_f64(seconds) {
        Ok(length) if seconds >= 600.0 => duration(length),
        _ => format!("{} s", number(seconds)),
    }
}

fn sign(change: f64) -> &'static str {
    if change > 0.0 { "+" } else { "" }
}

/// Text of somebody else in a cell of a table.
fn cell(text: &str) -> String {
    let mut out = String::new();
    for c in Plain(text).to_string().chars() {
        if matches!(c, '|' | '<' | '>' | '[' | ']' | '*' | '`' | '\\' | '&') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
