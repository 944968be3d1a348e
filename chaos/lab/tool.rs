//! The tools that a lab is made with: told on stdin, believed by their exit status; what they print is never read.

use std::io::{self, Write};
use std::process::{Command, Output, Stdio};

use super::error::LabError;
use super::namespace::Namespace;
use crate::error_chain::chain;

/// Each tool, what makes it print its version, and Debian's package of it.
const TOOLS: [(&str, &str, &str); 3] =
    [("ip", "-V", "iproute2"), ("nft", "--version", "nftables"), ("conntrack", "--version", "conntrack")];

/// The first tool that cannot be started.
pub(super) fn missing() -> Option<String> {
    TOOLS.into_iter().find_map(|(tool, version, package)| {
        let tried = Command::new(tool).arg(version).stdin(Stdio::null()).output();
        tried.err().map(|source| chain(&LabError::Tool { tool, package, source }))
    })
}

impl Namespace {
    /// Runs these lines of `ip` inside.
    pub(super) fn ip(&self, lines: &str) -> Result<(), LabError> {
        self.tell("ip", &["-batch", "-"], lines)
    }

    /// Loads this into nftables inside, as one transaction.
    pub(super) fn nft(&self, ruleset: &str) -> Result<(), LabError> {
        self.tell("nft", &["-f", "-"], ruleset)
    }

    /// Forgets every connection inside.
    pub(super) fn flush_conntrack(&self) -> Result<(), LabError> {
        self.tell("conntrack", &["-F"], "")
    }

    fn tell(&self, tool: &'static str, arguments: &[&str], input: &str) -> Result<(), LabError> {
        let package = TOOLS.iter().find(|(name, ..)| *name == tool).map_or("", |(.., package)| package);
        let told = self.enter(|| told(tool, arguments, input))?;
        let output = told.map_err(|source| LabError::Tool { tool, package, source })?;
        if output.status.success() {
            return Ok(());
        }
        Err(LabError::Refused {
            command: format!("{tool} {}", arguments.join(" ")),
            namespace: self.name().to_owned(),
            status: output.status,
            said: on_one_line(&String::from_utf8_lossy(&output.stderr)),
            input: on_one_line(input),
        })
    }
}

fn on_one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

/// The inputs are far smaller than a pipe, so that writing all of it before reading cannot block.
fn told(tool: &str, arguments: &[&str], input: &str) -> io::Result<Output> {
    let mut command = Command::new(tool);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A tool that ends before it read everything tells why on stderr.
        let _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output()
}
