//! What of a scenario of sampling can be run in real time, and what is wrong when.

use std::time::Duration;

use serde_json::{Value, json};

use crate::simulate::live::{DROPPED, RECEIVED, REQUESTS};
use crate::simulate::scenario::{FaultKind, LawKind, ReadingKind, Scenario};

/// Services whose answers are asked for, each some times a second.
const SERVICES_MAX: usize = 64;
/// Scrapes that a query looks back over: it joins two or three samples.
const WINDOW_SCRAPES: u32 = 4;

/// A scenario that fits.
#[derive(Debug, Clone)]
pub struct SamplingPlan {
    /// As the file has it.
    pub scenario: Box<Scenario>,
}

/// What is wrong now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Weather {
    /// No Prometheus server runs.
    pub(super) is_outage: bool,
    /// The exporter answers nothing.
    pub(super) is_dead: bool,
    /// The exporter answers what it answered.
    pub(super) is_frozen: bool,
}

impl SamplingPlan {
    /// The plan of a scenario.
    ///
    /// # Errors
    /// What of it only the simulator can do, each in a sentence.
    pub fn of(scenario: &Scenario) -> Result<Self, Vec<String>> {
        let mut reasons = Vec::new();
        let mut refuse = |is_so: bool, what: &str| {
            if is_so {
                reasons.push(format!("{what}: only flyball simulate can run that"));
            }
        };
        let is_own = matches!(scenario.law, LawKind::Adaptive | LawKind::Threshold | LawKind::Fixed);
        refuse(!is_own, &format!("the law {} is not Flyball's", scenario.law.as_str()));
        refuse(scenario.clients.has_local_limit, "clients.local_limit: shares come by the stream");
        refuse(scenario.scrape.is_spread, "scrape.spread: all services are one target");
        refuse(!scenario.scrape.visible_after.is_zero(), "scrape.visible_after: a server shows what it has");
        refuse(scenario.scrape.missed > 0.0, "scrape.missed: this server misses nothing");
        refuse(scenario.services.len() > SERVICES_MAX, &format!("more than {SERVICES_MAX} services"));
        let is_jump = |kind: &FaultKind| matches!(kind, FaultKind::ClockJump(_));
        refuse(scenario.faults.iter().any(|f| is_jump(&f.kind)), "faults: clock_jump_seconds");
        if reasons.is_empty() { Ok(Self { scenario: Box::new(scenario.clone()) }) } else { Err(reasons) }
    }

    /// What is wrong at that time.
    pub(super) fn weather(&self, at: Duration) -> Weather {
        let mut weather = Weather::default();
        let is_now =
            |from: Duration, lasts: Option<Duration>| at >= from && lasts.is_none_or(|lasts| at < from + lasts);
        for fault in self.scenario.faults.iter().filter(|fault| is_now(fault.at, fault.lasts)) {
            match fault.kind {
                FaultKind::PrometheusOutage => weather.is_outage = true,
                FaultKind::DeadExporters => weather.is_dead = true,
                FaultKind::FrozenMetrics => weather.is_frozen = true,
                // The plant's own.
                FaultKind::CapacityTimes(_)
                | FaultKind::DemandTimes { .. }
                | FaultKind::ConstantLoss(_)
                | FaultKind::ClockJump(_) => {}
            }
        }
        weather
    }

    /// The policy file: the scenario's own keys, with signals of the plant's counters.
    pub(super) fn policy(&self) -> Value {
        let mut file: Value = serde_json::from_str(&self.scenario.policy_written).unwrap_or_default();
        if !file.is_object() {
            file = json!({});
        }
        file["policy"] = json!(&*self.scenario.name);
        file["law"] = json!(self.scenario.law.as_str());
        file["mode"] = json!("active");
        file["signals"] = self.signals();
        file
    }

    fn signals(&self) -> Value {
        let has_operations = self.scenario.services.iter().any(|service| service.operations.len() > 1);
        let by = if has_operations { "service, operation" } else { "service" };
        let scrape = &self.scenario.scrape;
        // An expression that is not recognised is left to the server.
        let (window, opaque, has_freshness) = match scrape.reading {
            ReadingKind::Raw => (scrape.interval * WINDOW_SCRAPES, "", false),
            ReadingKind::Rate { window, has_freshness } => (window, " * 1", has_freshness),
        };
        let window = format!("{}ms", window.as_millis());
        let mut demand = json!({
            "query": format!("sum by ({by}) (rate({REQUESTS}[{window}])){opaque}"),
            "service_label": "service",
        });
        if has_operations {
            demand["operation_label"] = json!("operation");
        }
        let mut signals = json!({
            "demand": demand,
            "received": {"query": format!("sum(rate({RECEIVED}[{window}])){opaque}"), "unit": "spans"},
            "dropped": {"query": format!("sum(rate({DROPPED}[{window}])){opaque}")},
        });
        if has_freshness {
            signals["freshness"] = json!({"query": format!("time() - max(timestamp({REQUESTS}))")});
        }
        signals
    }
}

impl Weather {
    /// In some words, for who watches.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self { is_outage: true, .. } => "Prometheus is gone",
            Self { is_dead: true, .. } => "the exporter is dead",
            Self { is_frozen: true, .. } => "the metrics are frozen",
            _ => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::SourceFile;
    use crate::simulate::plan::Plan;

    fn scenario(more: &str) -> Scenario {
        let text =
            format!("duration: 60s\nservices: [{{name: shop, demand: 100}}]\nbackend: {{capacity: 800}}\n{more}");
        let file = SourceFile { path: "s.yaml".into(), text };
        match crate::scenario::load::parse(&file.into(), None) {
            Ok(Plan::Sampling(scenario)) => *scenario,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_only_a_simulator_can_do_is_refused_with_its_name() {
        assert!(SamplingPlan::of(&scenario("")).is_ok());
        for (more, said) in [
            ("law: oracle", "the law oracle is not Flyball's"),
            ("clients: {stream: 600ms, local_limit: true}", "clients.local_limit"),
            ("scrape: {spread: true}", "scrape.spread"),
            ("scrape: {missed: 0.1}", "scrape.missed"),
            ("faults: [{at: 30s, clock_jump_seconds: 60}]", "clock_jump_seconds"),
        ] {
            let reasons = SamplingPlan::of(&scenario(more)).expect_err(more);
            assert!(reasons.len() == 1 && reasons[0].contains(said), "{reasons:?}");
        }
    }

    #[test]
    fn the_policy_is_the_file_s_own_with_signals_of_the_plant() {
        let plan = SamplingPlan::of(&scenario("policy: {loss_target: 0.02}\nscrape: {interval: 1s}")).expect("fits");
        let policy = plan.policy();
        assert_eq!((&policy["loss_target"], &policy["policy"]), (&json!(0.02), &json!("s")));
        let query = policy["signals"]["demand"]["query"].as_str().expect("text");
        assert_eq!(query, "sum by (service) (rate(http_server_requests_total[4000ms]))");
    }

    #[test]
    fn weather_is_what_the_faults_say_of_the_outside() {
        let plan = SamplingPlan::of(&scenario("faults: [{at: 10s, for: 5s, prometheus_outage: true}]")).expect("fits");
        let is_outage = |seconds| plan.weather(Duration::from_secs(seconds)).is_outage;
        assert_eq!([9, 10, 14, 15].map(is_outage), [false, true, true, false]);
    }
}
