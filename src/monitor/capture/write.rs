//! Frames to a file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Crc;

use super::{CaptureError, Header, MAGIC, kind};
use crate::monitor::frame::{Census, Frame};

/// A file that will be a capture; what was in it is there until then.
#[derive(Debug)]
pub struct Blank {
    path: PathBuf,
    file: File,
}

/// A capture while it is recorded. What is not flushed is lost where the run is killed.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    file: BufWriter<File>,
    body: Vec<u8>,
}

impl Recorder {
    /// Opens the file, and leaves its content for now.
    ///
    /// # Errors
    /// The file cannot be made or written.
    pub fn open(path: &Path) -> Result<Blank, CaptureError> {
        let opened = File::options().create(true).truncate(false).write(true).open(path);
        let file = opened.map_err(|source| CaptureError::Write { path: path.to_owned(), source })?;
        Ok(Blank { path: path.to_owned(), file })
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
        self.file.write_all(&crc.sum().to_ne_bytes())
    }

    /// Writes through what was written.
    ///
    /// # Errors
    /// The file cannot be written: the disk is full.
    pub fn flush(&mut self) -> Result<(), CaptureError> {
        self.file.flush().map_err(|source| CaptureError::Write { path: self.path.clone(), source })
    }
}

impl Blank {
    /// Empties the file, and begins the recording.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn begin(self, header: &Header) -> Result<Recorder, CaptureError> {
        let Self { path, file } = self;
        match start(file, header) {
            Ok(file) => Ok(Recorder { path, file, body: Vec::new() }),
            Err(source) => Err(CaptureError::Write { path, source }),
        }
    }
}

fn start(file: File, header: &Header) -> io::Result<BufWriter<File>> {
    // A pipe cannot be emptied, and need not be.
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    let mut file = BufWriter::new(file);
    file.write_all(MAGIC.as_bytes())?;
    serde_json::to_writer(&mut file, header)?;
    file.write_all(b"\n")?;
    file.flush()?;
    Ok(file)
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
