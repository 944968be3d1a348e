//! A file to frames.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::Crc;

use super::{
    CENSUS_HEAD_BYTES, COUNTS_HEAD_BYTES, CaptureError, HEAD_BYTES, HEADER_MAX_BYTES, Header, MAGIC, TAIL_BYTES,
    body_bytes, kind,
};
use crate::monitor::event::Decoder;
use crate::monitor::frame::{Census, Frame};
use crate::monitor::prefixes::COHORTS_MAX;

/// A capture that is read: its header, and an iterator of its frames. The first error is the last item.
#[derive(Debug)]
pub struct Capture {
    header: Header,
    decoder: Decoder,
    path: PathBuf,
    file: BufReader<File>,
    /// Of the next frame.
    offset: u64,
    is_over: bool,
}

impl Capture {
    /// Opens the file and reads its header.
    ///
    /// # Errors
    /// The file cannot be read, is no capture, or its header cannot be used here.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let unreadable = |source| CaptureError::Read { path: path.to_owned(), offset: 0, source };
        let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
        let mut magic = vec![0; MAGIC.len()];
        match file.read_exact(&mut magic) {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(unreadable(error)),
            Ok(()) if magic == MAGIC.as_bytes() => {}
            _ => return Err(CaptureError::Foreign { path: path.to_owned() }),
        }
        let mut line = Vec::new();
        file.by_ref().take(HEADER_MAX_BYTES).read_until(b'\n', &mut line).map_err(unreadable)?;
        let wrong = |what| CaptureError::Header { path: path.to_owned(), what };
        if line.last() != Some(&b'\n') {
            return Err(wrong("does not end: the recording was cut off".to_owned()));
        }
        let header: Header =
            serde_json::from_slice(&line).map_err(|error| wrong(format!("cannot be used: {error}")))?;
        let decoder = header.decoder().map_err(wrong)?;
        let offset = (MAGIC.len() + line.len()) as u64;
        Ok(Self { header, decoder, path: path.to_owned(), file, offset, is_over: false })
    }

    /// What the frames' numbers mean.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How to read its records.
    pub fn decoder(&self) -> Decoder {
        self.decoder.clone()
    }

    fn frame(&mut self) -> Result<Option<Frame>, CaptureError> {
        let mut head = [0; HEAD_BYTES];
        match self.fill(&mut head)? {
            0 => return Ok(None),
            HEAD_BYTES => {}
            _ => return Err(self.truncated()),
        }
        let length = self.length(head)?;
        let mut body = vec![0; length + TAIL_BYTES];
        if self.fill(&mut body)? < body.len() {
            return Err(self.truncated());
        }
        let (body, tail) = body.split_at(length);
        let mut crc = Crc::new();
        crc.update(&head);
        crc.update(body);
        if crc.sum().to_ne_bytes() != tail {
            return Err(self.corrupt("a frame's checksum is wrong".to_owned()));
        }
        let frame = decode(head[0], body).map_err(|what| self.corrupt(what))?;
        self.offset += (HEAD_BYTES + length + TAIL_BYTES) as u64;
        Ok(Some(frame))
    }

    fn length(&self, head: [u8; HEAD_BYTES]) -> Result<usize, CaptureError> {
        let [kind, zeros @ .., a, b, c, d] = head;
        let length = u32::from_ne_bytes([a, b, c, d]) as usize;
        match body_bytes(kind) {
            Some(allowed) if zeros == [0; 3] && allowed.contains(&length) => Ok(length),
            _ => Err(self.corrupt(format!("no frame begins with kind {kind} and {length} bytes"))),
        }
    }

    /// Reads as much as there is, at most all of `bytes`.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<usize, CaptureError> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.file.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(CaptureError::Read { path: self.path.clone(), offset: self.offset, source }),
            }
        }
        Ok(filled)
    }

    fn truncated(&self) -> CaptureError {
        CaptureError::Truncated { path: self.path.clone(), offset: self.offset }
    }

    fn corrupt(&self, what: String) -> CaptureError {
        CaptureError::Corrupt { path: self.path.clone(), offset: self.offset, what }
    }
}

impl Iterator for Capture {
    type Item = Result<Frame, CaptureError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let frame = self.frame().transpose();
        self.is_over = !matches!(frame, Some(Ok(_)));
        frame
    }
}

/// A body of a length that its kind allows.
fn decode(kind: u8, body: &[u8]) -> Result<Frame, String> {
    match kind {
        kind::RECORD => Ok(Frame::Record(bytemuck::pod_read_unaligned(body))),
        kind::TROUBLES => Ok(Frame::Troubles(bytemuck::pod_read_unaligned(body))),
        kind::COUNTS => {
            let cohort = u16::from_ne_bytes([body[0], body[1]]);
            if usize::from(cohort) >= COHORTS_MAX {
                return Err(format!("counts of cohort {cohort}, and there are at most {COHORTS_MAX}"));
            }
            let counts = Box::new(bytemuck::pod_read_unaligned(&body[COUNTS_HEAD_BYTES..]));
            Ok(Frame::Counts { cohort, counts })
        }
        _ => census(body).map(Frame::Census),
    }
}

fn census(body: &[u8]) -> Result<Census, String> {
    let (head, devices) = body.split_at(CENSUS_HEAD_BYTES);
    if devices.len() % 4 != 0 {
        return Err(format!("a census of {} bytes", body.len()));
    }
    let u32_at = |at: usize| bytemuck::pod_read_unaligned(&head[at..at + 4]);
    Ok(Census {
        capacity: u32_at(0),
        devices: u32_at(4),
        evicted: bytemuck::pod_read_unaligned(&head[8..16]),
        by_cohort: devices.chunks_exact(4).map(bytemuck::pod_read_unaligned).collect(),
    })
}
