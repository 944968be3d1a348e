//! What the server answers, asked for as SDKs ask: over HTTP, by the name of a service.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use super::super::http;
use crate::simulate::live::Said;
use crate::simulate::scenario::Scenario;

/// Between two rounds of questions: no law decides so often.
const EVERY: Duration = Duration::from_millis(150);

/// Asks, in a thread of its own, until it is dropped.
#[derive(Debug)]
pub(super) struct Served {
    said: Arc<Mutex<Said>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// A service: its name as a path has it, and the names of its operations.
#[derive(Debug, Clone)]
struct Asked {
    path: String,
    operations: Vec<String>,
}

impl Served {
    /// Of this scenario's services; until an answer comes they sample with the policy's initial probability.
    pub(super) fn ask(scenario: &Scenario, http: SocketAddr, admin: SocketAddr) -> Self {
        let initial = scenario.policy.probability.initial.get();
        let probabilities = scenario.services.iter().map(|service| vec![initial; service.operations.len()]).collect();
        let said = Arc::new(Mutex::new(Said { probabilities, budget: None }));
        let is_over = Arc::new(AtomicBool::new(false));
        let asked: Vec<Asked> = scenario.services.iter().map(Asked::of).collect();
        let (shared, end) = (Arc::clone(&said), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                round(&asked, http, admin, &shared);
                std::thread::sleep(EVERY);
            }
        });
        Self { said, is_over, thread: Some(thread) }
    }

    /// The newest answers.
    pub(super) fn said(&self) -> Said {
        self.said.lock().expect("nothing panics under this lock").clone()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Asked {
    fn of(service: &crate::simulate::scenario::ServicePlan) -> Self {
        let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let encoded = |byte| if is_unreserved(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
        let name: String = service.name.bytes().map(encoded).collect();
        let operations = (0..service.operations.len()).map(|i| crate::simulate::live::operation_name(i).to_string());
        Self { path: format!("/sampling?service={name}"), operations: operations.collect() }
    }

    /// What an answer says, by operation; `None` where it is none.
    fn read(&self, answer: &Value) -> Option<Vec<f64>> {
        let by_operation = &answer["operationSampling"];
        let all = answer["probabilisticSampling"]["samplingRate"].as_f64();
        let default = by_operation["defaultSamplingProbability"].as_f64().or(all)?;
        let listed = by_operation["perOperationStrategies"].as_array().map_or(&[][..], Vec::as_slice);
        let of = |operation: &String| {
            let strategy = listed.iter().find(|strategy| strategy["operation"] == **operation);
            strategy.and_then(|strategy| strategy["probabilisticSampling"]["samplingRate"].as_f64()).unwrap_or(default)
        };
        Some(self.operations.iter().map(of).collect())
    }
}

fn round(asked: &[Asked], http: SocketAddr, admin: SocketAddr, said: &Mutex<Said>) {
    for (index, service) in asked.iter().enumerate() {
        let answer = http::get_json(http, &service.path);
        if let Some(read) = answer.and_then(|answer| service.read(&answer)) {
            said.lock().expect("nothing panics under this lock").probabilities[index] = read;
        }
    }
    let rows = http::get_json(admin, "/api/v1/decisions");
    let budget = rows.and_then(|rows| rows.get(0)?["inputs"]["budget_spans_per_second"].as_f64());
    if budget.is_some() {
        said.lock().expect("nothing panics under this lock").budget = budget;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_read_as_an_sdk_reads_it() {
        let asked = Asked { path: String::new(), operations: vec!["a".into(), "b".into()] };
        let plain = json!({"strategyType": "PROBABILISTIC", "probabilisticSampling": {"samplingRate": 0.25}});
        assert_eq!(asked.read(&plain), Some(vec![0.25, 0.25]));
        let strategy = json!({"operation": "b", "probabilisticSampling": {"samplingRate": 1.0}});
        let listed =
            json!({"operationSampling": {"defaultSamplingProbability": 0.5, "perOperationStrategies": [strategy]}});
        assert_eq!(asked.read(&listed), Some(vec![0.5, 1.0]));
        assert_eq!(asked.read(&json!({"error": "no"})), None);
    }
}
