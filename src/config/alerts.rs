//! Whom a cohort's alarm is told to.

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use url::Url;

use super::raw::{RawAlertmanager, RawAlerts, RawWebhook};
use super::source::{credentials, header, http_url, tls};
use super::{Auth, Tls};
use crate::document::check::Check;
use crate::sampling::pattern::Pattern;

const WEBHOOKS_MAX: usize = 16;
const GROUPS_MAX: usize = 1_000;
const MATCHES_MAX: usize = 16;
const NAME_MAX: usize = 64;
/// Messages a minute to each receiver.
const RATE: u32 = 30;
const RATE_MAX: u32 = 6_000;
const TIMEOUT: Duration = Duration::from_secs(10);
const RESEND: Duration = Duration::from_secs(60);

/// Whom alarms are told to.
#[derive(Debug, Clone)]
pub struct AlertsConfig {
    /// One Alertmanager, or whatever speaks its API v2.
    pub alertmanager: Option<AlertmanagerConfig>,
    /// Anything else.
    pub webhooks: Vec<WebhookConfig>,
    /// Who looks after a region.
    pub groups: BTreeMap<Arc<str>, Arc<str>>,
    /// Messages a minute to each receiver.
    pub rate: NonZeroU32,
    /// Where people find more.
    pub link: Option<Url>,
}

/// How Alertmanager is reached.
#[derive(Debug, Clone)]
pub struct AlertmanagerConfig {
    /// Base; `/api/v2/alerts` is appended.
    pub url: Url,
    /// Bound on each request.
    pub timeout: Duration,
    /// How often an open alarm is told again.
    pub resend: Duration,
    /// Credentials.
    pub auth: Option<Auth>,
    /// Trust and client certificate.
    pub tls: Tls,
    /// Sent with each request.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// One webhook.
#[derive(Debug, Clone)]
pub struct WebhookConfig {
    /// In metrics and logs.
    pub name: Arc<str>,
    /// Labels that a cohort must have; `group` is one of them.
    pub matches: Vec<(Arc<str>, Pattern)>,
    /// Where it is told.
    pub url: Url,
    /// What it is signed with.
    pub secret_file: PathBuf,
    /// Bound on each request.
    pub timeout: Duration,
    /// Trust and client certificate.
    pub tls: Tls,
}

/// The validated shape; `None` where nothing is configured, or where `check` holds an error.
pub(super) fn alerts(raw: Option<RawAlerts>, has_fleet: bool, check: &mut Check<'_>) -> Option<AlertsConfig> {
    let raw = raw?;
    if raw.alertmanager.is_none() && raw.webhooks.as_ref().is_none_or(Vec::is_empty) {
        check.fail("alerts", "needs somebody to tell: `alertmanager` or `webhooks`");
    } else if !has_fleet {
        check.warn("alerts", "has no effect without `fleet`: its cohorts are what is watched");
    }
    let rate = check.count("alerts.rate", raw.rate, RATE, 1..=RATE_MAX);
    Some(AlertsConfig {
        alertmanager: raw.alertmanager.and_then(|raw| alertmanager(raw, check)),
        webhooks: webhooks(raw.webhooks.unwrap_or_default(), check),
        groups: groups(raw.groups.unwrap_or_default(), check),
        rate: NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN),
        link: raw.link.and_then(|text| http_url("alerts.link", &text, check)),
    })
}

fn alertmanager(raw: RawAlertmanager, check: &mut Check<'_>) -> Option<AlertmanagerConfig> {
    let key = |name: &str| format!("alerts.alertmanager.{name}");
    check.require(&key("url"), "needs the URL of an Alertmanager, such as http://127.0.0.1:9093");
    let url = raw.url.and_then(|text| http_url(&key("url"), &text, check));
    let timeout = check.duration(&key("timeout"), raw.timeout, TIMEOUT, timeouts());
    let resend = Duration::from_secs(1)..=Duration::from_secs(3_600);
    let resend = check.duration(&key("resend"), raw.resend, RESEND, resend);
    let auth = raw.auth.and_then(|auth| credentials(&key("auth"), auth, check));
    let tls = tls(&key("tls"), raw.tls.unwrap_or_default(), check);
    let headers = raw.headers.unwrap_or_default();
    let headers = headers.into_iter().filter_map(|(name, value)| header(&key("headers"), &name, &value, check));
    let headers = headers.collect();
    Some(AlertmanagerConfig { url: url?, timeout, resend, auth, tls, headers })
}

fn timeouts() -> std::ops::RangeInclusive<Duration> {
    Duration::from_millis(10)..=Duration::from_secs(60)
}

fn webhooks(raw: Vec<RawWebhook>, check: &mut Check<'_>) -> Vec<WebhookConfig> {
    if raw.len() > WEBHOOKS_MAX {
        check.fail("alerts.webhooks", format_args!("at most {WEBHOOKS_MAX} webhooks"));
        return Vec::new();
    }
    let mut names = HashSet::new();
    let numbered = raw.into_iter().enumerate();
    numbered.filter_map(|(i, raw)| webhook(&format!("alerts.webhooks[{i}]"), raw, &mut names, check)).collect()
}

fn webhook(base: &str, raw: RawWebhook, names: &mut HashSet<String>, check: &mut Check<'_>) -> Option<WebhookConfig> {
    let key = |name: &str| format!("{base}.{name}");
    check.require(&key("name"), "needs a name: it stands in metrics and logs");
    check.require(&key("url"), "needs the URL that is told, such as https://hooks.example.net/flyball");
    check.require(&key("secret_file"), "needs the file with the secret that messages are signed with");
    let name = raw.name.filter(|name| is_name(&key("name"), name, check));
    if name.as_ref().is_some_and(|name| name == "alertmanager" || !names.insert(name.clone())) {
        check.fail(&key("name"), "this name is taken");
    }
    let url = raw.url.and_then(|text| http_url(&key("url"), &text, check));
    let secret_file = raw.secret_file.map(|path| check.readable_file(&key("secret_file"), &path));
    if let Some(path) = &secret_file {
        let mode = std::fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
        if mode & 0o007 != 0 {
            check.warn(
                &key("secret_file"),
                format_args!("everybody may read it (mode {:03o}): chmod 600", mode & 0o777),
            );
        }
    }
    let matches = matches(&key("match"), raw.matches.unwrap_or_default(), check);
    let timeout = check.duration(&key("timeout"), raw.timeout, TIMEOUT, timeouts());
    let tls = tls(&key("tls"), raw.tls.unwrap_or_default(), check);
    Some(WebhookConfig { name: name?.into(), matches, url: url?, secret_file: secret_file?, timeout, tls })
}

fn is_name(key: &str, name: &str, check: &mut Check<'_>) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let is_good = !name.is_empty() && name.len() <= NAME_MAX && name.chars().all(is_plain);
    if !is_good {
        check.fail(key, format_args!("allowed are 1 to {NAME_MAX} characters of A-Z a-z 0-9 _ . -"));
    }
    is_good
}

fn matches(key: &str, raw: BTreeMap<String, String>, check: &mut Check<'_>) -> Vec<(Arc<str>, Pattern)> {
    if raw.len() > MATCHES_MAX {
        check.fail(key, format_args!("at most {MATCHES_MAX} labels"));
        return Vec::new();
    }
    let mut matches = Vec::with_capacity(raw.len());
    for (label, glob) in raw {
        match Pattern::new(&glob) {
            Some(pattern) => matches.push((label.into(), pattern)),
            None => {
                check.fail(&format!("{key}.{label}"), format_args!("allowed are 1 to {} bytes", Pattern::LENGTH_MAX))
            }
        }
    }
    matches
}

fn groups(raw: BTreeMap<String, String>, check: &mut Check<'_>) -> BTreeMap<Arc<str>, Arc<str>> {
    if raw.len() > GROUPS_MAX {
        check.fail("alerts.groups", format_args!("at most {GROUPS_MAX} regions"));
        return BTreeMap::new();
    }
    for (region, group) in &raw {
        if group.trim().is_empty() || group.chars().any(char::is_control) || group.len() > NAME_MAX {
            check.fail(&format!("alerts.groups.{region}"), format_args!("allowed are 1 to {NAME_MAX} bytes of text"));
        }
    }
    raw.into_iter().map(|(region, group)| (region.into(), group.into())).collect()
}
