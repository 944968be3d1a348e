//! QEMU: found, told what machine to be, watched, and ended.

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use std::{env, thread};

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::guest::{WORD, is_inside};
use super::kernel::Kernel;
use super::{VmError, file};

const PROGRAM: &str = "qemu-system-x86_64";
/// What it would take to have it.
const INSTALL: &str = "`qemu-system-x86_64` is missing: install the package qemu-system-x86 (on Debian 12 from \
                       bookworm-backports: apt-get install -t bookworm-backports qemu-system-x86)";
const MEMORY_MB: u32 = 1_024;
/// More emulated processors wait for each other.
const PROCESSORS_MAX: usize = 4;
/// Where this exists, KVM is a guest's own and stock kernels do not survive it.
const NESTED: &str = "/sys/module/kvm_pvm";
/// Silent but for what ends it; a panic ends QEMU.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off audit=0 net.ifnames=0";
const FOLDER_PREFIX: &str = "flyball-vm-";
const CONSOLE: &str = "console.log";
/// Of the console, in an error.
const LAST_LINES: usize = 12;

/// QEMU, and how it runs a machine's instructions.
#[derive(Debug)]
pub(super) struct Qemu {
    acceleration: &'static str,
}

impl Qemu {
    pub(super) fn find() -> Result<Self, VmError> {
        if is_inside() {
            return Err(VmError::Missing { what: "this is such a machine already".to_owned() });
        }
        let version = std::process::Command::new(PROGRAM).arg("--version").stdin(Stdio::null()).output();
        match version {
            Ok(output) if output.status.success() => {
                Ok(Self { acceleration: if is_kvm_sound() { "kvm" } else { "tcg,thread=multi" } })
            }
            _ => Err(VmError::Missing { what: INSTALL.to_owned() }),
        }
    }

    fn command(&self, kernel: &Kernel, folder: &Folder) -> Command {
        let mut command = Command::new(PROGRAM);
        let processors = thread::available_parallelism().map_or(1, |count| count.get().min(PROCESSORS_MAX));
        let share = folder.0.display();
        command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-machine", "pc"]);
        command.args(["-accel", self.acceleration, "-cpu", "max"]);
        command.args(["-smp", &processors.to_string(), "-m", &MEMORY_MB.to_string()]);
        command.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(folder.path("initrd"));
        command.args(["-append", &format!("{KERNEL_ARGUMENTS} {WORD}")]);
        command.args(["-chardev", &format!("file,id=console,path={share}/{CONSOLE}"), "-serial", "chardev:console"]);
        command.args(["-device", "virtio-serial-pci"]);
        for (name, path) in [("out", "/dev/stdout"), ("err", "/dev/stderr")] {
            command.args(["-chardev", &format!("file,id={name},path={path},append=on")]);
            command.args(["-device", &format!("virtserialport,chardev={name},name={name}")]);
        }
        for (name, path, more) in [("host", "/", ",readonly=on"), ("share", &*share.to_string(), "")] {
            let fsdev = format!("local,id={name},path={path},security_model=none,multidevs=remap{more}");
            command.args(["-fsdev", &fsdev, "-device", &format!("virtio-9p-pci,fsdev={name},mount_tag={name}")]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        crate::lab::die_with_this_thread(command.as_std_mut());
        command
    }
}

/// KVM that can be opened, and is no guest's own.
fn is_kvm_sound() -> bool {
    !Path::new(NESTED).exists() && fs::File::options().read(true).write(true).open("/dev/kvm").is_ok()
}

/// Runs the machine to its end. On a thread of its own, with which QEMU dies.
pub(super) fn run(qemu: &Qemu, kernel: &Kernel, folder: &Folder, limit: Duration) -> Result<(), VmError> {
    let failed = |source| VmError::File { step: "start", path: PROGRAM.into(), source };
    thread::scope(|scope| {
        let work = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
            runtime.block_on(watch(qemu.command(kernel, folder), limit))
        };
        let thread = thread::Builder::new().name("flyball-vm".to_owned()).spawn_scoped(scope, work).map_err(failed)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Passes on what the guest prints, until it ends, the limit, or a signal.
async fn watch(mut command: Command, limit: Duration) -> Result<(), VmError> {
    let failed = |source| VmError::File { step: "start", path: PROGRAM.into(), source };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut child = command.spawn().map_err(failed)?;
    let ended = tokio::select! {
        status = printed(&mut child) => status.map(drop).map_err(failed),
        () = tokio::time::sleep(limit) => Err(VmError::Limit(limit)),
        _ = interrupt.recv() => Err(VmError::Interrupted),
        _ = terminate.recv() => Err(VmError::Interrupted),
    };
    let _ = child.kill().await;
    ended
}

async fn printed(child: &mut Child) -> io::Result<()> {
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (out, err) = tokio::join!(pass_on(out, io::stdout()), pass_on(err, io::stderr()));
    child.wait().await?;
    out.and(err)
}

/// Nothing else is to be done meanwhile: writing may block.
async fn pass_on(from: Option<impl AsyncRead + Unpin>, mut to: impl Write) -> io::Result<()> {
    let Some(mut from) = from else { return Ok(()) };
    let mut bytes = vec![0; 8_192];
    loop {
        let count = from.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        to.write_all(&bytes[..count])?;
        to.flush()?;
    }
}

/// The one folder that the guest can write, for one run.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Result<Self, VmError> {
        let path = env::temp_dir().join(format!("{FOLDER_PREFIX}{}", std::process::id()));
        // Of an earlier process with this number, and ours to remove.
        let _ = fs::remove_dir_all(&path);
        DirBuilder::new().mode(0o700).create(&path).map_err(file("make", &path))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Takes away the folders of runs that were killed.
pub(super) fn sweep() {
    let Ok(entries) = fs::read_dir(env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(FOLDER_PREFIX)?.parse::<u32>().ok());
        if owner.is_some_and(|owner| !Path::new(&format!("/proc/{owner}")).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The last lines of the guest's console.
pub(super) fn console_tail(folder: &Folder) -> String {
    let bytes = fs::read(folder.path(CONSOLE)).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("; ")
}
