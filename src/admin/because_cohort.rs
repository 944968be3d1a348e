//! Why a cohort is paced as it is, in a sentence or two with the numbers. The only place where a keepalive [`Reason`]
//! becomes prose.

use super::text::{number, percent};
use crate::keepalive::report::{CohortReport, Reason, RolloutBrief};
use crate::keepalive::wave::spec::State;

/// Why the cohort's pace is what it is.
pub(super) fn because(report: &CohortReport) -> String {
    let (known, interval) = (known(report), number(report.pace.interval.as_secs_f64()));
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
        Reason::Pin if report.pinned.is_some() => return known,
        Reason::Pin => return format!("The operator's pin counts. {known}"),
        Reason::AbTest => return format!("An AB test of the fleet file has it. {known}"),
        Reason::Shorter => "It fell: the shorter interval went out at once.".to_owned(),
        Reason::Hysteresis => "That would allow a longer interval, by too little to be worth a change.".to_owned(),
        Reason::AwaitsRelease => match &report.rollout {
            Some(rollout) => awaited(rollout),
            None => "That would allow a longer interval, which waits: the fleet says `release: hold`, or other \
                     cohorts' rollouts come first."
                .to_owned(),
        },
        Reason::Rollout => report.rollout.as_ref().map_or_else(String::new, released),
        Reason::RolledBack => report.rollout.as_ref().map_or_else(String::new, rolled_back),
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
        own if report.rollout.is_some() => {
            format!(" {} devices have a pace of their own, a rollout's among them.", number(f64::from(own)))
        }
        1 => " One device lost its binding sooner and has a pace of its own.".to_owned(),
        own => format!(" {} devices lost theirs sooner and have a pace of their own.", number(f64::from(own))),
    };
    let surer = match report.tests_to_be_surer {
        0 => String::new(),
        tests => format!(" To know it to 1 % takes about {} more tests.", number(f64::from(tests))),
    };
    format!("{known} {why}{own}{surer}")
}

/// What is known of the NATs. Under a pin that is the pin; what was seen is told beside it where something expired: else its
/// upper bound is only where the search begins.
fn known(report: &CohortReport) -> String {
    let (stream, seen) = (report.stream(), &report.evidence);
    let [lower, upper] = [stream.lower_bound, stream.upper_bound].map(|time| number(time.as_secs_f64()));
    let learnt = format!(
        "A binding lives {lower} s at least, {upper} s at most ({} sure), after {} survivals and {} expiries.",
        percent(stream.confidence),
        number(seen.survived as f64),
        number(seen.expired as f64),
    );
    match report.pinned {
        None => learnt,
        Some(pin) if seen.expired == 0 => format!("The operator's pin counts: {} s.", number(pin.as_secs_f64())),
        Some(pin) => format!("The operator's pin counts: {} s. What was seen: {learnt}", number(pin.as_secs_f64())),
    }
}

fn released(rollout: &RolloutBrief) -> String {
    let ((wave, waves), to) = (rollout.wave, number(rollout.to.as_secs_f64()));
    format!("A longer interval, {to} s, is being released: rollout {}, wave {wave} of {waves}.", rollout.id)
}

fn awaited(rollout: &RolloutBrief) -> String {
    let ((wave, waves), to) = (rollout.wave, number(rollout.to.as_secs_f64()));
    let what = if rollout.state == State::Paused { "paused" } else { "not decided" };
    format!(
        "A longer interval, {to} s, waits for a person: rollout {} is {what} in wave {wave} of {waves}; \
         promote, resume or abort it.",
        rollout.id
    )
}

fn rolled_back(rollout: &RolloutBrief) -> String {
    let ((wave, _), to) = (rollout.wave, number(rollout.to.as_secs_f64()));
    let again = match rollout.again_at {
        Some(at) => format!("It is tried again at {}, or when a bound changes.", at.rfc3339()),
        None => "It is not tried again until the pin, or a key under `waves`, is another.".to_owned(),
    };
    format!("A longer interval, {to} s, was rolled back in wave {wave} of rollout {}. {again}", rollout.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::sample;

    #[test]
    fn every_reason_has_a_sentence_with_its_numbers() {
        let mut report = sample::cohort("carrier=a", 40);
        let (id, to) = ("r1".into(), std::time::Duration::from_secs(99));
        report.rollout = Some(RolloutBrief { id, to, wave: (1, 3), state: State::Paused, again_at: None });
        for reason in [
            Reason::Searching,
            Reason::Proving,
            Reason::LowerBound,
            Reason::Floor,
            Reason::Ceiling,
            Reason::Pin,
            Reason::AbTest,
            Reason::Shorter,
            Reason::Hysteresis,
            Reason::AwaitsRelease,
            Reason::Rollout,
            Reason::RolledBack,
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

    #[test]
    fn a_pin_is_told_and_beside_it_what_was_seen_where_something_expired() {
        let mut report = sample::cohort("carrier=a", 40);
        (report.pinned, report.reason) = (Some(std::time::Duration::from_secs(3)), Reason::Pin);
        let text = because(&report);
        assert!(text.starts_with("The operator's pin counts: 3 s. What was seen: A binding lives 111 s"), "{text}");
        report.evidence.expired = 0;
        assert_eq!(because(&report), "The operator's pin counts: 3 s.");
        report.reason = Reason::Floor;
        let text = because(&report);
        assert!(text.starts_with("The operator's pin counts: 3 s. That asks for less than"), "{text}");
    }
}
