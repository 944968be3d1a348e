//! A running process: signals, reloads, and what a restart remembers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::peer::{Peer, Scenario};
use crate::plant::Plant;
use crate::source::{COUNTERS, PATIENCE, SHARE, metric, policy, source};
use crate::support::child::wait_for;
use crate::support::flyball::{Flyball, Home};
use crate::support::http;

/// The drain's 5 s, and one for the rest.
const END_MAX: Duration = Duration::from_secs(6);
/// Well below the 5 s after which policies are read without being asked.
const AT_ONCE: Duration = Duration::from_secs(3);
/// A client of HTTP/2 that has said hello: preface and empty SETTINGS (RFC 9113, section 3.4).
const HTTP2_HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Nobody answers there.
const DEAD_SOURCE: &str = "{prometheus: {url: 'http://127.0.0.1:1', poll_interval: 1s, timeout: 500ms}}";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("process::sigterm_ends_with_0_in_time_with_open_connections", || ends_at(Signal::SIGTERM)),
        Trial::test("process::sigint_ends_with_0_in_time_with_open_connections", || ends_at(Signal::SIGINT)),
        Trial::test("process::sigterm_ends_with_0_while_a_query_is_open", ends_during_a_query),
        Trial::test("process::sighup_reloads_and_what_is_served_obeys_at_once", hangup),
        Trial::test("process::a_reload_over_http_applies_and_a_broken_one_changes_nothing", reload),
        Trial::test("process::what_was_learnt_is_served_after_a_restart_without_a_source", restart),
        Trial::test("process::a_second_process_on_the_same_state_is_refused", second_process),
    ]
}

pub(crate) fn send(flyball: &Flyball, signal: Signal) {
    let pid = i32::try_from(flyball.child.0.id()).expect("a pid");
    kill(Pid::from_raw(pid), signal).expect("our own child");
}

fn end(flyball: &mut Flyball, signal: Signal) -> ExitStatus {
    send(flyball, signal);
    wait_for("the process to end", END_MAX, || flyball.child.0.try_wait().expect("our own child"))
}

/// A connection on which this was said and one answer begun.
fn greeted(address: SocketAddr, hello: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    stream.write_all(hello).expect("sent");
    assert!(stream.read(&mut [0; 1024]).expect("an answer") > 0);
    stream
}

fn ends_at(signal: Signal) -> Result<(), Failed> {
    let mut flyball = Flyball::start(DEAD_SOURCE, &policy(COUNTERS));
    let get = b"GET /sampling?service=checkout HTTP/1.1\r\nHost: x\r\n\r\n";
    let _idle = [
        greeted(flyball.grpc, HTTP2_HELLO),
        greeted(flyball.http, get),
        greeted(flyball.admin, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"),
        // Half a request more.
        greeted(flyball.http, &[&get[..], b"GET /samp"].concat()),
    ];
    let status = end(&mut flyball, signal);
    if status.code() == Some(0) { Ok(()) } else { Err(format!("{status}").into()) }
}

fn ends_during_a_query() -> Result<(), Failed> {
    let plant = Plant::start();
    let peer = Peer::start(plant.counters());
    peer.switch(Scenario::Slow);
    let slow = format!("{{prometheus: {{url: 'http://{}', poll_interval: 20s, timeout: 20s}}}}", peer.address);
    let mut flyball = Flyball::start(&slow, &policy(COUNTERS));
    let started = Instant::now();
    let status = end(&mut flyball, Signal::SIGTERM);
    assert_eq!(status.code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(2), "nothing was open, and it took {:?}", started.elapsed());
    Ok(())
}

/// A home whose policy is a link to elsewhere: a change there sends no event to the watched folder.
fn linked_home() -> Arc<Home> {
    let home = Home::new(DEAD_SOURCE, "");
    home.write("real.yaml", &policy(COUNTERS));
    std::fs::remove_file(home.path().join("policies/shop.yaml")).expect("removable");
    symlink("../real.yaml", home.path().join("policies/shop.yaml")).expect("a link");
    Arc::new(home)
}

/// The policy with another `probability.max`.
fn limited_to(max: f64) -> String {
    policy(COUNTERS).replace("max: 0.8, initial: 0.4", &format!("max: {max}, initial: {max}"))
}

fn wait_until_served(flyball: &Flyball, probability: f64, limit: Duration) {
    let what = format!("{probability} to be served");
    wait_for(&what, limit, || flyball.probability("checkout").filter(|served| *served == probability));
}

fn hangup() -> Result<(), Failed> {
    let flyball = Flyball::start_in(&linked_home());
    wait_until_served(&flyball, 0.4, AT_ONCE);
    for max in [0.1, 0.07] {
        flyball.home().write("real.yaml", &limited_to(max));
        send(&flyball, Signal::SIGHUP);
        wait_until_served(&flyball, max, AT_ONCE);
    }
    Ok(())
}

/// Status and body of `POST /-/reload`.
fn post_reload(flyball: &Flyball) -> Result<(u16, String), Failed> {
    let mut stream = TcpStream::connect(flyball.admin)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "POST /-/reload HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        flyball.admin
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    Ok((head.split(' ').nth(1).ok_or("no status")?.parse()?, body.to_owned()))
}

fn reload() -> Result<(), Failed> {
    let flyball = Flyball::start_in(&linked_home());
    wait_until_served(&flyball, 0.4, AT_ONCE);
    assert_eq!(metric(&flyball, "flyball_reload_success"), 1.0);

    flyball.home().write("real.yaml", &limited_to(0.1));
    let (status, body) = post_reload(&flyball)?;
    assert_eq!(status, 200, "{body}");
    wait_until_served(&flyball, 0.1, AT_ONCE);

    flyball.home().write("real.yaml", &limited_to(0.3).replace("fallback: 0.05", "fallback: 5"));
    let (status, body) = post_reload(&flyball)?;
    assert!(status == 422 && body.contains("fallback") && body.contains("shop.yaml"), "{status} {body}");
    assert_eq!(metric(&flyball, "flyball_reload_success"), 0.0);
    assert_eq!(flyball.probability("checkout"), Some(0.1));

    flyball.home().write("real.yaml", &limited_to(0.05));
    let (status, body) = post_reload(&flyball)?;
    assert_eq!((status, metric(&flyball, "flyball_reload_success")), (200, 1.0), "{body}");
    wait_until_served(&flyball, 0.05, AT_ONCE);
    Ok(())
}

/// The service's own row.
fn decision(flyball: &Flyball) -> Option<serde_json::Value> {
    http::get_json(flyball.admin, "/api/v1/decisions/checkout")?.get(0).cloned()
}

fn restart() -> Result<(), Failed> {
    let plant = Plant::start();
    let peer = Peer::start(plant.counters());
    let home = Arc::new(Home::new(&source(&peer), &policy(COUNTERS)));
    home.configure("state: {path: state}\n");
    let mut first = Flyball::start_in(&home);
    plant.follow(first.http);
    wait_for("a learnt probability", PATIENCE, || first.probability("checkout").filter(|p| *p < SHARE * 1.1));
    peer.switch(Scenario::Gone);
    std::thread::sleep(Duration::from_secs(2));
    let served = first.probability("checkout");
    let generation = metric(&first, "flyball_snapshot_generation");
    assert_eq!(end(&mut first, Signal::SIGTERM).code(), Some(0));

    let second = Flyball::start_in(&home);
    let row = decision(&second).ok_or("no decision")?;
    assert_eq!((row["reason"].as_str(), second.probability("checkout")), (Some("restored"), served), "{row}");
    assert_eq!(second.degraded(), Some(vec!["restored".to_owned()]));
    assert!(metric(&second, "flyball_snapshot_generation") > generation);
    wait_for("the silence of the source to be told", PATIENCE, || second.degraded().filter(|r| *r == ["stale"]));
    assert_eq!(second.probability("checkout"), served);
    Ok(())
}

fn second_process() -> Result<(), Failed> {
    let home = Arc::new(Home::new(DEAD_SOURCE, &policy(COUNTERS)));
    home.configure("state: {path: state}\n");
    let _first = Flyball::start_in(&home);
    let second = home.command().output()?;
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(second.status.code() == Some(1) && said.contains("in use by another process"), "{}: {said}", second.status);
    Ok(())
}
