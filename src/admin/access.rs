//! Who may write.
//!
//! With a token file: whoever shows one of its tokens. Without: whoever sits on this machine. "On this machine" is more
//! than a loopback peer, because a browser and a proxy are loopback peers that act for strangers: a page from elsewhere
//! can post to `127.0.0.1` (refused by its `Origin`), or have its own name resolve to it (refused by the `Host`), and a
//! proxy says whom it forwards for. A proxy that hides that cannot be told from a local program: give it a token file.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use http::header::{self, HeaderMap, HeaderName};

use super::tokens::{TokenFileError, Tokens};

/// The "who" of a local write.
const LOCAL: &str = "local";

/// What proxies add.
const FORWARDED: [HeaderName; 3] =
    [header::FORWARDED, HeaderName::from_static("x-forwarded-for"), HeaderName::from_static("x-real-ip")];

/// Why a write is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("a bearer token of `admin.token_file` is needed: `Authorization: Bearer TOKEN`")]
    TokenMissing,
    #[error("no such token in `admin.token_file`")]
    TokenWrong,
    #[error("without `admin.token_file` only this machine itself may write, and {0} is not it")]
    NotLocal(String),
    #[error("a page of another site may not write here (`Origin`)")]
    ForeignOrigin,
    /// The client learns nothing of our files; the log does.
    #[error("`admin.token_file` cannot be used; the log says why")]
    TokenFile(#[from] TokenFileError),
}

/// Who `peer` is, if it may write; reads the token file.
pub(super) fn writer(token_file: Option<&Path>, peer: SocketAddr, headers: &HeaderMap) -> Result<String, Refusal> {
    if !is_origin_ours(headers) {
        return Err(Refusal::ForeignOrigin);
    }
    match token_file {
        Some(path) => {
            let presented = bearer(headers).ok_or(Refusal::TokenMissing)?;
            Tokens::read(path)?.who(presented).map(str::to_owned).ok_or(Refusal::TokenWrong)
        }
        None => local(peer, headers).map(|()| LOCAL.to_owned()),
    }
}

fn local(peer: SocketAddr, headers: &HeaderMap) -> Result<(), Refusal> {
    let address = peer.ip().to_canonical();
    if !address.is_loopback() {
        return Err(Refusal::NotLocal(format!("the peer {address}")));
    }
    if let Some(name) = FORWARDED.iter().find(|name| headers.contains_key(*name)) {
        return Err(Refusal::NotLocal(format!("a proxy's client (`{name}`)")));
    }
    match headers.get(header::HOST).map(|host| host.to_str().unwrap_or_default()) {
        Some(host) if !is_loopback_host(host) => Err(Refusal::NotLocal("the host that was asked for (`Host`)".into())),
        _ => Ok(()),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// A browser names the page's origin with every write; programs send none. Equal to `Host` means our own page.
fn is_origin_ours(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    matches!((authority, host), (Some(authority), Some(host)) if authority.eq_ignore_ascii_case(host))
}

fn is_loopback_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a value"))).collect()
    }

    fn who(peer: &str, pairs: &[(&'static str, &'static str)]) -> Result<String, Refusal> {
        writer(None, SocketAddr::new(peer.parse().expect("an address"), 1), &headers(pairs))
    }

    #[test]
    fn programs_and_our_own_page_on_this_machine_may_write() {
        for peer in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            for host in ["localhost:5780", "LOCALHOST", "127.0.0.1:5780", "[::1]:5780", "[::ffff:127.0.0.1]"] {
                assert_eq!(who(peer, &[("host", host)]).ok().as_deref(), Some("local"), "{peer} {host}");
            }
        }
        let page = [("host", "localhost:5780"), ("origin", "http://localhost:5780")];
        assert_eq!(who("127.0.0.1", &page).ok().as_deref(), Some("local"));
    }

    #[test]
    fn another_machine_may_not_write() {
        for peer in ["10.0.0.1", "::ffff:10.0.0.1", "fe80::1", "0.0.0.0"] {
            assert!(matches!(who(peer, &[("host", "localhost")]), Err(Refusal::NotLocal(_))), "{peer}");
        }
    }

    #[test]
    fn a_name_that_was_made_to_resolve_to_loopback_may_not_write() {
        for host in ["evil.example:5780", "localhost.evil.example", "127.0.0.1.evil.example", "[evil]", ""] {
            assert!(matches!(who("127.0.0.1", &[("host", host)]), Err(Refusal::NotLocal(_))), "{host:?}");
        }
    }

    #[test]
    fn a_proxys_client_may_not_write() {
        for name in ["forwarded", "x-forwarded-for", "x-real-ip"] {
            let refused = who("127.0.0.1", &[("host", "127.0.0.1"), (name, "10.0.0.1")]);
            assert!(matches!(refused, Err(Refusal::NotLocal(_))), "{name}");
        }
    }

    #[test]
    fn a_page_of_another_site_may_not_write() {
        for origin in ["http://evil.example", "null", "", "http://localhost:80", "https://localhost:57801"] {
            let refused = who("127.0.0.1", &[("host", "localhost:5780"), ("origin", origin)]);
            assert!(matches!(refused, Err(Refusal::ForeignOrigin)), "{origin:?}");
        }
    }

    #[test]
    fn with_a_token_file_only_its_tokens_write_from_wherever() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "ada:0123456789abcdef\n").expect("written");
        let who = |pairs: &[_]| writer(Some(file.path()), SocketAddr::from(([10, 0, 0, 1], 1)), &headers(pairs));
        assert_eq!(who(&[("authorization", "Bearer 0123456789abcdef")]).ok().as_deref(), Some("ada"));
        assert!(matches!(who(&[("authorization", "Bearer 0123456789abcdee")]), Err(Refusal::TokenWrong)));
        assert!(matches!(who(&[("authorization", "Basic 0123456789abcdef")]), Err(Refusal::TokenMissing)));
        assert!(matches!(who(&[]), Err(Refusal::TokenMissing)));
    }
}
