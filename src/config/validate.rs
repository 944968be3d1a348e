//! The raw shape of the configuration to the one that the program uses: every default filled in, every relation
//! checked, all errors at once.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::address::{self, Listener};
use super::raw::{RawAdmin, RawConfig, RawLog, RawLogFormat, RawServe, RawState};
use super::{AdminConfig, Config, LogConfig, LogFormat, ServeConfig, fleet, source};
use crate::document::Place;
use crate::document::check::Check;

const POLICIES: &str = "policies/";
const SERVE_HTTP: &str = "127.0.0.1:5778";
const SERVE_GRPC: [&str; 2] = ["127.0.0.1:5779", "127.0.0.1:14250"];
const ADMIN_LISTEN: &str = "127.0.0.1:5780";
const CONNECTIONS_MAX: usize = 20_000;
const STREAMS_PER_CONNECTION_MAX: u32 = 256;
/// Most gRPC listeners.
const GRPC_LISTENERS_MAX: usize = 16;

/// The validated shape; `None` only where `check` holds an error.
pub(super) fn validate(raw: RawConfig, check: &mut Check<'_>) -> Option<Config> {
    let policies = policies(raw.policies, check);
    let mut listeners = Vec::new();
    let serve = serve(raw.serve.unwrap_or_default(), check, &mut listeners);
    let admin = admin(raw.admin.unwrap_or_default(), check, &mut listeners);
    // After the defaults of the others, so that a conflict is told where it was written.
    let source = source::sources(raw.source.unwrap_or_default(), check, &mut listeners);
    let (monitor, fleet) = fleet::second_loop(raw.monitor, raw.fleet, check);
    listeners.extend(fleet::tcp_listener(fleet.as_ref()));
    address::refuse_conflicts(check, &listeners);
    let alerts = super::alerts::alerts(raw.alerts, fleet.is_some(), check);
    let state = state(raw.state, check);
    let log = log(raw.log.unwrap_or_default(), check);
    Some(Config { source: source?, policies, serve: serve?, admin: admin?, monitor, fleet, alerts, state, log })
}

pub(super) fn policies(written: Option<String>, check: &mut Check<'_>) -> PathBuf {
    match written {
        Some(path) => check.path("policies", &path),
        None => match &check.root().place {
            Place::File { file, .. } => file.path.with_file_name(POLICIES),
            _ => PathBuf::from(POLICIES),
        },
    }
}

fn serve(raw: RawServe, check: &mut Check<'_>, listeners: &mut Vec<Listener>) -> Option<ServeConfig> {
    let http = listener("serve.http", raw.http.as_deref().unwrap_or(SERVE_HTTP), check, listeners);
    let grpc = grpc(raw.grpc, check, listeners);
    let connections_max = check.count("serve.connections_max", raw.connections_max, CONNECTIONS_MAX, 16..=1_000_000);
    let streams_per_connection_max = check.count(
        "serve.streams_per_connection_max",
        raw.streams_per_connection_max,
        STREAMS_PER_CONNECTION_MAX,
        1..=10_000,
    );
    Some(ServeConfig { http: http?, grpc, connections_max, streams_per_connection_max })
}

fn grpc(written: Option<Vec<String>>, check: &mut Check<'_>, listeners: &mut Vec<Listener>) -> Vec<SocketAddr> {
    let Some(written) = written else {
        return SERVE_GRPC.iter().filter_map(|text| listener("serve.grpc", text, check, listeners)).collect();
    };
    if written.len() > GRPC_LISTENERS_MAX {
        check.fail("serve.grpc", format_args!("at most {GRPC_LISTENERS_MAX} addresses"));
        return Vec::new();
    }
    let numbered = written.iter().enumerate();
    numbered.filter_map(|(i, text)| listener(&format!("serve.grpc[{i}]"), text, check, listeners)).collect()
}

/// An address to listen on, noted among the others.
pub(super) fn listener(
    key: &str,
    text: &str,
    check: &mut Check<'_>,
    listeners: &mut Vec<Listener>,
) -> Option<SocketAddr> {
    let address = address::listen(check, key, text)?;
    listeners.push((key.to_owned(), address));
    Some(address)
}

fn admin(raw: RawAdmin, check: &mut Check<'_>, listeners: &mut Vec<Listener>) -> Option<AdminConfig> {
    let listen = listener("admin.listen", raw.listen.as_deref().unwrap_or(ADMIN_LISTEN), check, listeners);
    let token_file = raw.token_file.map(|path| check.readable_file("admin.token_file", &path));
    Some(AdminConfig { listen: listen?, token_file })
}

fn state(raw: Option<RawState>, check: &mut Check<'_>) -> Option<PathBuf> {
    let Some(raw) = raw else {
        if !check.is_written("state") {
            check.warn("state", "not set: memory only, probabilities start at `initial` after each restart");
        }
        return None;
    };
    check.require("state.path", "needs a folder; leave `state` out for memory only");
    raw.path.map(|path| check.path("state.path", &path))
}

fn log(raw: RawLog, check: &mut Check<'_>) -> LogConfig {
    let filter = raw.filter.unwrap_or_else(|| "info".to_owned());
    if let Err(error) = filter.parse::<tracing_subscriber::EnvFilter>() {
        check.fail("log.filter", format_args!("{error}; expected a level such as info, or info,flyball::source=debug"));
    }
    let format = match raw.format {
        None | Some(RawLogFormat::Text) => LogFormat::Text,
        Some(RawLogFormat::Json) => LogFormat::Json,
    };
    LogConfig { filter, format }
}
