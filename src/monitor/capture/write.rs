//! Frames to a file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Crc;

use super::{CaptureError, Header, MAGIC, kind};
use crate::monitor::frame::{Census, Frame};

/// A capture while it is recorded. Each look at the kernel's counts is written through, so that a run that is killed
/// loses what came since.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    file: BufWriter<File>,
    body: Vec<u8>,
}

impl Recorder {
    /// Makes the file, or empties it.
    ///
    /// # Errors
    /// The file cannot be made or written.
    pub fn create(path: &Path, header: &Header) -> Result<Self, CaptureError> {
        let begin = || {
            let mut file = BufWriter::new(File::create(path)?);
            file.write_all(MAGIC.as_bytes())?;
            serde_json::to_writer(&mut file, header)?;
            file.write_all(b"\n")?;
            file.flush()?;
            Ok(file)
        };
        let file = begin().map_err(|source| CaptureError::Write { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file, body: Vec::new() })
    }

    /// Writes one frame.
    ///
    /// # Errors
    /// The file cannot be written: the disk is full.
    pub fn write(&mut self, frame: &Frame) -> Result<(), CaptureError> {
        self.put(frame).map_err(|source| CaptureError::Write { path: self.path.clone(), source })
    }

    fn put(&mut self, frame: &Frame) -> io::Result<()> {
        self.body.clear();
        let kind = encode(frame, &mut self.body);
        let mut head = [kind, 0, 0, 0, 0, 0, 0, 0];
        head[4..].copy_from_slice(&(self.body.len() as u32).to_ne_bytes());
        let mut crc = Crc::new();
        crc.update(&head);
        crc.update(&self.body);
        self.file.write_all(&head)?;
        self.file.write_all(&self.body)?;
        self.file.write_all(&crc.sum().to_ne_bytes())?;
        if matches!(frame, Frame::Troubles(_) | Frame::Census(_)) { self.file.flush() } else { Ok(()) }
    }

    /// Ends the recording.
    ///
    /// # Errors
    /// The file cannot be written: the disk is full.
    pub fn finish(mut self) -> Result<(), CaptureError> {
        self.file.flush().map_err(|source| CaptureError::Write { path: self.path, source })
    }
}

fn encode(frame: &Frame, body: &mut Vec<u8>) -> u8 {
    match frame {
        Frame::Record(record) => {
            body.extend(bytemuck::bytes_of(record));
            kind::RECORD
        }
        Frame::Counts { cohort, counts } => {
            body.extend(cohort.to_ne_bytes());
            body.extend([0; 6]);
            body.extend(bytemuck::bytes_of(&**counts));
            kind::COUNTS
        }
        Frame::Troubles(troubles) => {
            body.extend(bytemuck::bytes_of(troubles));
            kind::TROUBLES
        }
        Frame::Census(Census { capacity, devices, evicted, by_cohort }) => {
            body.extend(capacity.to_ne_bytes());
            body.extend(devices.to_ne_bytes());
            body.extend(evicted.to_ne_bytes());
            body.extend(by_cohort.iter().take(super::COHORTS_MAX).flat_map(|devices| devices.to_ne_bytes()));
            kind::CENSUS
        }
    }
}
