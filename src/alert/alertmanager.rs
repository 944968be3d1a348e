//! Alertmanager: an alarm that is open is told again and again, because it is over to Alertmanager when it is not; and
//! what it forgot in a restart it knows again a minute later. Many alarms go in one request.

use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use reqwest::Client;
use url::Url;

use super::payload;
use super::receiver::Receiver;
use super::send::{SendError, post};
use super::told::Alert;
use crate::config::AlertmanagerConfig;
use crate::source::credentials::authorization;
use crate::source::error::SourceError;
use crate::source::http_client;
use crate::time::Clock;

/// Times that an alarm is told again before it ends by itself.
const RESENDS: u32 = 3;
/// Alarms in one request; the rest follow in the next ones.
const BATCH: usize = 256;

/// One Alertmanager.
pub(super) struct Alertmanager {
    client: Client,
    config: AlertmanagerConfig,
    url: Url,
    link: Option<Url>,
    clock: Clock,
}

impl Alertmanager {
    pub(super) fn new(config: &AlertmanagerConfig, link: Option<Url>, clock: Clock) -> Result<Self, SourceError> {
        let client = http_client::build(&[&config.url], &config.tls)?;
        let mut url = config.url.clone();
        url.set_query(None);
        url.set_path(&format!("{}/api/v2/alerts", config.url.path().trim_end_matches('/')));
        Ok(Self { client, config: config.clone(), url, link, clock })
    }

    async fn tell(&self, alerts: &[&Alert]) -> Result<(), SendError> {
        let (now, lasting) = (self.clock.now().wall, self.config.resend * RESENDS);
        let body: Vec<_> =
            alerts.iter().map(|alert| payload::alertmanager(alert, self.link.as_ref(), lasting, now)).collect();
        let body = serde_json::to_vec(&body).expect("JSON values become JSON");
        let mut headers: HeaderMap = self.config.headers.iter().cloned().collect();
        if let Some(auth) = &self.config.auth {
            headers.insert(AUTHORIZATION, authorization(auth).await.map_err(SendError::Credentials)?);
        }
        post(&self.client, &self.url, headers, body, self.config.timeout).await
    }
}

impl Receiver for Alertmanager {
    async fn send(&self, alert: &Alert) -> Result<(), SendError> {
        self.tell(&[alert]).await
    }

    fn resend_every(&self) -> Option<Duration> {
        Some(self.config.resend)
    }

    async fn resend(&self, open: &[&Alert]) -> Result<(), SendError> {
        for batch in open.chunks(BATCH) {
            self.tell(batch).await?;
        }
        Ok(())
    }
}
