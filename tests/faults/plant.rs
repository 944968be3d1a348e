//! A fleet with its backend, exact to the millisecond: two services of equal demand, eight spans a sampled trace, nothing
//! dropped. Its clients ask Flyball twice a second, and twice a second its counters are sampled.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::flyball::probability;

/// Requests/s of each service.
pub(crate) const DEMAND: f64 = 500.0;
pub(crate) const SPANS_PER_TRACE: f64 = 8.0;
pub(crate) const SERVICES: [&str; 2] = ["checkout", "cart"];

const STEP: Duration = Duration::from_millis(500);
const SAMPLES_MAX: usize = 60;

/// The counters at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) unix_ms: u64,
    /// Of each service.
    pub(crate) requests: f64,
    pub(crate) received: f64,
}

#[derive(Debug)]
struct State {
    samples: VecDeque<Sample>,
    flyball: Option<SocketAddr>,
    is_over: bool,
}

/// The running fleet.
pub(crate) struct Plant {
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

/// Its counters, oldest sample first.
#[derive(Clone)]
pub(crate) struct Counters(Arc<Mutex<State>>);

impl Plant {
    pub(crate) fn start() -> Self {
        let samples = VecDeque::from([Sample { unix_ms: unix_ms(), requests: 0.0, received: 0.0 }]);
        let state = Arc::new(Mutex::new(State { samples, flyball: None, is_over: false }));
        let fleet = Arc::clone(&state);
        Self { state, thread: Some(std::thread::spawn(move || run(&fleet))) }
    }

    /// Lets its clients follow this Flyball.
    pub(crate) fn follow(&self, flyball: SocketAddr) {
        self.state.lock().expect("not poisoned").flyball = Some(flyball);
    }

    pub(crate) fn counters(&self) -> Counters {
        Counters(Arc::clone(&self.state))
    }
}

impl Drop for Plant {
    fn drop(&mut self) {
        self.state.lock().expect("not poisoned").is_over = true;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Counters {
    pub(crate) fn samples(&self) -> Vec<Sample> {
        self.0.lock().expect("not poisoned").samples.iter().copied().collect()
    }

    /// As a metrics endpoint shows them.
    pub(crate) fn exposition(&self) -> String {
        let samples = self.samples();
        let last = samples.last().expect("there is a first one");
        let requests = |service| format!("requests_total{{service=\"{service}\"}} {}\n", last.requests);
        format!("{}received_total {}\ndropped_total 0\n", SERVICES.map(requests).concat(), last.received)
    }
}

pub(crate) fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_millis()).expect("small")
}

fn run(state: &Mutex<State>) {
    let mut told = 0.4;
    loop {
        std::thread::sleep(STEP);
        let flyball = {
            let mut state = state.lock().expect("not poisoned");
            if state.is_over {
                return;
            }
            let last = *state.samples.back().expect("there is a first one");
            state.samples.push_back(last.after(unix_ms(), told));
            if state.samples.len() > SAMPLES_MAX {
                state.samples.pop_front();
            }
            state.flyball
        };
        told = flyball.and_then(|flyball| probability(flyball, SERVICES[0])).unwrap_or(told);
    }
}

impl Sample {
    fn after(self, unix_ms: u64, probability: f64) -> Self {
        let requests = DEMAND * unix_ms.saturating_sub(self.unix_ms) as f64 / 1_000.0;
        let traces = requests * SERVICES.len() as f64 * probability;
        Self { unix_ms, requests: self.requests + requests, received: self.received + traces * SPANS_PER_TRACE }
    }
}
