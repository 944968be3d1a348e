//! A panel's scales, grids and ticks.

use std::fmt::Write;

/// Most ticks of an axis of time.
const TIME_TICKS_MAX: f64 = 12.0;
/// Steps of the time axis, in seconds: those that people count in.
const TIME_STEPS: [f64; 20] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 10_800.0, 21_600.0,
    43_200.0, 86_400.0, 172_800.0, 345_600.0,
];

/// Where a panel is, and what its edges mean. Values from 0 up; time from 0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Panel {
    pub(crate) left: f64,
    pub(crate) right: f64,
    pub(crate) top: f64,
    pub(crate) bottom: f64,
    /// Seconds at the right edge.
    pub(crate) duration: f64,
    /// Value at the upper edge; above 0.
    pub(crate) max: f64,
}

impl Panel {
    /// The place of a second.
    pub(crate) fn x(&self, seconds: f64) -> f64 {
        self.left + (self.right - self.left) * (seconds / self.duration).clamp(0.0, 1.0)
    }

    /// The place of a value; beyond the edges at the edge.
    pub(crate) fn y(&self, value: f64) -> f64 {
        let share = value / self.max;
        self.bottom - (self.bottom - self.top) * if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) }
    }
}

/// The frame, the grid of values and the unit.
pub(crate) fn draw(out: &mut String, panel: &Panel, unit: &str) {
    let Panel { left, right, .. } = *panel;
    let step = value_step(panel.max);
    let mut value = 0.0;
    while value <= panel.max {
        let y = panel.y(value);
        let _ = writeln!(
            out,
            "<line class=\"grid\" x1=\"{left}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 8.0,
            y + 4.0,
            figure(value)
        );
        value += step;
    }
    frame(out, panel, unit);
}

/// The same with powers of ten, from `10^first` up: what is drawn on the panel are exponents above that.
pub(crate) fn decades(out: &mut String, panel: &Panel, first: i32, unit: &str) {
    let Panel { left, right, .. } = *panel;
    for above in 0..=panel.max as i32 {
        let y = panel.y(f64::from(above));
        let _ = writeln!(
            out,
            "<line class=\"grid\" x1=\"{left}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 8.0,
            y + 4.0,
            10f64.powi(first + above)
        );
    }
    frame(out, panel, unit);
}

fn frame(out: &mut String, panel: &Panel, unit: &str) {
    let Panel { left, right, top, bottom, .. } = *panel;
    let (x, y) = (left - 58.0, f64::midpoint(top, bottom));
    let _ = writeln!(
        out,
        "<line class=\"axis\" x1=\"{left}\" x2=\"{left}\" y1=\"{top}\" y2=\"{bottom}\"/>\
         <line class=\"axis\" x1=\"{left}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>\
         <text transform=\"translate({x:.1} {y:.1}) rotate(-90)\" text-anchor=\"middle\">{unit}</text>"
    );
}

/// The ticks of time; with their words, and what they count from, where that is given.
pub(crate) fn time(out: &mut String, panel: &Panel, since: Option<&str>) {
    let bottom = panel.bottom;
    let enough = |step: &&f64| panel.duration / **step <= TIME_TICKS_MAX;
    let step = *TIME_STEPS.iter().find(enough).unwrap_or(&TIME_STEPS[TIME_STEPS.len() - 1]);
    let mut at = 0.0;
    while at <= panel.duration {
        let x = panel.x(at);
        let _ = writeln!(out, "<path class=\"axis\" d=\"M{x:.1} {bottom}v5\"/>");
        if since.is_some() {
            let _ = writeln!(
                out,
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 19.0,
                moment(at)
            );
        }
        at += step;
    }
    if let Some(since) = since {
        let (x, y) = (f64::midpoint(panel.left, panel.right), bottom + 37.0);
        let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{since}</text>");
    }
}

/// 1, 2 or 5 times a power of ten, such that four to eight of them reach the top.
fn value_step(max: f64) -> f64 {
    let rough = max / 6.0;
    let power = 10f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power).find(|step| max / step <= 7.0).unwrap_or(max)
}

/// `12k`, `1.5M`, `0.25`.
pub(crate) fn figure(value: f64) -> String {
    let (number, unit) = match value {
        v if v >= 1e9 => (v / 1e9, "G"),
        v if v >= 1e6 => (v / 1e6, "M"),
        v if v >= 1e4 => (v / 1e3, "k"),
        v => (v, ""),
    };
    let text = if number < 10.0 { format!("{number:.2}") } else { format!("{number:.1}") };
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// `90s`, `15m`, `2h`, `1d 6h`: the largest units that say it exactly.
fn moment(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    let parts = [(whole / 86_400, "d"), (whole / 3600 % 24, "h"), (whole / 60 % 60, "m"), (whole % 60, "s")];
    let words: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if words.is_empty() { "0".to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_step_by_one_two_or_five() {
        for (max, expected) in [(1.5, 0.5), (8400.0, 2000.0), (21_000.0, 5000.0), (1.0, 0.2), (7.0, 1.0)] {
            assert!((value_step(max) / expected - 1.0).abs() < 1e-9, "{max}: {}", value_step(max));
        }
    }

    #[test]
    fn figures_and_moments_are_short() {
        assert_eq!([8000.0, 12_500.0, 3e6, 0.25, 0.0].map(figure), ["8000", "12.5k", "3M", "0.25", "0"]);
        assert_eq!([0.0, 90.0, 900.0, 7200.0, 108_000.0].map(moment), ["0", "1m 30s", "15m", "2h", "1d 6h"]);
    }
}
