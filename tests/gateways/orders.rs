//! Orders out, acks in.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use flyball::fleet::grpc::GatewaySettings;
use flyball::keepalive::order::{DeviceCommand, DeviceOrder};
use flyball::proto::flyball_v1::{Hello, Order, server_message};
use libtest_mimic::Trial;

use crate::peer::{Peer, SOON, Session, device, hello, pace, settings, start, start_with};
use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_change_goes_to_the_cohort_that_it_concerns_and_to_no_other", only_its_cohort),
        trial("a_reader_that_says_nothing_is_sent_one_order_and_then_the_newest", slow_reader),
        trial("a_late_ack_rolls_nothing_back", late_ack),
        trial("a_device_has_its_own_pace_until_it_has_the_cohorts_again", own_pace),
        trial("an_order_older_than_the_one_in_force_is_told_as_a_newer_one", lifted),
        trial("an_own_pace_outlives_a_session", own_pace_stays),
        trial("a_device_follows_its_labels_into_another_cohort_after_a_reload", resettled),
        trial("before_the_first_decision_on_its_cohort_a_device_keeps_what_it_has", undecided),
        trial("pushes_are_paced_and_shorter_ones_go_first", paced),
    ]
}

fn told(order: &Order) -> (u64, u32) {
    (order.generation, order.interval_ms)
}

async fn only_its_cohort() {
    let peer = start();
    let [mut a, mut b] = [peer.device(1, "a").await, peer.device(2, "b").await];
    assert_eq!([told(&a.order().await), told(&b.order().await)], [(100, 80_000); 2]);
    peer.publish([pace(100, 80_000), pace(101, 60_000), pace(100, 80_000)]);
    assert_eq!(told(&a.order().await), (101, 60_000));
    assert!(b.is_quiet().await);
}

async fn slow_reader() {
    let peer = start();
    let mut session = peer.device(1, "a").await;
    assert!(matches!(session.next().await, server_message::Kind::Order(order) if order.generation == 100));
    for generation in 101..=200 {
        peer.publish([pace(generation, 1_000 * generation); 3]);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(session.is_quiet().await, "the first is not acked");
    session.ack(100).await;
    assert_eq!(told(&session.order().await), (200, 200_000));
    assert!(session.is_quiet().await);
}

async fn late_ack() {
    let peer = start();
    let mut session = peer.device(1, "a").await;
    session.order().await;
    peer.publish([pace(101, 60_000); 3]);
    assert_eq!(session.order().await.generation, 101);
    for ignored in [100, 0, 102, u64::MAX] {
        session.ack(ignored).await;
    }
    session.beat(1).await;
    assert_eq!(peer.handle.counts().acks_ignored.get(), 4);
    assert!(session.is_quiet().await, "it is still told what it has");
    peer.publish([pace(102, 70_000); 3]);
    assert_eq!(session.order().await.generation, 102);
}

async fn command(peer: &Peer, order: DeviceOrder) {
    let command = DeviceCommand { device: device(1), cohort: peer.cohort("a"), order, is_urgent: false };
    peer.commands.send(vec![command]).await.expect("the door runs");
}

async fn own_pace() {
    let peer = start();
    let [mut own, mut other] = [peer.device(1, "a").await, peer.device(2, "a").await];
    own.order().await;
    other.order().await;
    command(&peer, DeviceOrder::Own(pace(150, 30_000))).await;
    assert_eq!(told(&own.order().await), (150, 30_000));
    peer.publish([pace(160, 60_000); 3]);
    assert_eq!(told(&other.order().await), (160, 60_000));
    assert!(own.is_quiet().await, "its own counts");
    command(&peer, DeviceOrder::Cohort).await;
    assert_eq!(told(&own.order().await), (160, 60_000));
    assert!(other.is_quiet().await);
}

async fn lifted() {
    let peer = start();
    let mut session = peer.device(1, "a").await;
    session.order().await;
    command(&peer, DeviceOrder::Own(pace(150, 30_000))).await;
    assert_eq!(told(&session.order().await), (150, 30_000));
    command(&peer, DeviceOrder::Cohort).await;
    assert_eq!(told(&session.order().await), (151, 80_000), "the cohort's order is of generation 100");
    drop(session);
    let mut from_elsewhere = hello(device(2), "a");
    from_elsewhere.generation = 400;
    let channel = peer.channel().await;
    let mut session = Session::open(&channel, from_elsewhere).await.expect("a session");
    assert_eq!(told(&session.order().await), (401, 80_000));
    let mut same = hello(device(3), "a");
    same.generation = 100;
    let mut session = Session::open(&channel, same).await.expect("a session");
    assert_eq!(told(&session.order().await), (100, 80_000), "what it has is not told as a change");
}

async fn own_pace_stays() {
    let peer = start();
    let mut session = peer.device(1, "a").await;
    session.order().await;
    command(&peer, DeviceOrder::Own(pace(150, 30_000))).await;
    session.order().await;
    drop(session);
    assert_eq!(told(&peer.device(1, "a").await.order().await), (150, 30_000));
    assert_eq!(told(&peer.device(1, "b").await.order().await), (100, 80_000), "it was the other cohort's");
}

async fn resettled() {
    use flyball::keepalive::policy::{Fleet, Fleets};
    let mut peer = start();
    let mut session = peer.device(1, "a").await;
    session.order().await;
    let mut fleet = Fleet::named("gateways");
    fleet.cohort_by = vec!["region".into()];
    peer.cohorts.set_fleets(std::sync::Arc::new(Fleets { fleets: vec![std::sync::Arc::new(fleet)] }));
    peer.handle.resettle();
    peer.seen().await;
    let moved = peer.seen().await;
    assert_eq!(moved.cohort, peer.cohort("a"));
    assert_eq!(moved.cohort.0, 3, "one more cohort");
    let mut orders = (*peer.orders.load_full()).clone();
    let mut order = (*orders.cohorts[0]).clone();
    order.pace = pace(170, 20_000);
    orders.cohorts.push(std::sync::Arc::new(order));
    peer.orders.store(std::sync::Arc::new(orders));
    peer.changed.send_replace(170);
    assert_eq!(told(&session.order().await), (170, 20_000));
}

async fn undecided() {
    let mut peer = start();
    let came_again = Hello { generation: 90, ..hello(device(1), "c") };
    let channel = peer.channel().await;
    let mut session = Session::open(&channel, came_again).await.expect("a session");
    assert_eq!(peer.seen().await.cohort.0, 3, "one more cohort");
    for sequence in 1..=2 {
        assert_eq!(session.beat(sequence).await, [], "it is answered, and not told what unknown devices have");
    }
    peer.publish([pace(100, 80_000), pace(100, 80_000), pace(100, 80_000), pace(103, 50_000)]);
    assert_eq!(told(&session.order().await), (103, 50_000));
    let mut next = peer.device(2, "c").await;
    assert_eq!(told(&next.order().await), (103, 50_000), "who comes later is told at once");
}

async fn paced() {
    const EACH: u8 = 60;
    let pushes_per_second = NonZeroU32::new(100).expect("not zero");
    let peer = start_with(GatewaySettings { pushes_per_second, ..settings() });
    let channel = peer.channel().await;
    let mut sessions = Vec::new();
    for number in 0..2 * EACH {
        let carrier = if number % 2 == 0 { "a" } else { "b" };
        let mut session = Session::open(&channel, hello(device(number), carrier)).await.expect("a session");
        session.order().await;
        sessions.push((number, session));
    }
    let begun = Instant::now();
    peer.publish([pace(100, 80_000), pace(101, 90_000), pace(101, 70_000)]);
    let told = sessions.into_iter().map(|(number, mut session)| async move {
        tokio::time::timeout(SOON, session.order()).await.expect("soon");
        (number % 2 == 0, begun.elapsed())
    });
    let told = futures_util::future::join_all(told).await;
    let of = |is_longer| told.iter().filter(move |(longer, _)| *longer == is_longer).map(|(_, at)| *at);
    let (last_shorter, first_longer) = (of(false).max().expect("some"), of(true).min().expect("some"));
    assert!(last_shorter <= first_longer + Duration::from_millis(50), "{last_shorter:?} {first_longer:?}");
    let all = of(true).max().expect("some");
    // 120 at 100/s, five of them at once.
    assert!(all >= Duration::from_millis(1_100), "{all:?}");
    assert_eq!(peer.handle.counts().pushes.get(), u64::from(2 * EACH));
}
