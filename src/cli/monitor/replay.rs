//! `--replay`: a capture in place of the kernel.

use std::path::Path;

use anyhow::Error;

use super::super::Failure;
use super::output::Output;
use crate::monitor::capture::{Capture, CaptureError};
use crate::monitor::view::View;

/// Shows all events of a capture and what they came to; all that comes before an error is shown too.
pub(super) fn replay(file: &Path, mut output: Output) -> Result<(), Failure> {
    let failed = |error: CaptureError| Failure::Runtime(Error::from(error));
    let capture = Capture::open(file).map_err(failed)?;
    let mut view = View::new(capture.decoder());
    let mut broken = None;
    for frame in capture {
        match frame {
            // A record of another version is counted by the view, which tells it at the end.
            Ok(frame) => match view.take(frame) {
                Ok(Some(event)) if output.event(&event)?.is_break() => return Ok(()),
                _ => {}
            },
            Err(error) => broken = Some(error),
        }
    }
    output.end(&view)?;
    broken.map_or(Ok(()), |error| Err(failed(error)))
}
