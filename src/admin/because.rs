//! Why a probability is what it is, in one or two sentences with the numbers it was decided from, and what would
//! change it. The only place where a [`Reason`] becomes prose: the page, the API and `flyball explain` all say this.

use super::case::Case;
use super::text::{duration, number, percent};
use crate::sampling::decision::{BudgetReason, Reason};
use crate::sampling::policy::{Law, ThresholdConstants};

/// Why the probability of `case` is what it is.
pub(crate) fn because(case: &Case<'_>) -> String {
    let mut text = sentence(case);
    let rate = case.rate();
    if rate.served != rate.probability {
        let (served, wanted) = (number(rate.served.get()), number(rate.probability.get()));
        text.push_str(&format!(" Dry run: {served} is served, as before; {wanted} would be."));
    }
    text
}

fn sentence(case: &Case<'_>) -> String {
    match case.rate().reason {
        Reason::Initial => "Nothing has been decided yet: the policy's `probability.initial` is served.".into(),
        Reason::Restored => {
            "Restored from the state folder: what was served before the restart holds until fresh input arrives.".into()
        }
        Reason::Fixed => "The policy's law is `fixed`: all its services get `probability.initial`.".into(),
        Reason::WithinThresholds => {
            format!("{} and {} are both within the policy's thresholds: nothing is cut.", loss(case), demand(case))
        }
        Reason::AboveDemand => format!("{} is above the threshold{}.", demand(case), threshold(case, demand_threshold)),
        Reason::AboveLoss => format!("{} is above the threshold{}.", loss(case), threshold(case, loss_threshold)),
        Reason::Share => format!("{} At {}, this probability costs just that.", share(case), cost(case)),
        Reason::AtMax => format!("{} At {}, that pays for all that `probability.max` allows.", share(case), cost(case)),
        Reason::AtMin => {
            format!("{} At {}, that would need less than `probability.min`.", share(case), cost(case))
        }
        Reason::Floor => format!("{} `floor_traces_per_second` keeps it above that.", share(case)),
        Reason::DeadBand => format!("{} That allows a rise too small to be worth a command (dead band).", share(case)),
        Reason::AwaitingEffect => {
            format!("{} It may rise once the effect of the last change shows in the data.", share(case))
        }
        Reason::LearningSpansPerTrace => {
            "How many spans a trace has is not measured yet, so no probability can be computed from the budget: it \
             stays where it is."
                .into()
        }
        Reason::Warming => format!(
            "{}, but its series are younger than the window that they are measured over: it may fall, not rise.",
            demand(case)
        ),
        Reason::Idle => {
            "There is no traffic. It may fall, not rise: the next burst would arrive at the higher rate.".into()
        }
        Reason::Pinned => pinned(case),
        Reason::FixedOperation => "The policy fixes the probability of this operation.".into(),
        Reason::NotRoot => {
            "The policy says that traces do not begin here (`root: false`): spans follow their parent's decision, \
             and this service takes no share of the budget."
                .into()
        }
        Reason::Conflict => "Another policy, earlier by name, also matches this service and decides on it.".into(),
        Reason::Vanished => "The demand no longer names it: what was served last is held.".into(),
        Reason::Stale => format!("There is no fresh input{}: what was served last is held.", age(case)),
        Reason::DemandAbsent => {
            "The source names no demand, while the backend's series exist: what was served last is held.".into()
        }
        Reason::Outage => {
            "The source names neither demand nor the backend's series: what was served last is held.".into()
        }
        Reason::Partial => "The source's answer covers only a part of the series: it may fall, not rise.".into(),
        Reason::PipelineAbsent => {
            "The source names nothing that the backend received, so loss cannot be seen: it may fall, not rise.".into()
        }
        Reason::Recovering => {
            format!("{} Input came back after a hold, so it at most doubles in one tick.", share(case))
        }
        Reason::Fallback => format!(
            "Input is older than the policy's `max_age`{}: the lower of what was held and `probability.fallback` is \
             served.",
            age(case)
        ),
    }
}

/// What an operator can do about it.
pub(crate) fn what_would_change_it(reason: Reason) -> &'static str {
    match reason {
        Reason::Initial | Reason::LearningSpansPerTrace => {
            "Demand and `received` from the source; or a number for `spans_per_trace`. Ask `flyball check --online`."
        }
        Reason::Restored | Reason::Stale | Reason::DemandAbsent | Reason::Outage | Reason::Fallback => {
            "Fresh input: see that the source is up and that the queries find series (`flyball check --online`)."
        }
        Reason::Fixed => "`probability.initial`, or another `law`, in the policy.",
        Reason::WithinThresholds | Reason::AboveDemand | Reason::AboveLoss => {
            "Less demand or less loss; or the constants under `threshold` in the policy."
        }
        Reason::Share => "Less demand, fewer spans a trace, a larger budget, or a larger `weight` for this service.",
        Reason::AtMax => "More demand or a smaller budget; or `probability.max` in the policy.",
        Reason::AtMin => "Less demand or a larger budget; or `probability.min` in the policy.",
        Reason::Floor => "`floor_traces_per_second` of this service in the policy.",
        Reason::DeadBand => "A larger change of demand or budget. Falls are never held back.",
        Reason::AwaitingEffect => "Time: SDKs that poll take up to their polling interval to adopt a change.",
        Reason::Warming => "Time: the series has to fill its window.",
        Reason::Idle => "Traffic.",
        Reason::Pinned => "The end of the pin, or its removal from the policy.",
        Reason::FixedOperation => "`probability` of this operation in the policy.",
        Reason::NotRoot => "`root: true` for this service in the policy, if traces do begin here.",
        Reason::Conflict => "Narrower `match` patterns in one of the two policies.",
        Reason::Vanished => "Demand that names it again.",
        Reason::Partial => "A complete answer: the source's warnings are in the log.",
        Reason::PipelineAbsent => {
            "The backend's `received` series: see that the query finds it (`flyball check --online`)."
        }
        Reason::Recovering => "Time: a few ticks.",
    }
}

/// Why the budget is what it is; `None` where there is nothing to say.
pub(crate) fn because_of_budget(reason: BudgetReason) -> &'static str {
    match reason {
        BudgetReason::None => "none used, or none measured yet",
        BudgetReason::Configured => "as configured",
        BudgetReason::SlowStart => "doubling until the first loss",
        BudgetReason::Cut => "just under what was accepted during loss",
        BudgetReason::Holding => "just under the capacity last measured",
        BudgetReason::Probing => "rising slowly, to find the limit",
        BudgetReason::LossNotLoad => "loss does not fall with load: not cut further",
    }
}

/// What a degraded policy means for what is served; the answer goes out all the same.
pub(crate) fn because_degraded(reason: Reason) -> &'static str {
    match reason {
        Reason::Restored => "running on what was restored; no fresh input yet",
        Reason::Stale => "the source is unreachable or its data is old; the last probabilities are held",
        Reason::DemandAbsent => "the source names no demand; the last probabilities are held",
        Reason::Outage => "the source names neither demand nor the backend's series; the last probabilities are held",
        Reason::Partial => "the source's answers are incomplete; probabilities may fall, not rise",
        Reason::PipelineAbsent => {
            "the source names nothing that the backend received; probabilities may fall, not rise"
        }
        Reason::Fallback => "input is older than `max_age`; at most `probability.fallback` is served",
        Reason::Initial | Reason::LearningSpansPerTrace => "not enough has been measured yet to decide",
        other => other.as_str(),
    }
}

fn demand(case: &Case<'_>) -> String {
    let text = |demand| format!("Demand of {} requests/s", number(demand));
    case.demand_per_second().map_or_else(|| "Unknown demand".into(), text)
}

fn loss(case: &Case<'_>) -> String {
    case.policy.inputs.loss_ratio.map_or_else(|| "Unknown loss".into(), |ratio| format!("Loss of {}", percent(ratio)))
}

/// "Its fair share is 1,200 of the budget of 6,000 spans/s."
fn share(case: &Case<'_>) -> String {
    let budget = match case.policy.inputs.budget_spans_per_second {
        Some(budget) => format!("the budget of {} spans/s", number(budget)),
        None => "the budget".into(),
    };
    match (case.service.share_spans_per_second, case.operation) {
        (None, _) => format!("It lives on a fair share of {budget}."),
        (Some(share), None) => format!("Its fair share is {} of {budget}.", number(share)),
        (Some(share), Some(_)) => format!("Its service's fair share is {} of {budget}.", number(share)),
    }
}

/// "50 requests/s and 8 spans a trace".
fn cost(case: &Case<'_>) -> String {
    let demand =
        case.demand_per_second().map_or_else(|| "unknown demand".into(), |d| format!("{} requests/s", number(d)));
    match case.policy.inputs.spans_per_trace {
        Some(spans) => format!("{demand} and {} spans a trace", number(spans)),
        None => demand,
    }
}

fn age(case: &Case<'_>) -> String {
    case.policy.inputs.age.map_or_else(String::new, |age| format!(" (the newest was {} old)", duration(age)))
}

fn pinned(case: &Case<'_>) -> String {
    let Some(pin) = case.pin() else { return "A person pinned it in the policy.".into() };
    let until = pin.until.map_or_else(|| "until the pin is removed".into(), |end| format!("until {}", end.rfc3339()));
    let reason = pin.reason.trim_end_matches('.');
    format!("A person pinned it at {} {until}: {reason}.", number(pin.probability.get()))
}

fn threshold(case: &Case<'_>, text: fn(&ThresholdConstants) -> String) -> String {
    match case.rules.map(|rules| rules.law) {
        Some(Law::Threshold(constants)) => text(&constants),
        _ => String::new(),
    }
}

fn demand_threshold(constants: &ThresholdConstants) -> String {
    format!(" of {} requests/s: cut in proportion", number(constants.demand_per_second))
}

fn loss_threshold(constants: &ThresholdConstants) -> String {
    format!(" of {}: cut by {} times the loss", percent(constants.loss), number(constants.gain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::sample;
    use crate::sampling::decision::Decided;
    use crate::sampling::policy::{Pin, Policy};
    use crate::sampling::probability::Probability;
    use crate::time::WallTime;

    fn of(reason: Reason, change: impl FnOnce(&mut Policy)) -> String {
        let mut policy = sample::policy();
        let mut rules = Policy::with_defaults("shop");
        change(&mut rules);
        policy.services[0].rate.reason = reason;
        because(&Case {
            policy: &policy,
            rules: Some(&rules),
            service: &policy.services[0],
            operation: None,
            usage: None,
        })
    }

    #[test]
    fn a_share_is_explained_with_budget_demand_and_spans_a_trace() {
        assert_eq!(
            of(Reason::Share, |_| {}),
            "Its fair share is 1,000 of the budget of 6,000 spans/s. At 500 requests/s and 8 spans a trace, this \
             probability costs just that."
        );
    }

    #[test]
    fn a_pin_is_explained_in_the_words_of_who_set_it() {
        let pin = Pin {
            probability: Probability::saturating(0.25),
            until: Some(WallTime::from_unix_ms(1_796_083_200_000)),
            reason: "incident 42".into(),
        };
        assert_eq!(
            of(Reason::Pinned, |rules| rules.services[0].pin = Some(pin)),
            "A person pinned it at 0.25 until 2026-12-01T00:00:00.000Z: incident 42."
        );
    }

    #[test]
    fn a_threshold_is_named_with_its_value() {
        let threshold = |rules: &mut Policy| rules.law = Law::Threshold(ThresholdConstants::default());
        assert_eq!(
            of(Reason::AboveLoss, threshold),
            "Loss of 0.2 % is above the threshold of 1 %: cut by 50 times the loss."
        );
    }

    #[test]
    fn a_dry_run_says_what_is_served_and_what_would_be() {
        let mut policy = sample::policy();
        policy.services[0].rate = Decided {
            probability: Probability::saturating(0.25),
            served: Probability::saturating(0.1),
            reason: Reason::Fixed,
        };
        let case = Case { policy: &policy, rules: None, service: &policy.services[0], operation: None, usage: None };
        assert!(because(&case).ends_with("Dry run: 0.1 is served, as before; 0.25 would be."), "{}", because(&case));
    }

    #[test]
    fn no_sentence_breaks_where_nothing_is_known() {
        let mut policy = sample::policy();
        policy.inputs = sample::unknown_inputs();
        policy.services[0].demand_per_second = None;
        policy.services[0].share_spans_per_second = None;
        for reason in sample::REASONS {
            policy.services[0].rate.reason = reason;
            let case =
                Case { policy: &policy, rules: None, service: &policy.services[0], operation: None, usage: None };
            let text = because(&case);
            assert!(text.ends_with('.') && !text.contains("  ") && !text.contains("None"), "{reason:?}: {text}");
            assert!(what_would_change_it(reason).ends_with('.'));
        }
    }
}
