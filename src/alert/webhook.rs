//! A webhook: each opening and each end, once, signed.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use reqwest::Client;
use url::Url;

use super::payload;
use super::receiver::Receiver;
use super::send::{SendError, post};
use super::signature::{ID, SIGNATURE, TIMESTAMP, sign};
use super::told::Alert;
use crate::config::WebhookConfig;
use crate::source::credentials::secret;
use crate::source::error::SourceError;
use crate::source::http_client;
use crate::time::Clock;

/// One webhook.
pub(super) struct Webhook {
    client: Client,
    config: WebhookConfig,
    link: Option<Url>,
    clock: Clock,
}

impl Webhook {
    pub(super) fn new(config: &WebhookConfig, link: Option<Url>, clock: Clock) -> Result<Self, SourceError> {
        let client = http_client::build(&[&config.url], &config.tls)?;
        Ok(Self { client, config: config.clone(), link, clock })
    }

    /// Whether it wants to hear of this cohort.
    pub(super) fn is_for(config: &WebhookConfig, alert: &Alert) -> bool {
        let value = |key: &str| match key {
            "group" => Some(&*alert.group),
            "fleet" => alert.fleet.as_deref(),
            key => alert.labels.get(key).map(AsRef::as_ref),
        };
        config.matches.iter().all(|(key, pattern)| value(key).is_some_and(|value| pattern.matches(value)))
    }
}

impl Receiver for Webhook {
    async fn send(&self, alert: &Alert) -> Result<(), SendError> {
        let body = serde_json::to_vec(&payload::webhook(alert, self.link.as_ref())).expect("a JSON value becomes JSON");
        let secret = secret(&self.config.secret_file).await.map_err(SendError::Credentials)?;
        let timestamp = self.clock.now().wall.unix_ms().div_euclid(1_000);
        let signature = sign(secret.trim_end_matches(['\r', '\n']).as_bytes(), timestamp, &body);
        let mut headers = HeaderMap::new();
        let id = format!("{}-{}", alert.id, alert.state());
        for (name, value) in [(SIGNATURE, signature), (TIMESTAMP, timestamp.to_string()), (ID, id)] {
            headers.insert(name, HeaderValue::try_from(value).expect("digits, letters and dashes"));
        }
        post(&self.client, &self.config.url, headers, body, self.config.timeout).await
    }

    fn resend_every(&self) -> Option<Duration> {
        None
    }

    async fn resend(&self, _: &[&Alert]) -> Result<(), SendError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::alert;
    use super::*;
    use crate::sampling::pattern::Pattern;

    #[test]
    fn a_webhook_hears_of_the_regions_and_groups_that_it_asks_for() {
        let config = |matches: &[(&str, &str)]| WebhookConfig {
            name: "hook".into(),
            matches: matches.iter().map(|(k, v)| ((*k).into(), Pattern::new(v).expect("a glob"))).collect(),
            url: Url::parse("http://127.0.0.1/").expect("a URL"),
            secret_file: "secret".into(),
            timeout: Duration::from_secs(1),
            tls: crate::config::Tls::default(),
        };
        let alert = alert("carrier=a,region=north");
        for (matches, is_for) in [
            (&[][..], true),
            (&[("region", "north")], true),
            (&[("region", "n*"), ("group", "team-*"), ("fleet", "gateways")], true),
            (&[("region", "south")], false),
            (&[("model", "*")], false),
        ] {
            assert_eq!(Webhook::is_for(&config(matches), &alert), is_for, "{matches:?}");
        }
    }
}
