//! Side-flow tests, from the order to the result.

use std::net::UdpSocket;
use std::time::Duration;

use flyball::fleet::heartbeat::counters::Count;
use flyball::keepalive::observation::{BindingClass, ObservationKind, Probe};
use flyball::keepalive::order::DeviceOrder;
use flyball_sdk::device::probe::{Cell, ProbeOrder, ProbeOutcome, ProbePhase, ProbeReport};
use flyball_sdk::device::wire::{Ack, Answer, Request, kind, sent, told};
use libtest_mimic::Trial;

use crate::bed::{Bed, wait_for};
use crate::device::{Device, socket, socket_at};
use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("side::a_test_is_told_with_whether_the_port_was_kept", whole),
        trial("side::an_unreplied_flow_is_not_answered_when_it_opens", unreplied),
        trial("side::what_was_not_ordered_opens_nothing", not_ordered),
        trial("side::a_result_without_a_test_is_refused_and_a_lost_one_taken", untested),
        trial("side::a_result_may_come_with_a_heartbeat", with_a_heartbeat),
        trial("side::a_test_that_another_network_ended_shows_nothing", moved),
        trial("side::an_order_is_told_again_with_a_retry_and_not_else", told_again),
    ]
}

const NOTHING: (ProbeOutcome, u8) = (ProbeOutcome::Lost, 0);

/// 0.6 s.
fn order() -> ProbeOrder {
    ProbeOrder::one(Cell::at_most(Duration::from_millis(600)))
}

/// A device that was told the order.
fn ordered(bed: &Bed, class: BindingClass) -> Device {
    let mut device = Device::registered(bed, "a");
    bed.command(device.id, DeviceOrder::Probe { order: order(), class });
    let told = wait_for("the order", || {
        let ack = device.acked();
        ack.order().map(|order| (order, ack.flags))
    });
    assert_eq!(told.0, order());
    assert_eq!(told.1 & told::UNREPLIED != 0, class == BindingClass::Unreplied);
    device
}

fn answered(device: &Device, at: &UdpSocket) -> Ack {
    match device.answer_at(at) {
        (Answer::Ack(ack), _) => ack,
        (other, _) => panic!("{other:?}"),
    }
}

/// A side flow that is a stream, and silent from here on.
fn settled(bed: &Bed, device: &mut Device) -> UdpSocket {
    let side = socket(bed.address);
    for phase in [ProbePhase::Open, ProbePhase::Settle] {
        device.side(&side, order(), phase, 0, NOTHING);
        answered(device, &side);
    }
    side
}

/// Asks for the end of the silence: what comes to the side flow, and what to the main one.
fn tested(device: &mut Device, side: &UdpSocket, flags: u16) {
    let main = device.socket.try_clone().expect("cloned");
    device.side(&main, order(), ProbePhase::Test, flags, NOTHING);
    let control = answered(device, &main);
    assert_eq!((control.kind, control.flags, control.sequence), (kind::ANSWER, told::CONTROL, device.sequence));
    let passed = answered(device, side);
    assert_eq!((passed.kind, passed.flags, passed.probe), (kind::ANSWER, 0, order().to_bits()));
}

fn result(bed: &mut Bed) -> Probe {
    bed.observed("the result", |seen| match seen.kind {
        ObservationKind::Probe(probe) => Some(probe),
        _ => None,
    })
}

fn whole() {
    for is_kept in [true, false] {
        let mut bed = Bed::new();
        let mut device = ordered(&bed, BindingClass::Stream);
        let side = socket(bed.address);
        for phase in [ProbePhase::Open, ProbePhase::Settle] {
            device.side(&side, order(), phase, 0, NOTHING);
            assert_eq!(answered(&device, &side).sequence, device.sequence);
        }
        std::thread::sleep(Duration::from_millis(600));
        tested(&mut device, &side, 0);
        let other = socket(bed.address);
        let speaks = if is_kept { &side } else { &other };
        // Its answer may be lost: it is told again, answered again, and counts once.
        for _ in 0..2 {
            device.side(speaks, order(), ProbePhase::Report, 0, (ProbeOutcome::Survived, 1));
            assert_eq!(answered(&device, speaks).sequence, device.sequence);
        }
        let probe = result(&mut bed);
        assert_eq!((probe.device, probe.class), (device.id, BindingClass::Stream));
        assert_eq!((probe.outcome, probe.controls, probe.is_port_kept), (ProbeOutcome::Survived, 1, Some(is_kept)));
        assert_eq!(probe.silence, order().first.silence());
        assert_eq!((bed.count(Count::Report), bed.count(Count::SideFlow)), (1, 5));
        // The main flow is where it was.
        assert_eq!(device.acked().flags & told::NEW_ADDRESS, 0);
    }
}

fn unreplied() {
    let mut bed = Bed::new();
    let mut device = ordered(&bed, BindingClass::Unreplied);
    let side = socket(bed.address);
    device.side(&side, order(), ProbePhase::Open, sent::UNREPLIED, NOTHING);
    bed.await_count(Count::SideFlow, 1);
    assert!(Device::has_nothing(&side));
    std::thread::sleep(Duration::from_millis(600));
    tested(&mut device, &side, sent::UNREPLIED);
    device.side(&side, order(), ProbePhase::Report, sent::UNREPLIED, (ProbeOutcome::Expired, 3));
    answered(&device, &side);
    let probe = result(&mut bed);
    assert_eq!((probe.class, probe.outcome, probe.controls), (BindingClass::Unreplied, ProbeOutcome::Expired, 3));
}

fn not_ordered() {
    let bed = Bed::new();
    let mut device = ordered(&bed, BindingClass::Stream);
    let side = socket(bed.address);
    let other = ProbeOrder::one(Cell::new(9));
    device.side(&side, other, ProbePhase::Open, 0, NOTHING);
    device.side(&side, order(), ProbePhase::Open, sent::UNREPLIED, NOTHING);
    device.side(&side, order(), ProbePhase::Settle, 0, NOTHING);
    let main = device.socket.try_clone().expect("cloned");
    device.side(&main, order(), ProbePhase::Test, 0, NOTHING);
    bed.await_count(Count::UnknownTest, 4);
    assert!(Device::has_nothing(&side) && Device::has_nothing(&main));
    // From elsewhere nothing is tested: it would be sent to who does not ask.
    device.side(&side, order(), ProbePhase::Open, 0, NOTHING);
    answered(&device, &side);
    device.side(&side, order(), ProbePhase::Settle, 0, NOTHING);
    answered(&device, &side);
    device.side(&side, order(), ProbePhase::Test, 0, NOTHING);
    bed.await_count(Count::Copied, 1);
    assert!(Device::has_nothing(&side));
}

fn untested() {
    let mut bed = Bed::new();
    let mut device = ordered(&bed, BindingClass::Stream);
    let side = settled(&bed, &mut device);
    device.side(&side, order(), ProbePhase::Report, 0, (ProbeOutcome::Survived, 3));
    answered(&device, &side);
    bed.await_count(Count::UnknownTest, 1);
    device.side(&side, order(), ProbePhase::Report, 0, NOTHING);
    answered(&device, &side);
    assert_eq!(result(&mut bed).outcome, ProbeOutcome::Lost);
}

fn with_a_heartbeat() {
    let mut bed = Bed::new();
    let mut device = ordered(&bed, BindingClass::Stream);
    let side = settled(&bed, &mut device);
    std::thread::sleep(Duration::from_millis(600));
    tested(&mut device, &side, 0);
    let report = ProbeReport {
        order: order(),
        flow: 0,
        phase: ProbePhase::Report,
        outcome: ProbeOutcome::Expired,
        controls: 2,
        passed: 0,
    };
    let beat = Request { report: report.to_bytes(), ..device.next() };
    device.send(&device.seal(&beat));
    assert_eq!(device.ack().0.sequence, device.sequence);
    let probe = result(&mut bed);
    assert_eq!((probe.outcome, probe.controls, probe.is_port_kept), (ProbeOutcome::Expired, 2, None));
}

fn moved() {
    let mut bed = Bed::new();
    let mut device = ordered(&bed, BindingClass::Stream);
    let before = settled(&bed, &mut device);
    device.socket = socket_at("127.0.0.2:0");
    device.beat();
    let (ack, mac) = device.ack();
    assert_eq!(ack.flags & told::NEW_ADDRESS, told::NEW_ADDRESS);
    device.echo(mac);
    device.ack();
    assert_eq!(result(&mut bed).outcome, ProbeOutcome::Lost);
    std::thread::sleep(Duration::from_millis(600));
    let (main, side) = (device.socket.try_clone().expect("cloned"), socket_at("127.0.0.2:0"));
    device.side(&main, order(), ProbePhase::Test, 0, NOTHING);
    device.side(&side, order(), ProbePhase::Report, 0, (ProbeOutcome::Expired, 3));
    // Nobody knows it any more; that it came is said.
    assert_eq!(answered(&device, &side).sequence, device.sequence);
    assert!(Device::has_nothing(&before));
    bed.await_count(Count::UnknownTest, 2);
    assert_eq!(bed.count(Count::Report), 0);
}

fn told_again() {
    let bed = Bed::new();
    let mut device = ordered(&bed, BindingClass::Stream);
    let retry = Request { flags: sent::RETRY, ..device.next() };
    device.send(&device.seal(&retry));
    assert_eq!(device.ack().0.order(), Some(order()));
    device.send(&device.seal(&retry));
    assert_eq!(device.ack().0.order(), Some(order()), "a duplicate is acked as it was");
    assert_eq!(device.acked().order(), None);
}
