//! The master keys: one file, a line a key, `KEYID:64 hex`. Devices carry keys derived from one of them and name it by
//! its id, so that a new key can be added before the last device has left the old one: rotation with overlap is adding a
//! line, moving the devices, taking the old line out, each time with a reload.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::key::{MASTER_KEY_BYTES, MacKey, derive};

use crate::document::problem::{Problem, Problems};
use crate::document::{Place, SourceFile, read_text};

/// Most keys in force at a time. Each is looked for in each datagram.
pub const KEYS_MAX: usize = 16;
const FILE_MAX_BYTES: u64 = 64 << 10;
const HOW: &str = "write KEYID:64 hex digits, KEYID from 0 to 65535 (`openssl rand -hex 32` makes one)";

/// The master keys in force. Not shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct MasterKeys(Vec<(u16, [u8; MASTER_KEY_BYTES])>);

impl fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

impl MasterKeys {
    /// One key, for tests and demonstrations.
    pub fn one(id: u16, key: [u8; MASTER_KEY_BYTES]) -> Self {
        Self(vec![(id, key)])
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// The file cannot be read, or every line that is wrong, each with its place; never a key's digits.
    pub fn read(path: &Path) -> Result<Self, Problems> {
        let of_whole = |message: String| {
            let file = Arc::new(SourceFile { path: path.to_owned(), text: String::new() });
            Problems(vec![Problem::without_line(Place::start_of(&file), "", message)])
        };
        let text = read_text(path, FILE_MAX_BYTES).map_err(of_whole)?;
        Self::parse(&Arc::new(SourceFile { path: path.to_owned(), text }))
    }

    /// Reads a file's text. Empty lines and lines that begin with `#` are comments.
    ///
    /// # Errors
    /// Every line that is wrong, each with its place; never a key's digits.
    pub fn parse(file: &Arc<SourceFile>) -> Result<Self, Problems> {
        let (mut keys, mut problems) = (Self::default(), Vec::new());
        let lines = file.text.trim_start_matches('\u{feff}').lines().map(str::trim).enumerate();
        for (index, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let place = Place::File { file: Arc::clone(file), line: index + 1, column: 1 };
            problems.extend(keys.take(line).err().map(|why| Problem::without_line(place, "", why)));
        }
        if problems.is_empty() && keys.0.is_empty() {
            problems.push(Problem::without_line(Place::start_of(file), "", format!("no key in it: {HOW}")));
        }
        if problems.is_empty() { Ok(keys) } else { Err(Problems(problems)) }
    }

    fn take(&mut self, line: &str) -> Result<(), String> {
        let (id, digits) = line.split_once(':').ok_or_else(|| format!("no colon: {HOW}"))?;
        let (id, digits) = (id.trim(), digits.trim());
        let is_plain = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
        let id: u16 = Some(id).filter(|_| is_plain).and_then(|id| id.parse().ok()).ok_or_else(|| {
            let shown: String = id.chars().take(8).filter(|c| !c.is_control()).collect();
            format!("{shown:?} is no key id: {HOW}")
        })?;
        let key = key_bytes(digits).map_err(|why| format!("key {id}: {why}: {HOW}"))?;
        if self.has(id) {
            return Err(format!("key {id} is there twice: leave one of them out, or give the new one another id"));
        }
        if self.0.len() == KEYS_MAX {
            return Err(format!("key {id}: more than {KEYS_MAX} keys: take out those that no device has any more"));
        }
        self.0.push((id, key));
        Ok(())
    }

    /// Their ids.
    pub fn ids(&self) -> impl Iterator<Item = u16> {
        self.0.iter().map(|(id, _)| *id)
    }

    /// Whether this one is in force.
    pub fn has(&self, id: u16) -> bool {
        self.0.iter().any(|(known, _)| *known == id)
    }

    /// The bytes of one; for deriving what a device carries.
    pub fn get(&self, id: u16) -> Option<&[u8; MASTER_KEY_BYTES]> {
        self.0.iter().find(|(known, _)| *known == id).map(|(_, key)| key)
    }

    /// A device's key under one of them.
    pub fn device(&self, id: u16, device: DeviceId) -> Option<MacKey> {
        Some(MacKey::new(&derive(self.get(id)?, id, device)))
    }

    /// Ids that meant other bytes in `before`, or are not in force any more.
    pub fn retired(&self, before: &Self) -> Vec<u16> {
        before.ids().filter(|id| self.get(*id) != before.get(*id)).collect()
    }
}

fn key_bytes(digits: &str) -> Result<[u8; MASTER_KEY_BYTES], &'static str> {
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if digits.len() != 2 * MASTER_KEY_BYTES || !is_hex {
        return Err("not 64 hex digits");
    }
    let byte = |i: usize| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).expect("two hex digits");
    let key: [u8; MASTER_KEY_BYTES] = std::array::from_fn(byte);
    if key.iter().all(|byte| *byte == key[0]) { Err("one byte again and again is no secret") } else { Ok(key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<MasterKeys, Vec<String>> {
        let file = Arc::new(SourceFile { path: "keys".into(), text: text.to_owned() });
        MasterKeys::parse(&file).map_err(|problems| problems.0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn keys_comments_and_empty_lines_are_read() {
        let (a, b) = ("0a".repeat(31) + "ff", "0B".repeat(31) + "00");
        let keys = parse(&format!("\u{feff}# ours\r\n\r\n7:{a}\r\n 8 : {b}\n")).expect("valid");
        assert_eq!(keys.ids().collect::<Vec<_>>(), [7, 8]);
        assert_eq!(keys.get(8).map(|key| (key[0], key[31])), Some((0x0b, 0)));
        assert!(keys.device(7, DeviceId([1; 16])).is_some() && keys.device(9, DeviceId([1; 16])).is_none());
        assert_eq!(format!("{keys:?}"), "[7, 8]");
    }

    #[test]
    fn every_wrong_line_is_told_at_once_and_no_key_is() {
        let key = "0a".repeat(31) + "ff";
        let text = format!("1:{key}\nx:{key}\n70000:{key}\n2 {key}\n3:{key}0\n4:{}\n1:{key}\n", "00".repeat(32));
        let said = parse(&text).expect_err("wrong");
        let places: Vec<&str> = said.iter().map(|line| line.split(": ").next().unwrap_or_default()).collect();
        assert_eq!(places, ["keys:2:1", "keys:3:1", "keys:4:1", "keys:5:1", "keys:6:1", "keys:7:1"]);
        assert!(said.iter().all(|line| !line.contains("0a0a")), "{said:?}");
        assert!(said[5].contains("key 1 is there twice"), "{said:?}");
        assert_eq!(parse("# nothing\n").expect_err("empty").len(), 1);
    }

    #[test]
    fn one_key_too_many_is_refused() {
        let line = |id: usize| format!("{id}:{}{id:02x}\n", "5a".repeat(31));
        let lines = |n: usize| (0..n).map(line).collect::<String>();
        assert!(parse(&lines(KEYS_MAX)).is_ok());
        assert_eq!(parse(&lines(KEYS_MAX + 1)).expect_err("too many").len(), 1);
    }

    #[test]
    fn a_key_that_changed_or_went_is_retired() {
        let (a, b, c) = ([1; 32], [2; 32], [3; 32]);
        let before = MasterKeys(vec![(1, a), (2, b), (3, c)]);
        let now = MasterKeys(vec![(1, a), (2, c), (4, b)]);
        assert_eq!(now.retired(&before), [2, 3]);
    }
}
