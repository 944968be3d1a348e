//! Flyball's front door on free ports of the loopback, with a snapshot that the test writes.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flyball::config::ServeConfig;
use flyball::controller::answer::Strategy;
use flyball::controller::snapshot::{Published, Snapshot};
use flyball::sampling::probability::Probability;
use flyball::serve::{LocalAddrs, Server};
use flyball::telemetry::metrics::Metrics;
use flyball::time::WallTime;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A running server; it drains when this is dropped.
pub(crate) struct World {
    pub(crate) addresses: LocalAddrs,
    published: Arc<Published>,
    generation: AtomicU64,
    _until_dropped: DropGuard,
}

impl World {
    /// Listens, and knows no service.
    pub(crate) fn start(runtime: &Runtime) -> Self {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let config =
            ServeConfig { http: any_port, grpc: vec![any_port], connections_max: 64, streams_per_connection_max: 8 };
        let published = Arc::new(Published::new(Snapshot::empty(1, WallTime::from_unix_ms(1))));
        let (usage, _) = mpsc::channel(1);
        let shutdown = CancellationToken::new();
        let _inside = runtime.enter();
        let server = Server::bind(&config, Arc::clone(&published), Metrics::default(), usage).expect("free ports");
        let addresses = server.local_addrs();
        runtime.spawn(server.run(shutdown.clone()));
        Self { addresses, published, generation: AtomicU64::new(1), _until_dropped: shutdown.drop_guard() }
    }

    /// From now on this one service is known.
    pub(crate) fn publish(&self, service: &str, probability: f64, operations: &[(&str, f64)]) {
        let valid = |p: f64| Probability::new(p).expect("the test's own probability");
        let operations = operations.iter().map(|(name, p)| ((*name).into(), valid(*p))).collect();
        let strategy = Strategy { operations, ..Strategy::uniform(valid(probability)) };
        self.published.publish(self.next().with_answers([(service.into(), strategy)]));
    }

    /// From now on no service is known.
    pub(crate) fn publish_nothing(&self) {
        self.published.publish(self.next());
    }

    fn next(&self) -> Snapshot {
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        Snapshot::empty(generation, WallTime::from_unix_ms(1))
    }
}
