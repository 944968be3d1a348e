//! The command line: one file a command, each a function from its arguments to `Result<(), Failure>`.

mod admin;
mod chaos;
mod check;
mod check_fleet;
mod demo;
mod device;
mod device_key;
mod explain;
mod intervals;
mod monitor;
mod online;
mod report;
mod run;
mod schema;
mod settings;
mod simulate;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A governor for what a fleet sends too much or too little of.
#[derive(Debug, Parser)]
#[command(name = "flyball", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the controller until SIGINT or SIGTERM.
    Run(run::RunArgs),
    /// Show the whole loop on this machine: three services, a backend of finite capacity, nothing to configure.
    Demo(demo::DemoArgs),
    /// Check the configuration and all policies, every error at once; or a fleet's intervals against what is known of its NATs.
    Check(check::CheckArgs),
    /// Run scenarios on fake time: a plant, a law, faults, and a verdict on what came of it.
    Simulate(simulate::SimulateArgs),
    /// Run scenarios of fleets on the real kernel, or name what there is to run.
    Chaos(chaos::ChaosArgs),
    /// Watch devices' heartbeats in the kernel: gaps, lost NAT bindings; or read a capture of that.
    Monitor(monitor::MonitorArgs),
    /// Be an edge device: beat at the pace that is told, test silences on order, and say what happens.
    Device(device::DeviceArgs),
    /// Print the key that a device carries, derived from a master key.
    DeviceKey(device_key::DeviceKeyArgs),
    /// Why is a probability what it is? Asks a running Flyball.
    Explain(explain::ExplainArgs),
    /// What became of a rollout: Markdown, JSON, pictures. Asks a running Flyball.
    Report(report::ReportArgs),
    /// Print the JSON schema of a file format.
    Schema(schema::SchemaArgs),
}

/// Why a command did not end well: its variant is the exit status.
#[derive(Debug)]
pub enum Failure {
    /// 1: it failed at run time.
    Runtime(anyhow::Error),
    /// 2: wrong usage that only the command itself can see.
    Usage(clap::Error),
    /// 3: a configuration, policy or scenario is invalid; the text names every error.
    Invalid(String),
    /// 4: it ran, and a verdict failed; the text says which.
    Verdict(String),
    /// 5: it cannot run on this machine; the text says what is missing.
    Machine(String),
    /// It ran elsewhere, ended with this status, and said there why.
    Elsewhere(u8),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Runtime(error)
    }
}

/// Parses the process's arguments and runs one command. Wrong usage ends with 2, as `clap` does it.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match dispatch(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => exit_status(&failure),
    }
}

fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(arguments) => run::run(arguments),
        Command::Demo(arguments) => demo::demo(arguments),
        Command::Check(arguments) => check::check(arguments),
        Command::Simulate(arguments) => simulate::simulate(arguments),
        Command::Chaos(arguments) => chaos::chaos(arguments),
        Command::Monitor(arguments) => monitor::monitor(arguments),
        Command::Device(arguments) => device::device(arguments),
        Command::DeviceKey(arguments) => device_key::device_key(arguments),
        Command::Explain(arguments) => explain::explain(arguments),
        Command::Report(arguments) => report::report(arguments),
        Command::Schema(arguments) => schema::schema(arguments),
    }
}

/// Prints a command's result. A reader that went away, as `head` does, is no failure.
fn print(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout().lock(), "{}", text.trim_end()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::Runtime(error.into())),
        _ => Ok(()),
    }
}

fn exit_status(failure: &Failure) -> ExitCode {
    let (text, status) = match failure {
        Failure::Runtime(error) => (format!("error: {error:#}"), 1),
        Failure::Usage(error) => (error.to_string(), 2),
        Failure::Invalid(text) => (text.clone(), 3),
        Failure::Verdict(text) => (format!("error: {text}"), 4),
        Failure::Machine(text) => (format!("error: {text}"), 5),
        Failure::Elsewhere(status) => return ExitCode::from(*status),
    };
    eprintln!("{}", text.trim_end());
    ExitCode::from(status)
}
