//! The file of bearer tokens that may write. One a line, `name:token` or a bare token; the name is the "who" of the
//! audit, and a bare token's who is the file's name without its ending. `#` begins a comment line.
//!
//! The file is read at each write, so that a rotated token is taken up and a removed one ends, without a reload.

use std::fmt;
use std::hint::black_box;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Largest token file; enough for some thousand tokens.
const FILE_MAX_BYTES: u64 = 256 << 10;

/// Shortest token that is taken: a shorter one can be guessed over the network.
const TOKEN_MIN_BYTES: usize = 16;

/// Tokens and whose they are.
pub(super) struct Tokens(Vec<(String, String)>);

/// Why a token file cannot be used; no message contains a token.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// It cannot be read.
    #[error("the token file {} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is too large to be a token file.
    #[error("the token file {} is larger than {FILE_MAX_BYTES} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A line is not `name:token` or a token.
    #[error("{}:{line}: a token must have at least {TOKEN_MIN_BYTES} visible ASCII characters, as in `name:token`", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// It has no token.
    #[error("the token file {} names no token; write one a line, `name:token`", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(who, _)| who)).finish()
    }
}

impl Tokens {
    /// Reads the file; blocks for as long as the file system does.
    pub(super) fn read(path: &Path) -> Result<Self, TokenFileError> {
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(FILE_MAX_BYTES + 1).read_to_string(&mut text))
            .map_err(|source| TokenFileError::Read { path: path.into(), source })?;
        if text.len() as u64 > FILE_MAX_BYTES {
            return Err(TokenFileError::TooLarge { path: path.into() });
        }
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, TokenFileError> {
        let stem = path.file_stem().map_or_else(|| "token".into(), |stem| stem.to_string_lossy().into_owned());
        let mut tokens = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (who, token) = line.split_once(':').unwrap_or((&stem, line));
            let (who, token) = (who.trim(), token.trim());
            if who.is_empty() || token.len() < TOKEN_MIN_BYTES || !token.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(TokenFileError::Line { path: path.into(), line: index + 1 });
            }
            tokens.push((who.to_owned(), token.to_owned()));
        }
        if tokens.is_empty() { Err(TokenFileError::Empty { path: path.into() }) } else { Ok(Self(tokens)) }
    }

    /// Whose token this is. Compares with every token, so that the time taken tells nothing about which came close.
    pub(super) fn who(&self, presented: &str) -> Option<&str> {
        let mut found = None;
        for (who, token) in &self.0 {
            if is_same(token.as_bytes(), presented.as_bytes()) {
                found = Some(who.as_str());
            }
        }
        found
    }
}

/// Compares in a time that depends on the lengths only.
fn is_same(secret: &[u8], presented: &[u8]) -> bool {
    let difference = secret.iter().zip(presented).fold(0_u8, |sum, (a, b)| black_box(sum | (a ^ b)));
    secret.len() == presented.len() && black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Tokens, TokenFileError> {
        Tokens::parse(text, Path::new("/etc/flyball/ops.token"))
    }

    #[test]
    fn a_name_is_the_who_and_a_bare_token_is_the_files() {
        let tokens = parse("# people\nada: 0123456789abcdef\n\nfedcba9876543210\r\n").expect("two tokens");
        assert_eq!(tokens.who("0123456789abcdef"), Some("ada"));
        assert_eq!(tokens.who("fedcba9876543210"), Some("ops"));
    }

    #[test]
    fn no_part_and_no_extension_of_a_token_is_the_token() {
        let tokens = parse("ada:0123456789abcdef").expect("one token");
        for wrong in ["", "0", "0123456789abcde", "0123456789abcdef0", "0123456789abcdeF", "ada:0123456789abcdef"] {
            assert_eq!(tokens.who(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_file_that_would_let_anyone_in_or_no_one_is_an_error() {
        for (text, line) in [("ada:", 1), (":0123456789abcdef", 1), ("\nada:short", 2), ("ada:0123456789 abcdef", 1)] {
            assert!(matches!(parse(text), Err(TokenFileError::Line { line: l, .. }) if l == line), "{text:?}");
        }
        assert!(matches!(parse("# none\n"), Err(TokenFileError::Empty { .. })));
        let large = tempfile::NamedTempFile::new().expect("a file");
        large.as_file().set_len(FILE_MAX_BYTES + 1).expect("a sparse file");
        assert!(matches!(Tokens::read(large.path()), Err(TokenFileError::TooLarge { .. })));
        assert!(matches!(Tokens::read(Path::new("/nowhere/at/all")), Err(TokenFileError::Read { .. })));
    }

    #[test]
    fn neither_errors_nor_debug_output_show_a_token() {
        let error = parse("ada:0123456789 secret").expect_err("a blank");
        assert!(!error.to_string().contains("secret"));
        assert!(!format!("{:?}", parse("ada:0123456789secret").expect("one token")).contains("secret"));
    }
}
