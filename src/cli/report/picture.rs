//! One gate of a rollout over time: what failed in each arm above, the evidence below, on a scale of powers of ten.

use std::fmt::Write as _;

use crate::admin::rollout_json::{ArmJson, GatePointJson, PointJson, RolloutJson};
use crate::keepalive::wave::stake::STOP;
use crate::plot::axes::{self, Panel};
use crate::plot::{self, HEIGHT, LEFT, RIGHT, Swatch, escape};

/// Steps that are marked; beyond, words would cover each other.
const MARKS_MAX: usize = 12;
/// The scale of the evidence: a thousandth, where a release has shown itself to be harmless, up to ten times what stops
/// it.
const DECADES: (i32, i32) = (-3, 4);

const LEGEND_ABOVE: [(&str, Swatch, &str); 2] =
    [("law", Swatch::Line, "new interval"), ("sent", Swatch::Line, "old interval, at the same time")];
const LEGEND_BELOW: [(&str, Swatch, &str); 3] = [
    ("odds", Swatch::Line, "evidence of this gate that the new one is worse"),
    ("capacity", Swatch::Line, "of all gates together"),
    ("one", Swatch::Line, "rolled back from here on"),
];

/// A moment of the rollout.
#[derive(Debug, Clone, Copy)]
struct Moment<'a> {
    seconds: f64,
    wave: usize,
    gate: &'a GatePointJson,
    /// Of all gates.
    evidence: f64,
}

/// The picture of this gate.
pub(super) fn svg(rollout: &RolloutJson, gate: &str) -> String {
    let moments = moments(rollout, gate);
    let duration = moments.last().map_or(1.0, |last| last.seconds).max(1.0);
    let most = moments.iter().flat_map(|moment| [failed(&moment.gate.treated), failed(&moment.gate.control)]);
    let most = most.flatten().fold(0.01, f64::max) * 1.1;
    let top = Panel { left: LEFT, right: RIGHT, top: 96.0, bottom: 330.0, duration, max: most };
    let below = Panel { top: 380.0, bottom: HEIGHT - 44.0, max: f64::from(DECADES.1 - DECADES.0), ..top };
    let mut out = plot::begin();
    head(&mut out, rollout, gate);
    plot::legend(&mut out, &LEGEND_ABOVE, &top);
    plot::legend(&mut out, &LEGEND_BELOW, &below);
    axes::draw(&mut out, &top, "% failed in the wave");
    axes::decades(&mut out, &below, DECADES.0, "evidence");
    stop_line(&mut out, &below);
    line(&mut out, "sent", &moments, &top, |moment| failed(&moment.gate.control));
    line(&mut out, "law", &moments, &top, |moment| failed(&moment.gate.treated));
    line(&mut out, "capacity", &moments, &below, |moment| decade(moment.evidence));
    line(&mut out, "odds", &moments, &below, |moment| decade(moment.gate.evidence));
    marks(&mut out, rollout, &[&top, &below]);
    axes::time(&mut out, &top, None);
    axes::time(&mut out, &below, Some("time from the first wave's beginning"));
    plot::end(out)
}

fn moments<'a>(rollout: &'a RolloutJson, gate: &str) -> Vec<Moment<'a>> {
    let of = |point: &'a PointJson| {
        let evidence = point.gates.iter().map(|gate| gate.evidence).sum();
        let gate = point.gates.iter().find(|one| one.name == gate)?;
        Some(Moment { seconds: since(rollout, &point.at)?, wave: point.wave, gate, evidence })
    };
    rollout.series.iter().filter_map(of).collect()
}

/// Seconds since the rollout began; `None` for what is no time.
fn since(rollout: &RolloutJson, at: &str) -> Option<f64> {
    let [from, at] = [&*rollout.started_at, at].map(|text| text.parse::<jiff::Timestamp>().ok());
    Some((at?.as_millisecond() - from?.as_millisecond()).max(0) as f64 / 1e3)
}

/// In percent.
fn failed(arm: &ArmJson) -> Option<f64> {
    arm.ratio.map(|ratio| (1.0 - ratio) * 100.0)
}

/// Where evidence is on its panel.
fn decade(evidence: f64) -> Option<f64> {
    (evidence > 0.0).then(|| evidence.log10() - f64::from(DECADES.0))
}

/// Through the moments; broken where a wave begins, because what is judged begins anew, and where there is nothing.
fn line(out: &mut String, class: &str, moments: &[Moment<'_>], panel: &Panel, of: impl Fn(&Moment<'_>) -> Option<f64>) {
    let _ = write!(out, "<path class=\"line {class}\" d=\"");
    let mut down = None;
    for moment in moments {
        let Some(value) = of(moment) else {
            down = None;
            continue;
        };
        let pen = if down == Some(moment.wave) { 'L' } else { 'M' };
        let _ = write!(out, "{pen}{:.1} {:.1}", panel.x(moment.seconds), panel.y(value));
        down = Some(moment.wave);
    }
    out.push_str("\"/>\n");
}

fn stop_line(out: &mut String, panel: &Panel) {
    let (y, left, right) = (panel.y(decade(STOP).unwrap_or(0.0)), panel.left, panel.right);
    let _ = writeln!(out, "<line class=\"one\" x1=\"{left}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>");
}

fn head(out: &mut String, rollout: &RolloutJson, gate: &str) {
    let state = serde_json::to_value(rollout.state).ok();
    let state = state.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().replace('_', " ");
    let _ = writeln!(
        out,
        "<text class=\"title\" x=\"{LEFT}\" y=\"26\">{} · {}</text>\
         <text x=\"{LEFT}\" y=\"46\">{}: {:.1} s to {:.1} s, {state}</text>",
        escape(&rollout.id),
        escape(gate),
        escape(&rollout.cohort),
        rollout.from_s,
        rollout.to_s,
    );
}

/// A line for each step, and its words.
fn marks(out: &mut String, rollout: &RolloutJson, panels: &[&Panel; 2]) {
    for (i, step) in rollout.history.iter().take(MARKS_MAX).enumerate() {
        let Some(seconds) = since(rollout, &step.at) else { continue };
        for panel in panels {
            let x = panel.x(seconds);
            let _ = writeln!(out, "<path class=\"line moment\" d=\"M{x:.1} {}V{}\"/>", panel.top, panel.bottom);
        }
        let words = match &*step.what {
            "wave_began" => format!("wave {}", step.wave),
            what => what.replace('_', " "),
        };
        let x = panels[0].x(seconds);
        let is_left = x < f64::midpoint(LEFT, RIGHT);
        let (x, anchor) = if is_left { (x + 5.0, "start") } else { (x - 5.0, "end") };
        let y = panels[0].top + 14.0 + 15.0 * (i % 6) as f64;
        let _ = writeln!(
            out,
            "<text class=\"mark\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
            escape(&words)
        );
    }
}
