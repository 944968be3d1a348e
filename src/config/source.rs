//! The keys under `source`.

use std::collections::HashSet;

use http::{HeaderName, HeaderValue};
use url::Url;

use super::address::Listener;
use super::raw::{RawAuth, RawBasic, RawOtlp, RawPrometheus, RawScrape, RawSource, RawTls};
use super::timing::{self, LoopKeys, loop_times};
use super::validate::listener;
use super::{Auth, OtlpConfig, PrometheusConfig, ScrapeConfig, SourceConfig, Sources, Tls};
use crate::document::check::Check;

const RAW_SERIES_MAX: usize = 20_000;
const BODY_MAX_BYTES: usize = 32 << 20;
const QUERIES_PER_SECOND: u32 = 20;
const OTLP_LISTEN: &str = "127.0.0.1:4317";
const OTLP_BODY_MAX_BYTES: usize = 4 << 20;
/// Most scrape targets.
const TARGETS_MAX: usize = 1000;

/// The sources; `None` only where `check` holds an error.
pub(super) fn sources(raw: RawSource, check: &mut Check<'_>, listeners: &mut Vec<Listener>) -> Option<Sources> {
    let written = |key: &str| check.root().at("source").is_some_and(|node| node.entry(key).is_some());
    let [has_prometheus, has_scrape, has_otlp] = ["prometheus", "scrape", "otlp"].map(written);
    let has_asked = has_prometheus || has_scrape;
    let otlp = has_otlp.then(|| otlp(raw.otlp.unwrap_or_default(), has_asked, check, listeners));
    let asked = match (has_prometheus, has_scrape) {
        (true, true) => {
            let other = check.root().place_of("source.prometheus").clone();
            check.fail("source.scrape", format_args!("only one source: source.prometheus is set too ({other})"));
            None
        }
        (true, false) => prometheus(raw.prometheus.unwrap_or_default(), check),
        (false, true) => scrape(raw.scrape.unwrap_or_default(), check),
        (false, false) if has_otlp => None,
        (false, false) => {
            let message = "needs a source: set source.prometheus.url, source.scrape.targets or source.otlp.listen";
            check.fail("source", message);
            None
        }
    };
    let is_whole = asked.is_some() || !has_asked;
    (is_whole && (has_asked || has_otlp)).then_some(())?;
    Some(Sources { asked, otlp: otlp.map_or(Some(None), |otlp| otlp.map(Some))? })
}

fn otlp(raw: RawOtlp, has_asked: bool, check: &mut Check<'_>, listeners: &mut Vec<Listener>) -> Option<OtlpConfig> {
    let key = |name: &str| format!("source.otlp.{name}");
    let listen = listener(&key("listen"), raw.listen.as_deref().unwrap_or(OTLP_LISTEN), check, listeners);
    if has_asked && check.is_written(&key("interval")) {
        check.fail(&key("interval"), "has no effect beside another source, whose interval counts: leave it out");
    }
    let interval = timing::interval(&key("interval"), raw.interval, check);
    let range = (64 << 10)..=(64 << 20);
    let body_max_bytes = check.count(&key("body_max_bytes"), raw.body_max_bytes, OTLP_BODY_MAX_BYTES, range);
    Some(OtlpConfig { listen: listen?, interval, body_max_bytes })
}

fn prometheus(raw: RawPrometheus, check: &mut Check<'_>) -> Option<SourceConfig> {
    let key = |name: &str| format!("source.prometheus.{name}");
    check.require(&key("url"), "needs the URL of a Prometheus-compatible API, such as http://127.0.0.1:9090");
    let url = raw.url.and_then(|text| http_url(&key("url"), &text, check));
    let (poll_interval, timeout) = loop_times(
        &LoopKeys { interval: (&key("poll_interval"), raw.poll_interval), timeout: (&key("timeout"), raw.timeout) },
        check,
    );
    let auth = raw.auth.and_then(|auth| credentials(&key("auth"), auth, check));
    let tls = tls(&key("tls"), raw.tls.unwrap_or_default(), check);
    let headers = raw.headers.unwrap_or_default();
    let headers =
        headers.into_iter().filter_map(|(name, value)| header(&key("headers"), &name, &value, check)).collect();
    let raw_series_max = check.count(&key("raw_series_max"), raw.raw_series_max, RAW_SERIES_MAX, 1..=1_000_000);
    let body_max_bytes = body_max(&key("body_max_bytes"), raw.body_max_bytes, check);
    let queries_per_second =
        check.count(&key("queries_per_second"), raw.queries_per_second, QUERIES_PER_SECOND, 1..=10_000);
    Some(SourceConfig::Prometheus(Box::new(PrometheusConfig {
        url: url?,
        poll_interval,
        timeout,
        auth,
        tls,
        headers,
        raw_series_max,
        body_max_bytes,
        queries_per_second,
    })))
}

fn scrape(raw: RawScrape, check: &mut Check<'_>) -> Option<SourceConfig> {
    let key = |name: &str| format!("source.scrape.{name}");
    let written = raw.targets.unwrap_or_default();
    if written.is_empty() {
        check.fail(&key("targets"), "needs at least one URL, such as http://127.0.0.1:9100/metrics");
    }
    if written.len() > TARGETS_MAX {
        check.fail(&key("targets"), format_args!("at most {TARGETS_MAX} targets"));
    }
    let targets = targets(&written, check);
    let (interval, timeout) = loop_times(
        &LoopKeys { interval: (&key("interval"), raw.interval), timeout: (&key("timeout"), raw.timeout) },
        check,
    );
    let body_max_bytes = body_max(&key("body_max_bytes"), raw.body_max_bytes, check);
    Some(SourceConfig::Scrape(ScrapeConfig { targets, interval, timeout, body_max_bytes }))
}

fn targets(written: &[String], check: &mut Check<'_>) -> Vec<Url> {
    let mut seen = HashSet::new();
    let mut targets = Vec::new();
    for (i, text) in written.iter().enumerate().take(TARGETS_MAX) {
        let key = format!("source.scrape.targets[{i}]");
        let Some(url) = http_url(&key, text, check) else { continue };
        if seen.insert(url.clone()) {
            targets.push(url);
        } else {
            check.fail(&key, "this target is there twice; its counters would count twice");
        }
    }
    targets
}

fn body_max(key: &str, value: Option<usize>, check: &mut Check<'_>) -> usize {
    check.count(key, value, BODY_MAX_BYTES, (64 << 10)..=(1 << 30))
}

pub(super) fn http_url(key: &str, text: &str, check: &mut Check<'_>) -> Option<Url> {
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => {
            check.fail(key, format_args!("not a URL ({error}); expected one such as http://127.0.0.1:9090"));
            return None;
        }
    };
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        check.fail(key, "expected a URL that starts with http:// or https://");
        return None;
    }
    if !url.username().is_empty() || url.password().is_some() {
        check.fail_hidden(key, "credentials do not belong in a URL; name their file in `auth`");
        return None;
    }
    if url.fragment().is_some() {
        check.fail(key, "a URL without `#` is needed");
        return None;
    }
    Some(url)
}

/// Of `auth`, under this key.
pub(super) fn credentials(key: &str, raw: RawAuth, check: &mut Check<'_>) -> Option<Auth> {
    match (raw.bearer_token_file, raw.basic) {
        (Some(_), Some(_)) => {
            check.fail(key, "only one of bearer_token_file and basic");
            None
        }
        (Some(path), None) => {
            Some(Auth::BearerTokenFile(check.readable_file(&format!("{key}.bearer_token_file"), &path)))
        }
        (None, Some(basic)) => basic_auth(&format!("{key}.basic"), basic, check),
        (None, None) => {
            if !check.has_errors_under(key) {
                check.fail(key, "needs bearer_token_file or basic");
            }
            None
        }
    }
}

fn basic_auth(key: &str, raw: RawBasic, check: &mut Check<'_>) -> Option<Auth> {
    let [username, password_file] = ["username", "password_file"].map(|name| format!("{key}.{name}"));
    check.require(&username, "needs a user name");
    check.require(&password_file, "needs the file that holds the password");
    if raw.username.as_deref().is_some_and(|name| name.contains(':') || name.chars().any(char::is_control)) {
        check.fail(&username, "a user name holds neither a colon nor control characters (RFC 7617, section 2)");
    }
    let password_file = raw.password_file.map(|path| check.readable_file(&password_file, &path));
    Some(Auth::Basic { username: raw.username?, password_file: password_file? })
}

/// Of `tls`, under this key.
pub(super) fn tls(key: &str, raw: RawTls, check: &mut Check<'_>) -> Tls {
    if raw.cert_file.is_some() != raw.key_file.is_some() && !check.has_errors_under(key) {
        check.fail(key, "cert_file and key_file come together");
    }
    let mut file =
        |name: &str, path: Option<String>| path.map(|path| check.readable_file(&format!("{key}.{name}"), &path));
    Tls {
        ca_file: file("ca_file", raw.ca_file),
        cert_file: file("cert_file", raw.cert_file),
        key_file: file("key_file", raw.key_file),
    }
}

/// One of `headers`, which stand under this key.
pub(super) fn header(key: &str, name: &str, value: &str, check: &mut Check<'_>) -> Option<(HeaderName, HeaderValue)> {
    let key = format!("{key}.{name}");
    if name.eq_ignore_ascii_case("authorization") {
        check.fail_hidden(&key, "credentials come from files only; name them in `auth`");
        return None;
    }
    match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
        (Ok(name), Ok(value)) => Some((name, value)),
        (Err(_), _) => {
            check.fail(&key, "not a header's name: letters, digits and dashes");
            None
        }
        (_, Err(_)) => {
            check.fail(&key, "not a header's value: visible characters on one line");
            None
        }
    }
}
