//! What changes about a NAT, or of which NAT a device is a customer.

use flyball::lab::Nat;
use flyball::monitor::event::EventKind::{Gap, New, Rebinding};
use libtest_mimic::{Failed, Trial};

use super::stage::Stage;
use super::told::{Watching, check};
use super::{SECOND, stay_silent, tenths, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("a_nat_that_reboots_is_a_rebinding_with_a_short_gap", reboot),
        trial("a_carriers_new_timeout_shows_in_what_survives", new_timeout),
        trial("a_device_that_changes_carriers_is_rebound_into_the_new_ones_cohort", moved),
    ]
}

fn reboot() -> Result<(), Failed> {
    let nats = [Nat::random_ports(5 * SECOND), Nat::preserved_ports(5 * SECOND)];
    let stage = Stage::start(&nats)?;
    let watching = Watching::start(&stage, SECOND)?;
    let ((_device, mut random), (_other_device, mut preserved)) = (stage.phone(0)?, stage.phone(1)?);
    let before = stage.answered_beat(&mut random)?;
    let unseen = stage.answered_beat(&mut preserved)?;
    stage.carriers.iter().try_for_each(|carrier| carrier.reboot())?;
    stay_silent(tenths(3));
    let after = stage.answered_beat(&mut random)?;
    assert_eq!(stage.answered_beat(&mut preserved)?.from, unseen.from);
    let told = watching.end(&stage)?;
    assert_eq!(told.story(), [(New, 1), (New, 2), (Rebinding, 1)]);
    check(told.only(&random), Rebinding, [before, after]);
    assert!(told.only(&random).gap < Some(SECOND));
    Ok(())
}

fn new_timeout() -> Result<(), Failed> {
    let (long, short) = (Nat::random_ports(3 * SECOND), Nat::random_ports(SECOND));
    let stage = Stage::start(std::slice::from_ref(&long))?;
    let watching = Watching::start(&stage, SECOND)?;
    let (_device, mut phone) = stage.phone(0)?;
    let mut beats = vec![stage.beat(&mut phone)?];
    for nat in [None, Some(&short), Some(&long)] {
        if let Some(nat) = nat {
            stage.carriers[0].change(nat)?;
            // A binding takes a new timeout with its next packet.
            beats.push(stage.beat(&mut phone)?);
        }
        stay_silent(tenths(15));
        beats.push(stage.beat(&mut phone)?);
    }
    let told = watching.end(&stage)?;
    assert_eq!(told.story(), [(New, 1), (Gap, 1), (Rebinding, 1), (Gap, 1)]);
    let events = told.of(&phone);
    for (event, (kind, first)) in events.into_iter().zip([(Gap, 0), (Rebinding, 2), (Gap, 4)]) {
        check(event, kind, [beats[first], beats[first + 1]]);
    }
    Ok(())
}

fn moved() -> Result<(), Failed> {
    let nats = [Nat::random_ports(5 * SECOND), Nat::random_ports(5 * SECOND)];
    let stage = Stage::start(&nats)?;
    let watching = Watching::start(&stage, 10 * SECOND)?;
    let (mut device, mut phone) = stage.phone(0)?;
    let before = stage.answered_beat(&mut phone)?;
    device.move_to(&stage.carriers[1])?;
    stage.wait_for_links(&device)?;
    let after = stage.answered_beat(&mut phone)?;
    stage.answered_beat(&mut phone)?;
    let told = watching.end(&stage)?;
    assert_eq!(told.story(), [(New, 1), (Rebinding, 1)]);
    let event = told.only(&phone);
    check(event, Rebinding, [before, after]);
    let [old, new] = [0, 1].map(|carrier: usize| stage.carriers[carrier].public());
    assert_eq!((event.path.from.ip(), event.path.to.ip()), (old.into(), new.into()));
    assert_eq!(event.cohort.as_ref(), "carrier=b,region=eu");
    let counted = told.view.cohorts().into_iter();
    let counted: Vec<_> = counted
        .map(|cohort| (cohort.name.to_string(), cohort.devices, cohort.totals.from, cohort.totals.rebindings))
        .collect();
    let expected = [("carrier=a,region=eu", Some(0), 1, 0), ("carrier=b,region=eu", Some(1), 2, 1)];
    assert_eq!(counted, expected.map(|(name, devices, from, rebindings)| (name.to_owned(), devices, from, rebindings)));
    Ok(())
}
