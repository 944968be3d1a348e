//! A longer interval goes out in waves over sessions: evidence is the beat that comes over the session that it was expected
//! on. The real server, our own devices, and between them something that forgets a connection which was silent for too
//! long, as a NAT does, and answers what comes afterwards with a reset.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use flyball_sdk::device::grpc::{Event, GrpcSettings, run};
use flyball_sdk::device::machine::Bounds;
use libtest_mimic::Trial;
use serde_json::Value;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::peer::{KEY_ID, MASTER, device, key};
use crate::support::flyball::{Flyball, Home};
use crate::support::http;
use crate::trial;

const DEVICES: u8 = 40;
/// The floor, which all devices begin with.
const OLD: Duration = Duration::from_millis(600);
/// Shorter than what a pin at three seconds makes of it, and much longer than the old one.
const SHORT: Duration = Duration::from_millis(1_500);
const LONG: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
/// Beats of the new arm that show nothing bad.
const OUTCOMES: u64 = 100;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("an_interval_that_loses_sessions_is_taken_back_in_the_first_wave", lost),
        trial("an_interval_that_loses_nothing_is_not_taken_back", equal),
    ]
}

struct Bed {
    flyball: Flyball,
    intervals: Vec<watch::Receiver<Duration>>,
    _running: JoinSet<()>,
}

fn fleet(pins: &str) -> String {
    format!(
        "fleet: gateways\ncohort_by: [carrier]\ninterval: {{min: 600ms, max: 60s}}\nprobes: {{flows: 0}}\n\
         waves: {{percent: [20, 50, 100], max_hold: 10m}}\n{pins}"
    )
}

impl Bed {
    /// All devices are here, at the floor, behind something that keeps a connection for so long.
    async fn start(kept: Duration) -> Self {
        let flyball = tokio::task::block_in_place(|| {
            let home = Arc::new(Home::new("{scrape: {targets: ['http://127.0.0.1:9/metrics']}}", ""));
            std::fs::remove_file(home.path().join("policies/shop.yaml")).expect("there");
            home.write("policies/fleet.yaml", &fleet(""));
            let digits: String = MASTER.iter().map(|byte| format!("{byte:02x}")).collect();
            home.write("keys", &format!("{KEY_ID}:{digits}\n"));
            home.configure("fleet: {grpc: '127.0.0.1:0', master_key_file: keys}\n");
            Flyball::start_in(&home)
        });
        let mut running = JoinSet::new();
        let through = forgetting(flyball.address("gateways"), kept, &mut running).await;
        let (mut intervals, settings) = (Vec::new(), (1..=DEVICES).map(|number| settings(number, through)));
        for settings in settings {
            let (tell, interval) = watch::channel(Duration::ZERO);
            let on_event = move |event| {
                if let Event::Order { taken, .. } = event {
                    tell.send_replace(taken.interval);
                }
            };
            running.spawn(async move { match run(settings, on_event).await {} });
            intervals.push(interval);
        }
        let bed = Self { flyball, intervals, _running: running };
        bed.until(Self::are_all_at_the_floor).await;
        bed
    }

    /// The longer interval is asked for.
    fn pin(&self) {
        self.flyball
            .home()
            .write("policies/fleet.yaml", &fleet("pins: [{cohort: {carrier: a}, nat_timeout: 3s, reason: told so}]\n"));
        let server = nix::unistd::Pid::from_raw(i32::try_from(self.flyball.child.0.id()).expect("a pid"));
        nix::sys::signal::kill(server, nix::sys::signal::Signal::SIGHUP).expect("it runs");
    }

    /// Devices that were told an interval last of which this is so.
    fn told(&self, is_so: impl Fn(Duration) -> bool) -> usize {
        self.intervals.iter().filter(|told| is_so(*told.borrow())).count()
    }

    fn are_all_at_the_floor(&self) -> bool {
        self.told(|interval| interval == OLD) == usize::from(DEVICES)
    }

    fn rollout(&self) -> Option<Value> {
        http::get_json(self.flyball.admin, "/api/v1/rollouts")?.get(0).cloned()
    }

    /// Until it is so; the test's own bound ends it otherwise.
    async fn until(&self, is_so: impl Fn(&Self) -> bool) {
        while !tokio::task::block_in_place(|| is_so(self)) {
            tokio::time::sleep(POLL).await;
        }
    }

    fn state(&self) -> Option<String> {
        Some(self.rollout()?["state"].as_str()?.to_owned())
    }
}

fn settings(number: u8, server: SocketAddr) -> GrpcSettings {
    let labels = [("carrier", "a"), ("region", "eu")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    GrpcSettings {
        endpoint: format!("http://{server}").parse().expect("a URL"),
        device: device(number),
        key_id: KEY_ID,
        key: key(device(number)),
        boot: 1,
        labels: BTreeMap::from(labels),
        bounds: Bounds::new(Duration::from_millis(200), LONG).expect("sound"),
        order: None,
    }
}

/// Passes connections on to `server`, and forgets those that nothing passed over for `kept`.
async fn forgetting(server: SocketAddr, kept: Duration, running: &mut JoinSet<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    running.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((device, _)) = listener.accept().await {
            connections.spawn(passed(device, server, kept));
        }
    });
    address
}

async fn passed(mut device: TcpStream, server: SocketAddr, kept: Duration) -> std::io::Result<()> {
    let mut to_server = TcpStream::connect(server).await?;
    let (mut up, mut down, mut last) = ([0; 4_096], [0; 4_096], Instant::now());
    loop {
        tokio::select! {
            n = device.read(&mut up) => match n? {
                0 => return Ok(()),
                n => to_server.write_all(&up[..n]).await?,
            },
            n = to_server.read(&mut down) => match n? {
                0 => return Ok(()),
                n => device.write_all(&down[..n]).await?,
            },
            () = sleep_until(last + kept) => break,
        }
        last = Instant::now();
    }
    SockRef::from(&device).set_linger(Some(Duration::ZERO))?;
    device.readable().await?;
    drop(device);
    // The server hears nothing of it: its side stays as it is until it gives it up.
    while to_server.read(&mut down).await? > 0 {}
    Ok(())
}

async fn lost() {
    let bed = Bed::start(SHORT).await;
    bed.pin();
    bed.until(|bed| bed.told(|interval| interval > SHORT) > 0).await;
    bed.until(|bed| bed.state().as_deref() == Some("rolled_back")).await;
    let record = tokio::task::block_in_place(|| bed.rollout()).expect("it is kept");
    assert_eq!((record["wave"].as_u64(), record["transport"].as_str()), (Some(1), Some("tcp")), "{record}");
    let failed = |gate: &&Value| gate["verdict"] == "fail";
    let gates = record["gates"].as_array().expect("gates");
    let gate = gates.iter().find(failed).unwrap_or_else(|| panic!("a gate that failed: {record}"));
    let count = |arm: &str, what: &str| gate[arm][what].as_u64().unwrap_or_else(|| panic!("{arm} {what} in {gate}"));
    assert!(count("treated", "failures") * 2 > count("treated", "outcomes"), "most were lost: {gate}");
    assert_eq!(count("control", "failures"), 0, "{gate}");
    bed.until(Bed::are_all_at_the_floor).await;
}

async fn equal() {
    let bed = Bed::start(LONG).await;
    bed.pin();
    bed.until(|bed| {
        let is_told = |rollout: &Value| {
            rollout["gates"][0]["treated"]["outcomes"].as_u64() >= Some(OUTCOMES) || rollout["state"] != "running"
        };
        bed.rollout().as_ref().is_some_and(is_told)
    })
    .await;
    let record = tokio::task::block_in_place(|| bed.rollout()).expect("it is there");
    assert_eq!(record["state"], "running", "{record}");
    let gates = record["gates"].as_array().expect("gates");
    let gaps = gates.iter().find(|gate| !gate["gap_ratio_p99"].is_null()).unwrap_or_else(|| panic!("gaps: {record}"));
    for arm in ["treated", "control"] {
        let ratio = gaps["gap_ratio_p99"][arm].as_f64().unwrap_or_else(|| panic!("{arm} in {gaps}"));
        assert!(ratio < 1.5, "each is held to the interval that it has: {gaps}");
    }
    for gate in gates {
        assert_eq!(gate["treated"]["failures"].as_u64(), Some(0), "{gate}");
        assert!(gate["verdict"] != "fail" && gate["verdict"] != "error", "{gate}");
    }
    assert_eq!(bed.told(|interval| interval > SHORT), 8, "it is still out");
}
