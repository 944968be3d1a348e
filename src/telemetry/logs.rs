//! This process's log: events with fields to stderr, for people or for machines. Standard output belongs to commands.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::TryInitError;
use tracing_subscriber::{fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{LogConfig, LogFormat};

/// What a directive without a module may say.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Why the log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not one.
    #[error("the log filter `{filter}` is not valid; write a level, or modules as in `info,flyball::source=debug`")]
    Filter {
        /// As configured.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: ParseError,
    },
    /// A word of the filter is neither a level nor `module=level`.
    #[error("the log filter `{filter}` is not valid: `{word}` is none of {}; to set a module's level write `{word}=debug`", LEVELS.join(", "))]
    Level {
        /// As configured.
        filter: String,
        /// The word.
        word: String,
    },
    /// The process logs already.
    #[error("the log is set up already")]
    Installed(#[source] TryInitError),
}

/// Starts logging; once a process.
pub fn init(config: &LogConfig) -> Result<(), LogError> {
    let filter = parse_filter(&config.filter)?;
    let is_coloured = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let layer = fmt::layer().with_writer(io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    match config.format {
        LogFormat::Text => registry.with(layer.with_ansi(is_coloured)).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true).with_current_span(false)).try_init(),
    }
    .map_err(LogError::Installed)
}

/// Reads a filter. Stricter than the library, to which a misspelt level is a module of that name, and silence.
pub fn parse_filter(filter: &str) -> Result<EnvFilter, LogError> {
    let words: Vec<&str> = filter.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    let is_directive = |word: &str| word.contains(['=', '[']) || LEVELS.iter().any(|l| word.eq_ignore_ascii_case(l));
    let wrong = words.iter().find(|word| !is_directive(word));
    if let Some(word) = wrong.or(words.is_empty().then_some(&"")) {
        return Err(LogError::Level { filter: filter.into(), word: (*word).into() });
    }
    EnvFilter::try_new(words.join(",")).map_err(|source| LogError::Filter { filter: filter.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_modules_are_filters() {
        for good in [
            "info",
            "WARN",
            "off",
            "flyball=debug",
            "info,flyball::source=trace, hyper=off",
            "[span]=info",
            "[span{a=1}]=info",
        ] {
            let parsed = parse_filter(good);
            assert!(parsed.is_ok(), "{good}: {parsed:?}");
        }
    }

    #[test]
    fn a_misspelt_level_is_an_error_and_not_silence() {
        for (bad, word) in [("infoo", "infoo"), ("info,verbose", "verbose"), ("", ""), (",", "")] {
            assert!(matches!(parse_filter(bad), Err(LogError::Level { word: w, .. }) if w == word), "{bad}");
        }
        for bad in ["flyball=loud", "=debug=", "[{"] {
            assert!(matches!(parse_filter(bad), Err(LogError::Filter { .. })), "{bad}");
        }
    }

    #[test]
    fn a_second_log_is_an_error() {
        let config = LogConfig { filter: "off".into(), format: LogFormat::Json };
        let first = init(&config);
        assert!(matches!((first, init(&config)), (_, Err(LogError::Installed(_)))));
    }
}
