//! The last seconds in small pictures: one row of bars for each thing that moves.

use std::fmt::Write as _;

use super::screen::Second;

/// Seconds in a picture: a row fits into 80 columns.
const SECONDS: usize = 46;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// What one row shows.
struct Row {
    name: String,
    of: Box<dyn Fn(&Second) -> f64>,
    /// The row's maximum, in words.
    most: fn(f64) -> String,
}

/// The seconds that the pictures show.
pub(super) fn tail(all: &[Second]) -> &[Second] {
    &all[all.len().saturating_sub(SECONDS)..]
}

/// A row each, up to its own maximum, which is told before it.
pub(super) fn rows(all: &[Second]) -> String {
    let tail = tail(all);
    let Some(last) = tail.last() else { return String::new() };
    let mut text = String::new();
    for Row { name, of, most } in list(last) {
        let values: Vec<f64> = tail.iter().map(of).collect();
        let highest = values.iter().copied().fold(0.0, f64::max);
        let _ = writeln!(text, "  {name:<14} {:>13}  {}", most(highest), bars(&values, highest));
    }
    text
}

fn list(last: &Second) -> Vec<Row> {
    let row = |name: &str, of: fn(&Second) -> f64, most| Row { name: name.to_owned(), of: Box::new(of), most };
    let mut rows = vec![row("demand", |s| s.demand, |most| format!("{most:.0} req/s"))];
    rows.extend(last.services.iter().enumerate().map(|(i, (name, ..))| Row {
        name: format!("prob. {name}"),
        of: Box::new(move |s| s.services[i].2),
        most: |most| format!("{most:.3}"),
    }));
    rows.push(row("received", |s| s.received, |most| format!("{most:.0} spans/s")));
    rows.push(row("lost", |s| s.lost, |most| format!("{most:.0} spans/s")));
    rows.extend(last.carriers.iter().enumerate().map(|(i, carrier)| Row {
        name: format!("interval {}", carrier.name),
        of: Box::new(move |s| s.carriers.get(i).map_or(0.0, |carrier| carrier.interval.as_secs_f64())),
        most: |most| format!("{most:.1} s"),
    }));
    rows
}

fn bars(values: &[f64], highest: f64) -> String {
    let bar = |value: &f64| match highest {
        highest if highest > 0.0 => BARS[((value / highest * 7.0).round() as usize).min(7)],
        _ => BARS[0],
    };
    values.iter().map(bar).collect()
}
