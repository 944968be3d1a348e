//! A fleet with its tracing backend, in real time: requests at a given rate, clients that poll Flyball twice a second,
//! eight spans a sampled trace, a backend that drops what exceeds its capacity. Its counters are real metrics; the
//! counter of drops does not exist before the first drop, as with most collectors.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::flyball::probability;
use crate::support::http::Server;

const STEP: Duration = Duration::from_millis(50);
const POLL: Duration = Duration::from_millis(500);
const SPANS_PER_TRACE: f64 = 8.0;

/// The plant's state; rates are per second, counters since its start.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) demand: f64,
    pub(crate) capacity: f64,
    pub(crate) probability: f64,
    pub(crate) requests: f64,
    pub(crate) received: f64,
    pub(crate) dropped: Option<f64>,
    flyball: Option<SocketAddr>,
    is_stopped: bool,
}

/// The running plant; its metrics endpoint can die before it.
pub(crate) struct Workload {
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) metrics: Option<Server>,
    thread: Option<JoinHandle<()>>,
}

impl Workload {
    pub(crate) fn start(demand: f64, capacity: f64) -> Self {
        let state = State {
            demand,
            capacity,
            probability: 0.1,
            requests: 0.0,
            received: 0.0,
            dropped: None,
            flyball: None,
            is_stopped: false,
        };
        let state = Arc::new(Mutex::new(state));
        let (plant, shown) = (Arc::clone(&state), Arc::clone(&state));
        Self {
            state,
            metrics: Some(Server::start(move || shown.lock().expect("not poisoned").exposition())),
            thread: Some(std::thread::spawn(move || run(&plant))),
        }
    }

    pub(crate) fn target(&self) -> SocketAddr {
        self.metrics.as_ref().expect("alive").address
    }

    /// Lets the clients follow this Flyball.
    pub(crate) fn follow(&self, flyball: SocketAddr) {
        self.change(|state| state.flyball = Some(flyball));
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().expect("not poisoned"));
    }

    /// Share of the spans that were dropped over the next `length`.
    pub(crate) fn loss_over(&self, length: Duration) -> f64 {
        let counters = || {
            let state = self.state.lock().expect("not poisoned");
            (state.received, state.dropped.unwrap_or(0.0))
        };
        let before = counters();
        std::thread::sleep(length);
        let after = counters();
        (after.1 - before.1) / (after.0 - before.0)
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.change(|state| state.is_stopped = true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl State {
    fn step(&mut self, seconds: f64) {
        let offered = self.demand * self.probability * SPANS_PER_TRACE * seconds;
        let dropped = (offered - self.capacity * seconds).max(0.0);
        self.requests += self.demand * seconds;
        self.received += offered;
        if dropped > 0.0 {
            self.dropped = Some(self.dropped.unwrap_or(0.0) + dropped);
        }
    }

    fn exposition(&self) -> String {
        let mut text = format!(
            "# TYPE http_server_requests_total counter\n\
             http_server_requests_total{{service=\"checkout\",operation=\"GET /cart\"}} {}\n\
             # TYPE traces_received_total counter\n\
             traces_received_total {}\n",
            self.requests, self.received
        );
        if let Some(dropped) = self.dropped {
            text += &format!("# TYPE traces_dropped_total counter\ntraces_dropped_total {dropped}\n");
        }
        text
    }
}

fn run(plant: &Mutex<State>) {
    let (mut stepped, mut polled) = (Instant::now(), Instant::now());
    loop {
        std::thread::sleep(STEP);
        let flyball = {
            let mut state = plant.lock().expect("not poisoned");
            if state.is_stopped {
                return;
            }
            state.step(stepped.elapsed().as_secs_f64());
            stepped = Instant::now();
            state.flyball.filter(|_| polled.elapsed() >= POLL)
        };
        if let Some(flyball) = flyball {
            polled = Instant::now();
            if let Some(told) = probability(flyball, "checkout") {
                plant.lock().expect("not poisoned").probability = told;
            }
        }
    }
}
