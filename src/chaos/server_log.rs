//! The last lines of a server under test: what is told where it breaks.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader};
use std::process::ChildStderr;
use std::sync::{Arc, Mutex};

use super::error::ChaosError;

/// Lines that are kept.
const LINES: usize = 40;

/// The newest lines. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct ServerLog(Arc<Mutex<VecDeque<String>>>);

impl ServerLog {
    /// Keeps what comes from here, in a thread of its own, until it ends.
    pub(super) fn follow(&self, stderr: ChildStderr) {
        let lines = Arc::clone(&self.0);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut lines = lines.lock().expect("nothing panics under this lock");
                if lines.len() == LINES {
                    lines.pop_front();
                }
                lines.push_back(line);
            }
        });
    }

    /// The newest line with this word in it.
    pub(super) fn about(&self, word: &str) -> Option<String> {
        self.0.lock().expect("nothing panics under this lock").iter().rev().find(|line| line.contains(word)).cloned()
    }

    /// The error of a server of which this is wrong.
    pub(super) fn broken(&self, what: String) -> ChaosError {
        let lines = self.0.lock().expect("nothing panics under this lock");
        ChaosError::Server { what, log: lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n") }
    }
}
