//! What may be changed by whom, and the socket's beginning and end.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::bed::{Bed, policy, shop, snapshot};
use crate::cases::Outcome;

pub(crate) fn reload_local() -> Outcome {
    let bed = Bed::new(shop());
    let done = bed.ask("POST", "/-/reload", &[]);
    assert_eq!((done.status, done.json()), (200, serde_json::json!({"reloaded": true, "report": "2 policies"})));
    let refused = |headers: &[(&str, &str)]| {
        let reply = bed.ask("POST", "/-/reload", headers);
        assert_eq!((reply.status, reply.json()["error"].is_string()), (403, true), "{headers:?}");
    };
    refused(&[("Origin", "http://evil.example")]);
    refused(&[("Origin", "null")]);
    refused(&[("Host", "evil.example:5780")]);
    refused(&[("Host", "evil.example"), ("Origin", "http://evil.example")]);
    refused(&[("X-Forwarded-For", "10.0.0.1")]);
    Ok(())
}

pub(crate) fn reload_token() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("ops.token");
    std::fs::write(&file, "ada:0123456789abcdef\n")?;
    let bed = Bed::with_token_file(shop(), Some(file.clone()));
    let reload = |token: &str| bed.ask("POST", "/-/reload", &[("Authorization", token)]);
    let missing = bed.ask("POST", "/-/reload", &[]);
    assert!(missing.status == 401 && missing.head.contains("www-authenticate: bearer"), "{}", missing.head);
    assert_eq!(reload("Bearer 0123456789abcdee").status, 401);
    assert_eq!(reload("Bearer 0123456789abcdef").status, 200);
    assert_eq!(bed.get("/status").status, 200, "reading stays open");
    std::fs::write(&file, "fedcba9876543210\n")?;
    assert_eq!(reload("Bearer 0123456789abcdef").status, 401);
    assert_eq!(reload("bearer fedcba9876543210").status, 200);
    std::fs::remove_file(&file)?;
    let unreadable = reload("Bearer fedcba9876543210");
    assert_eq!(unreadable.status, 500);
    assert!(!unreadable.body.contains("ops.token"), "{}", unreadable.body);
    Ok(())
}

pub(crate) fn reload_fails() -> Outcome {
    let reply = Bed::new(snapshot(vec![policy("broken", Vec::new())])).ask("POST", "/-/reload", &[]);
    assert_eq!((reply.status, reply.json()), (422, serde_json::json!({"error": "broken.yaml:3: no"})));
    Ok(())
}

pub(crate) fn bad_token_file() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("ops.token");
    std::fs::write(&file, "ada:short\n")?;
    let error = bind_error(std::net::SocketAddr::from(([127, 0, 0, 1], 0)), Some(&file));
    assert!(error.contains("admin.token_file") && error.contains(":1: a token must have at least"), "{error}");
    assert!(
        bind_error(std::net::SocketAddr::from(([127, 0, 0, 1], 0)), Some(&folder.path().join("none")))
            .contains("cannot be read")
    );
    Ok(())
}

pub(crate) fn occupied_port() -> Outcome {
    let bed = Bed::new(shop());
    let error = bind_error(bed.address, None);
    assert!(error.contains("admin.listen") && error.contains(&bed.address.to_string()), "{error}");
    Ok(())
}

fn bind_error(listen: std::net::SocketAddr, token_file: Option<&Path>) -> String {
    let config = flyball::config::AdminConfig { listen, token_file: token_file.map(Into::into) };
    let (reload, _requests) = tokio::sync::mpsc::channel(1);
    let state = flyball::admin::AdminState {
        fleet: flyball::admin::FleetState::default(),
        monitor: flyball::monitor::board::Board::default(),
        published: Arc::new(flyball::controller::snapshot::Published::new(shop())),
        metrics: Default::default(),
        reload,
        clock: flyball::time::Clock::start(),
        version: "1",
        paths: Default::default(),
    };
    let error = flyball::admin::Admin::bind(&config, state).expect_err("no admin");
    let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    format!("{error}: {source}")
}

pub(crate) fn stop_drains() -> Outcome {
    let bed = Bed::new(shop());
    let mut idle = bed.connect();
    let mut half = bed.connect();
    half.write_all(b"GET /status HT")?;
    idle.write_all(format!("GET /livez HTTP/1.1\r\nHost: {}\r\n\r\n", bed.address).as_bytes())?;
    let mut first = [0; 12];
    idle.read_exact(&mut first)?;
    assert_eq!(&first, b"HTTP/1.1 200");
    let start = Instant::now();
    bed.stop();
    idle.read_to_end(&mut Vec::new())?;
    let _reset_or_end = half.read_to_end(&mut Vec::new());
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    while std::net::TcpStream::connect(bed.address).is_ok() {
        assert!(start.elapsed() < Duration::from_secs(5), "the port is still served");
    }
    Ok(())
}
