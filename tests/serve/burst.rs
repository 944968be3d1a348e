//! A fleet's pollers wake inside one second behind one address. The client is a process of its own, so that it has its
//! own limit on open files.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flyball::serve::raise_nofile_limit;
use libtest_mimic::{Completion, Failed, Trial};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::peer::{config, start_with};
use crate::{absent, ignorable};

const TARGET: &str = "FLYBALL_TEST_BURST_TARGET";
const CONNECTIONS: usize = 10_000;

/// Open files that either side needs.
const FILES: u64 = CONNECTIONS as u64 + 500;

/// Connections that wait for an answer at a time: more than the kernel's queue would only measure its retransmissions.
const IN_FLIGHT: usize = 2000;

/// Every answer must be there within this time. This test runs unoptimised and beside others; the second that an
/// optimised server may take is the budget of `benches/serve`.
const BURST_MAX: Duration = Duration::from_secs(20);

pub(crate) fn trials() -> Vec<Trial> {
    vec![ignorable("burst_of_ten_thousand_connections_from_one_address_is_answered", burst)]
}

async fn burst() -> Result<Completion, Failed> {
    let limit = raise_nofile_limit()?;
    if limit < FILES {
        return absent(format!("needs {FILES} open files, the hard limit is {limit}"));
    }
    let peer = start_with(config(CONNECTIONS));
    let output = Command::new(std::env::current_exe()?).env(TARGET, peer.addresses.http.to_string()).output().await?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{}", said.trim());
    if !output.status.success() {
        return Err(format!("{said}{}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(Completion::Completed)
}

/// Set where this process is the client.
pub(crate) fn target() -> Option<SocketAddr> {
    std::env::var(TARGET).ok()?.parse().ok()
}

/// The client: one request on each connection.
pub(crate) fn client(target: SocketAddr) -> ExitCode {
    raise_nofile_limit().expect("a limit");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (answered, took) = runtime.block_on(ask_all(target));
    println!("{answered} of {CONNECTIONS} answered with 200 in {} ms", took.as_millis());
    if answered == CONNECTIONS && took < BURST_MAX { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn ask_all(target: SocketAddr) -> (usize, Duration) {
    let (start, room) = (Instant::now(), Arc::new(Semaphore::new(IN_FLIGHT)));
    let mut asking = JoinSet::new();
    for i in 0..CONNECTIONS {
        let room = Arc::clone(&room);
        asking.spawn(async move {
            let _room = room.acquire_owned().await.expect("never closed");
            ask(target, i).await.unwrap_or(false)
        });
    }
    let answers = asking.join_all().await;
    (answers.into_iter().filter(|is_ok| *is_ok).count(), start.elapsed())
}

async fn ask(target: SocketAddr, i: usize) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(target).await?;
    let request = format!("GET /sampling?service=service-{i} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    Ok(&head == b"HTTP/1.1 200")
}
