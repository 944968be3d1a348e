//! Why a cohort is paced as it is, in a sentence or two with the numbers. The only place where a keepalive [`Reason`]
//! becomes prose.

use super::text::{number, percent};
use crate::keepalive::report::{CohortReport, Reason};

/// Why the cohort's pace is what it is.
pub(super) fn because(report: &CohortReport) -> String {
    let (stream, seen) = (report.stream(), &report.evidence);
    let [lower, upper, interval] =
        [stream.lower_bound, stream.upper_bound, report.pace.interval].map(|time| number(time.as_secs_f64()));
    let known = format!(
        "A binding lives {lower} s at least, {upper} s at most ({} sure), after {} survivals and {} expiries.",
        percent(stream.confidence),
        number(seen.survived as f64),
        number(seen.expired as f64),
    );
    let why = match report.reason {
        Reason::Prior => return format!("Nothing was seen yet: {interval} s is safe with nearly every NAT there is."),
        Reason::Searching => {
            format!("Tests narrow that down; until then {interval} s is safe with nearly every NAT there is.")
        }
        Reason::Proving => {
            "Each device is raised by itself once it outlived the least; the order to all follows when most \
                            have."
                .to_owned()
        }
        Reason::LowerBound => "The interval keeps below the least by the fleet's `safety`.".to_owned(),
        Reason::Floor => "That asks for less than the fleet's `interval.min`, which counts.".to_owned(),
        Reason::Ceiling => "That would allow more than the fleet's `interval.max`, which counts.".to_owned(),
        Reason::Pin => return format!("The operator's pin counts. {known}"),
        Reason::Shorter => "It fell: the shorter interval went out at once.".to_owned(),
        Reason::Hysteresis => "That would allow a longer interval, by too little to be worth a change.".to_owned(),
        Reason::AwaitsRelease => {
            "That would allow a longer interval, which waits: the fleet says `release: hold`.".to_owned()
        }
        Reason::Hostile => {
            "No allowed interval can keep that: `interval.min` is served, and devices are told.".to_owned()
        }
        Reason::OwnLoadBalancer => {
            "All cohorts show this value: suspect the load balancer or firewall in front of this server.".to_owned()
        }
    };
    let own = match report.devices_own {
        0 => String::new(),
        own if report.reason == Reason::Proving => format!(" {} devices have theirs already.", number(f64::from(own))),
        1 => " One device lost its binding sooner and has a pace of its own.".to_owned(),
        own => format!(" {} devices lost theirs sooner and have a pace of their own.", number(f64::from(own))),
    };
    let surer = match report.tests_to_be_surer {
        0 => String::new(),
        tests => format!(" To know it to 1 % takes about {} more tests.", number(f64::from(tests))),
    };
    format!("{known} {why}{own}{surer}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::sample;

    #[test]
    fn every_reason_has_a_sentence_with_its_numbers() {
        let mut report = sample::cohort("carrier=a", 40);
        for reason in [
            Reason::Searching,
            Reason::Proving,
            Reason::LowerBound,
            Reason::Floor,
            Reason::Ceiling,
            Reason::Pin,
            Reason::Shorter,
            Reason::Hysteresis,
            Reason::AwaitsRelease,
            Reason::Hostile,
            Reason::OwnLoadBalancer,
        ] {
            report.reason = reason;
            let text = because(&report);
            assert!(text.contains("111 s at least, 113 s at most (99.9 % sure)") && text.ends_with('.'), "{text}");
        }
        report.reason = Reason::Prior;
        assert!(because(&report).contains("Nothing was seen yet: 83 s"));
    }
}
