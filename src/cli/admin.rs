//! Asking a running Flyball's admin API: what `explain`, `report` and `check --fleet` share.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::admin::text::Plain;

/// The server must have answered, wholly, within this.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer that is read: a service's decisions, a rollout's history, or 4,096 cohorts are well below it.
const BODY_MAX_BYTES: usize = 16 << 20;

/// Which Flyball is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Admin {
    /// Where Flyball's admin API is.
    #[arg(long, value_name = "URL", env = "FLYBALL_ADMIN", default_value = "http://127.0.0.1:5780", value_parser = admin_url)]
    admin: Url,
}

/// The same where another source of what is known will do.
#[derive(Debug, clap::Args)]
pub(super) struct OptionalAdmin {
    /// Ask the Flyball whose admin API is here what it has learnt. Default: the state folder of the configuration.
    #[arg(long, value_name = "URL", env = "FLYBALL_ADMIN", value_parser = admin_url)]
    admin: Option<Url>,
}

impl OptionalAdmin {
    /// Which Flyball is asked, if any.
    pub(super) fn named(&self) -> Option<Admin> {
        self.admin.clone().map(|admin| Admin { admin })
    }
}

#[derive(Debug, Deserialize)]
struct ErrorBody {
    error: String,
}

impl fmt::Display for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.admin.fmt(f)
    }
}

impl Admin {
    /// What is at `/api/v1/` and these segments. `what` says what it should be.
    ///
    /// # Errors
    /// Nobody answers, or the answer is an error or something else.
    pub(super) fn ask<T: DeserializeOwned>(&self, segments: &[&str], what: &str) -> anyhow::Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no async runtime")?;
        let body = runtime.block_on(body(&self.admin, segments))?;
        serde_json::from_slice(&body).with_context(|| format!("{} answered what is not {what}", self.admin))
    }
}

fn admin_url(text: &str) -> Result<Url, String> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err("write it as http://HOST:PORT".to_owned()),
    }
}

async fn body(admin: &Url, segments: &[&str]) -> anyhow::Result<Vec<u8>> {
    let path: String = segments.iter().map(|segment| format!("/{}", percent_encoded(segment))).collect();
    let mut url = admin.clone();
    url.set_query(None);
    url.set_path(&format!("{}/api/v1{path}", admin.path().trim_end_matches('/')));
    let no_server = || format!("no Flyball answers at {admin}; is `flyball run` up, and is this its `admin.listen`?");
    let mut response = client(admin)?.get(url).send().await.with_context(no_server)?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.with_context(|| format!("the answer of {admin} broke off"))? {
        body.extend_from_slice(&piece);
        if body.len() > BODY_MAX_BYTES {
            bail!("the answer of {admin} is longer than {BODY_MAX_BYTES} bytes; is it Flyball's admin address?");
        }
    }
    if status.is_success() {
        return Ok(body);
    }
    match serde_json::from_slice::<ErrorBody>(&body) {
        Ok(body) => bail!("{}", Plain(&body.error)),
        Err(_) => bail!("{admin} answered {status}; is it Flyball's admin address?"),
    }
}

/// Every byte that is not unreserved, so that a name is one segment and no character of it is lost on the way.
fn percent_encoded(name: &str) -> String {
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encode = |byte| if is_unreserved(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    name.bytes().map(encode).collect()
}

/// Over plain HTTP the client is given an empty set of roots: loading the system's fails where there are none.
fn client(admin: &Url) -> anyhow::Result<reqwest::Client> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut builder = reqwest::Client::builder().timeout(TIMEOUT).no_proxy();
    if admin.scheme() == "http" {
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        builder = builder.tls_backend_preconfigured(tls);
    } else if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Another thread may have been first; then its provider stays, and that is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    builder.build().context("no HTTP client: is there a store of CA certificates on this machine?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_url_needs_a_scheme_and_a_host() {
        for good in ["http://127.0.0.1:5780", "https://flyball.example/admin/", "http://[::1]:5780"] {
            assert!(admin_url(good).is_ok(), "{good}");
        }
        for bad in ["127.0.0.1:5780", "localhost:5780", "ftp://a", "", "http://"] {
            assert!(admin_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_is_one_segment_of_a_path_and_loses_nothing() {
        for (name, encoded) in [("a-b_c.d~e", "a-b_c.d~e"), ("a/é\n", "a%2F%C3%A9%0A")] {
            assert_eq!(percent_encoded(name), encoded);
        }
    }
}
