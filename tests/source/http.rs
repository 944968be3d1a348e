//! A small HTTP/1.1 server: one thread a connection, one answer a connection, gone when dropped.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A request, its query string and form decoded.
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) parameters: HashMap<String, String>,
    /// Names in lower case.
    pub(crate) headers: HashMap<String, String>,
}

pub(crate) enum Reply {
    Body {
        status: u16,
        content_type: &'static str,
        body: Vec<u8>,
    },
    /// Accepts, and says nothing for this long.
    Silence(Duration),
}

impl Reply {
    pub(crate) fn json(body: impl Into<Vec<u8>>) -> Self {
        Self::Body { status: 200, content_type: "application/json", body: body.into() }
    }

    pub(crate) fn text(body: impl Into<Vec<u8>>) -> Self {
        Self::Body { status: 200, content_type: "text/plain; version=0.0.4", body: body.into() }
    }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    is_over: Arc<AtomicBool>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let is_over = Arc::new(AtomicBool::new(false));
        let (answer, over) = (Arc::new(answer), Arc::clone(&is_over));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                let answer = Arc::clone(&answer);
                std::thread::spawn(move || stream.ok().and_then(|stream| serve(stream, &*answer).ok()));
            }
        });
        Self { address, is_over }
    }

    pub(crate) fn url(&self, path: &str) -> url::Url {
        url::Url::parse(&format!("http://{}{path}", self.address)).expect("a URL")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes the accept, so that the listener is closed.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(mut stream: TcpStream, answer: &dyn Fn(&Request) -> Reply) -> std::io::Result<()> {
    let request = read_request(&mut BufReader::new(stream.try_clone()?))?;
    match answer(&request) {
        Reply::Silence(duration) => std::thread::sleep(duration),
        Reply::Body { status, content_type, body } => {
            write!(
                stream,
                "HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n",
                body.len()
            )?;
            stream.write_all(b"location: http://127.0.0.1:1/\r\nconnection: close\r\n\r\n")?;
            stream.write_all(&body)?;
        }
    }
    Ok(())
}

fn read_request(reader: &mut impl BufRead) -> std::io::Result<Request> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let target = line.split(' ').nth(1).unwrap_or("/").to_owned();
    let mut headers = HashMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let pairs = [query.as_bytes(), &body].map(|text| url::form_urlencoded::parse(text).into_owned());
    Ok(Request { path: path.to_owned(), parameters: pairs.into_iter().flatten().collect(), headers })
}
