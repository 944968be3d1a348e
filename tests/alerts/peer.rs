//! A receiver of webhooks that behaves as it is told, and checks every signature.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flyball::alert::signature::sign;

/// What it does with a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    Taken,
    /// With this status.
    Refusing(u16),
    /// Never.
    Slow,
    /// No HTTP.
    Malformed,
}

/// A message that was taken.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) body: serde_json::Value,
}

/// Answers the first requests by a list, and takes all later ones.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    taken: Arc<Mutex<Vec<Message>>>,
}

/// A port that nobody listens on, until somebody does.
pub(crate) fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

impl Peer {
    pub(crate) fn start(answers: Vec<Answer>) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), answers)
    }

    pub(crate) fn start_at(address: SocketAddr, answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind(address).expect("the port is free");
        let address = listener.local_addr().expect("bound");
        let taken = Arc::<Mutex<Vec<Message>>>::default();
        let messages = Arc::clone(&taken);
        std::thread::spawn(move || {
            let mut answers = answers.into_iter();
            for stream in listener.incoming().map_while(Result::ok) {
                let answer = answers.next().unwrap_or(Answer::Taken);
                let messages = Arc::clone(&messages);
                std::thread::spawn(move || serve(stream, answer, &messages));
            }
        });
        Self { address, taken }
    }

    /// What it took, in order.
    pub(crate) fn taken(&self) -> Vec<Message> {
        self.taken.lock().expect("not poisoned").clone()
    }

    /// The states that it took, each message once.
    pub(crate) fn states(&self) -> Vec<String> {
        self.taken().iter().map(|message| message.body["state"].as_str().expect("a state").to_owned()).collect()
    }
}

fn serve(mut stream: TcpStream, answer: Answer, messages: &Mutex<Vec<Message>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut length, mut headers) = (0, std::collections::HashMap::new());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            if line.trim_end().is_empty() {
                break;
            }
            continue;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    if let Some(text) = headers.get("content-length") {
        length = text.parse().ok()?;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let timestamp: i64 = headers["flyball-timestamp"].parse().ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs() as i64;
    assert!((now - timestamp).abs() < 60, "signed at {timestamp}, received at {now}");
    assert_eq!(headers["flyball-signature"], sign(b"correct horse", timestamp, &body), "its signature is wrong");
    match answer {
        Answer::Slow => {
            std::thread::park_timeout(Duration::from_secs(30));
            return None;
        }
        Answer::Malformed => return stream.write_all(b"220 mail.example.net ESMTP\r\n").ok(),
        Answer::Refusing(_) | Answer::Taken => {}
    }
    let status = if let Answer::Refusing(status) = answer { status } else { 204 };
    if matches!(answer, Answer::Taken) {
        let body = serde_json::from_slice(&body).expect("JSON");
        messages.lock().expect("not poisoned").push(Message { id: headers["flyball-id"].clone(), body });
    }
    write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").ok()
}
