//! The HTTP answer.

use libtest_mimic::Trial;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::peer::{read_answer, start};
use crate::trial;

const CHECKOUT: &str = r#"{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":0.25}}"#;
const STRANGER: &str = r#"{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":0.001}}"#;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("http_answers_on_every_path_that_clients_use", answers_on_every_path),
        trial("http_wants_the_service_once", wants_the_service_once),
        trial("http_gives_every_other_name_the_strangers_answer", strangers),
        trial("http_refuses_other_paths_and_methods", other_paths_and_methods),
        trial("http_answers_head_without_a_body", head),
        trial("http_answers_pipelined_requests_in_order", pipelined),
        trial("http_does_not_read_a_body", bodies),
        trial("http_bounds_the_head", long_heads),
    ]
}

async fn answers_on_every_path() {
    let peer = start();
    for path in ["/", "/sampling", "/sampling/", "/api/sampling", "/api/sampling/sampling", "/sampling/sampling"] {
        let answer = peer.get(&format!("{path}?service=checkout")).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, CHECKOUT), "{path}");
        assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
    }
    for query in ["a=b&service=checkout", "service=%63heckout", "&service=checkout&", "service=checkout&other=1#x"] {
        assert_eq!(peer.get(&format!("/sampling?{query}")).await.body, CHECKOUT, "{query}");
    }
}

async fn wants_the_service_once() {
    let peer = start();
    for target in ["/sampling", "/?", "/sampling?services=a", "/?service=a&service=a", "/?service&service=checkout"] {
        let answer = peer.get(target).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (400, "'service' parameter must be provided once"),
            "{target}"
        );
        assert!(answer.head.contains("content-type: text/plain"), "{}", answer.head);
    }
}

async fn strangers() {
    let peer = start();
    let long = "x".repeat(5000);
    for name in ["", "nobody", "CHECKOUT", "%ff%fe", "100%", "a+b", "a;b", "{}|^`", "h\u{e9}llo", &long] {
        let answer = peer.get(&format!("/sampling?service={name}")).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, STRANGER), "{name}");
    }
}

async fn other_paths_and_methods() {
    let peer = start();
    for path in ["/other?service=checkout", "/sampling/x", "/api", "/metrics"] {
        assert_eq!(peer.get(path).await.status, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
        let request = format!("{method} /sampling?service=checkout HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = peer.http(&request).await;
        assert_eq!(answer.status, 405, "{method}");
        assert!(answer.head.contains("allow: get, head"), "{}", answer.head);
    }
}

async fn head() {
    let peer = start();
    let answer = peer.http("HEAD /?service=checkout HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert!(answer.head.contains(&format!("content-length: {}", CHECKOUT.len())), "{}", answer.head);
}

async fn pipelined() {
    let peer = start();
    let mut stream = TcpStream::connect(peer.addresses.http).await.expect("a connection");
    let ask = |name, more| format!("GET /?service={name} HTTP/1.1\r\nhost: x\r\n{more}\r\n");
    let requests = [ask("checkout", ""), ask("nobody", ""), ask("checkout", "connection: close\r\n")].concat();
    stream.write_all(requests.as_bytes()).await.expect("written");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("answered");
    let rates: Vec<&str> = text.split("samplingRate\":").skip(1).map(|rest| &rest[..5]).collect();
    assert_eq!(rates, ["0.25}", "0.001", "0.25}"]);
}

async fn bodies() {
    let peer = start();
    let mut stream = TcpStream::connect(peer.addresses.http).await.expect("a connection");
    let head = "GET /?service=checkout HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("written");
    let answer = read_answer(&mut stream).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, CHECKOUT));
}

async fn long_heads() {
    let peer = start();
    let long = "x".repeat(100_000);
    let mut stream = TcpStream::connect(peer.addresses.http).await.expect("a connection");
    let request = format!("GET /?service={long} HTTP/1.1\r\nhost: x\r\n\r\n");
    // The server may answer and close before it has read all of it.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = vec![0; 16];
    let read = stream.read(&mut answer).await.unwrap_or(0);
    assert!(!answer[..read].starts_with(b"HTTP/1.1 200"), "a head of 100 kB is refused");
    assert_eq!(peer.get("/?service=checkout").await.status, 200);
}
