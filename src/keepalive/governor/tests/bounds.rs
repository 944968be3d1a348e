//! What the operator says counts, and what the bounds allow.

use super::*;

#[test]
fn a_pin_wins_until_it_ends() {
    let until = WallTime::from_unix_ms(START_MS + 600_000);
    let cohort: Labels = [("carrier".into(), "a".into())].into();
    let pin = Pin { cohort, nat_timeout: Duration::from_secs(40), until: Some(until), reason: "told so".into() };
    let mut world = World::new(Fleet { pins: vec![pin], ..fleet() }, &[117.0; 40]);
    world.run(500);
    assert_eq!((world.interval(0), world.report().verdict), (30.0, Verdict::Pinned));
    world.run(1_200);
    assert!(world.interval(0) > 80.0 && world.report().verdict != Verdict::Pinned);
}

#[test]
fn nothing_longer_goes_out_before_it_is_released() {
    let mut world = World::new(Fleet { is_longer_released: false, ..fleet() }, &[117.0; 40]);
    world.run(1_200);
    assert!((0..40).all(|index| world.interval(index) == 15.0));
    assert_eq!(world.report().reason, Reason::AwaitsRelease);
}

#[test]
fn a_governor_without_cohorts_decides_nothing() {
    let mut governor = Governor::new(Arc::default());
    let kind = ObservationKind::Loss { sent: 1, unanswered: 2 };
    governor.observe(&Observation { at: MonoTime::default(), cohort: CohortIndex(9), kind });
    let decided = governor.decide(tick(1));
    assert!(!decided.is_changed && decided.commands.is_empty() && governor.reports().is_empty());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn any_observations_leave_every_pace_within_its_bounds(
        seen in proptest::collection::vec((0_u8..9, 0_u8..6, 0_u64..10_000, 0_u32..4, proptest::bool::ANY), 0..400),
    ) {
        let interval = IntervalBounds { max: Duration::from_secs(300), ..IntervalBounds::default() };
        let mut governor = Governor::new(Arc::new(Fleets { fleets: vec![Arc::new(Fleet { interval, ..fleet() })] }));
        governor.add_cohort(&entry("a"));
        governor.add_cohort(&entry("b"));
        for (second, (what, device, seconds, cohort, flag)) in seen.into_iter().enumerate() {
            let device = DeviceId([device; 16]);
            let silence = Duration::from_secs(seconds);
            let class = if seconds % 2 == 0 { BindingClass::Stream } else { BindingClass::Unreplied };
            let outcome = [ProbeOutcome::Survived, ProbeOutcome::Expired, ProbeOutcome::Lost][usize::from(what) % 3];
            let kind = match what {
                0 => ObservationKind::Present { device, can_probe: flag, has_own: !flag },
                1 => ObservationKind::Absent { device },
                2 => ObservationKind::Push { device, silence, is_confirmed: flag },
                3 => ObservationKind::Loss { sent: seconds as u32, unanswered: cohort },
                4 | 5 => ObservationKind::Silence(Silence {
                    device, class, silence, gap: silence, has_moved: flag, is_same_address: true, is_doubtful: false,
                }),
                _ => ObservationKind::Probe(Probe {
                    device, class, silence, outcome, controls: cohort as u8, is_port_kept: Some(flag),
                }),
            };
            let at = MonoTime::from_start(Duration::from_secs(second as u64));
            governor.observe(&Observation { at, cohort: CohortIndex(cohort), kind });
            let decided = governor.decide(tick(second as u64 * 7));
            let owns = decided.commands.iter().filter_map(|command| match command.order {
                DeviceOrder::Own(pace) => Some(pace),
                _ => None,
            });
            for pace in owns.chain(decided.orders.cohorts.iter().map(|order| order.pace)) {
                let is_within = pace.interval >= interval.min && pace.longest() <= interval.max;
                proptest::prop_assert!(is_within && pace.generation > 0, "{:?}", pace);
            }
            for report in governor.reports() {
                proptest::prop_assert!(report.lifetimes.iter().all(|one| one.lower_bound <= one.upper_bound));
            }
        }
    }
}
