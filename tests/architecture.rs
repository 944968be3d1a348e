//! The house's rules that a compiler does not check.

use std::fs;
use std::path::{Path, PathBuf};

/// Rooms without I/O, clocks, runtimes, logging or metrics.
const PURE_ROOMS: [&str; 4] = ["src/keepalive", "src/plot", "src/sampling", "src/simulate"];

/// What a pure room must not name. `Duration` and `std::net` addresses are values; sockets and clocks are not.
const IMPURE: [&str; 21] = [
    "std::fs",
    "std::io",
    "std::env",
    "std::process",
    "std::thread",
    "std::sync::mpsc",
    "Instant",
    "SystemTime",
    "TcpStream",
    "UdpSocket",
    "tokio",
    "hyper",
    "axum",
    "tonic",
    "reqwest",
    "tracing::",
    "prometheus_client",
    "println!",
    "eprintln!",
    "static mut",
    "async fn",
];

/// A pure room uses only itself and these.
const PURE_USES: [&str; 5] = ["crate::keepalive", "crate::plot", "crate::sampling", "crate::simulate", "crate::time"];

/// A room may not know the rooms that come after it on the way: sources and sinks meet only through the controller.
const FORBIDDEN: [(&str, &[&str]); 6] = [
    (
        "src/monitor",
        &["crate::controller", "crate::serve", "crate::admin", "crate::cli", "crate::source", "crate::config"],
    ),
    ("src/source", &["crate::controller", "crate::serve", "crate::admin", "crate::cli", "crate::config::load"]),
    ("src/serve", &["crate::source", "crate::sampling::governor", "crate::admin", "crate::cli", "crate::policy"]),
    ("src/admin", &["crate::source", "crate::sampling::governor", "crate::serve", "crate::cli", "crate::policy"]),
    ("src/scenario", &["crate::source", "crate::controller", "crate::serve", "crate::admin", "crate::cli"]),
    ("src/policy", &["crate::controller", "crate::serve", "crate::admin", "crate::cli"]),
];

fn rust_files(room: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(room).expect("the room exists") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files
}

/// Lines of code with their numbers: comments left out, and the file's own tests too.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(path).expect("readable source");
    let code = text.lines().enumerate().take_while(|(_, line)| line.trim() != "#[cfg(test)]");
    code.filter(|(_, line)| !line.trim_start().starts_with("//")).map(|(i, line)| (i + 1, line.to_owned())).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn pure_rooms_import_no_io() {
    let mut found = Vec::new();
    for file in PURE_ROOMS.iter().flat_map(|room| rust_files(&root().join(room))) {
        for (number, line) in code(&file) {
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                found.push(format!("{}:{number}: `{word}`", file.display()));
            }
            let foreign = line.contains("crate::") && !PURE_USES.iter().any(|own| line.contains(own));
            if foreign {
                found.push(format!("{}:{number}: {}", file.display(), line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "pure rooms reach out:\n{}", found.join("\n"));
}

#[test]
fn rooms_know_only_what_comes_before_them() {
    let mut found = Vec::new();
    for (room, words) in FORBIDDEN {
        for file in rust_files(&root().join(room)) {
            for (number, line) in code(&file) {
                for word in words.iter().filter(|word| line.contains(**word)) {
                    found.push(format!("{}:{number}: `{word}`", file.display()));
                }
            }
        }
    }
    assert!(found.is_empty(), "the way through the house is one way:\n{}", found.join("\n"));
}

#[test]
fn unsafe_code_is_only_where_it_is_allowed() {
    let allowed = ["src/fleet/sys.rs", "src/monitor/mirror.rs", "src/monitor/sys.rs"];
    let mut found = Vec::new();
    for file in rust_files(&root().join("src")) {
        let is_allowed = allowed.iter().any(|a| file.ends_with(a));
        let lines = code(&file).into_iter().filter(|(_, line)| line.contains("unsafe ") || line.contains("unsafe{"));
        found.extend(lines.filter(|_| !is_allowed).map(|(n, _)| format!("{}:{n}", file.display())));
    }
    assert!(found.is_empty(), "unsafe code outside its room:\n{}", found.join("\n"));
}
