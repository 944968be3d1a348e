//! A sampler in a process of its own: a line to its stdin asks for a count, a line of JSON on its stdout is the answer.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use libtest_mimic::Failed;

use crate::sampler::{Count, Sampler};

/// A JVM on a busy machine starts in seconds.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// The process, killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: Receiver<String>,
}

impl Process {
    /// Starts it; its stderr is the test's own.
    pub(crate) fn start(mut command: Command) -> Result<Self, Failed> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{:?} does not start: {error}", command.get_program()))?;
        let stdin = child.stdin.take().expect("piped");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (sender, stdout) = channel();
        std::thread::spawn(move || {
            lines.map_while(Result::ok).take_while(|line| sender.send(line.clone()).is_ok()).for_each(drop);
        });
        Ok(Self { child, stdin, stdout })
    }
}

impl Sampler for Process {
    fn count(&mut self) -> Result<Count, Failed> {
        self.stdin.write_all(b"count\n").map_err(|error| format!("the client went away: {error}"))?;
        let line = self.stdout.recv_timeout(ANSWER_MAX).map_err(|error| format!("the client is silent: {error}"))?;
        serde_json::from_str(&line).map_err(|error| format!("the client said {line:?}: {error}").into())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only where the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
