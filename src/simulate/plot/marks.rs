//! What a scenario does to its plant: bands for faults, a line for the event, and the time that is not measured.

use std::fmt::Write;

use crate::plot::axes::Panel;
use crate::plot::escape;
use crate::simulate::scenario::{Fault, FaultKind, Scenario};

/// Faults that are marked; beyond, the picture would be of nothing else.
const FAULTS_MAX: usize = 50;

/// Bands and lines, under everything else.
pub(super) fn behind(out: &mut String, scenario: &Scenario, panel: &Panel) {
    band(out, "unmeasured", panel, 0.0, scenario.warmup.as_secs_f64());
    for fault in scenario.faults.iter().take(FAULTS_MAX) {
        band(out, "fault", panel, fault.at.as_secs_f64(), end(fault, panel));
    }
    let (x, top, bottom) = (panel.x(scenario.event_at.as_secs_f64()), panel.top, panel.bottom);
    let _ = writeln!(out, "<path class=\"line moment\" d=\"M{x:.1} {top}V{bottom}\"/>");
}

/// Their words, over everything else, each a line lower than the one before.
pub(super) fn labels(out: &mut String, scenario: &Scenario, panel: &Panel) {
    let mut marks: Vec<(f64, String)> = Vec::new();
    if scenario.warmup.as_secs_f64() > panel.duration / 20.0 {
        marks.push((0.0, "not measured".to_owned()));
    }
    if scenario.faults.iter().all(|fault| fault.at != scenario.event_at) && scenario.event_at > scenario.warmup {
        marks.push((scenario.event_at.as_secs_f64(), "event".to_owned()));
    }
    marks.extend(scenario.faults.iter().take(FAULTS_MAX).map(|fault| (fault.at.as_secs_f64(), words(&fault.kind))));
    for (i, (at, words)) in marks.iter().enumerate() {
        let x = panel.x(*at);
        let is_left = x < f64::midpoint(panel.left, panel.right);
        let (x, anchor) = if is_left { (x + 5.0, "start") } else { (x - 5.0, "end") };
        let y = panel.top + 14.0 + 15.0 * (i % 8) as f64;
        let _ = writeln!(
            out,
            "<text class=\"mark\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
            escape(words)
        );
    }
}

fn band(out: &mut String, class: &str, panel: &Panel, from: f64, to: f64) {
    let (left, right) = (panel.x(from), panel.x(to));
    if right > left {
        let (y, width, height) = (panel.top, right - left, panel.bottom - panel.top);
        let _ = writeln!(
            out,
            "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{height}\"/>"
        );
    }
}

fn end(fault: &Fault, panel: &Panel) -> f64 {
    fault.lasts.map_or(panel.duration, |lasts| (fault.at + lasts).as_secs_f64())
}

fn words(kind: &FaultKind) -> String {
    match kind {
        FaultKind::PrometheusOutage => "Prometheus gone".to_owned(),
        FaultKind::DeadExporters => "exporters dead".to_owned(),
        FaultKind::FrozenMetrics => "metrics frozen".to_owned(),
        FaultKind::CapacityTimes(factor) => format!("capacity x {factor}"),
        FaultKind::DemandTimes { service, factor } => format!("{service} x {factor}"),
        FaultKind::ConstantLoss(ratio) => format!("{:.4} % lost at any load", ratio * 100.0).replace(".0000", ""),
        FaultKind::ClockJump(seconds) => format!("clock off by {seconds} s"),
    }
}
