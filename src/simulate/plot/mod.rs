//! A run as a picture for a report: what was asked, borne, sent and lost above; what the law did below. A string of SVG
//! that needs no font, script or file beside it, and follows the reader's light or dark scheme.

pub mod fleet;
mod marks;
mod thin;

use std::fmt::Write;

use self::thin::Column;
use super::scenario::Scenario;
use super::trace::{Run, Second};
use crate::plot::axes::{self, Panel};
use crate::plot::{self, HEIGHT, LEFT, RIGHT, Swatch, escape};

/// Demand above this many times the capacity runs off the scale: else a surge would flatten what is sent.
const CLIP_CAPACITIES: f64 = 2.5;
/// Top of the lower panel: budgets twice the capacity run off the scale.
const SHARE_MAX: f64 = 1.5;

/// What the legends show: class, shape, words.
const LEGEND_ABOVE: [(&str, Swatch, &str); 5] = [
    ("demand", Swatch::Line, "demand, all of it sampled"),
    ("capacity", Swatch::Line, "capacity"),
    ("sent", Swatch::Line, "offered"),
    ("accepted", Swatch::Area, "accepted"),
    ("lost", Swatch::Area, "lost"),
];
const LEGEND_BELOW: [(&str, Swatch, &str); 2] =
    [("odds", Swatch::Line, "probability, mean over the requests"), ("law", Swatch::Line, "budget / capacity")];

/// The picture of a run. An empty run gives empty panels.
pub fn svg(scenario: &Scenario, seed: u64, run: &Run) -> String {
    let duration = (run.seconds.len() as f64).max(1.0);
    let columns = thin::columns(&run.seconds, (RIGHT - LEFT) as usize);
    let top = Panel { left: LEFT, right: RIGHT, top: 96.0, bottom: 400.0, duration, max: spans_max(&run.seconds) };
    let below = Panel { top: 450.0, bottom: HEIGHT - 44.0, max: SHARE_MAX, ..top };
    let mut out = plot::begin();
    head(&mut out, scenario, seed, run);
    for (panel, legend) in [(&top, &LEGEND_ABOVE[..]), (&below, &LEGEND_BELOW[..])] {
        marks::behind(&mut out, scenario, panel);
        plot::legend(&mut out, legend, panel);
    }
    axes::draw(&mut out, &top, "spans/s");
    axes::draw(&mut out, &below, "ratio");
    above(&mut out, &columns, &top, &run.seconds);
    beneath(&mut out, &columns, &below);
    marks::labels(&mut out, scenario, &top);
    axes::time(&mut out, &top, None);
    axes::time(&mut out, &below, Some(plot::OF_THE_RUN));
    plot::end(out)
}

fn head(out: &mut String, scenario: &Scenario, seed: u64, run: &Run) {
    let (name, law) = (escape(&scenario.name), scenario.law.as_str());
    let score = &run.score;
    let _ = writeln!(
        out,
        "<text class=\"title\" x=\"{LEFT}\" y=\"26\">{name} · law {law} · seed {seed}</text>\
         <text x=\"{LEFT}\" y=\"46\">lost {:.3} % of the spans ({:.1} s of capacity), unused {:.1} s, utilization {:.3}, \
         worst minute {:.1} %, settled in {:.0} s, {:.0} commands</text>",
        score.loss_ratio * 100.0,
        score.lost_capacity_seconds,
        score.unused_capacity_seconds,
        score.utilization,
        score.worst_60s_loss * 100.0,
        score.settle_seconds,
        score.commands,
    );
}

/// Upper end of the spans/s axis.
fn spans_max(seconds: &[Second]) -> f64 {
    let most = |of: fn(&Second) -> f64| seconds.iter().map(of).fold(0.0, f64::max);
    let (capacity, demand) = (most(|s| s.capacity), most(|s| s.demand).max(most(|s| s.offered)));
    let max = if capacity > 0.0 { demand.clamp(capacity, capacity * CLIP_CAPACITIES) } else { demand };
    if max > 0.0 { max * 1.05 } else { 1.0 }
}

fn above(out: &mut String, columns: &[Column], panel: &Panel, seconds: &[Second]) {
    area(out, "accepted", columns, panel, |c| (0.0, c.accepted));
    line(out, "demand", columns, panel, |c| Some(c.demand));
    line(out, "sent", columns, panel, |c| Some(c.offered));
    lost(out, columns, panel);
    line(out, "capacity", columns, panel, |c| Some(c.capacity));
    let peak = seconds.iter().map(|second| second.demand).fold(0.0, f64::max);
    if peak > panel.max {
        let (x, y) = (panel.right, panel.top - 12.0);
        let peak = axes::figure(peak);
        let _ =
            writeln!(out, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"end\">demand up to {peak}, off the scale ↑</text>");
    }
}

/// Over the line of what was sent, and never thinner than can be seen: a lost second of a day is the point of the day.
fn lost(out: &mut String, columns: &[Column], panel: &Panel) {
    for column in columns.iter().filter(|column| column.lost.1 > column.lost.0) {
        let (x, y, width) = (panel.x(column.at), panel.y(column.lost.1), panel.x(column.until) - panel.x(column.at));
        let height = panel.y(column.lost.0) - y;
        if height > 0.05 {
            let _ = write!(
                out,
                "<rect class=\"lost\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\"/>",
                width.max(1.2)
            );
        }
    }
}

fn beneath(out: &mut String, columns: &[Column], panel: &Panel) {
    let (one, left, right) = (panel.y(1.0), panel.left, panel.right);
    let _ = writeln!(out, "<line class=\"one\" x1=\"{left}\" x2=\"{right}\" y1=\"{one:.1}\" y2=\"{one:.1}\"/>");
    line(out, "law", columns, panel, |c| c.budget);
    line(out, "odds", columns, panel, |c| Some(c.probability));
}

/// Through the first and the last of each column by way of its extremes; broken where there is nothing.
fn line(out: &mut String, class: &str, columns: &[Column], panel: &Panel, of: impl Fn(&Column) -> Option<thin::Range>) {
    let _ = write!(out, "<path class=\"line {class}\" d=\"");
    let mut is_down = false;
    for column in columns {
        let Some(range) = of(column) else {
            is_down = false;
            continue;
        };
        let x = panel.x(column.at);
        let pen = if is_down { 'L' } else { 'M' };
        let _ = write!(out, "{pen}{x:.1} {:.1}", panel.y(range.first));
        for value in [range.min, range.max, range.last].into_iter().filter(|_| range.min < range.max) {
            let _ = write!(out, "V{:.1}", panel.y(value));
        }
        is_down = true;
    }
    out.push_str("\"/>\n");
}

fn area(out: &mut String, class: &str, columns: &[Column], panel: &Panel, of: impl Fn(&Column) -> (f64, f64)) {
    let (Some(first), Some(last)) = (columns.first(), columns.last()) else { return };
    let _ = write!(out, "<path class=\"{class}\" d=\"M{:.1} {:.1}", panel.x(first.at), panel.y(0.0));
    for column in columns {
        let _ = write!(out, "L{:.1} {:.1}", panel.x(column.at), panel.y(of(column).1));
    }
    let _ = writeln!(out, "L{:.1} {:.1}Z\"/>", panel.x(last.at), panel.y(0.0));
}

#[cfg(test)]
mod tests;
