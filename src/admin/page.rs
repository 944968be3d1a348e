//! `/`: the decisions on one plain page. Rendered here, so that it is complete without scripts and there is one place
//! where text becomes HTML; `web/page.js` only fetches it again when the generation changed. Names are hostile input:
//! whatever is not a literal of this file passes through [`Escaped`].

use std::fmt::{self, Display, Write as _};
use std::sync::Arc;

use serde::Deserialize;

use super::alerts::write_alerts;
use super::because::{because, because_degraded, because_of_budget};
use super::case::{Case, law_name, mode_name, source_age};
use super::cohort_table::write_cohorts;
use super::rollout_table::write_rollouts;
use super::text::{Plain, duration, number, percent};
use crate::alert::book::Kept;
use crate::controller::keepalive::Cohorts;
use crate::controller::rollouts::Record;
use crate::controller::snapshot::Snapshot;
use crate::sampling::decision::{PolicyDecision, ServiceDecision};
use crate::sampling::policy::{Mode, Policy};
use crate::time::WallTime;

/// Services on the page, over all policies; of more, the busiest are shown and the search finds the rest.
const SERVICES_SHOWN_MAX: usize = 200;

pub(super) const STYLE: &str = include_str!("../../web/page.css");
pub(super) const SCRIPT: &str = include_str!("../../web/page.js");
pub(super) const ICON: &str = include_str!("../../web/icon.svg");

/// Which services to show.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    /// Part of the name, in whatever case; empty = all.
    pub(super) q: String,
}

/// What the page shows.
pub(super) struct Shown<'a> {
    /// Of the first loop.
    pub(super) snapshot: &'a Snapshot,
    /// Of the second.
    pub(super) cohorts: &'a Cohorts,
    pub(super) rollouts: &'a [Arc<Record>],
    /// Alarms, and the number of their state.
    pub(super) alerts: (u64, &'a [Kept]),
    /// The program's.
    pub(super) version: &'a str,
    /// When.
    pub(super) now: WallTime,
}

/// Another text where the page would show something else; `web/page.js` compares it with that of `/status`.
pub(super) fn revision(snapshot: &Snapshot, cohorts: &Cohorts, alerts: u64) -> String {
    format!("{}.{}.{alerts}", snapshot.generation, cohorts.revision)
}

/// The whole page.
pub(super) fn render(shown: &Shown<'_>, filter: &Filter) -> String {
    let mut html = String::with_capacity(64 << 10);
    write_page(&mut html, shown, filter).expect("a string takes all");
    html
}

fn write_page(html: &mut String, page: &Shown<'_>, filter: &Filter) -> fmt::Result {
    let (version, q) = (Escaped(page.version), Escaped(&filter.q));
    let (snapshot, now) = (page.snapshot, page.now);
    write!(
        html,
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Flyball: what is decided, and why</title>
<link rel="icon" href="assets/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="assets/page.css">
<script type="module" src="assets/page.js"></script>
</head>
<body data-revision="{revision}">
<header>
<h1><img src="assets/icon.svg" alt="" width="28" height="28"> Flyball <small>{version}</small></h1>
<form role="search" method="get"><label>Service <input type="search" name="q" value="{q}" maxlength="128" placeholder="part of a name" autocomplete="off" spellcheck="false"></label> <button>Search</button></form>
<p id="live" role="status"></p>
</header>
<main>
"#,
        revision = revision(snapshot, page.cohorts, page.alerts.0),
    )?;
    write_banner(html, snapshot)?;
    write_alerts(html, page.alerts.1)?;
    if snapshot.decisions.is_empty() {
        html.push_str("<section id=\"none\"><p>No policy has decided anything yet. Services that ask are answered all the same.</p></section>\n");
    }
    for (policy, shown) in snapshot.decisions.iter().zip(shown(snapshot, filter)) {
        write_policy(html, snapshot, policy, &shown, now)?;
    }
    write_cohorts(html, page.cohorts)?;
    write_rollouts(html, page.rollouts)?;
    write!(
        html,
        r#"</main>
<footer>
<p>Snapshot of <time>{published}</time>. Why is a rate what it is, in a terminal: <code>flyball explain SERVICE</code></p>
<nav aria-label="Machine-readable"><a href="api/v1/decisions">decisions</a> <a href="api/v1/cohorts">cohorts</a> <a href="api/v1/rollouts">rollouts</a> <a href="api/v1/alerts">alerts</a> <a href="status">status</a> <a href="metrics">metrics</a> <a href="readyz">readyz</a> <a href="livez">livez</a></nav>
</footer>
</body>
</html>
"#,
        published = snapshot.published_at.rfc3339(),
    )
}

fn write_banner(html: &mut String, snapshot: &Snapshot) -> fmt::Result {
    let mut degraded = snapshot.decisions.iter().filter_map(|p| Some((p, p.degraded?))).peekable();
    if degraded.peek().is_none() {
        return Ok(());
    }
    html.push_str(
        "<section id=\"degraded\" class=\"banner\" role=\"status\"><h2>Degraded, and still answering</h2><ul>",
    );
    for (policy, reason) in degraded {
        let (policy, name, text) = (Escaped(&policy.policy), reason.as_str(), Prose(because_degraded(reason)));
        write!(html, "<li><b>{policy}</b> <code>{name}</code>: {text}</li>")?;
    }
    html.push_str("</ul></section>\n");
    Ok(())
}

fn write_policy(
    html: &mut String,
    snapshot: &Snapshot,
    policy: &PolicyDecision,
    shown: &[&ServiceDecision],
    now: WallTime,
) -> fmt::Result {
    let name = Escaped(&policy.policy);
    write!(html, "<section id=\"policy-{name}\" aria-label=\"Policy {name}\"><h2><small>policy</small> {name}")?;
    let rules = snapshot.policy(&policy.policy);
    if let Some(rules) = rules {
        write_badges(html, rules)?;
    }
    html.push_str("</h2>\n");
    write_inputs(html, policy, rules, now)?;
    if shown.is_empty() {
        html.push_str(if policy.services.is_empty() {
            "<p>Its demand named no service yet.</p>"
        } else {
            "<p>None of its services is shown.</p>"
        });
    } else {
        html.push_str("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Services\"><table><thead><tr><th scope=\"col\">Service</th><th scope=\"col\" class=\"n\">Probability</th><th scope=\"col\" class=\"n\">Demand<br><small>requests/s</small></th><th scope=\"col\" class=\"n\">Share<br><small>spans/s</small></th><th scope=\"col\" class=\"why\">Why</th></tr></thead>\n");
        for service in shown {
            write_service(html, snapshot, policy, service)?;
        }
        html.push_str("</table></div>");
    }
    if shown.len() < policy.services.len() {
        let (shown, all) = (shown.len(), policy.services.len());
        write!(
            html,
            "<p class=\"note\">{shown} of {all} services are shown: those that the search finds, the busiest first to have a place.</p>"
        )?;
    }
    html.push_str("</section>\n");
    Ok(())
}

fn write_badges(html: &mut String, rules: &Policy) -> fmt::Result {
    write!(html, " <span class=\"badge\">{}</span>", law_name(&rules.law))?;
    if rules.mode == Mode::DryRun {
        write!(
            html,
            " <span class=\"badge dry\">{}: decides, serves what was served before</span>",
            mode_name(rules.mode)
        )?;
    }
    Ok(())
}

fn write_inputs(html: &mut String, policy: &PolicyDecision, rules: Option<&Policy>, now: WallTime) -> fmt::Result {
    let seen = &policy.inputs;
    let unknown = || "unknown".to_owned();
    let rate = |value: Option<f64>, unit: &str| value.map_or_else(unknown, |value| format!("{} {unit}", number(value)));
    let target = rules.map(|rules| format!("target {}", percent(rules.loss_target))).unwrap_or_default();
    let is_lossy = matches!((seen.loss_ratio, rules), (Some(loss), Some(rules)) if loss > rules.loss_target);
    let tiles = [
        ("Demand", rate(seen.demand_per_second, "requests/s"), "of its roots, unsampled".to_owned()),
        ("Received", rate(seen.received_per_second, "a second"), "by the tracing backend".to_owned()),
        ("Loss", seen.loss_ratio.map_or_else(unknown, percent), target),
        ("Budget", rate(seen.budget_spans_per_second, "spans/s"), because_of_budget(seen.budget_reason).to_owned()),
        ("Spans a trace", seen.spans_per_trace.map_or_else(unknown, number), String::new()),
        (
            "Input",
            source_age(policy, now).map_or_else(|| "of unknown age".to_owned(), |age| format!("{} old", duration(age))),
            String::new(),
        ),
    ];
    html.push_str("<dl>");
    for (name, value, note) in tiles {
        let class = if name == "Loss" && is_lossy { " class=\"bad\"" } else { "" };
        write!(
            html,
            "<div{class}><dt>{name}</dt><dd>{} <small>{}</small></dd></div>",
            Escaped(&value),
            Escaped(&note)
        )?;
    }
    html.push_str("</dl>\n");
    Ok(())
}

fn write_service(
    html: &mut String,
    snapshot: &Snapshot,
    policy: &PolicyDecision,
    service: &ServiceDecision,
) -> fmt::Result {
    let mut cases = Case::all(snapshot, policy, service);
    let own = cases.next().expect("a service has a row of its own");
    let share = service.share_spans_per_second.map_or_else(|| "none".to_owned(), number);
    write!(html, "<tbody><tr><th scope=\"row\"><bdi>{}</bdi></th>", Escaped(&service.service))?;
    write_rate(html, &own)?;
    writeln!(html, "<td class=\"n\">{share}</td><td class=\"why\">{}</td></tr>", Prose(&because(&own)))?;
    if !service.operations.is_empty() {
        let (policy, service_name, count) =
            (Escaped(&policy.policy), Escaped(&service.service), service.operations.len());
        let plural = if count == 1 { "" } else { "s" };
        write!(
            html,
            "<tr class=\"operations\"><td colspan=\"5\"><details data-key=\"{policy}/{service_name}\"><summary>{count} operation{plural}</summary><table><thead><tr><th scope=\"col\">Operation</th><th scope=\"col\" class=\"n\">Probability</th><th scope=\"col\" class=\"n\">Demand</th><th scope=\"col\">Met by SDKs</th><th scope=\"col\" class=\"why\">Why</th></tr></thead><tbody>"
        )?;
        for case in cases {
            write_operation(html, &case)?;
        }
        html.push_str("</tbody></table></details></td></tr>");
    }
    html.push_str("</tbody>\n");
    Ok(())
}

fn write_operation(html: &mut String, case: &Case<'_>) -> fmt::Result {
    let name = case.operation.map_or("", |operation| operation.operation.as_ref());
    write!(html, "<tr><th scope=\"row\"><bdi>{}</bdi></th>", Escaped(name))?;
    write_rate(html, case)?;
    let met = match case.matched() {
        Some(true) => "yes",
        Some(false) => "<b>never</b>",
        None => "not reported",
    };
    write!(html, "<td>{met}</td><td class=\"why\">{}</td></tr>", Prose(&because(case)))
}

fn write_rate(html: &mut String, case: &Case<'_>) -> fmt::Result {
    let rate = case.rate();
    let (served, width) = (number(rate.served.get()), rate.served.get() * 100.0);
    let demand = case.demand_per_second().map_or_else(|| "unknown".to_owned(), number);
    write!(
        html,
        "<td class=\"n\"><b>{served}</b><svg viewBox=\"0 0 100 4\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect width=\"100\" height=\"4\"/><rect class=\"on\" width=\"{width:.2}\" height=\"4\"/></svg></td><td class=\"n\">{demand}</td>"
    )
}

fn is_found(service: &ServiceDecision, filter: &Filter) -> bool {
    filter.q.is_empty() || service.service.to_lowercase().contains(&filter.q.to_lowercase())
}

/// The services on the page, policy by policy, each in its order by name.
fn shown<'a>(snapshot: &'a Snapshot, filter: &Filter) -> Vec<Vec<&'a ServiceDecision>> {
    let services = snapshot.decisions.iter().enumerate().flat_map(|(policy, decided)| {
        decided.services.iter().enumerate().map(move |(index, service)| (policy, index, service))
    });
    let mut found: Vec<_> = services.filter(|(_, _, service)| is_found(service, filter)).collect();
    if found.len() > SERVICES_SHOWN_MAX {
        let demand = |service: &ServiceDecision| service.demand_per_second.unwrap_or(0.0);
        found.sort_by(|(_, _, a), (_, _, b)| demand(b).total_cmp(&demand(a)));
        found.truncate(SERVICES_SHOWN_MAX);
        found.sort_by_key(|(policy, index, _)| (*policy, *index));
    }
    let mut shown = vec![Vec::new(); snapshot.decisions.len()];
    for (policy, _, service) in found {
        shown[policy].push(service);
    }
    shown
}

/// Text in HTML, in an element or in a quoted attribute; what could steer a display is spelt out.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in Plain(self.0).to_string().chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A sentence in which what stands between backquotes is code.
pub(super) struct Prose<'a>(pub(super) &'a str);

impl Display for Prose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.split('`').enumerate() {
            let part = Escaped(part);
            if index % 2 == 1 { write!(f, "<code>{part}</code>")? } else { write!(f, "{part}")? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::admin::sample;
    use crate::sampling::decision::Reason;

    fn page(change: impl FnOnce(&mut PolicyDecision), q: &str) -> String {
        let mut policy = sample::policy();
        change(&mut policy);
        let mut snapshot = Snapshot::empty(7, policy.decided_at);
        snapshot.decisions = vec![Arc::new(policy)];
        let cohorts = Cohorts::default();
        let shown = Shown {
            snapshot: &snapshot,
            cohorts: &cohorts,
            rollouts: &[],
            alerts: (0, &[]),
            version: "1.2.3",
            now: snapshot.published_at,
        };
        render(&shown, &Filter { q: q.into() })
    }

    fn named(policy: &PolicyDecision, name: String, demand_per_second: f64) -> ServiceDecision {
        let demand_per_second = Some(demand_per_second);
        ServiceDecision { service: name.into(), demand_per_second, ..policy.services[0].clone() }
    }

    #[test]
    fn a_hostile_name_stays_text_wherever_it_stands() {
        const HOSTILE: &str = "\"><script>alert('1')</script>\u{202e}&amp;";
        let html = page(
            |policy| {
                policy.policy = HOSTILE.into();
                policy.degraded = Some(Reason::Stale);
                policy.services[0].service = HOSTILE.into();
                policy.services[0].operations[0].operation = HOSTILE.into();
            },
            HOSTILE,
        );
        assert!(!html.contains("<script>") && !html.contains("'1'") && !html.contains('\u{202e}'), "{html}");
        assert!(html.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;\\u{202e}&amp;amp;"), "{html}");
    }

    #[test]
    fn a_page_shows_the_reason_in_plain_words_and_the_degradation() {
        let html = page(|policy| policy.degraded = Some(Reason::Stale), "");
        assert!(html.contains("Its fair share is 1,000 of the budget of 6,000 spans/s."));
        assert!(html.contains("the last probabilities are held") && html.contains("1 operation<"));
    }

    #[test]
    fn the_search_finds_a_part_of_a_name_in_whatever_case() {
        assert!(page(|_| {}, "CHECK").contains("<bdi>checkout</bdi>"));
        assert!(!page(|_| {}, "cart").contains("<bdi>checkout</bdi>"));
    }

    #[test]
    fn of_many_services_the_busiest_are_shown() {
        let many = |policy: &mut PolicyDecision| {
            policy.services = (0..1000).map(|i| named(policy, format!("s{i:03}"), f64::from(i))).collect();
        };
        let html = page(many, "");
        assert_eq!(html.matches("<tr><th scope=\"row\"><bdi>s").count(), SERVICES_SHOWN_MAX);
        assert!(html.contains("<bdi>s999</bdi>") && !html.contains("<bdi>s799</bdi>"));
        assert!(html.contains("200 of 1000 services are shown"));
        let equals = |policy: &mut PolicyDecision| {
            policy.services = (0..1000).map(|i| named(policy, format!("s{i:03}"), 7.0)).collect();
        };
        assert_eq!(page(equals, "").matches("<tr><th scope=\"row\"><bdi>s").count(), SERVICES_SHOWN_MAX);
    }
}
