//! What the loop is told.

use std::time::Duration;

use flyball::fleet::grpc::GatewaySettings;
use flyball::keepalive::observation::{BindingClass, ObservationKind, Silence};
use flyball::keepalive::order::{DeviceCommand, DeviceOrder};
use flyball::proto::flyball_v1::probe_result::Outcome;
use flyball::proto::flyball_v1::{Hello, LostSession, ProbeResult, server_message};
use flyball_sdk::device::probe::{Cell, ProbeOrder, ProbeOutcome};
use libtest_mimic::Trial;
use tonic::Code;

use crate::peer::{Peer, Session, booted, device, hello, pace, settings, start, start_with};
use crate::trial;

/// Longer than `tell_silences_from`.
const LONG: Duration = Duration::from_millis(350);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_beat_after_a_long_silence_is_told_and_after_a_short_one_not", silences),
        trial("an_acked_push_confirms_the_silence_that_it_broke", confirmed_push),
        trial("an_ack_behind_a_beat_confirms_nothing", unconfirmed_push),
        trial("a_probe_order_rides_on_a_beats_answer_and_its_results_come_back", probe_round_trip),
        trial("a_session_that_was_reset_after_a_silence_is_an_expiry", lost_session),
        trial("a_device_that_says_nothing_is_absent_and_its_session_ends", absent),
    ]
}

/// The next silence; what else is seen is passed over.
async fn silence(peer: &mut Peer) -> Silence {
    loop {
        if let ObservationKind::Silence(silence) = peer.seen().await.kind {
            return silence;
        }
    }
}

async fn silences() {
    let mut peer = start();
    let mut session = peer.device(1, "a").await;
    session.order().await;
    session.beat(1).await;
    tokio::time::sleep(LONG).await;
    session.beat(2).await;
    let seen = silence(&mut peer).await;
    assert!(seen.silence >= LONG && seen.silence < LONG * 20, "{seen:?}");
    assert!(seen.gap >= seen.silence && !seen.has_moved && !seen.is_doubtful, "{seen:?}");
    assert_eq!((seen.device, seen.class), (device(1), BindingClass::Stream));
    assert!(peer.unseen().await.is_empty(), "one silence was long");
}

async fn confirmed_push() {
    let mut peer = start();
    let mut session = peer.device(1, "a").await;
    session.order().await;
    peer.seen().await;
    session.beat(1).await;
    tokio::time::sleep(LONG).await;
    peer.publish([pace(101, 60_000); 3]);
    session.order().await;
    let ObservationKind::Push { device: who, silence, is_confirmed } = peer.seen().await.kind else {
        panic!("a push");
    };
    assert_eq!((who, is_confirmed), (device(1), true));
    assert!(silence >= LONG, "{silence:?}");
}

async fn unconfirmed_push() {
    let mut peer = start();
    let mut session = peer.device(1, "a").await;
    session.order().await;
    session.beat(1).await;
    tokio::time::sleep(LONG).await;
    peer.publish([pace(101, 60_000); 3]);
    assert!(matches!(session.next().await, server_message::Kind::Order(_)));
    session.beat(2).await;
    session.ack(101).await;
    session.beat(3).await;
    let seen = peer.unseen().await;
    assert!(!seen.iter().any(|kind| matches!(kind, ObservationKind::Push { .. })), "{seen:?}");
}

async fn probe_round_trip() {
    let mut peer = start();
    let mut session = peer.device(1, "a").await;
    session.order().await;
    peer.seen().await;
    let order = ProbeOrder { first: Cell::new(1), flows: 2, step: 0 };
    let ordered = DeviceOrder::Probe { order, class: BindingClass::Stream };
    let command = DeviceCommand { device: device(1), cohort: peer.cohort("a"), order: ordered, is_urgent: false };
    peer.commands.send(vec![command]).await.expect("the door runs");
    assert!(session.is_quiet().await, "it breaks no silence");
    let others = session.beat(1).await;
    let server_message::Kind::ProbeOrder(told) = (match others.into_iter().next() {
        Some(told) => told,
        None => session.next().await,
    }) else {
        panic!("an order to probe");
    };
    assert_eq!(told.silences_ms, [503, 506], "502.5 and 505.01: no less than the cells");
    let result = |flow, outcome: Outcome| ProbeResult { id: told.id, flow, outcome: outcome.into(), controls: 3 };
    session.result(result(0, Outcome::Survived)).await; // too soon
    tokio::time::sleep(Duration::from_millis(600)).await;
    for told in [result(0, Outcome::Expired), result(0, Outcome::Expired), result(2, Outcome::Survived)] {
        session.result(told).await;
    }
    session.beat(2).await;
    let probes = |kinds: Vec<ObservationKind>| kinds.into_iter().filter(|k| matches!(k, ObservationKind::Probe(_)));
    let seen: Vec<_> = probes(peer.unseen().await).collect();
    let [ObservationKind::Probe(probe)] = seen[..] else { panic!("one probe: {seen:?}") };
    assert_eq!((probe.device, probe.outcome, probe.controls), (device(1), ProbeOutcome::Expired, 3));
    assert_eq!(probe.silence, Cell::new(1).silence());
    assert_eq!(peer.handle.counts().probes_ignored.get(), 3);
}

/// What is told when the device comes again, after a session that it lost like this.
async fn told_after(boot: u32, is_reset: Option<bool>) -> Vec<ObservationKind> {
    let mut peer = start();
    let mut before = peer.device(1, "a").await;
    before.order().await;
    before.beat(1).await;
    peer.seen().await;
    tokio::time::sleep(LONG).await;
    let lost = is_reset.map(|is_reset| LostSession { silence_ms: 340, is_reset });
    let channel = peer.channel().await;
    let again = Hello { lost, ..booted(hello(device(1), "a"), boot) };
    Session::open(&channel, again).await.expect("a session").order().await;
    peer.unseen().await
}

async fn lost_session() {
    let seen = told_after(1, Some(true)).await;
    let [ObservationKind::Silence(silence)] = seen[..] else { panic!("a silence: {seen:?}") };
    assert_eq!(silence.silence, Duration::from_millis(340));
    assert!(silence.gap >= LONG && silence.has_moved && silence.is_same_address && !silence.is_doubtful);
    let seen = told_after(1, Some(false)).await;
    assert!(matches!(seen[..], [ObservationKind::Silence(Silence { is_doubtful: true, .. })]), "{seen:?}");
    assert_eq!(told_after(1, None).await, [], "it ended the session itself");
    assert_eq!(told_after(2, Some(true)).await, [], "it was off");
}

async fn absent() {
    let mut peer = start_with(GatewaySettings { patience: Duration::from_millis(300), ..settings() });
    peer.publish([pace(101, 200); 3]);
    let mut session = peer.device(1, "a").await;
    session.order().await;
    assert!(matches!(peer.seen().await.kind, ObservationKind::Present { .. }));
    assert_eq!(session.end().await.expect("ended").code(), Code::DeadlineExceeded);
    assert_eq!(peer.seen().await.kind, ObservationKind::Absent { device: device(1) });
    peer.device(1, "a").await.order().await;
    assert!(matches!(peer.seen().await.kind, ObservationKind::Present { .. }), "and it is here again");
}
