use std::fs;
use std::path::Path;

use super::*;
use crate::monitor::frame::Frame;
use crate::monitor::prefixes::UNKNOWN;
use crate::monitor::synthetic::{self, census, counts, rebinding, troubles};

fn header() -> Header {
    let cohorts = [UNKNOWN.into(), "carrier=a,region=eu".into(), "carrier=b,region=us".into()];
    Header::new(Key::Heartbeat, &[5783], 30_000, &cohorts, WallTime::from_unix_ms(1_795_000_000_000))
}

fn frames() -> Vec<Frame> {
    vec![Frame::Record(rebinding(1, 45.1)), counts(1, &[15.0, 45.1]), troubles(2), census(&[0, 1])]
}

fn record(path: &Path, frames: &[Frame]) {
    let mut recorder = Recorder::open(path).and_then(|blank| blank.begin(&header())).expect("a file");
    frames.iter().for_each(|frame| recorder.write(frame).expect("written"));
    recorder.flush().expect("written");
}

/// Frames as text: their types compare by bytes only.
fn read(path: &Path) -> (Vec<String>, Option<String>) {
    let (mut frames, mut error) = (Vec::new(), None);
    match Capture::open(path) {
        Err(failed) => error = Some(failed.to_string()),
        Ok(capture) => {
            for frame in capture {
                match frame {
                    Ok(frame) => frames.push(format!("{frame:?}")),
                    Err(failed) => error = Some(failed.to_string()),
                }
            }
        }
    }
    (frames, error)
}

fn shown(frames: &[Frame]) -> Vec<String> {
    frames.iter().map(|frame| format!("{frame:?}")).collect()
}

#[test]
fn what_is_recorded_is_read_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("f");
    record(&path, &frames());
    assert_eq!(Capture::open(&path).expect("a capture").header(), &header());
    assert_eq!(read(&path), (shown(&frames()), None));
}

#[test]
fn a_capture_that_is_cut_anywhere_delivers_what_is_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("f");
    record(&path, &frames());
    let whole = fs::read(&path).expect("read");
    let starts = frame_starts(&whole);
    for length in (0..whole.len()).step_by(7) {
        fs::write(&path, &whole[..length]).expect("written");
        let (frames_read, error) = read(&path);
        let complete = starts.iter().skip(1).filter(|end| **end <= length).count();
        assert_eq!(frames_read, shown(&frames())[..complete], "cut at {length}");
        assert_eq!(error.is_none(), starts.contains(&length), "cut at {length}: {error:?}");
    }
}

#[test]
fn a_changed_byte_anywhere_is_an_error_that_names_the_file_and_the_byte() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("f");
    record(&path, &frames());
    let whole = fs::read(&path).expect("read");
    let starts = frame_starts(&whole);
    for at in (starts[0]..whole.len()).step_by(5) {
        let mut changed = whole.clone();
        changed[at] ^= 0x40;
        fs::write(&path, &changed).expect("written");
        let (frames_read, error) = read(&path);
        let before = starts.iter().rposition(|start| *start <= at).expect("within a frame");
        assert_eq!(frames_read, shown(&frames())[..before], "byte {at}");
        let error = error.expect("noticed");
        assert!(error.contains(&format!("f: byte {}: ", starts[before])), "byte {at}: {error}");
    }
}

#[test]
fn another_file_is_no_capture() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("f");
    let header = serde_json::to_string(&header()).expect("JSON");
    let table = [
        (String::new(), "no capture: it does not begin with `flyball monitor capture 1`"),
        ("\u{7f}ELF and so on, for longer than the first line has".to_owned(), "no capture"),
        (MAGIC.replace('1', "2"), "no capture"),
        (MAGIC.to_owned(), "header does not end"),
        (format!("{MAGIC}{{}}\n"), "missing field `key`"),
        (format!("{MAGIC}{}\n", header.replace("little", "big").replace("\"big\"", "\"middle\"")), "byte order"),
        (format!("{MAGIC}{}\n", header.replace("heartbeat", "imei")), "`imei` is not a key"),
    ];
    for (text, said) in table {
        fs::write(&path, &text).expect("written");
        let error = read(&path).1.expect("refused");
        assert!(error.contains(said), "{text:?}: {error}");
    }
    let missing = read(&folder.path().join("missing")).1.expect("refused");
    assert!(missing.contains("missing: the capture cannot be read"), "{missing}");
    let nowhere = Recorder::open(&folder.path().join("no/folder")).expect_err("no folder");
    assert!(nowhere.to_string().contains("cannot be written"), "{nowhere}");
}

fn frame_starts(whole: &[u8]) -> Vec<usize> {
    let mut starts =
        vec![MAGIC.len() + 1 + whole[MAGIC.len()..].iter().position(|byte| *byte == b'\n').expect("a line")];
    while let Some(head) = whole.get(starts[starts.len() - 1]..).filter(|rest| rest.len() >= HEAD_BYTES) {
        let length = u32::from_ne_bytes([head[4], head[5], head[6], head[7]]) as usize;
        starts.push(starts[starts.len() - 1] + HEAD_BYTES + length + TAIL_BYTES);
    }
    starts
}

/// The captures of `ebpf/captures` are made here. `UPDATE=1 cargo test --lib captures` writes them anew.
#[test]
fn the_shipped_captures_are_what_they_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("ebpf/captures");
    let made = tempfile::tempdir().expect("a folder");
    for (name, story) in synthetic::stories() {
        let to = if std::env::var_os("UPDATE").is_some() { &folder } else { made.path() };
        record(&to.join(name), &story);
        if cfg!(target_endian = "little") {
            assert_eq!(read(&folder.join(name)), (shown(&story), None), "{name}");
        }
    }
}
