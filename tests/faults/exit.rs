//! Starts that cannot succeed: the exit status says which kind it was, the last line what to do.

use std::net::TcpListener;
use std::process::Command;

use libtest_mimic::{Failed, Trial};

use crate::source::{COUNTERS, policy};
use crate::support::flyball::Home;

const SOURCE: &str = "{prometheus: {url: 'http://127.0.0.1:1'}}";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("exit::an_address_in_use_is_1_and_named_with_its_key", address_in_use),
        Trial::test("exit::a_missing_config_is_3", || {
            ends(&["run", "--config", "/nonexistent/flyball.yaml"], 3, "/nonexistent/flyball.yaml")
        }),
        Trial::test("exit::a_missing_policy_folder_is_3", no_policies),
        Trial::test("exit::an_unknown_subcommand_is_2", || ends(&["fly"], 2, "fly")),
        Trial::test("exit::explain_without_a_server_is_1", || {
            ends(&["explain", "checkout", "--admin", "http://127.0.0.1:1"], 1, "http://127.0.0.1:1")
        }),
    ]
}

fn judge(mut command: Command, status: i32, named: &[&str]) -> Result<(), Failed> {
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let is_named = named.iter().all(|part| said.contains(part));
    if output.status.code() == Some(status) && is_named {
        return Ok(());
    }
    Err(format!("{} instead of {status}, or not all of {named:?} in: {said}", output.status).into())
}

fn ends(arguments: &[&str], status: i32, named: &str) -> Result<(), Failed> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flyball"));
    command.args(arguments);
    judge(command, status, &[named])
}

fn address_in_use() -> Result<(), Failed> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    for (key, variable) in [
        ("serve.http", "FLYBALL__SERVE__HTTP"),
        ("serve.grpc", "FLYBALL__SERVE__GRPC"),
        ("admin.listen", "FLYBALL__ADMIN__LISTEN"),
        ("source.otlp.listen", "FLYBALL__SOURCE__OTLP__LISTEN"),
    ] {
        let home = Home::new(SOURCE, &policy(COUNTERS));
        let mut command = home.command();
        command.env(variable, &address);
        judge(command, 1, &[key, &address])?;
    }
    Ok(())
}

fn no_policies() -> Result<(), Failed> {
    let home = Home::new(SOURCE, &policy(COUNTERS));
    std::fs::remove_dir_all(home.path().join("policies"))?;
    judge(home.command(), 3, &["policies"])
}
