//! What the demo says first: what runs here, where it is to be seen, and what to try.

use std::path::PathBuf;

use super::Options;
use super::fleet::DEVICES_EACH;
use super::peers::Peers;
use super::story::{CARRIERS, SCALE, SERVICES};
use crate::house::House;

/// Columns before what a line tells.
const INDENT: usize = 16;

/// The text; `files` are the policy and the fleet file.
pub(super) fn text(house: &House, peers: &Peers, files: &[PathBuf], options: Options) -> String {
    let (serve, admin) = (house.serve_addrs(), house.admin_addr());
    let end = match options.seconds {
        Some(seconds) => format!("It ends after {seconds} s; Ctrl-C ends it before."),
        None => "Ctrl-C ends it.".to_owned(),
    };
    let sampling = std::iter::once(format!("http://{}/sampling", serve.http))
        .chain(serve.grpc.iter().map(|grpc| format!("grpc://{grpc}")));
    let heartbeats = house.fleet_addrs().into_iter().map(|(transport, address)| format!("{transport}://{address}"));
    let tries = [
        format!("curl 'http://{}/sampling?service=checkout'", serve.http),
        format!("curl 'http://{admin}/api/v1/cohorts'"),
        format!("flyball explain checkout --admin http://{admin}"),
    ];
    let edit =
        files.iter().map(|file| file.display().to_string()).chain(["(they are read anew while it runs)".to_owned()]);
    let lines = [
        line("The page", [format!("http://{admin}/")]),
        line("Sampling", sampling),
        line("Heartbeats", heartbeats),
        line("Measured from", peers.describe()),
        line("Try", tries),
        line("Edit", edit),
    ];
    format!("{}{end}\n\n{}", about(), lines.concat())
}

fn about() -> String {
    format!(
        "Flyball demo: both loops on this machine.\n\
         Sampling: {} services send spans to a tracing backend of finite capacity.\n\
         Keepalive: {} devices beat through the NATs of {} carriers, {SCALE} times faster than in the field.\n",
        SERVICES.len(),
        DEVICES_EACH * CARRIERS.len(),
        CARRIERS.len(),
    )
}

fn line(name: &str, tells: impl IntoIterator<Item = String>) -> String {
    let tells: Vec<String> = tells.into_iter().collect();
    format!("{name:<INDENT$}{}\n", tells.join(&format!("\n{:INDENT$}", "")))
}
