//! What goes out to a device in its silence, and what a NAT grants a binding that was answered.

use flyball::lab::Nat;
use flyball::monitor::event::EventKind::{Gap, New, Rebinding};
use flyball::monitor::event::Outcome;
use libtest_mimic::{Failed, Trial};

use super::stage::Stage;
use super::told::{ANSWERED, NEVER_ANSWERED, STREAM, Watching, check, check_time};
use super::{SECOND, stay_silent, tenths, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("a_push_that_passes_ends_the_silence_and_not_the_gap", passes),
        trial("a_push_that_the_nat_drops_leaves_a_gap_that_bounds_the_lifetime", dropped),
        trial("a_second_ack_makes_a_stream_that_outlives_what_was_answered_once", second_ack),
    ]
}

fn passes() -> Result<(), Failed> {
    let stage = Stage::start(&[Nat::random_ports(3 * SECOND)])?;
    let watching = Watching::start(&stage, SECOND)?;
    let ((_kept_device, mut kept), (_lost_device, mut lost)) = (stage.phone(0)?, stage.phone(0)?);
    let before = [stage.beat(&mut kept)?, stage.beat(&mut lost)?];
    stay_silent(tenths(15));
    let pushed = [stage.push(&before[0])?, stage.push(&before[1])?];
    assert!(kept.hears()? && lost.hears()?, "still bound");
    stay_silent(tenths(20));
    let kept_after = stage.beat(&mut kept)?;
    stay_silent(tenths(16));
    let lost_after = stage.beat(&mut lost)?;
    let told = watching.end(&stage)?;
    assert_eq!(told.story(), [(New, 1), (New, 2), (Gap, 1), (Rebinding, 2)]);
    check(told.only(&kept), Gap, [before[0], kept_after]);
    check(told.only(&lost), Rebinding, [before[1], lost_after]);
    check_time(told.only(&kept).silence, pushed[0], kept_after.passed);
    check_time(told.only(&lost).silence, pushed[1], lost_after.passed);
    assert_eq!([&kept, &lost].map(|phone| told.only(phone).binding), [ANSWERED; 2]);
    Ok(())
}

fn dropped() -> Result<(), Failed> {
    let stage = Stage::start(&[Nat::random_ports(SECOND)])?;
    let watching = Watching::start(&stage, 10 * SECOND)?;
    let (_device, mut phone) = stage.phone(0)?;
    let before = stage.beat(&mut phone)?;
    stay_silent(tenths(15));
    stage.push(&before)?;
    assert!(phone.hears_nothing()?, "the NAT forgot the binding");
    let after = stage.beat(&mut phone)?;
    let told = watching.end(&stage)?;
    let event = told.only(&phone);
    check(event, Rebinding, [before, after]);
    let gap = event.ended_gap().expect("a known silence");
    assert_eq!((gap.outcome, Some(gap.gap)), (Outcome::Rebound, event.gap));
    // As the server sees it: the silence alone would say that the NAT forgets within less than it does.
    assert!(gap.silence < SECOND && gap.gap > tenths(15), "{gap:?}");
    Ok(())
}

/// Linux counts an answered binding as a stream when a packet passes over 2 s after its first.
fn second_ack() -> Result<(), Failed> {
    let stage = Stage::start(&[Nat::random_ports(4 * SECOND).udp_stream(6 * SECOND)])?;
    let watching = Watching::start(&stage, 3 * SECOND)?;
    let (_devices, mut phones): (Vec<_>, Vec<_>) =
        (0..4).map(|_| stage.phone(0)).collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
    let mut before = vec![stage.beat(&mut phones[0])?];
    for phone in &mut phones[1..] {
        before.push(stage.answered_beat(phone)?);
    }
    stay_silent(tenths(22));
    let second = [stage.push_until_heard(&before[2], &phones[2])?, stage.push_until_heard(&before[3], &phones[3])?];
    stay_silent(tenths(45));
    let mut after = phones[..3].iter_mut().map(|phone| stage.beat(phone)).collect::<Result<Vec<_>, _>>()?;
    stay_silent(tenths(20));
    after.push(stage.beat(&mut phones[3])?);
    let told = watching.end(&stage)?;
    let expected = [(Rebinding, NEVER_ANSWERED), (Rebinding, ANSWERED), (Gap, STREAM), (Rebinding, STREAM)];
    for (at, (kind, binding)) in expected.into_iter().enumerate() {
        let event = told.only(&phones[at]);
        check(event, kind, [before[at], after[at]]);
        assert_eq!(event.binding, binding, "{event:?}");
        // An ack follows its beat at once.
        let last = if at < 2 { before[at].passed } else { second[at - 2] };
        check_time(event.silence, last, after[at].passed);
    }
    Ok(())
}
