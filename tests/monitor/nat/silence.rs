//! Silences that a binding survives, and those that it does not.

use flyball::lab::Nat;
use flyball::monitor::event::EventKind::{Gap, New, Rebinding};
use libtest_mimic::{Failed, Trial};

use super::stage::Stage;
use super::told::{ANSWERED, NEVER_ANSWERED, Watching, check, check_time};
use super::{SECOND, stay_silent, tenths, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("a_silence_beyond_the_nats_timeout_is_one_rebinding_with_its_gap", beyond),
        trial("a_silence_below_the_nats_timeout_is_none", below),
        trial("where_ports_are_preserved_expiry_is_a_gap_and_no_rebinding", preserved),
        trial("without_a_nat_a_silence_is_a_gap_and_no_rebinding", without_a_nat),
    ]
}

fn beyond() -> Result<(), Failed> {
    let stage = Stage::start(&[Nat::random_ports(2 * SECOND)])?;
    let watching = Watching::start(&stage, 10 * SECOND)?;
    let ((_answered_device, mut answered), (_device, mut never)) = (stage.phone(0)?, stage.phone(0)?);
    let mut beats = Vec::new();
    for silence in [tenths(4), tenths(26), tenths(4), tenths(4)] {
        beats.push((stage.answered_beat(&mut answered)?, stage.beat(&mut never)?));
        stay_silent(silence);
    }
    let told = watching.end(&stage)?;
    assert_eq!(told.story(), [(New, 1), (New, 2), (Rebinding, 1), (Rebinding, 2)]);
    let (lost, lost_too) = (told.only(&answered), told.only(&never));
    check(lost, Rebinding, [beats[1].0, beats[2].0]);
    check(lost_too, Rebinding, [beats[1].1, beats[2].1]);
    for (event, binding) in [(lost, ANSWERED), (lost_too, NEVER_ANSWERED)] {
        assert_eq!((event.cohort.as_ref(), event.binding), ("carrier=a,region=eu", binding));
        assert_eq!((event.missed, event.is_rebooted), (0, false));
        assert_eq!(event.path.from.ip(), stage.carriers[0].public());
        check_time(event.silence, beats[1].0.passed, beats[2].1.passed);
    }
    Ok(())
}

fn below() -> Result<(), Failed> {
    let stage = Stage::start(&[Nat::random_ports(3 * SECOND)])?;
    let watching = Watching::start(&stage, SECOND)?;
    let (_device, mut phone) = stage.phone(0)?;
    for _ in 0..5 {
        stage.beat(&mut phone)?;
        stay_silent(tenths(5));
    }
    let last = stage.beat(&mut phone)?;
    stay_silent(tenths(15));
    let late = stage.beat(&mut phone)?;
    let told = watching.end(&stage)?;
    assert_eq!(told.story(), [(New, 1), (Gap, 1)], "only the last silence was over the threshold");
    check(told.only(&phone), Gap, [last, late]);
    Ok(())
}

fn preserved() -> Result<(), Failed> {
    let stage = Stage::start(&[Nat::preserved_ports(SECOND)])?;
    let watching = Watching::start(&stage, SECOND)?;
    let ((_device, mut phone), (_probed_device, mut probed)) = (stage.phone(0)?, stage.phone(0)?);
    let before = [stage.beat(&mut phone)?, stage.beat(&mut probed)?];
    stay_silent(tenths(14));
    stage.push(&before[1])?;
    assert!(probed.hears_nothing()?, "the NAT forgot the binding");
    let after = [stage.beat(&mut phone)?, stage.beat(&mut probed)?];
    let told = watching.end(&stage)?;
    assert_eq!(told.story(), [(New, 1), (New, 2), (Gap, 1), (Gap, 2)]);
    check(told.only(&phone), Gap, [before[0], after[0]]);
    check(told.only(&probed), Gap, [before[1], after[1]]);
    assert_eq!(before.map(|beat| beat.from), after.map(|beat| beat.from));
    assert_eq!(told.only(&phone).binding, NEVER_ANSWERED);
    Ok(())
}

fn without_a_nat() -> Result<(), Failed> {
    let stage = Stage::start(&[Nat::random_ports(SECOND)])?;
    let watching = Watching::start(&stage, SECOND)?;
    let device = stage.device(0)?;
    // A kernel without IPv6 has nothing to tell.
    let Some(mut phone) = stage.phone_v6_on(&device)? else { return Ok(()) };
    let before = stage.answered_beat(&mut phone)?;
    stay_silent(tenths(16));
    let after = stage.answered_beat(&mut phone)?;
    let told = watching.end(&stage)?;
    assert_eq!(told.story(), [(New, 1), (Gap, 1)]);
    let gap = told.only(&phone);
    check(gap, Gap, [before, after]);
    assert_eq!((gap.path.to.ip(), gap.cohort.as_ref()), (device.address_v6().into(), "carrier=a,region=eu"));
    assert_eq!(gap.binding, ANSWERED);
    Ok(())
}
