//! A Prometheus API over the plant's counters, that goes wrong on demand. While it is gone its port stays taken, so that
//! nobody else answers there and it can come back.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::plant::{Counters, SERVICES, Sample, unix_ms};

const SLOW: Duration = Duration::from_secs(30);
const HUGE_BYTES: usize = 50 << 20;
/// Rates of the opaque queries are over this many samples.
const WINDOW_SAMPLES: usize = 5;

/// How every query is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    Healthy,
    /// Nobody listens.
    Gone,
    /// Answers after 30 s.
    Slow,
    Status500,
    /// A proxy's login page, with status 200.
    Html,
    /// 50 MB, announced.
    Huge,
    /// 50 MB, until the connection closes.
    HugeUnannounced,
    /// One of two services, and a warning.
    PartialWithWarnings,
    /// Bytes that are no HTTP.
    Garbage,
    EmptyResult,
    /// `{"status":"error"}`, with status 200.
    Refused,
}

/// The API; gone for good when dropped.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    _place: Socket,
}

struct State {
    scenario: Scenario,
    is_over: bool,
}

impl Peer {
    pub(crate) fn start(counters: Counters) -> Self {
        let place = socket(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let address = place.local_addr().expect("bound").as_socket().expect("an IP address");
        let state = Arc::new(Mutex::new(State { scenario: Scenario::Healthy, is_over: false }));
        let shown = Arc::clone(&state);
        let listener = listen(address);
        std::thread::spawn(move || run(listener, address, &shown, &counters));
        Self { address, state, _place: place }
    }

    pub(crate) fn switch(&self, scenario: Scenario) {
        self.change(|state| state.scenario = scenario);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        // Wakes the accept, so that it sees the change.
        let _ = TcpStream::connect(self.address);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.change(|state| state.is_over = true);
    }
}

fn socket(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_port(true).expect("an option of Linux and BSD");
    socket.set_reuse_address(true).expect("an option of all");
    socket.bind(&address.into()).expect("a free port");
    socket
}

fn listen(address: SocketAddr) -> TcpListener {
    let socket = socket(address);
    socket.listen(128).expect("listens");
    socket.into()
}

fn run(listener: TcpListener, address: SocketAddr, state: &Mutex<State>, counters: &Counters) {
    let mut listener = Some(listener);
    loop {
        let accepted = listener.as_ref().map(TcpListener::accept);
        let scenario = {
            let state = state.lock().expect("not poisoned");
            if state.is_over {
                return;
            }
            state.scenario
        };
        match (scenario, accepted) {
            (Scenario::Gone, _) => {
                listener = None;
                std::thread::sleep(Duration::from_millis(20));
            }
            (_, None) => listener = Some(listen(address)),
            (_, Some(accepted)) => {
                let counters = counters.clone();
                std::thread::spawn(move || accepted.and_then(|(stream, _)| serve(stream, scenario, &counters)));
            }
        }
    }
}

fn serve(mut stream: TcpStream, scenario: Scenario, counters: &Counters) -> std::io::Result<()> {
    stream.set_read_timeout(Some(SLOW))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let query = read_query(&mut reader)?;
    let body = answer(&query, &counters.samples(), scenario);
    let json = "application/json";
    match scenario {
        Scenario::Slow => {
            // Returns early if the client hangs up.
            let _ = reader.read(&mut [0]);
            reply(&mut stream, "200 OK", json, body.as_bytes())
        }
        Scenario::Status500 => {
            reply(&mut stream, "500 X", json, br#"{"status":"error","errorType":"internal","error":"out of memory"}"#)
        }
        Scenario::Html => reply(&mut stream, "200 OK", "text/html", b"<!doctype html><title>Sign in</title>"),
        Scenario::Huge => reply(&mut stream, "200 OK", json, &vec![b' '; HUGE_BYTES]),
        Scenario::HugeUnannounced => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: {json}\r\nConnection: close\r\n\r\n")?;
            (0..HUGE_BYTES >> 16).try_for_each(|_| stream.write_all(&[b' '; 1 << 16]))
        }
        Scenario::Garbage => stream.write_all(&[0xfe; 4096]),
        Scenario::Refused => reply(
            &mut stream,
            "200 OK",
            json,
            br#"{"status":"error","errorType":"execution","error":"too many samples"}"#,
        ),
        Scenario::Healthy | Scenario::Gone | Scenario::PartialWithWarnings | Scenario::EmptyResult => {
            reply(&mut stream, "200 OK", json, body.as_bytes())
        }
    }
}

fn reply(stream: &mut TcpStream, status: &str, content_type: &str, body: &[u8]) -> std::io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    stream.write_all(body)
}

/// The parameter `query`, of the URL or of a form.
fn read_query(reader: &mut impl BufRead) -> std::io::Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().unwrap_or(0);
        }
    }
    let mut form = vec![0; length];
    reader.read_exact(&mut form)?;
    let in_url = target.split_once('?').map_or("", |(_, query)| query).as_bytes();
    let pairs = [in_url, &form].into_iter().flat_map(|text| url::form_urlencoded::parse(text).into_owned());
    Ok(pairs.collect::<HashMap<_, _>>().remove("query").unwrap_or_default())
}

fn answer(query: &str, samples: &[Sample], scenario: Scenario) -> String {
    let services = match scenario {
        Scenario::PartialWithWarnings => &SERVICES[..1],
        _ => &SERVICES[..],
    };
    let now = unix_ms() as f64 / 1_000.0;
    let (kind, rows) = match query {
        "time()" => return envelope(scenario, "scalar", &format!(r#"{now},"{now}""#)),
        _ if scenario == Scenario::EmptyResult => (if query.ends_with(']') { "matrix" } else { "vector" }, Vec::new()),
        q if q.starts_with("count") => ("vector", vec![format!(r#"{{"metric":{{}},"value":[{now},"2"]}}"#)]),
        q if q.ends_with(']') => ("matrix", series(q, services).iter().map(|s| s.matrix(samples)).collect()),
        q if q.contains("timestamp(") => {
            let age = now - samples.last().expect("a first one").unix_ms as f64 / 1_000.0;
            ("vector", vec![format!(r#"{{"metric":{{}},"value":[{now},"{age}"]}}"#)])
        }
        q => ("vector", series(q, services).iter().map(|s| s.vector(samples, now)).collect()),
    };
    envelope(scenario, kind, &rows.join(","))
}

fn envelope(scenario: Scenario, kind: &str, result: &str) -> String {
    let warnings = match scenario {
        Scenario::PartialWithWarnings => r#""warnings":["store 10.0.0.7 did not answer"],"#,
        _ => "",
    };
    format!(r#"{{"status":"success",{warnings}"data":{{"resultType":"{kind}","result":[{result}]}}}}"#)
}

/// One counter: its labels and its value in a sample.
struct Series {
    labels: String,
    value: fn(&Sample) -> f64,
}

/// Those that the query's metric has. The services of opaque queries bear names of their own, because a service belongs
/// to one policy.
fn series(query: &str, services: &[&str]) -> Vec<Series> {
    let suffix = if query.ends_with(']') { "" } else { OPAQUE_SUFFIX };
    let target = r#""job":"shop","instance":"a:1""#;
    if query.contains("requests_total") {
        let of = |service: &&str| Series {
            labels: format!(r#""service":"{service}{suffix}",{target}"#),
            value: |sample| sample.requests,
        };
        return services.iter().map(of).collect();
    }
    let value = if query.contains("received_total") { |sample: &Sample| sample.received } else { |_: &Sample| 0.0 };
    vec![Series { labels: target.to_owned(), value }]
}

/// Of the names of services that opaque queries answer with.
pub(crate) const OPAQUE_SUFFIX: &str = "-opaque";

impl Series {
    fn matrix(&self, samples: &[Sample]) -> String {
        let value = |sample: &Sample| format!(r#"[{},"{}"]"#, sample.unix_ms as f64 / 1_000.0, (self.value)(sample));
        let values: Vec<String> = samples.iter().map(value).collect();
        format!(r#"{{"metric":{{{}}},"values":[{}]}}"#, self.labels, values.join(","))
    }

    fn vector(&self, samples: &[Sample], now: f64) -> String {
        let recent = &samples[samples.len().saturating_sub(WINDOW_SAMPLES)..];
        let (first, last) = (recent.first().expect("one"), recent.last().expect("one"));
        let seconds = (last.unix_ms - first.unix_ms).max(1) as f64 / 1_000.0;
        let rate = ((self.value)(last) - (self.value)(first)) / seconds;
        format!(r#"{{"metric":{{{}}},"value":[{now},"{rate}"]}}"#, self.labels)
    }
}
