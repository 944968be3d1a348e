//! The page's table of cohorts, beside the policies.

use std::fmt::{self, Write as _};

use super::because_cohort::because;
use super::cohorts::shown;
use super::page::{Escaped, Prose};
use super::text::{duration, number, percent};
use crate::controller::keepalive::Cohorts;
use crate::keepalive::report::{CohortReport, Verdict};

/// Cohorts on the page; of more, those with the most devices.
const COHORTS_SHOWN_MAX: usize = 200;

/// Nothing where there is no cohort.
pub(super) fn write_cohorts(html: &mut String, cohorts: &Cohorts) -> fmt::Result {
    let mut all = shown(cohorts);
    let count = all.len();
    if count == 0 {
        return Ok(());
    }
    if count > COHORTS_SHOWN_MAX {
        all.sort_by_key(|report| std::cmp::Reverse(report.devices));
        all.truncate(COHORTS_SHOWN_MAX);
        all.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    }
    html.push_str("<section id=\"cohorts\" aria-label=\"Cohorts\"><h2><small>keepalive</small> Cohorts</h2>\n");
    write_sums(html, cohorts)?;
    html.push_str("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Cohorts\"><table><thead><tr><th scope=\"col\">Cohort</th><th scope=\"col\" class=\"n\">Devices</th><th scope=\"col\" class=\"n\">NAT lifetime<br><small>at least, at most</small></th><th scope=\"col\" class=\"n\">Interval<br><small>and jitter</small></th><th scope=\"col\" class=\"why\">Why</th></tr></thead>\n");
    all.iter().try_for_each(|report| write_cohort(html, report))?;
    html.push_str("</table></div>");
    if count > all.len() {
        write!(html, "<p class=\"note\">{} of {count} cohorts are shown: those with the most devices.</p>", all.len())?;
    }
    html.push_str("</section>\n");
    Ok(())
}

fn write_sums(html: &mut String, cohorts: &Cohorts) -> fmt::Result {
    let devices: u64 = cohorts.reports.iter().map(|report| u64::from(report.devices)).sum();
    let own: u64 = cohorts.reports.iter().map(|report| u64::from(report.devices_own)).sum();
    let learning = shown(cohorts).iter().filter(|report| report.verdict == Verdict::Learning).count();
    let hostile = shown(cohorts).iter().filter(|report| report.verdict == Verdict::Hostile).count();
    html.push_str("<dl>");
    let tiles = [
        ("Devices", number(devices as f64), "here now"),
        ("Own pace", number(own as f64), "devices with another than their cohort's"),
        ("Learning", number(learning as f64), "cohorts"),
        ("Hostile", number(hostile as f64), "cohorts that the floor cannot serve"),
    ];
    for (name, value, note) in tiles {
        let class = if name == "Hostile" && hostile > 0 { " class=\"bad\"" } else { "" };
        write!(html, "<div{class}><dt>{name}</dt><dd>{value} <small>{note}</small></dd></div>")?;
    }
    html.push_str("</dl>\n");
    Ok(())
}

fn write_cohort(html: &mut String, report: &CohortReport) -> fmt::Result {
    let (stream, pace) = (report.stream(), &report.pace);
    let seconds = |time: std::time::Duration| number(time.as_secs_f64());
    let class = if report.verdict == Verdict::Hostile { " dry" } else { "" };
    write!(
        html,
        "<tbody><tr><th scope=\"row\"><bdi>{}</bdi> <span class=\"badge\">{}</span> <span class=\"badge{class}\">{}</span></th>",
        Escaped(&report.key.name),
        report.key.transport,
        report.verdict.as_str(),
    )?;
    write!(
        html,
        "<td class=\"n\">{}<br><small>{} lost</small></td>",
        number(f64::from(report.devices)),
        percent(report.loss_ratio)
    )?;
    let learnt = format!("{} to {} s", seconds(stream.lower_bound), seconds(stream.upper_bound));
    match report.pinned.map(seconds) {
        None => write!(html, "<td class=\"n\">{learnt}</td>")?,
        // Without an expiry the upper bound is only where the search begins.
        Some(pin) if report.evidence.expired == 0 => write!(html, "<td class=\"n\">pinned: {pin} s</td>")?,
        Some(pin) => write!(html, "<td class=\"n\">pinned: {pin} s<br><small>seen: {learnt}</small></td>")?,
    }
    let (interval, jitter) = (duration(pace.interval), seconds(pace.jitter_max()));
    write!(html, "<td class=\"n\"><b>{interval}</b><br><small>+ up to {jitter} s</small></td>")?;
    writeln!(html, "<td class=\"why\">{}</td></tr></tbody>", Prose(&because(report)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::sample;

    #[test]
    fn a_house_without_devices_has_no_table_of_cohorts() {
        let mut html = String::new();
        write_cohorts(&mut html, &Cohorts::default()).expect("a string takes all");
        assert_eq!(html, "");
    }

    #[test]
    fn a_pin_stands_in_the_place_of_a_lifetime_that_nothing_was_seen_of() {
        let shown = |expired| {
            let mut report = sample::cohort("carrier=a", 3);
            (report.pinned, report.evidence.expired) = (Some(std::time::Duration::from_millis(2_500)), expired);
            let mut html = String::new();
            write_cohort(&mut html, &report).expect("a string takes all");
            html
        };
        assert!(shown(0).contains("<td class=\"n\">pinned: 2.5 s</td>") && !shown(0).contains("113"), "{}", shown(0));
        assert!(shown(2).contains("pinned: 2.5 s<br><small>seen: 111 to 113 s</small>"), "{}", shown(2));
    }

    #[test]
    fn a_hostile_label_stays_text() {
        let reports = vec![sample::cohort("carrier=<script>,region=\"x", 3)];
        let mut html = String::new();
        write_cohorts(&mut html, &Cohorts { generation: 1, reports, revision: 1 }).expect("a string takes all");
        assert!(!html.contains("<script>") && html.contains("carrier=&lt;script&gt;,region=&quot;x"), "{html}");
        assert!(html.contains("111 to 113 s") && html.contains("83 s"), "{html}");
    }
}
