//! Which clients there are, where their installation is, and how each is started.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use libtest_mimic::Failed;

use crate::process::Process;
use crate::rust_sdk::RustSdk;
use crate::sampler::Sampler;
use crate::world::World;

/// One of the SDKs.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    /// Its folder.
    pub(crate) name: &'static str,
    /// It merges a new list of operations into the one that it has: an operation that leaves the list keeps its last
    /// probability, and one that was never listed keeps the default that it met first, until an answer without
    /// operations comes. A sampler that does not is expected to forget.
    pub(crate) keeps_what_left_the_list: bool,
    transport: Transport,
    program: Program,
}

#[derive(Debug, Clone, Copy)]
enum Transport {
    Http,
    Grpc,
}

#[derive(Debug, Clone, Copy)]
enum Program {
    InThisProcess,
    Node,
    Python,
    Go,
    Java,
}

/// Why a client cannot be tested here.
#[derive(Debug)]
pub(crate) struct Absent {
    client: &'static str,
    problem: &'static str,
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: run `tests/conformance/install.sh {0}`", self.client, self.problem)
    }
}

/// Every client.
pub(crate) fn all() -> [Client; 7] {
    let otel = |name, transport, program| Client { name, keeps_what_left_the_list: false, transport, program };
    let legacy = |name, program| Client { name, keeps_what_left_the_list: true, transport: Transport::Http, program };
    [
        otel("rust", Transport::Http, Program::InThisProcess),
        otel("js", Transport::Http, Program::Node),
        otel("go", Transport::Http, Program::Go),
        otel("java", Transport::Grpc, Program::Java),
        legacy("js-legacy", Program::Node),
        legacy("python-legacy", Program::Python),
        python_grpc(),
    ]
}

/// The only one that also asks for health.
pub(crate) fn python_grpc() -> Client {
    Client {
        name: "python-grpc",
        keeps_what_left_the_list: false,
        transport: Transport::Grpc,
        program: Program::Python,
    }
}

/// What a gRPC health probe is told of these services, as JSON.
pub(crate) fn health(world: &World, services: &[&str]) -> Result<String, Failed> {
    let client = python_grpc();
    let output = client.command("health.py").arg(client.address(world).to_string()).args(services).output()?;
    if output.status.success() {
        Ok(String::from_utf8(output.stdout)?)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
    }
}

impl Client {
    /// `Ok` if it is installed as its files say now.
    pub(crate) fn absent(&self) -> Result<(), Absent> {
        if matches!(self.program, Program::InThisProcess) {
            return Ok(());
        }
        let absent = |problem| Absent { client: self.name, problem };
        let stamp = fs::metadata(self.installed().join("stamp")).and_then(|stamp| stamp.modified());
        let stamp = stamp.map_err(|_| absent("is not installed"))?;
        if newest(&self.folder()).is_none_or(|change| change <= stamp) { Ok(()) } else { Err(absent("has changed")) }
    }

    /// Starts it; it asks as `service`, and decides on root spans of these names.
    pub(crate) fn start(&self, world: &World, service: &str, operations: &[&str]) -> Result<Box<dyn Sampler>, Failed> {
        let file = match self.program {
            Program::InThisProcess => return Ok(Box::new(RustSdk::start(world, service, operations)?)),
            Program::Node => "client.js",
            Program::Python => "client.py",
            Program::Go | Program::Java => "",
        };
        let mut command = self.command(file);
        command.arg(self.address(world).to_string()).arg(service).args(operations);
        Ok(Box::new(Process::start(command)?))
    }

    fn command(&self, file: &str) -> Command {
        let installed = self.installed();
        let run = |program: OsString| Command::new(program);
        match self.program {
            Program::InThisProcess => unreachable!("it has no command"),
            Program::Node => {
                let mut node = run("node".into());
                node.env("NODE_PATH", installed.join("node_modules")).arg(self.folder().join(file));
                node
            }
            Program::Python => {
                let mut python = run(installed.join("bin/python").into());
                python.env("PYTHONDONTWRITEBYTECODE", "1").arg(self.folder().join(file));
                python
            }
            Program::Go => run(installed.join("client").into()),
            Program::Java => {
                let mut java = run("java".into());
                let class_path = std::env::join_paths([installed.join("classes"), installed.join("lib/*")]);
                java.arg("-cp").arg(class_path.expect("no separator in a path of ours")).arg("Client");
                java
            }
        }
    }

    fn address(&self, world: &World) -> SocketAddr {
        match self.transport {
            Transport::Http => world.addresses.http,
            Transport::Grpc => world.addresses.grpc[0],
        }
    }

    fn folder(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance").join(self.name)
    }

    fn installed(&self) -> PathBuf {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp is in target");
        target.join("conformance").join(self.name)
    }
}

/// When the last change was made to a file in `folder`.
fn newest(folder: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    entries
        .filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            if metadata.is_dir() { newest(&entry.path()) } else { metadata.modified().ok() }
        })
        .max()
}
