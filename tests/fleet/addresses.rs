//! Where a device is believed to be: where it answered from, and nowhere else.

use flyball::fleet::heartbeat::counters::Count;
use flyball::keepalive::observation::ObservationKind;
use flyball_sdk::device::wire::{Answer, Request, sent, told};
use libtest_mimic::Trial;
use std::time::Duration;

use crate::bed::{Bed, Plan, order};
use crate::device::{Device, socket};
use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("addresses::a_device_is_here_when_it_has_answered", registers),
        trial("addresses::a_copy_of_a_strangers_heartbeat_is_asked_about_once_and_registers_nobody", copied_stranger),
        trial("addresses::a_new_address_counts_when_the_device_has_answered_from_it", moves),
        trial("addresses::a_copy_moves_nothing_and_gets_one_ack_at_most", copied),
        trial("addresses::an_answer_with_another_cookie_or_from_elsewhere_moves_nothing", wrong_answers),
        trial("addresses::a_device_that_lost_its_counter_says_so_with_a_nonce", lost_counter),
        trial("addresses::an_old_heartbeat_from_elsewhere_gets_a_nonce_that_helps_nobody", stolen_nonce),
    ]
}

fn registers() {
    let mut bed = Bed::new();
    let mut device = Device::new(&bed, "a");
    device.beat();
    let (ack, mac) = device.ack();
    assert_eq!(ack.flags, told::NEW_ADDRESS | told::HELLO);
    assert_eq!((bed.handle.devices(), bed.count(Count::Registered)), (0, 0));
    device.echo(mac);
    let (ack, _) = device.ack();
    assert_eq!((ack.flags, ack.pace), (told::HELLO, order().pace));
    assert_eq!((bed.handle.devices(), bed.count(Count::Registered)), (1, 1));
    let present = bed.observed("the device to be told", |seen| match seen.kind {
        ObservationKind::Present { device, .. } => Some(device),
        _ => None,
    });
    assert_eq!(present, device.id);
    assert_eq!(device.acked().pace, order().pace);
}

fn copied_stranger() {
    let bed = Bed::new();
    let mut device = Device::new(&bed, "a");
    let bytes = device.beat();
    device.ack();
    let elsewhere = socket(bed.address);
    for _ in 0..5 {
        elsewhere.send_to(&bytes, bed.address).expect("sent");
    }
    bed.await_count(Count::Copied, 5);
    assert!(Device::has_nothing(&elsewhere));
    // The copy comes first: it gets the one ack, and the device's next heartbeat is asked about again.
    let next = device.next();
    let next = device.seal(&next);
    elsewhere.send_to(&next, bed.address).expect("sent");
    device.answer_at(&elsewhere);
    device.send(&next);
    bed.await_count(Count::Copied, 6);
    device.register();
    assert_eq!((bed.handle.devices(), bed.count(Count::AddressAsked)), (1, 3));
}

fn moves() {
    let mut bed = Bed::with(Plan {
        order: flyball::keepalive::order::CohortOrder { tell_silences_from: Duration::ZERO, ..order() },
        ..Plan::default()
    });
    let mut device = Device::registered(&bed, "a");
    let before = device.rebind();
    device.beat();
    let (ack, mac) = device.ack();
    assert_eq!((ack.flags & told::NEW_ADDRESS, bed.count(Count::AddressMoved)), (told::NEW_ADDRESS, 0));
    device.echo(mac);
    let (ack, _) = device.ack();
    assert_eq!((ack.flags & told::NEW_ADDRESS, bed.count(Count::AddressMoved)), (0, 1));
    let silence = bed.observed("the silence to be told", |seen| match seen.kind {
        ObservationKind::Silence(silence) => Some(silence),
        _ => None,
    });
    assert!(silence.has_moved && silence.is_same_address && silence.device == device.id);
    // From where it was, it is asked as from anywhere.
    device.socket = before;
    device.beat();
    assert_eq!(device.ack().0.flags & told::NEW_ADDRESS, told::NEW_ADDRESS);
}

fn copied() {
    let bed = Bed::new();
    let mut device = Device::registered(&bed, "a");
    let elsewhere = socket(bed.address);
    // The copy after the heartbeat: refused each time.
    let bytes = device.beat();
    device.ack();
    for _ in 0..5 {
        elsewhere.send_to(&bytes, bed.address).expect("sent");
    }
    bed.await_count(Count::Copied, 5);
    assert!(Device::has_nothing(&elsewhere));
    // The copy before the heartbeat: one ack; the heartbeat itself is acked where the device is.
    let next = device.next();
    let next = device.seal(&next);
    for _ in 0..3 {
        elsewhere.send_to(&next, bed.address).expect("sent");
    }
    let (answer, _) = device.answer_at(&elsewhere);
    assert!(matches!(answer, Answer::Ack(ack) if ack.flags & told::NEW_ADDRESS != 0), "{answer:?}");
    device.send(&next);
    assert_eq!(device.ack().0.flags & told::NEW_ADDRESS, 0);
    device.acked();
    assert!(Device::has_nothing(&elsewhere));
    assert_eq!(bed.count(Count::AddressMoved), 0);
}

fn wrong_answers() {
    let bed = Bed::new();
    let mut device = Device::registered(&bed, "a");
    let before = device.rebind();
    device.beat();
    let (_, mac) = device.ack();
    let mut other = mac;
    other[0] ^= 1;
    device.echo(other);
    let (ack, mac) = device.ack();
    assert_eq!(ack.flags & told::NEW_ADDRESS, told::NEW_ADDRESS, "it is asked again");
    // The right answer, sent on by somebody else.
    let here = std::mem::replace(&mut device.socket, socket(bed.address));
    device.echo(mac);
    assert_eq!(device.ack().0.flags & told::NEW_ADDRESS, told::NEW_ADDRESS);
    assert_eq!(bed.count(Count::AddressMoved), 0);
    drop(here);
    device.socket = before;
    assert_eq!(device.acked().flags & told::NEW_ADDRESS, 0, "it is where it was");
}

fn lost_counter() {
    let bed = Bed::new();
    let mut device = Device::registered(&bed, "a");
    for _ in 0..100 {
        device.acked();
    }
    for (boot, sequence) in [(7, 0), (3, 900), (2, 50)] {
        // As after a restart without a memory: a lower boot, or the same one and the beginning of the numbers.
        (device.boot, device.sequence) = (boot, sequence);
        device.beat();
        let (Answer::Challenge { nonce }, _) = device.answer() else { panic!("a challenge") };
        let repeated = Request { cookie: nonce, flags: sent::LINK_UP, ..device.next() };
        device.send(&device.seal(&repeated));
        assert_eq!(device.ack().0.sequence, device.sequence);
        device.acked();
    }
    assert_eq!((bed.count(Count::Challenged), bed.count(Count::Restarted)), (3, 3));
}

fn stolen_nonce() {
    let bed = Bed::new();
    let mut device = Device::registered(&bed, "a");
    let old = device.beat();
    device.ack();
    device.boot += 1;
    device.acked();
    let elsewhere = socket(bed.address);
    elsewhere.send_to(&old, bed.address).expect("sent");
    // For the boot that the copy is of.
    let key_of_old = Device { boot: 7, ..Device::new(&bed, "a") };
    let (Answer::Challenge { nonce }, _) = key_of_old.answer_at(&elsewhere) else { panic!("a challenge") };
    // Even the device itself, where it is, cannot be made to use it.
    let mut there = Device { boot: 7, sequence: 900, socket: device.socket.try_clone().expect("cloned"), ..key_of_old };
    let repeated = Request { cookie: nonce, ..there.next() };
    there.send(&there.seal(&repeated));
    bed.await_count(Count::StaleNonce, 1);
    device.acked();
    assert_eq!(bed.count(Count::Restarted), 0);
}
