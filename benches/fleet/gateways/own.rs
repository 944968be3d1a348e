//! What does a session cost the SDK's own device? Many of them in this process, by its resident set.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flyball_sdk::device::grpc::{Event, GrpcSettings, run};
use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::key::{MacKey, derive};
use flyball_sdk::device::machine::Bounds;

use super::server::Server;
use crate::fleet::MASTER;
use crate::{thread, verdict};

const DEVICES: usize = 2_000;
const BYTES_MAX: f64 = 32_000.0;
/// Devices that connect at a time.
const CONNECTING: usize = 100;
const POLL: Duration = Duration::from_millis(10);

/// Whether it is within the budget.
pub(super) fn row() -> bool {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let bytes = runtime.block_on(async {
        let ordered = Arc::<AtomicUsize>::default();
        // The first brings what all share.
        begin(&server, 0..1, &ordered).await;
        let before = thread::resident_bytes();
        for first in (1..=DEVICES).step_by(CONNECTING) {
            begin(&server, first..first + CONNECTING, &ordered).await;
        }
        thread::resident_bytes().saturating_sub(before) as f64 / DEVICES as f64
    });
    let is_within = bytes <= BYTES_MAX;
    println!("{:<24} {:>8.1}{}", "the SDK's own device", bytes / 1e3, verdict(is_within));
    is_within
}

/// Starts devices, and waits until each was told its order.
async fn begin(server: &Server, numbers: std::ops::Range<usize>, ordered: &Arc<AtomicUsize>) {
    let end = numbers.end;
    for number in numbers {
        let device = DeviceId((number as u128 + 1).to_be_bytes());
        let settings = GrpcSettings {
            endpoint: format!("http://{}", server.address).parse().expect("a URL"),
            device,
            key_id: 1,
            key: MacKey::new(&derive(&MASTER, 1, device)),
            boot: 1,
            labels: [("carrier".to_owned(), "a".to_owned())].into(),
            bounds: Bounds::new(Duration::from_secs(15), Duration::from_secs(1_800)).expect("sound"),
            order: None,
        };
        let ordered = Arc::clone(ordered);
        let count =
            move |event| _ = matches!(event, Event::Order { .. }).then(|| ordered.fetch_add(1, Ordering::Relaxed));
        tokio::spawn(async move { match run(settings, count).await {} });
    }
    while ordered.load(Ordering::Relaxed) < end {
        tokio::time::sleep(POLL).await;
    }
}
