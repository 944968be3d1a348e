//! Debian's kernel, fetched once: an index of one suite and one package, both into a folder of our own. The machine's
//! package sources, its installed packages and its boot loader are not touched, and root is not needed.
//!
//! The package's exact name is what the suite's meta-package depends on: a pattern would match dozens of packages. It
//! stays until the folder is removed; an exercise wants the same kernel twice more than it wants the newest.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{VmError, file};

/// The suite whose kernel has netem, tcx, kprobes and 9p.
const SUITE: &str = "bookworm-backports";
/// Where Debian's packages are, unless the machine has a mirror configured.
const ARCHIVE: &str = "http://deb.debian.org/debian";
/// Whom the index must be signed by.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Depends on the current kernel. Not the flavour `cloud`, which has no 9p.
const META_PACKAGE: &str = "linux-image-amd64";
/// Each tool, and Debian's package of it.
const TOOLS: [(&str, &str); 4] = [("apt-get", "apt"), ("apt-cache", "apt"), ("dpkg", "dpkg"), ("depmod", "kmod")];
/// Written last.
const COMPLETE: &str = "release";

/// A kernel and its modules.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) release: String,
    pub(super) image: PathBuf,
    /// The folder of its modules, with the tables that `depmod` made.
    pub(super) modules: PathBuf,
}

/// `$XDG_CACHE_HOME/flyball`, else `/var/cache/flyball` for root and `~/.cache/flyball` for others.
pub(super) fn cache() -> PathBuf {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").unwrap_or_else(|| match set("HOME") {
        Some(home) if !nix::unistd::geteuid().is_root() => home.join(".cache"),
        _ => PathBuf::from("/var/cache"),
    });
    base.join("flyball")
}

/// The kernel in `cache`, fetched into it at first.
pub(super) fn kernel(cache: &Path) -> Result<Kernel, VmError> {
    let place = cache.join("kernel");
    if let Some(kernel) = Kernel::at(&place) {
        return Ok(kernel);
    }
    // Whoever comes at the same time fetches too; the last one to be ready is used by none, and harms none.
    let made = cache.join(format!("kernel-{}", std::process::id()));
    let _ = fs::remove_dir_all(&made);
    let fetched = fetch(&made);
    if fetched.is_ok() {
        let _ = fs::remove_dir_all(&place);
        let _ = fs::rename(&made, &place);
    }
    let _ = fs::remove_dir_all(&made);
    fetched?;
    let incomplete =
        || VmError::Missing { what: format!("{} holds no kernel: remove it and try again", place.display()) };
    Kernel::at(&place).ok_or_else(incomplete)
}

impl Kernel {
    fn at(place: &Path) -> Option<Self> {
        let release = fs::read_to_string(place.join(COMPLETE)).ok()?;
        let image = place.join("boot").join(format!("vmlinuz-{release}"));
        let modules = modules(place, &release)?;
        image.exists().then_some(Self { release, image, modules })
    }
}

/// Newer packages have them below `usr`.
fn modules(place: &Path, release: &str) -> Option<PathBuf> {
    let folders = ["lib/modules", "usr/lib/modules"].map(|folder| place.join(folder).join(release));
    folders.into_iter().find(|folder| folder.exists())
}

fn fetch(place: &Path) -> Result<(), VmError> {
    if !cfg!(target_arch = "x86_64") {
        return Err(missing(format_args!("the kernel that is fetched is one for x86-64")));
    }
    for (tool, package) in TOOLS {
        if which(tool).is_none() {
            return Err(missing(format_args!("`{tool}` is missing, of Debian's package {package}")));
        }
    }
    if !Path::new(KEYRING).exists() {
        return Err(missing(format_args!("{KEYRING} is missing: install the package debian-archive-keyring")));
    }
    eprintln!("fetching Debian's kernel, once, into {}", place.parent().unwrap_or(place).display());
    let apt = Apt::new(place)?;
    apt.run("apt-get", &["-qq", "update"]).map_err(unreachable)?;
    let package = the_package(&apt.run("apt-cache", &["show", META_PACKAGE]).map_err(unreachable)?)?;
    apt.run("apt-get", &["-qq", "download", &package]).map_err(unreachable)?;
    unpack(place, &package)
}

fn unpack(place: &Path, package: &str) -> Result<(), VmError> {
    let entries = fs::read_dir(place).map_err(file("read", place))?;
    let mut names = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let archive = names.find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let archive = archive.ok_or_else(|| missing(format_args!("`apt-get download {package}` brought no package")))?;
    run(Command::new(tool("dpkg")).arg("-x").arg(&archive).arg(place))?;
    fs::remove_file(&archive).map_err(file("remove", &archive))?;
    let release = package.trim_start_matches("linux-image-").to_owned();
    let base = if place.join("lib/modules").exists() { place.to_owned() } else { place.join("usr") };
    run(Command::new(tool("depmod")).arg("-b").arg(&base).arg(&release))?;
    fs::write(place.join(COMPLETE), &release).map_err(file("write", place))
}

/// `Depends: linux-image-6.12.95+deb12-amd64 (= 6.12.95-1~bpo12+1)` of the first paragraph, which is the newest.
fn the_package(shown: &str) -> Result<String, VmError> {
    let depends = shown.lines().find_map(|line| line.strip_prefix("Depends: ")).unwrap_or_default();
    let names = depends.split(',').filter_map(|one| one.split_whitespace().next());
    let mut names = names.filter(|name| name.starts_with("linux-image-") && name.ends_with("-amd64"));
    let none = || missing(format_args!("{META_PACKAGE} of {SUITE} names no kernel: it depends on `{depends}`"));
    names.next().map(str::to_owned).ok_or_else(none)
}

/// Apt with an index of its own.
struct Apt {
    place: PathBuf,
    options: Vec<String>,
}

impl Apt {
    fn new(place: &Path) -> Result<Self, VmError> {
        let state = place.join("apt");
        for folder in ["lists/partial", "archives/partial"] {
            fs::create_dir_all(state.join(folder)).map_err(file("make", &state))?;
        }
        let sources = state.join("sources.list");
        let line = format!("deb [signed-by={KEYRING}] {} {SUITE} main\n", archive());
        fs::write(&sources, line).map_err(file("write", &sources))?;
        let option = |key: &str, value: &Path| format!("{key}={}", value.display());
        let options = vec![
            option("Dir::Etc::sourcelist", &sources),
            option("Dir::Etc::sourceparts", Path::new("/dev/null")),
            option("Dir::State::lists", &state.join("lists")),
            option("Dir::Cache", &state),
            "APT::Architecture=amd64".to_owned(),
            // The user `_apt` may not write here.
            "APT::Sandbox::User=".to_owned(),
        ];
        Ok(Self { place: place.to_owned(), options })
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String, VmError> {
        let options = self.options.iter().flat_map(|option| ["-o", option]);
        run(Command::new(tool(program)).args(options).args(arguments).current_dir(&self.place))
    }
}

/// The mirror that the machine has Debian's packages from.
fn archive() -> String {
    let format = ["indextargets", "--format", "$(REPO_URI) $(CODENAME)", "Created-By: Packages"];
    let targets = run(Command::new(tool("apt-get")).args(format)).unwrap_or_default();
    let pairs = targets.lines().filter_map(|line| line.split_once(' '));
    let debian = pairs.into_iter().find(|(uri, name)| SUITE.starts_with(name) && uri.starts_with("http"));
    debian.map_or(ARCHIVE, |(uri, _)| uri.trim_end_matches('/')).to_owned()
}

/// What it printed, if it went well.
fn run(command: &mut Command) -> Result<String, VmError> {
    let output = command.env("LC_ALL", "C").stdin(Stdio::null()).output();
    let shown = || {
        let words = command.get_args().map(|word| word.to_string_lossy()).collect::<Vec<_>>();
        format!("{} {}", command.get_program().to_string_lossy(), words.join(" "))
    };
    match output {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).lines().collect::<Vec<_>>().join("; ");
            Err(VmError::Tool { command: shown(), said })
        }
        Err(error) => Err(VmError::Tool { command: shown(), said: error.to_string() }),
    }
}

/// A tool of the system, also where the path is an ordinary user's.
fn which(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

fn tool(name: &str) -> PathBuf {
    which(name).unwrap_or_else(|| name.into())
}

fn missing(what: std::fmt::Arguments<'_>) -> VmError {
    VmError::Missing { what: what.to_string() }
}

/// A kernel that cannot be had is something that is missing.
fn unreachable(error: VmError) -> VmError {
    missing(format_args!("Debian's kernel cannot be had from {} ({SUITE}): {error}", archive()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_is_what_the_newest_meta_package_depends_on() {
        let shown = "Package: linux-image-amd64\nVersion: 2\nDepends: linux-image-6.12.95+deb12-amd64 (= 6.12.95-1)\n\n\
                     Package: linux-image-amd64\nDepends: linux-image-6.1.0-1-amd64\n";
        assert_eq!(the_package(shown).expect("named"), "linux-image-6.12.95+deb12-amd64");
        for shown in ["", "Depends: libc6\n", "Depends: linux-image-6.12.95+deb12-cloud-arm64\n"] {
            assert!(the_package(shown).is_err_and(|error| error.is_missing()), "{shown}");
        }
    }
}
