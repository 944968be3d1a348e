//! Our own device against the door.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use flyball_sdk::device::grpc::{Event, GrpcSettings, SessionError, run};
use flyball_sdk::device::jitter::Pace;
use flyball_sdk::device::machine::Bounds;
use libtest_mimic::Trial;
use socket2::SockRef;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::peer::{KEY_ID, SOON, device, key, pace, start};
use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_device_takes_orders_within_its_bounds_and_beats_at_them", beats),
        trial("a_device_keeps_its_order_and_comes_again_when_its_server_does", comes_again),
        trial("a_device_that_is_refused_says_why_and_tries_again", refused),
        trial("a_dead_connection_is_found_by_the_beat_and_told_in_the_next_hello", dead_connection),
    ]
}

struct Running {
    events: mpsc::UnboundedReceiver<Event>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn settings(server: SocketAddr) -> GrpcSettings {
    GrpcSettings {
        endpoint: format!("http://{server}").parse().expect("a URL"),
        device: device(1),
        key_id: KEY_ID,
        key: key(device(1)),
        boot: 1,
        labels: BTreeMap::from([("carrier".to_owned(), "a".to_owned()), ("region".to_owned(), "eu".to_owned())]),
        bounds: Bounds::new(Duration::from_millis(200), Duration::from_secs(60)).expect("sound"),
        order: None,
    }
}

fn running(settings: GrpcSettings) -> Running {
    let (sender, events) = mpsc::unbounded_channel();
    let task = tokio::spawn(async move { match run(settings, move |event| drop(sender.send(event))).await {} });
    Running { events, task }
}

impl Running {
    async fn next<T>(&mut self, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
        let looking = async {
            loop {
                if let Some(found) = wanted(self.events.recv().await.expect("it runs")) {
                    return found;
                }
            }
        };
        tokio::time::timeout(SOON, looking).await.expect("soon")
    }

    async fn order(&mut self) -> (Pace, Pace) {
        self.next(|event| if let Event::Order { told, taken } = event { Some((told, taken)) } else { None }).await
    }

    async fn answered(&mut self) -> Duration {
        self.next(|event| if let Event::Answered { silence, .. } = event { Some(silence) } else { None }).await
    }

    async fn ended(&mut self) -> SessionError {
        self.next(|event| if let Event::Ended { error, .. } = event { Some(error) } else { None }).await
    }
}

async fn beats() {
    let peer = start();
    let mut device = running(settings(peer.address));
    let (told, taken) = device.order().await;
    assert_eq!(told.interval, Duration::from_secs(80));
    assert!(taken.longest() <= Duration::from_secs(60), "{taken:?}");
    peer.publish([pace(101, 200); 3]);
    assert_eq!(device.order().await.1.interval, Duration::from_millis(200));
    for _ in 0..3 {
        let silence = device.answered().await;
        assert!(silence >= Duration::from_millis(199) && silence < Duration::from_secs(5), "{silence:?}");
    }
}

async fn comes_again() {
    let peer = start();
    let mut device = running(settings(peer.address));
    device.order().await;
    drop(peer.shutdown);
    assert!(matches!(device.ended().await, SessionError::Broke(status) if status.code() == tonic::Code::Unavailable));
    peer.running.await.expect("the door ends");
    assert!(matches!(device.ended().await, SessionError::Connect(_)));
}

async fn refused() {
    let peer = start();
    let mut device = running(GrpcSettings { key_id: 99, ..settings(peer.address) });
    for _ in 0..2 {
        assert!(matches!(device.ended().await, SessionError::Refused(s) if s.code() == tonic::Code::Unauthenticated));
    }
}

/// A NAT that forgets: what it passed before it drops, or answers with a reset.
async fn relay(server: SocketAddr, is_reset: bool) -> (SocketAddr, tokio::sync::watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (address, (forget, forgotten)) = (listener.local_addr().expect("bound"), tokio::sync::watch::channel(false));
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut device, _)) = listener.accept().await {
            let mut to_server = tokio::net::TcpStream::connect(server).await.expect("the door listens");
            let mut forgotten = forgotten.clone();
            held.push(tokio::spawn(async move {
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut device, &mut to_server) => return,
                    _ = forgotten.wait_for(|is_so| *is_so) => {}
                }
                if is_reset {
                    SockRef::from(&device).set_linger(Some(Duration::ZERO)).expect("an option");
                    device.readable().await.expect("a beat");
                    drop(device);
                }
                // The server hears nothing of it.
                std::future::pending::<()>().await;
            }));
        }
    });
    (address, forget)
}

async fn dead_connection() {
    for is_reset in [true, false] {
        let mut peer = start();
        let fast = Pace { retry: 10, ..pace(101, 1_000) };
        peer.publish([fast; 3]);
        let (address, forget) = relay(peer.address, is_reset).await;
        let mut device = running(settings(address));
        device.order().await;
        device.answered().await;
        peer.unseen().await;
        forget.send_replace(true);
        let error = device.ended().await;
        assert_eq!(matches!(error, SessionError::Unanswered(_)), !is_reset, "{error:?}");
        forget.send_replace(false);
        let silence = loop {
            if let flyball::keepalive::observation::ObservationKind::Silence(silence) = peer.seen().await.kind
                && silence.has_moved
            {
                break silence;
            }
        };
        assert!(silence.silence >= Duration::from_millis(900), "{silence:?}");
        assert_eq!(silence.is_doubtful, !is_reset, "{silence:?}");
    }
}
