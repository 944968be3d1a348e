//! The guest's first process: makes the machine look like the host, runs the order, tells how it ended, switches off.
//!
//! It is the program itself, started by the kernel. The kernel's own threads share its root, so that after the change
//! of root they find `modprobe`, and modules are loaded as they are asked for: netem, nf_tables, veth.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::{chdir, chroot, sync};

use super::archive::{MARK, MODULES};
use super::order::{self, Order, STATUS};

/// `MODULE_INIT_COMPRESSED_FILE`: the kernel unpacks it.
const COMPRESSED: ModuleInitFlags = ModuleInitFlags::from_bits_retain(4);
/// The host's files do not change while the guest looks; what it hands back must be there when QEMU ends.
const HOST: &str = "trans=virtio,version=9p2000.L,msize=512000,cache=loose";
const SHARE: &str = "trans=virtio,version=9p2000.L,msize=131072,cache=none";
const COVERED: &str = "lowerdir=/host,upperdir=/upper/upper,workdir=/upper/work";
/// On the kernel's command line; a container has its host's, and nobody can write it.
pub(super) const WORD: &str = "flyball_vm";
/// Where the guest finds the shared folder.
const FOLDER: &str = "/run/flyball-vm";
/// Exit status where the order could not be started, as shells have it.
const NOT_STARTED: i32 = 127;

/// Filesystems that a program expects: type, place, and whether it can do without.
const FILESYSTEMS: [(&str, &str, bool); 10] = [
    ("proc", "/proc", false),
    ("sysfs", "/sys", false),
    ("devtmpfs", "/dev", false),
    ("devpts", "/dev/pts", true),
    ("tmpfs", "/dev/shm", true),
    ("tmpfs", "/run", false),
    ("cgroup2", "/sys/fs/cgroup", true),
    ("bpf", "/sys/fs/bpf", true),
    ("tracefs", "/sys/kernel/tracing", true),
    ("securityfs", "/sys/kernel/security", true),
];

/// In the first process of a guest: does what the host ordered, and never returns but for a failure to switch off.
/// Everywhere else: `None`. The first thing that a `main` asks.
pub fn guest() -> Option<ExitCode> {
    if std::process::id() != 1 || !Path::new(MARK).exists() {
        return None;
    }
    if let Err(error) = serve() {
        eprintln!("the guest failed: {error}");
    }
    sync();
    let Err(errno) = reboot(RebootMode::RB_POWER_OFF);
    eprintln!("cannot switch off: {errno}");
    Some(ExitCode::FAILURE)
}

/// Whether this process runs inside of such a machine: it is thrown away, and nothing of it is anybody else's.
pub fn is_inside() -> bool {
    let told = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    told.split_whitespace().any(|word| word == WORD)
}

fn serve() -> io::Result<()> {
    load_modules()?;
    let order = enter()?;
    let status = obey(&order).unwrap_or_else(|error| {
        eprintln!("cannot run {}: {error}", order.program);
        NOT_STARTED
    });
    for (place, path) in order.files.iter().enumerate() {
        if Path::new(path).exists() {
            fs::copy(path, Path::new(FOLDER).join(place.to_string()))?;
        }
    }
    fs::write(Path::new(FOLDER).join(STATUS), status.to_string())
}

/// In the order of their names.
fn load_modules() -> io::Result<()> {
    let mut modules: Vec<PathBuf> = fs::read_dir(MODULES)?.flatten().map(|entry| entry.path()).collect();
    modules.sort_unstable();
    for module in modules {
        let is_plain = module.extension().is_some_and(|extension| extension == "ko");
        let flags = if is_plain { ModuleInitFlags::empty() } else { COMPRESSED };
        finit_module(File::open(&module)?, c"", flags).map_err(|errno| explain(&module, errno))?;
    }
    Ok(())
}

/// The host's root under a layer of memory becomes the root; the order as it is read there.
fn enter() -> io::Result<Order> {
    attach("host", "/host", "9p", MsFlags::MS_RDONLY, HOST)?;
    attach("tmpfs", "/upper", "tmpfs", MsFlags::empty(), "mode=0755")?;
    fs::create_dir("/upper/upper")?;
    fs::create_dir("/upper/work")?;
    attach("overlay", "/root", "overlay", MsFlags::empty(), COVERED)?;
    for (kind, place, can_be_absent) in FILESYSTEMS {
        let place = format!("/root{place}");
        let attached = fs::create_dir_all(&place).and_then(|()| attach(kind, &place, kind, MsFlags::empty(), ""));
        if !can_be_absent {
            attached?;
        }
    }
    let folder = format!("/root{FOLDER}");
    fs::create_dir_all(&folder)?;
    attach("share", &folder, "9p", MsFlags::empty(), SHARE)?;
    chdir("/root")?;
    attach("/root", "/", "", MsFlags::MS_MOVE, "")?;
    chroot(".")?;
    chdir("/")?;
    let order = order::read(Path::new(FOLDER))?;
    let modules = format!("/lib/modules/{}", order.release);
    fs::create_dir_all(&modules)?;
    attach(&order.modules, &modules, "", MsFlags::MS_BIND, "")?;
    Ok(order)
}

/// Runs the program as the host would have; its exit status, or 128 and the signal that ended it.
fn obey(order: &Order) -> io::Result<i32> {
    // Its own loopback is all the network that it has.
    Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
    let mut command = Command::new(&order.program);
    command.args(&order.arguments).current_dir(&order.directory);
    command.env_clear().envs(order.environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(port("out")?).stderr(port("err")?);
    let child = command.spawn()?;
    drop(command);
    Ok(wait_for(&child))
}

/// The first process inherits every orphan, and waits for all of them.
fn wait_for(child: &Child) -> i32 {
    loop {
        match wait() {
            Ok(WaitStatus::Exited(pid, status)) if pid.as_raw().cast_unsigned() == child.id() => return status,
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid.as_raw().cast_unsigned() == child.id() => {
                return signal as i32 + 128;
            }
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return NOT_STARTED,
        }
    }
}

/// The serial port that the host calls so.
fn port(name: &str) -> io::Result<File> {
    for entry in fs::read_dir("/sys/class/virtio-ports")?.flatten() {
        if fs::read_to_string(entry.path().join("name")).is_ok_and(|found| found.trim() == name) {
            return File::options().write(true).open(Path::new("/dev").join(entry.file_name()));
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("no serial port `{name}`")))
}

fn attach(source: &str, place: &str, kind: &str, flags: MsFlags, options: &str) -> io::Result<()> {
    let option = |text| Some(text).filter(|text: &&str| !text.is_empty());
    mount(Some(source), place, option(kind), flags, option(options)).map_err(|errno| explain(Path::new(place), errno))
}

fn explain(what: &Path, errno: nix::errno::Errno) -> io::Error {
    let error = io::Error::from(errno);
    io::Error::new(error.kind(), format!("{}: {error}", what.display()))
}
