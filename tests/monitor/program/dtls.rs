//! Keys `dtls12:LEN` and `dtls13:LEN`: connection ids of DTLS.
//!
//! 1.2 is spoken by pion, a library that people run, in processes of its own behind the lab's NAT. For 1.3 no library with
//! connection ids was found that can be had from a registry; its records are laid out here by RFC 9147, 4.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use flyball::lab::{Lab, Namespace, Nat, SERVER};
use libtest_mimic::{Completion, Failed, Trial};

use super::bed::Bed;
use super::watch::{Event, Watch, settings};
use crate::support::child::Reaped;
use crate::support::lab::trial;
use crate::support::peers::is_strict;

/// A process on a busy machine starts in tenths of a second.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// Bindings end when the NAT is told to forget them.
const LONG: Duration = Duration::from_secs(60);

pub(super) fn trials() -> Vec<Trial> {
    let pion = Trial::ignorable_test("dtls12::pion_is_followed_through_a_rebinding", || match missing() {
        None => pion().map(|()| Completion::Completed),
        Some(reason) if is_strict() => Err(Failed::from(reason)),
        Some(reason) => Ok(Completion::ignored_with(reason)),
    });
    vec![pion, trial("dtls13::a_record_with_an_id_is_followed", dtls13)]
}

/// Where `tests/conformance/install.sh` puts the peer.
fn peer() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("conformance").join("dtls/client")
}

fn missing() -> Option<String> {
    let is_there = peer().is_file();
    if is_there {
        Lab::missing()
    } else {
        Some("dtls is not installed: run `tests/conformance/install.sh dtls`".into())
    }
}

/// A process of the peer. Ended when dropped.
struct Process {
    _child: Reaped,
    stdin: ChildStdin,
    stdout: Receiver<String>,
}

impl Process {
    fn start(namespace: &Namespace, arguments: &[&str]) -> Result<Self, Failed> {
        let mut command = Command::new(peer());
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = namespace.spawn(&mut command)?;
        let stdin = child.stdin.take().ok_or("no stdin")?;
        let lines = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
        let (sender, stdout) = channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Ok(Self { _child: Reaped(child), stdin, stdout })
    }

    fn line(&self) -> Result<String, Failed> {
        Ok(self.stdout.recv_timeout(ANSWER_MAX).map_err(|error| format!("the peer is silent: {error}"))?)
    }

    /// Sends a message, which must come back.
    fn echo(&mut self, message: &str) -> Result<(), Failed> {
        writeln!(self.stdin, "{message}")?;
        let answer = self.line()?;
        if answer == message { Ok(()) } else { Err(format!("{message} came back as {answer}").into()) }
    }
}

/// Behind a NAT with random ports, which forgets; the server knows its clients by their ids, and so does the program.
fn pion() -> Result<(), Failed> {
    let lab = Lab::start()?;
    let carrier = lab.carrier(&Nat::random_ports(LONG))?;
    let devices = [lab.device(&carrier)?, lab.device(&carrier)?];
    let server = Process::start(lab.server(), &["server", &format!("{SERVER}:0"), "666c7962616c6c"])?;
    let listening = server.line()?;
    let port = listening.strip_prefix("listening ").ok_or_else(|| format!("the server said {listening}"))?;
    let mut watch = Watch::attach(&settings("dtls12:8", &[port.parse()?]), lab.server())?;
    for device in &devices {
        let mut client = Process::start(device.namespace(), &["client", &format!("{SERVER}:{port}")])?;
        assert_eq!(client.line()?, "connected");
        client.echo("before")?;
        carrier.reboot()?;
        client.echo("after")?;
        client.echo("and on")?;
        let told = watch.events();
        let [new, rebinding] = told.as_slice() else { return Err(format!("{told:?}").into()) };
        assert!(new.device.starts_with(b"flyball") && new.device[8..] == [0; 8], "{new:?}");
        assert_eq!(*new, Event::new("new", new.device, new.from, new.from));
        assert_ne!(rebinding.to.port(), new.from.port());
        assert_eq!(*rebinding, Event::new("rebinding", new.device, new.from, rebinding.to));
    }
    let counts = watch.counts()?;
    assert_eq!((counts.new_devices, counts.rebindings, counts.migrations), (2, 2, 0), "another id, another device");
    assert!(counts.to >= 6, "echoes are seen going out: {}", counts.to);
    Ok(())
}

/// A record of the unified header: 001, id, 16-bit sequence, length, epoch 3; then `id` and a body that nobody can read.
fn record(id: &[u8]) -> Vec<u8> {
    [&[0b0011_1111][..], id, &[0, 1, 0, 24], &[0xee; 24]].concat()
}

fn dtls13() -> Result<(), Failed> {
    let mut bed = Bed::new("dtls13:8")?;
    let (socket, other) = (bed.device.udp()?, bed.device.udp()?);
    let handshake = [&[22, 0xfe, 0xfd][..], &[0; 60]].concat();
    let without_id = [&[0b0010_1111][..], &[0; 60]].concat();
    bed.send(&socket, &handshake)?;
    bed.send(&socket, &without_id)?;
    bed.send(&socket, &record(b"conn-id1")[..25])?;
    assert_eq!(bed.watch.events(), []);
    let first = bed.send(&socket, &record(b"conn-id1"))?;
    bed.push(first, &socket, &record(b""))?;
    let second = bed.send(&other, &record(b"conn-id1"))?;
    let third = bed.send(&other, &record(b"conn-id2"))?;
    let id = |number| [b"conn-id".as_slice(), &[number], &[0; 8]].concat().try_into().expect("16");
    let events = [
        Event::new("new", id(b'1'), first, first),
        Event::new("rebinding", id(b'1'), first, second),
        Event::new("new", id(b'2'), third, third),
    ];
    assert_eq!(bed.watch.events(), events);
    Ok(())
}
