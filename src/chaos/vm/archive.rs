//! The guest's first files: this program as `/init`, the libraries that it is running with, and the modules without
//! which the host's folders cannot be reached. A `cpio` archive of the kind `newc`, as the kernel documents it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::kernel::Kernel;
use super::{VmError, file};

/// Tells the program that it is the first process of a guest, and not of a container.
pub(super) const MARK: &str = "/flyball-vm";
/// Folder of the modules, each named by its turn.
pub(super) const MODULES: &str = "/modules";
/// The host's folders come over 9p, and are covered by a layer of memory.
const NEEDED: [&str; 3] = ["9pnet_virtio", "9p", "overlay"];
/// Folders that are mounted upon.
const FOLDERS: [&str; 7] = ["/dev", "/proc", "/host", "/share", "/upper", "/root", MODULES];
/// What programs are linked to look for.
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;

pub(super) fn write(path: &Path, kernel: &Kernel) -> Result<(), VmError> {
    let modules = modules(kernel)?;
    let written = || -> io::Result<()> {
        let mut archive = Archive { to: BufWriter::new(File::create(path)?), entries: 0, folders: BTreeSet::new() };
        FOLDERS.iter().try_for_each(|folder| archive.folder(Path::new(folder)))?;
        archive.entry("/dev/console", CHARACTER_DEVICE, (5, 1), &[])?;
        archive.file(Path::new(MARK), &[])?;
        archive.file(Path::new("/init"), loaded_part(&fs::read("/proc/self/exe")?))?;
        for library in libraries()? {
            archive.file(&library, &fs::read(&library)?)?;
        }
        if Path::new(LOADER).exists() {
            archive.file(Path::new(LOADER), &fs::read(LOADER)?)?;
        }
        for (turn, module) in modules.iter().enumerate() {
            let name = module.file_name().unwrap_or_default().to_string_lossy();
            archive.file(&Path::new(MODULES).join(format!("{turn:02}-{name}")), &fs::read(module)?)?;
        }
        archive.end()
    };
    written().map_err(file("write", path))
}

/// The files that this process has mapped, but for itself: its libraries.
fn libraries() -> io::Result<BTreeSet<PathBuf>> {
    let own = fs::read_link("/proc/self/exe")?;
    let maps = fs::read_to_string("/proc/self/maps")?;
    let mapped = maps.lines().filter_map(|line| Some(PathBuf::from(&line[line.find('/')?..])));
    Ok(mapped.filter(|path| *path != own && path.to_string_lossy().contains(".so") && path.is_file()).collect())
}

/// A program without what only a debugger reads: an ELF file up to the end of its last loaded segment. Without the
/// table of sections, which stands behind. What is no 64-bit ELF file is left as it is.
fn loaded_part(program: &[u8]) -> &[u8] {
    let number = |at: usize, bytes: usize| {
        let field = program.get(at..at + bytes)?;
        Some(field.iter().rev().fold(0, |number: u64, byte| number << 8 | u64::from(*byte)))
    };
    let end = || {
        let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        let ends = (0..count).filter_map(|i| {
            let at = usize::try_from(table + i * size).ok()?;
            // PT_LOAD; offset and length in the file.
            (number(at, 4)? == 1).then_some(())?;
            number(at + 8, 8)?.checked_add(number(at + 32, 8)?)
        });
        usize::try_from(ends.max()?).ok()
    };
    let is_elf = program.starts_with(&[0x7f, b'E', b'L', b'F', 2, 1]);
    let end = end().filter(|end| is_elf && *end <= program.len());
    end.map_or(program, |end| &program[..end])
}

/// The needed modules and what they need, in the order in which they can be loaded.
fn modules(kernel: &Kernel) -> Result<Vec<PathBuf>, VmError> {
    let table = kernel.modules.join("modules.dep");
    let text = fs::read_to_string(&table).map_err(file("read", &table))?;
    Ok(in_order(&text).into_iter().map(|module| kernel.modules.join(module)).collect())
}

/// `a.ko.xz: b.ko.xz c.ko.xz`: `a` needs both, and `b` needs `c`. What is not in the table is built in.
fn in_order(table: &str) -> Vec<&str> {
    let mut order = Vec::new();
    for needed in NEEDED {
        let line = table.lines().filter_map(|line| line.split_once(':')).find(|(path, _)| name(path) == needed);
        let Some((path, needs)) = line else { continue };
        for module in needs.split_whitespace().rev().chain([path]) {
            if !order.contains(&module) {
                order.push(module);
            }
        }
    }
    order
}

/// `kernel/fs/9p/9p.ko.xz` is `9p`.
fn name(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file)
}

struct Archive<W: Write> {
    to: W,
    entries: u32,
    folders: BTreeSet<PathBuf>,
}

impl<W: Write> Archive<W> {
    fn file(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if let Some(parent) = path.parent() {
            self.folder(parent)?;
        }
        self.entry(&path.to_string_lossy(), FILE, (0, 0), bytes)
    }

    /// With those above it, each once.
    fn folder(&mut self, path: &Path) -> io::Result<()> {
        if path == Path::new("/") || !self.folders.insert(path.to_owned()) {
            return Ok(());
        }
        path.parent().map_or(Ok(()), |parent| self.folder(parent))?;
        self.entry(&path.to_string_lossy(), FOLDER, (0, 0), &[])
    }

    fn end(mut self) -> io::Result<()> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        self.to.flush()
    }

    /// A header of thirteen numbers of eight hexadecimal digits, the name, the bytes, each padded to a multiple of 4.
    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), bytes: &[u8]) -> io::Result<()> {
        self.entries += 1;
        let name = path.trim_start_matches('/');
        let length = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let named = name.len() as u32 + 1;
        let numbers = [self.entries, mode, 0, 0, 1, 0, length, 0, 0, device.0, device.1, named, 0];
        self.to.write_all(b"070701")?;
        numbers.iter().try_for_each(|number| write!(self.to, "{number:08x}"))?;
        self.to.write_all(name.as_bytes())?;
        self.to.write_all(&[0; 4][..1 + padding(6 + 8 * 13 + name.len() + 1)])?;
        self.to.write_all(bytes)?;
        self.to.write_all(&[0; 4][..padding(bytes.len())])
    }
}

fn padding(length: usize) -> usize {
    length.next_multiple_of(4) - length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_come_after_what_they_need_and_each_once() {
        let table = "kernel/net/9p/9pnet.ko.xz:\n\
                     kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko.xz\n\
                     kernel/fs/9p/9p.ko.xz: kernel/fs/netfs/netfs.ko.xz kernel/net/9p/9pnet.ko.xz\n\
                     kernel/fs/9p/9px.ko.xz:\n";
        let names: Vec<&str> = in_order(table).into_iter().map(name).collect();
        assert_eq!(names, ["9pnet", "9pnet_virtio", "netfs", "9p"]);
    }

    #[test]
    fn entries_are_padded_to_four_bytes() {
        let mut bytes = Vec::new();
        let mut archive = Archive { to: &mut bytes, entries: 0, folders: BTreeSet::new() };
        archive.file(Path::new("/a/bc"), b"hello").expect("written");
        archive.end().expect("written");
        assert_eq!(bytes.len() % 4, 0);
        let header =
            "070701000000010000_41ed00000000000000000000000100000000000000000000000000000000000000000000000000000002";
        assert_eq!(bytes[..bytes.len().min(14)], header.replace('_', "").as_bytes()[..14]);
        let text = String::from_utf8_lossy(&bytes);
        let (file, trailer) = (text.find("a/bc\0").expect("named"), text.find("TRAILER!!!\0").expect("ended"));
        assert_eq!((file % 4, trailer % 4), (2, 2), "names stand behind 110 bytes");
        assert!(text[file..trailer].contains("hello"));
    }

    #[test]
    fn a_program_is_cut_behind_what_is_loaded() {
        let own = fs::read("/proc/self/exe").expect("this test");
        let cut = loaded_part(&own);
        assert!(cut.len() < own.len() && own.starts_with(cut));
        assert_eq!(loaded_part(b"#!/bin/sh"), b"#!/bin/sh");
        assert_eq!(loaded_part(&own[..70]), &own[..70], "a table that is not there");
    }
}
