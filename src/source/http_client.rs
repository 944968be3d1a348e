//! The HTTP client of both sources, and of whom alarms are told. Nothing of it depends on the machine: no proxies of the environment, no redirects,
//! and no CA store needed where nothing is encrypted.

use std::path::Path;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Identity};
use url::Url;

use super::error::SourceError;
use crate::config::Tls;

/// Idle connections that are kept for each host: one poll's queries of a few policies.
const IDLE_CONNECTIONS_MAX: usize = 8;

/// A client for `urls`. How long an answer may take is the caller's to bound.
pub(crate) fn build(urls: &[&Url], tls: &Tls) -> Result<Client, SourceError> {
    urls.iter().try_for_each(|url| check(url))?;
    let is_encrypted = urls.iter().any(|url| url.scheme() == "https");
    // Fails where the process has chosen a provider already: that one is used then.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .referer(false)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .user_agent(concat!("flyball/", env!("CARGO_PKG_VERSION")));
    trusting(builder, is_encrypted, tls)?.build().map_err(SourceError::Client)
}

fn check(url: &Url) -> Result<(), SourceError> {
    let why = if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        "must begin with http:// or https:// and a host"
    } else if !url.username().is_empty() || url.password().is_some() {
        "must not hold credentials: name their file in `auth`"
    } else if url.fragment().is_some() {
        "must not hold a `#`"
    } else {
        return Ok(());
    };
    Err(SourceError::Url { url: without_credentials(url), why })
}

/// For messages: the part of a URL that holds no secrets.
pub(crate) fn without_credentials(url: &Url) -> String {
    format!("{}://{}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

fn trusting(builder: ClientBuilder, is_encrypted: bool, tls: &Tls) -> Result<ClientBuilder, SourceError> {
    let builder = match &tls.ca_file {
        Some(path) => builder.tls_certs_only(certificates(path)?),
        // Plain HTTP must not fail on a machine without a CA store: it trusts nobody, and need not.
        None if !is_encrypted => builder.tls_certs_only([]),
        None => builder,
    };
    match (&tls.cert_file, &tls.key_file) {
        (Some(certificate), Some(key)) => Ok(builder.identity(identity(certificate, key)?)),
        _ => Ok(builder),
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, SourceError> {
    let pem = |source| SourceError::Pem { path: path.to_owned(), what: "certificate", source };
    let certificates = Certificate::from_pem_bundle(&read(path)?).map_err(|e| pem(Some(e)))?;
    if certificates.is_empty() { Err(pem(None)) } else { Ok(certificates) }
}

fn identity(certificate: &Path, key: &Path) -> Result<Identity, SourceError> {
    let mut pem = read(key)?;
    pem.push(b'\n');
    pem.extend(read(certificate)?);
    Identity::from_pem(&pem).map_err(|source| SourceError::Pem {
        path: certificate.to_owned(),
        what: "certificate and private key",
        source: Some(source),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, SourceError> {
    std::fs::read(path).map_err(|source| SourceError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(url: &str, tls: &Tls) -> Result<(), SourceError> {
        build(&[&Url::parse(url).expect("a URL")], tls).map(|_| ())
    }

    #[test]
    fn plain_http_needs_no_ca_store() {
        built("http://127.0.0.1:9090/prometheus", &Tls::default()).expect("builds anywhere");
    }

    #[test]
    fn urls_that_hide_something_are_refused_without_showing_it() {
        for url in ["http://u:secret@host/", "ftp://host/", "http://host/#secret"] {
            let error = built(url, &Tls::default()).expect_err(url);
            assert!(matches!(error, SourceError::Url { .. }) && !error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn unusable_pem_files_are_named() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let path = file.path().to_owned();
        let gone = Tls { ca_file: Some("/nonexistent/ca.pem".into()), ..Tls::default() };
        assert!(matches!(built("https://host/", &gone), Err(SourceError::Read { .. })));
        let empty = Tls { ca_file: Some(path.clone()), ..Tls::default() };
        assert!(matches!(built("https://host/", &empty), Err(SourceError::Pem { source: None, .. })));
        let identity = Tls { cert_file: Some(path.clone()), key_file: Some(path), ..Tls::default() };
        assert!(matches!(built("https://host/", &identity), Err(SourceError::Pem { .. })));
    }
}
