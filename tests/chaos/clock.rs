//! The clock of a machine that is not thrown away is left alone.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use libtest_mimic::Failed;

use crate::support::child::{Reaped, wait_for};

/// Far less than until the scenario's first step: a run that is not refused is ended long before it.
const AT_ONCE: Duration = Duration::from_secs(10);

pub(crate) fn refused() -> Result<(), Failed> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flyball"));
    command.args(["chaos", "run"]).arg(crate::file_of("clock-step")).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut run = Reaped(command.spawn()?);
    let status = wait_for("it to be refused", AT_ONCE, || run.0.try_wait().ok().flatten());
    let mut said = String::new();
    run.0.stderr.take().ok_or("piped")?.read_to_string(&mut said)?;
    let is_told = said.contains("clock") && said.contains("--vm");
    if status.code() == Some(crate::CANNOT) && is_told { Ok(()) } else { Err(format!("{status}: {said}").into()) }
}
