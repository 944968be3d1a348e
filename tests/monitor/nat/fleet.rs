//! Many devices behind one NAT are told apart.

use std::collections::HashMap;

use flyball::lab::Nat;
use flyball::monitor::event::EventKind::{Gap, New, Rebinding};
use libtest_mimic::{Failed, Trial};

use super::phone::Phone;
use super::stage::Stage;
use super::told::{Watching, check, check_time};
use super::{SECOND, stay_silent, tenths, trial};

/// Devices that lose their bindings at once.
const MANY: usize = 200;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("of_two_devices_behind_one_nat_only_the_silent_one_is_rebound", two),
        trial("bindings_that_expire_at_once_are_one_rebinding_each", many),
        trial("a_device_that_gets_no_port_is_no_event_and_makes_none", no_port),
        trial("a_port_that_another_device_has_by_now_stays_that_ones", reassigned),
    ]
}

fn two() -> Result<(), Failed> {
    let stage = Stage::start(&[Nat::random_ports(2 * SECOND)])?;
    let watching = Watching::start(&stage, SECOND)?;
    let ((_silent_device, mut silent), (_steady_device, mut steady)) = (stage.phone(0)?, stage.phone(0)?);
    let before = stage.answered_beat(&mut silent)?;
    for _ in 0..6 {
        stage.answered_beat(&mut steady)?;
        stay_silent(tenths(4));
    }
    let after = stage.answered_beat(&mut silent)?;
    let told = watching.end(&stage)?;
    assert_eq!(told.story(), [(New, 1), (New, 2), (Rebinding, 1)]);
    check(told.only(&silent), Rebinding, [before, after]);
    Ok(())
}

fn many() -> Result<(), Failed> {
    let stage = Stage::start(&[Nat::random_ports(SECOND)])?;
    let watching = Watching::start(&stage, 10 * SECOND)?;
    let device = stage.device(0)?;
    let mut phones = (0..MANY).map(|_| stage.phone_on(&device)).collect::<Result<Vec<_>, _>>()?;
    let beat_all =
        |phones: &mut [Phone]| phones.iter_mut().map(|phone| stage.beat(phone)).collect::<Result<Vec<_>, _>>();
    let before = beat_all(&mut phones)?;
    stay_silent(tenths(15));
    let after = beat_all(&mut phones)?;
    let told = watching.end(&stage)?;
    let mut rebound: HashMap<u32, usize> = HashMap::new();
    for (kind, device) in told.story() {
        *rebound.entry(device).or_default() += usize::from(kind == Rebinding);
        assert!([New, Rebinding].contains(&kind));
    }
    for (phone, beats) in phones.iter().zip(before.into_iter().zip(after)) {
        // Once in hundreds of runs a device draws its old port again.
        let is_moved = beats.0.from != beats.1.from;
        assert_eq!(rebound[&phone.id], usize::from(is_moved), "device {}", phone.id);
        if is_moved {
            check(told.only(phone), Rebinding, [beats.0, beats.1]);
        }
    }
    Ok(())
}

fn no_port() -> Result<(), Failed> {
    let stage = Stage::start(&[Nat::random_ports(2 * SECOND)])?;
    let watching = Watching::start(&stage, SECOND)?;
    let ((_a, mut first), (_b, mut second), (_c, mut third)) = (stage.phone(0)?, stage.phone(0)?, stage.phone(0)?);
    stage.carriers[0].change(&Nat::random_ports(2 * SECOND).port_range(40_000..=40_001))?;
    for _ in 0..4 {
        stage.answered_beat(&mut first)?;
        stage.answered_beat(&mut second)?;
        third.send()?;
        assert!(third.hears_nothing()?);
    }
    let told = watching.end(&stage)?;
    assert_eq!(told.story(), [(New, 1), (New, 2)]);
    Ok(())
}

/// The second device gets the port of the first, which then comes back from another.
fn reassigned() -> Result<(), Failed> {
    let stage = Stage::start(&[Nat::random_ports(SECOND)])?;
    let watching = Watching::start(&stage, SECOND)?;
    let ((_device, mut first), (_other_device, mut second)) = (stage.phone(0)?, stage.phone(0)?);
    stage.carriers[0].change(&Nat::random_ports(SECOND).port_range(40_000..=40_000))?;
    let lost = stage.answered_beat(&mut first)?;
    stay_silent(tenths(14));
    let taken = stage.answered_beat(&mut second)?;
    assert_eq!(taken.from, lost.from);
    stage.carriers[0].change(&Nat::random_ports(3 * SECOND))?;
    stage.answered_beat(&mut second)?;
    let back = stage.answered_beat(&mut first)?;
    stay_silent(tenths(14));
    let pushed = stage.push(&taken)?;
    assert!(second.hears()?, "still bound");
    stay_silent(tenths(4));
    let last = stage.beat(&mut second)?;
    let told = watching.end(&stage)?;
    assert_eq!(told.story(), [(New, 1), (New, 2), (Rebinding, 1), (Gap, 2)]);
    check(told.only(&first), Rebinding, [lost, back]);
    check_time(told.only(&second).silence, pushed, last.passed);
    Ok(())
}
