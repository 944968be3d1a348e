//! Asking a server under test: one request a connection.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(5);
/// Answers that are longer are cut, and are no JSON then.
const ANSWER_MAX_BYTES: u64 = 16 << 20;

/// The JSON that a path answers; `None` where the server does not answer so.
pub(super) fn get_json(address: SocketAddr, path: &str) -> Option<serde_json::Value> {
    let answer = get(address, path).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let is_ok = head.split(' ').nth(1) == Some("200");
    is_ok.then(|| serde_json::from_str(body).ok()).flatten()
}

/// Whether a path answers with 200.
pub(super) fn is_ok(address: SocketAddr, path: &str) -> bool {
    get(address, path).is_ok_and(|answer| answer.split(' ').nth(1) == Some("200"))
}

/// Whether a path takes this JSON: it answers with 200.
pub(super) fn is_taken(address: SocketAddr, path: &str, body: &serde_json::Value) -> bool {
    let body = body.to_string();
    let head = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    ask(address, &format!("POST {path}"), &head, &body).is_ok_and(|answer| answer.split(' ').nth(1) == Some("200"))
}

fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    ask(address, &format!("GET {path}"), "", "")
}

fn ask(address: SocketAddr, what: &str, head: &str, body: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    write!(stream, "{what} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n{head}\r\n{body}")?;
    let mut answer = String::new();
    stream.take(ANSWER_MAX_BYTES).read_to_string(&mut answer)?;
    Ok(answer)
}
