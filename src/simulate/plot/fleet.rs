//! A run of a fleet as a picture: what the devices sent above; what was not covered, and how near their pace was to what
//! their NATs bear, below.

use std::fmt::Write;

use crate::plot::axes::{self, Panel};
use crate::plot::{self, HEIGHT, LEFT, RIGHT, Swatch, escape};
use crate::simulate::fleet::scenario::{FleetFault, FleetScenario};
use crate::simulate::fleet::trace::{FleetRun, Stretch};

/// Beyond, words would cover each other.
const FAULTS_MAX: usize = 8;
/// Top of the lower panel: what is worse runs off the scale.
const UNCOVERED_MAX: f64 = 0.01;

/// What the legends show: class, shape, words.
const LEGEND_ABOVE: [(&str, Swatch, &str); 2] =
    [("sent", Swatch::Line, "all packets"), ("law", Swatch::Line, "for probes")];
const LEGEND_BELOW: [(&str, Swatch, &str); 3] = [
    ("odds", Swatch::Line, "interval / what the NAT bears"),
    ("capacity", Swatch::Line, "devices that fit"),
    ("lost", Swatch::Area, "not covered, 1 = 1 %"),
];

/// The picture of a run. An empty run gives empty panels.
pub fn svg(scenario: &FleetScenario, seed: u64, run: &FleetRun) -> String {
    let duration = scenario.duration.as_secs_f64().max(1.0);
    let most = run.stretches.iter().map(|s| s.heartbeats).fold(1.0, f64::max) * 1.05;
    let top = Panel { left: LEFT, right: RIGHT, top: 96.0, bottom: 330.0, duration, max: most };
    let below = Panel { top: 380.0, bottom: HEIGHT - 44.0, max: 1.1, ..top };
    let mut out = plot::begin();
    head(&mut out, scenario, seed, run);
    axes::draw(&mut out, &top, "packets a device and day");
    axes::draw(&mut out, &below, "ratio");
    line(&mut out, "sent", &run.stretches, &top, |s| s.heartbeats);
    line(&mut out, "law", &run.stretches, &top, |s| s.probe_packets);
    line(&mut out, "odds", &run.stretches, &below, |s| s.pace_ratio);
    line(&mut out, "capacity", &run.stretches, &below, |s| s.fitting);
    lost(&mut out, &run.stretches, &below);
    plot::legend(&mut out, &LEGEND_ABOVE, &top);
    plot::legend(&mut out, &LEGEND_BELOW, &below);
    for (i, fault) in scenario.faults.iter().take(FAULTS_MAX).enumerate() {
        mark(&mut out, i, fault, &[&top, &below]);
    }
    axes::time(&mut out, &top, None);
    axes::time(&mut out, &below, Some(plot::OF_THE_RUN));
    plot::end(out)
}

fn head(out: &mut String, scenario: &FleetScenario, seed: u64, run: &FleetRun) {
    let score = &run.score;
    let _ = writeln!(
        out,
        "<text class=\"title\" x=\"{LEFT}\" y=\"26\">{} · law {} · seed {seed}</text>\
         <text x=\"{LEFT}\" y=\"46\">covered {:.4} % ({:.4} % from the warm-up on), {:.0} packets a device and day, {:.1} of \
         them for probes, learnt in {:.0} s</text>",
        escape(&scenario.name),
        scenario.law.name(),
        score.coverage * 100.0,
        score.coverage_learnt * 100.0,
        score.heartbeats,
        score.probe_packets,
        score.learn_seconds,
    );
}

fn line(out: &mut String, class: &str, stretches: &[Stretch], panel: &Panel, of: impl Fn(&Stretch) -> f64) {
    let _ = write!(out, "<path class=\"line {class}\" d=\"");
    for (i, stretch) in stretches.iter().enumerate() {
        let pen = if i == 0 { 'M' } else { 'L' };
        let _ = write!(out, "{pen}{:.1} {:.1}", panel.x(stretch.until), panel.y(of(stretch)));
    }
    out.push_str("\"/>\n");
}

/// Bars from below, never thinner than can be seen.
fn lost(out: &mut String, stretches: &[Stretch], panel: &Panel) {
    let width = (panel.x(panel.duration / stretches.len().max(1) as f64) - panel.left).max(1.2);
    for stretch in stretches.iter().filter(|stretch| stretch.coverage < 1.0) {
        let (x, y) = (panel.x(stretch.until) - width, panel.y((1.0 - stretch.coverage) / UNCOVERED_MAX));
        let height = panel.bottom - y;
        let _ =
            write!(out, "<rect class=\"lost\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>");
    }
    out.push('\n');
}

fn mark(out: &mut String, i: usize, fault: &FleetFault, panels: &[&Panel]) {
    let words = fault.words();
    for panel in panels {
        let x = panel.x(fault.at.as_secs_f64());
        let _ = writeln!(out, "<path class=\"line moment\" d=\"M{x:.1} {}V{}\"/>", panel.top, panel.bottom);
    }
    let (x, y) = (panels[0].x(fault.at.as_secs_f64()) + 5.0, panels[0].top + 14.0 + 15.0 * i as f64);
    let _ = writeln!(out, "<text class=\"mark\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escape(&words));
}
