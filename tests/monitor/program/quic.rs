//! Key `quic:LEN[,prefix:M]`: quinn, a library that people run, behind the lab's NAT. Its server issues connection ids that
//! begin with the device; the bit that all QUIC packets had in common is greased (RFC 9287), as it does by itself.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use flyball::lab::{Carrier, Device, Lab, Nat};
use libtest_mimic::{Failed, Trial};
use quinn::rustls::RootCertStore;
use quinn::rustls::pki_types::PrivatePkcs8KeyDer;
use quinn::{
    ClientConfig, Connection, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, ServerConfig, TokioRuntime,
};
use rand::RngExt;
use tokio::runtime::Runtime;

use super::watch::{Event, Watch, chain, settings};
use crate::support::child::wait_for;
use crate::support::lab::trial;

const NAME: &str = "gateway.test";
/// What the server's ids begin with.
const DEVICE: [u8; 4] = *b"dev1";
const ID_BYTES: usize = 8;
/// Whole seconds are what the NAT can keep.
const BINDING: Duration = Duration::from_secs(1);
/// Longer than the binding; bindings end within a tenth of a second.
const SILENCE: Duration = Duration::from_millis(1_500);
/// Bindings of a trial that is not about expiry.
const LONG: Duration = Duration::from_secs(60);
/// An acknowledgement is sent at most 25 ms late (RFC 9000, 18.2); a busy machine, and a clock of 10 ms, add to it.
const LATE: Duration = Duration::from_millis(150);
/// A busy machine is no failure.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn trials() -> Vec<Trial> {
    let with_prefix = "quic:8,prefix:4";
    vec![
        trial("quic::an_expired_binding_is_a_rebinding", move || expiry(with_prefix)),
        trial("quic::an_expired_binding_is_a_rebinding_without_a_prefix_too", || expiry("quic:8")),
        trial("quic::an_endpoint_that_rebinds_is_a_migration", migration),
        trial("quic::without_a_prefix_a_migration_is_a_new_device", migration_without_prefix),
    ]
}

/// The device's id, then chance.
#[derive(Debug)]
struct Prefixed;

impl ConnectionIdGenerator for Prefixed {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id: [u8; ID_BYTES] = rand::rng().random();
        id[..DEVICE.len()].copy_from_slice(&DEVICE);
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// A connection from the device to a server that echoes.
struct Bed {
    // Before the lab, whose interfaces it is attached to.
    watch: Watch,
    connection: Connection,
    client: Endpoint,
    _server: Endpoint,
    device: Device,
    _carrier: Carrier,
    _lab: Lab,
    runtime: Runtime,
}

impl Bed {
    fn new(nat: &Nat, key: &str) -> Result<Self, Failed> {
        let lab = Lab::start()?;
        let carrier = lab.carrier(nat)?;
        let device = lab.device(&carrier)?;
        let (listening, calling) = (lab.server_udp()?, device.udp()?);
        let address = listening.local_addr()?;
        let watch = Watch::attach(&settings(key, &[address.port()]), lab.server())?;
        let runtime = Runtime::new()?;
        let (server, client, connection) = runtime.block_on(connect(listening, calling, address))?;
        Ok(Self { watch, connection, client, _server: server, device, _carrier: carrier, _lab: lab, runtime })
    }

    /// A message there and back.
    fn echo(&self, message: &'static [u8]) -> Result<(), Failed> {
        let exchange = async {
            let (mut send, mut receive) = self.connection.open_bi().await.map_err(chain)?;
            send.write_all(message).await.map_err(chain)?;
            send.finish().map_err(chain)?;
            receive.read_to_end(message.len()).await.map_err(chain)
        };
        let answer = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, exchange).await })??;
        if answer == message { Ok(()) } else { Err("another message came back".into()) }
    }

    /// Exactly two records, of the first packet and of the move; both name the device.
    fn two_events(&mut self, what: &'static str) -> Result<[flyball::monitor::mirror::Record; 2], Failed> {
        let records = self.watch.records();
        let told: Vec<Event> = records.iter().map(Event::from).collect();
        let [new, moved] = told.as_slice() else { return Err(format!("{told:?}").into()) };
        assert_eq!((new.what, moved.what, moved.from), ("new", what, new.to), "{told:?}");
        assert!(told.iter().all(|event| event.device.starts_with(&DEVICE)), "{told:?}");
        assert_ne!(moved.from.port(), moved.to.port());
        Ok([records[0], records[1]])
    }
}

async fn connect(
    listening: UdpSocket,
    calling: UdpSocket,
    address: SocketAddr,
) -> Result<(Endpoint, Endpoint, Connection), Failed> {
    let certified = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    let certificate = certified.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let serving = ServerConfig::with_single_cert(vec![certificate.clone()], key.into())?;
    let mut issuing = EndpointConfig::default();
    issuing.cid_generator(|| Box::new(Prefixed));
    let server = Endpoint::new(issuing, Some(serving), listening, Arc::new(TokioRuntime))?;
    tokio::spawn(echo(server.clone()));

    let client = Endpoint::new(EndpointConfig::default(), None, calling, Arc::new(TokioRuntime))?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let trusting = ClientConfig::with_root_certificates(Arc::new(roots))?;
    let connection = client.connect_with(trusting, address, NAME)?.await.map_err(chain)?;
    Ok((server, client, connection))
}

async fn echo(server: Endpoint) -> Option<()> {
    let connection = server.accept().await?.await.ok()?;
    loop {
        let (mut send, mut receive) = connection.accept_bi().await.ok()?;
        let message = receive.read_to_end(1_000).await.ok()?;
        send.write_all(&message).await.ok()?;
        send.finish().ok()?;
    }
}

/// quinn's client does not know that it moved, and keeps its id.
fn expiry(key: &str) -> Result<(), Failed> {
    let mut bed = Bed::new(&Nat::random_ports(BINDING), key)?;
    bed.echo(b"before")?;
    let quiet = Instant::now();
    std::thread::sleep(SILENCE);
    bed.echo(b"after")?;
    let silent_at_most = quiet.elapsed();
    bed.echo(b"and on")?;
    let [new, moved] = bed.two_events("rebinding")?;
    assert_eq!(moved.device, new.device);
    let gap = Duration::from_nanos(moved.gap);
    assert!(gap + LATE >= SILENCE && gap <= silent_at_most + LATE, "{gap:?}");
    assert_eq!(bed.watch.counts()?.rebindings, 1);
    Ok(())
}

/// quinn's `rebind` takes another of the server's ids (RFC 9000, 9.5).
fn migrate(key: &str) -> Result<Bed, Failed> {
    let bed = Bed::new(&Nat::preserved_ports(LONG), key)?;
    bed.echo(b"before")?;
    // Without one to spare it keeps the one that it has.
    wait_for("another id of the server's", PATIENCE, || {
        (bed.connection.stats().frame_rx.new_connection_id > 0).then_some(())
    });
    let elsewhere = bed.device.udp()?;
    bed.runtime.block_on(async { bed.client.rebind(elsewhere) })?;
    bed.echo(b"after")?;
    bed.echo(b"and on")?;
    Ok(bed)
}

fn migration() -> Result<(), Failed> {
    let mut bed = migrate("quic:8,prefix:4")?;
    let [new, moved] = bed.two_events("migration")?;
    let only_the_prefix = [&DEVICE[..], &[0; 12]].concat();
    assert_eq!([new.device, moved.device].map(Vec::from), [only_the_prefix.clone(), only_the_prefix]);
    let counts = bed.watch.counts()?;
    assert_eq!((counts.migrations, counts.rebindings, counts.new_devices), (1, 0, 1));
    assert!(counts.to > 0);
    Ok(())
}

/// By design nobody can tell that both are one (RFC 9000, 9.5).
fn migration_without_prefix() -> Result<(), Failed> {
    let mut bed = migrate("quic:8")?;
    let told = bed.watch.events();
    let [first, second] = told.as_slice() else { return Err(format!("{told:?}").into()) };
    assert_eq!((first.what, second.what), ("new", "new"));
    assert_ne!((first.device, first.to), (second.device, second.to));
    Ok(())
}
