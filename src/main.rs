//! The binary: parse arguments, call one command; or be the first process of a virtual machine.

use std::process::ExitCode;

fn main() -> ExitCode {
    flyball::chaos::vm::guest().unwrap_or_else(flyball::cli::main)
}
