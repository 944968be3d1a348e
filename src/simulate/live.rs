//! A scenario's plant in somebody else's time and under somebody else's law: its services, SDKs and backend move when they
//! are told to, show their counters, and sample as they are told. What stays of the simulation is who asks and who bears;
//! who measures and who decides is outside.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::law::{self, Law, Seen, Told};
use super::plant::{Plant, STEPS_PER_SECOND};
use super::scenario::Scenario;
use super::trace::Run;
use crate::sampling::traffic::Name;

/// How often it is taken over what is told: the books count a strategy as published when it changes between two.
const TICK: Duration = Duration::from_millis(1000);

/// The counter of requests, by service and operation.
pub const REQUESTS: &str = "http_server_requests_total";
/// The counter of spans offered.
pub const RECEIVED: &str = "traces_received_total";
/// The counter of spans dropped.
pub const DROPPED: &str = "traces_dropped_total";

/// What the law outside says now.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Said {
    /// By service and operation.
    pub probabilities: Vec<Vec<f64>>,
    /// Spans/s that it allows.
    pub budget: Option<f64>,
}

/// The plant.
pub struct Live<'a> {
    plant: Plant<'a>,
    said: Rc<RefCell<Said>>,
    steps: u64,
}

/// Says what was said outside.
struct Outside(Rc<RefCell<Said>>);

impl Law for Outside {
    fn tick(&mut self, _: &Seen<'_>, told: &mut Told) {
        let said = self.0.borrow();
        for (told, said) in told.probabilities.iter_mut().zip(&said.probabilities) {
            told.iter_mut().zip(said).for_each(|(told, said)| *told = *said);
        }
        told.budget = said.budget;
    }
}

/// The name of a service's `i`-th operation, counted from 0.
pub fn operation_name(i: usize) -> Name {
    law::operation_name(i)
}

/// The scenario as it is run live: looked at every second, whenever scrapes come.
pub fn paced(scenario: &Scenario) -> Scenario {
    let mut scenario = scenario.clone();
    scenario.tick = TICK;
    scenario.scrape.is_locked = false;
    scenario
}

impl<'a> Live<'a> {
    /// At rest, at second 0.
    pub fn new(scenario: &'a Scenario, seed: u64) -> Self {
        let said = Rc::new(RefCell::new(Said::default()));
        let plant = Plant::with(scenario, seed, |_| Box::new(Outside(Rc::clone(&said))));
        Self { plant, said, steps: 0 }
    }

    /// What is to be done from now on.
    pub fn tell(&self, said: Said) {
        *self.said.borrow_mut() = said;
    }

    /// When the next step is due, since second 0.
    pub fn due(&self) -> Duration {
        Duration::from_millis(self.steps * 1000 / STEPS_PER_SECOND)
    }

    /// How long a step is.
    pub const STEP: Duration = Duration::from_millis(1000 / STEPS_PER_SECOND);

    /// The next step.
    pub fn step(&mut self) {
        self.plant.step(self.steps as f64 / STEPS_PER_SECOND as f64);
        self.steps += 1;
    }

    /// All counters now, in one order; one that does not exist yet is `None`.
    pub fn counters(&self) -> Vec<Option<f64>> {
        let (received, dropped) = self.plant.spans();
        let requests = self.plant.requests().flat_map(|(_, counts)| counts.iter().map(|count| Some(*count)));
        requests.chain([Some(received), dropped]).collect()
    }

    /// The series of the counters, in their order, as Prometheus names them.
    pub fn series(&self) -> Vec<String> {
        let name = |(service, operation): &(Name, Option<Name>)| {
            let operation = operation.as_ref().map(|name| format!(",operation=\"{}\"", escape(name)));
            format!("{REQUESTS}{{service=\"{}\"{}}}", escape(service), operation.unwrap_or_default())
        };
        let requests = self.plant.requests().flat_map(|(names, _)| names.iter().map(name));
        requests.chain([RECEIVED.to_owned(), DROPPED.to_owned()]).collect()
    }

    /// What came of it.
    pub fn close(self) -> Run {
        self.plant.close()
    }
}

/// A label's value, as the text format has it.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::SourceFile;
    use crate::simulate::plan::Plan;

    fn scenario(text: &str) -> Scenario {
        let file = SourceFile { path: "s.yaml".into(), text: text.to_owned() };
        match crate::scenario::load::parse(&file.into(), None) {
            Ok(Plan::Sampling(scenario)) => paced(&scenario),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_told_is_done_and_what_is_done_is_shown() {
        let text = "duration: 30s\nservices: [{name: shop, demand: 100}]\nbackend: {capacity: 8000}\n";
        let scenario = scenario(text);
        let mut live = Live::new(&scenario, 1);
        live.tell(Said { probabilities: vec![vec![0.5]], budget: Some(400.0) });
        while live.due() < Duration::from_secs(30) {
            live.step();
        }
        assert_eq!(live.series(), [format!("{REQUESTS}{{service=\"shop\"}}"), RECEIVED.to_owned(), DROPPED.to_owned()]);
        let [Some(requests), Some(received), Some(dropped)] = live.counters()[..] else { panic!("three counters") };
        assert!((2_700.0..3_300.0).contains(&requests), "{requests}");
        assert!((3.0..4.6).contains(&(received / requests)), "half of the requests, of eight spans: {received}");
        assert!(dropped.abs() < 1e-9);
        assert!(live.close().score.loss_ratio < 1e-9);
    }
}
