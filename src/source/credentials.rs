//! Credentials, only ever from files: for whatever this house asks or tells over HTTP.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::HeaderValue;

use super::error::QueryError;
use crate::config::Auth;

/// A token, password or secret is not longer.
const CREDENTIALS_MAX_BYTES: usize = 64 * 1024;

/// The header. Read again each time, so that a rotated token is taken up; marked as not to be printed.
pub(crate) async fn authorization(auth: &Auth) -> Result<HeaderValue, QueryError> {
    let (path, text) = match auth {
        Auth::BearerTokenFile(path) => (path, format!("Bearer {}", secret(path).await?.trim())),
        Auth::Basic { username, password_file } => {
            let password = secret(password_file).await?;
            let pair = format!("{username}:{}", password.trim_end_matches(['\r', '\n']));
            (password_file, format!("Basic {}", BASE64.encode(pair)))
        }
    };
    let invalid = |_| QueryError::credentials(path, std::io::Error::other("not a header's value"));
    let mut value = HeaderValue::try_from(text).map_err(invalid)?;
    value.set_sensitive(true);
    Ok(value)
}

/// A file's content, bounded.
pub(crate) async fn secret(path: &Path) -> Result<String, QueryError> {
    let read = async {
        let too_long = || std::io::Error::other(format!("longer than {CREDENTIALS_MAX_BYTES} bytes"));
        let length = tokio::fs::metadata(path).await?.len();
        if length > CREDENTIALS_MAX_BYTES as u64 {
            return Err(too_long());
        }
        tokio::fs::read_to_string(path).await
    };
    read.await.map_err(|source| QueryError::credentials(path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn credentials_are_read_at_each_query_and_never_printed() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let bearer = Auth::BearerTokenFile(file.path().to_owned());
        for token in ["first", "second"] {
            std::fs::write(file.path(), format!("{token}\n")).expect("written");
            let value = authorization(&bearer).await.expect("a header");
            assert_eq!(value.to_str().ok(), Some(format!("Bearer {token}").as_str()));
            assert!(!format!("{value:?}").contains(token));
        }
        let basic = Auth::Basic { username: "u".into(), password_file: file.path().to_owned() };
        assert_eq!(authorization(&basic).await.expect("a header"), "Basic dTpzZWNvbmQ=");
    }

    #[tokio::test]
    async fn unusable_credentials_name_their_file() {
        let gone = authorization(&Auth::BearerTokenFile("/nonexistent/token".into())).await;
        assert!(matches!(gone, Err(QueryError::Credentials { .. })));
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "two\nlines").expect("written");
        let broken = authorization(&Auth::BearerTokenFile(file.path().to_owned())).await;
        assert_eq!(broken.map_err(|e| e.kind()), Err("credentials"));
    }
}
