//! The Python SDK, installed by `tests/conformance/install.sh python-otlp`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libtest_mimic::{Failed, Trial};

use super::support::child::{Reaped, wait_for};
use super::support::peers::is_strict;
use super::{PATIENCE, input, otlp, start};

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/python-otlp/client.py");
const DEMAND: &str = "counter: http.server.request.duration, by: [service.name], service_label: service.name";
/// Requests a second of the client.
const RATE: f64 = 200.0;

pub(crate) fn trials() -> Vec<Trial> {
    let kinds = [("grpc", "cumulative"), ("grpc", "delta"), ("http", "cumulative"), ("http", "delta")];
    kinds.into_iter().map(|(wire, temporality)| trial(wire, temporality)).collect()
}

fn trial(wire: &'static str, temporality: &'static str) -> Trial {
    let name = format!("python::{wire}_{temporality}_is_the_demand");
    let Some(python) = installed() else {
        let absent = "not installed: run `tests/conformance/install.sh python-otlp`";
        return Trial::test(format!("{name} ({absent})"), move || Err(absent.into())).with_ignored_flag(!is_strict());
    };
    Trial::test(name, move || is_the_demand(python, wire, temporality))
}

fn installed() -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?;
    Some(target.join("conformance/python-otlp/bin/python")).filter(|python| python.is_file())
}

fn is_the_demand(python: PathBuf, wire: &str, temporality: &str) -> Result<(), Failed> {
    let flyball = start(DEMAND);
    let path = if wire == "http" { "/v1/metrics" } else { "" };
    let endpoint = format!("http://{}{path}", otlp(&flyball));
    let mut client = Command::new(python);
    client.args([CLIENT, wire, &endpoint, temporality]).stdin(Stdio::piped());
    let _client = Reaped(client.spawn()?);
    wait_for("the demand", PATIENCE, || {
        input(&flyball, "shop", "demand_per_second").filter(|demand| (0.5 * RATE..1.2 * RATE).contains(demand))
    });
    Ok(())
}
