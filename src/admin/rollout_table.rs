//! The page's table of rollouts: those under way, and the last that ended.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use super::page::{Escaped, Prose};
use super::rollout_rows::step;
use super::text::{number, percent};
use crate::controller::rollouts::Record;
use crate::keepalive::wave::audit::GateReport;
use crate::keepalive::wave::spec::State;

/// Rollouts on the page, newest first.
const SHOWN_MAX: usize = 50;

/// Nothing where there is none.
pub(super) fn write_rollouts(html: &mut String, records: &[Arc<Record>]) -> fmt::Result {
    if records.is_empty() {
        return Ok(());
    }
    html.push_str("<section id=\"rollouts\" aria-label=\"Rollouts\"><h2><small>keepalive</small> Rollouts</h2>\n");
    html.push_str("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Rollouts\"><table><thead><tr><th scope=\"col\">Cohort</th><th scope=\"col\">Wave</th><th scope=\"col\" class=\"n\">Interval<br><small>before, after</small></th><th scope=\"col\">Gates<br><small>treated, control</small></th><th scope=\"col\" class=\"why\">Last step</th></tr></thead>\n");
    records.iter().take(SHOWN_MAX).try_for_each(|record| write_rollout(html, record))?;
    html.push_str("</table></div>");
    if records.len() > SHOWN_MAX {
        write!(html, "<p class=\"note\">{SHOWN_MAX} of {} rollouts are shown: the newest.</p>", records.len())?;
    }
    html.push_str("</section>\n");
    Ok(())
}

fn write_rollout(html: &mut String, record: &Record) -> fmt::Result {
    let report = &record.report;
    let asks = if matches!(report.state, State::Held | State::Paused) { " dry" } else { "" };
    write!(
        html,
        "<tbody><tr><th scope=\"row\"><bdi>{}</bdi> <span class=\"badge{asks}\">{}</span><br><small><code>{}</code></small></th>",
        Escaped(&report.spec.cohort),
        super::paced::state(report.state),
        Escaped(&report.spec.id),
    )?;
    let [from, to] = [report.spec.from, report.spec.to].map(|interval| number(interval.as_secs_f64()));
    let ((wave, waves), [devices, new, _]) = (report.wave, report.devices);
    write!(html, "<td>{wave} of {waves}<br><small>{new} of {devices} devices</small></td>")?;
    write!(html, "<td class=\"n\">{from} s<br><small>{to} s</small></td><td>")?;
    for gate in &report.gates {
        write!(html, "{} <b>{}</b>", Escaped(&gate.name()), gate.verdict().as_str())?;
        if let GateReport::Devices { treated, control, .. } = gate {
            let ratio = |ratio: Option<f64>| ratio.map_or_else(|| "no beat".to_owned(), percent);
            write!(html, " <small>{}, {}</small>", ratio(treated.ratio()), ratio(control.ratio()))?;
        }
        html.push_str("<br>");
    }
    html.push_str("</td><td class=\"why\">");
    if let Some(last) = record.history.last().map(step) {
        let text = format!("{} by {}: {}.", last.what.replace('_', " "), last.who, last.why);
        write!(html, "{}", Prose(&text))?;
    }
    html.push_str("</td></tr></tbody>\n");
    Ok(())
}
