//! The binary: parse arguments, call one command.

use std::process::ExitCode;

fn main() -> ExitCode {
    flyball::cli::main()
}
