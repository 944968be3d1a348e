use super::*;

fn at(seconds: i64) -> WallTime {
    WallTime::from_unix_ms(1000 * seconds)
}

fn load(to: i64, received: f64, expected: f64) -> Load {
    let over = Interval::before(at(to), Duration::from_secs(5));
    Load { over, received, expected: Some(expected), sampled: 1e6 }
}

#[test]
fn an_interval_that_began_before_the_command_shows_nothing() {
    let mut effect = Effect::new(at(10));
    assert_eq!(effect.judge(at(14), load(14, 100.0, 100.0)), Visibility::Before);
    assert_eq!(effect.judge(at(15), load(15, 100.0, 100.0)), Visibility::Adopted);
}

#[test]
fn a_load_that_moves_is_being_adopted_and_one_that_rests_for_long_has_settled() {
    let mut effect = Effect::new(at(-10));
    effect.judge(at(0), load(0, 1100.0, 1100.0));
    effect.command(at(0), 1e7, 1e6);
    let moving = [1000.0, 900.0, 800.0, 700.0, 650.0];
    let resting = [640.0; 20];
    let seen: Vec<_> =
        moving.iter().chain(&resting).zip(1..).map(|(r, i)| effect.judge(at(5 * i), load(5 * i, *r, 100.0))).collect();
    let settled = seen.iter().position(|v| *v == Visibility::Settled).expect("it rests");
    assert!((15..19).contains(&settled), "{seen:?}");
    assert!(seen[..settled].iter().all(|v| *v == Visibility::Adopting), "{seen:?}");
}

#[test]
fn a_load_that_rests_where_it_was_is_waited_for_as_long_as_anybody_takes() {
    let mut effect = Effect::new(at(-10));
    effect.judge(at(0), load(0, 1100.0, 1100.0));
    effect.command(at(0), 1e7, 1e6);
    let settled = (1..100).find(|i| effect.judge(at(5 * i), load(5 * i, 1100.0, 100.0)) == Visibility::Settled);
    assert!(settled.is_some_and(|i| 5 * i > 300), "{settled:?}");
}

#[test]
fn a_rise_that_nobody_has_asked_for_yet_is_waited_for_as_long() {
    let mut effect = Effect::new(at(-10));
    effect.judge(at(0), load(0, 100.0, 100.0));
    effect.command(at(0), 2.5e5, 1e6);
    let settled = (1..100).find(|i| effect.judge(at(5 * i), load(5 * i, 100.0, 400.0)) == Visibility::Settled);
    assert!(settled.is_some_and(|i| 5 * i > 300), "{settled:?}");
}

#[test]
fn a_load_that_rests_elsewhere_has_settled_whichever_way_it_went() {
    let mut effect = Effect::new(at(-10));
    effect.judge(at(0), load(0, 100.0, 100.0));
    effect.command(at(0), 2.5e5, 1e6);
    let settled = (1..100).find(|i| effect.judge(at(5 * i), load(5 * i, 20.0, 400.0)) == Visibility::Settled);
    assert!(settled.is_some_and(|i| 5 * i < 80), "{settled:?}");
}

/// A hundredth a second, among intervals that differ by a twentieth by chance.
#[test]
fn a_slow_fall_is_no_rest() {
    let second = |to: i64, received: f64, expected: f64| {
        let over = Interval::before(at(to), Duration::from_secs(1));
        Load { over, received, expected: Some(expected), sampled: 500.0 }
    };
    let mut effect = Effect::new(at(-10));
    effect.judge(at(0), second(0, 16_000.0, 16_000.0));
    effect.command(at(0), 2_000.0, 500.0);
    for (to, chance) in (1..100).zip([0.97, 1.02, 0.99, 1.04, 1.0, 0.96].into_iter().cycle()) {
        let received = 16_000.0 * (-0.01 * to as f64).exp() * chance;
        assert_eq!(effect.judge(at(to), second(to, received, 4_000.0)), Visibility::Adopting, "at {to}");
    }
}

#[test]
fn before_the_first_command_two_intervals_at_rest_are_enough() {
    let mut effect = Effect::new(at(0));
    let settled = (1..100).find(|i| effect.judge(at(5 * i), load(5 * i, 640.0, 100.0)) == Visibility::Settled);
    assert_eq!(settled, Some(3));
}

#[test]
fn a_large_command_tells_how_fast_clients_adopt() {
    let mut effect = Effect::new(at(0));
    effect.command(at(10), 1e6, 0.9e6);
    effect.judge(at(15), load(15, 200.0, 200.0));
    assert_eq!(effect.adoption(), None, "too small to tell");
    effect.command(at(20), 2e6, 1e6);
    effect.judge(at(25), load(25, 100.0, 100.0));
    assert_eq!(effect.adoption(), Some(Adoption::Prompt));
    effect.command(at(30), 2e6, 1e6);
    for (to, received) in [(35, 100.0), (40, 80.0), (50, 65.0), (60, 52.0)] {
        effect.judge(at(to), load(to, received, 50.0));
    }
    assert_eq!(effect.adoption(), Some(Adoption::Within(Duration::from_secs(30))));
}

/// Forty traces a second, read each second: by chance, one interval in three is off by a sixth.
#[test]
fn thin_intervals_are_pooled_until_they_tell() {
    let thin = |to: i64, received: f64| Load {
        over: Interval::before(at(to), Duration::from_secs(1)),
        received,
        expected: Some(320.0),
        sampled: 40.0,
    };
    let doubled = || {
        let mut effect = Effect::new(at(0));
        effect.judge(at(10), Load { expected: Some(160.0), sampled: 20.0, ..thin(10, 160.0) });
        effect.command(at(10), 20.0, 40.0);
        effect
    };
    // Nobody moves: chance alone shows nothing.
    let mut effect = doubled();
    for (to, received) in (11..300).zip([160.0, 210.0, 130.0, 180.0, 120.0].into_iter().cycle()) {
        assert_eq!(effect.judge(at(to), thin(to, received)), Visibility::Adopting, "at {to}");
    }
    // A small command on the way changes nothing of that.
    let mut effect = doubled();
    effect.judge(at(11), thin(11, 160.0));
    effect.command(at(11), 40.0, 37.0);
    let seen = effect.judge(at(12), Load { expected: Some(296.0), sampled: 37.0, ..thin(12, 190.0) });
    assert_eq!(seen, Visibility::Adopting);
    // All do, at once: two or three intervals tell.
    let mut effect = doubled();
    let seen: Vec<_> =
        [330.0, 290.0, 360.0].iter().zip(11..).map(|(r, to)| effect.judge(at(to), thin(to, *r))).collect();
    assert_eq!((seen[2], effect.adoption()), (Visibility::Adopted, Some(Adoption::Prompt)), "{seen:?}");
    // They ask once a minute, each at its own time: it takes about that.
    let mut effect = doubled();
    for to in 11..=70 {
        effect.judge(at(to), thin(to, 160.0 + 160.0 * (to - 10) as f64 / 60.0));
    }
    let Some(Adoption::Within(took)) = effect.adoption() else { panic!("{:?}", effect.adoption()) };
    assert!((45..80).contains(&took.as_secs()), "{took:?}");
}

/// By chance alone the load is near what is expected, and near what it was.
#[test]
fn thin_intervals_settle_nothing_where_clients_are_known_to_be_prompt_either() {
    let thin = |to: i64, received: f64, expected: f64| Load {
        over: Interval::before(at(to), Duration::from_secs(1)),
        received,
        expected: Some(expected),
        sampled: expected / 8.0,
    };
    let mut effect = Effect { adoption: Some(Adoption::Prompt), ..Effect::new(at(0)) };
    effect.judge(at(10), thin(10, 240.0, 240.0));
    effect.command(at(10), 30.0, 40.0);
    let chance = [300.0, 250.0, 330.0, 240.0, 310.0];
    let seen: Vec<_> = chance.iter().zip(11..).map(|(r, to)| effect.judge(at(to), thin(to, *r, 320.0))).collect();
    assert_eq!(seen, [Visibility::Adopting; 5]);
}

/// What is received lags behind what is demanded, so that the way seems to begin further back than it does.
#[test]
fn a_cut_that_the_load_goes_against_is_not_answered() {
    let mut effect = Effect::new(at(-10));
    effect.judge(at(0), load(0, 300.0, 300.0));
    effect.command(at(0), 1e7, 1e6);
    let settled = (1..100).find(|i| effect.judge(at(5 * i), load(5 * i, 1_100.0, 100.0)) == Visibility::Settled);
    assert!(settled.is_some_and(|i| 5 * i > 300), "{settled:?}");
}

#[test]
fn a_small_command_on_the_way_ends_no_rest() {
    let mut effect = Effect::new(at(-10));
    effect.judge(at(0), load(0, 1_100.0, 1_100.0));
    effect.command(at(0), 1e7, 1e6);
    let mut sampled = 1e6;
    let settled = (1..200).find(|i| {
        if *i == 40 {
            effect.command(at(199), 1e6, 0.9e6);
            sampled = 0.9e6;
        }
        let load = Load { sampled, ..load(5 * i, 1_100.0, sampled / 1e4) };
        effect.judge(at(5 * i), load) == Visibility::Settled
    });
    assert!(settled.is_some_and(|i| (330..=345).contains(&(5 * i))), "{settled:?}");
}

/// A fleet that obeys nobody while its demand grows by a fifth every 100 s: the demand is read an interval before the load, and
/// so each time the load leaves its rest.
#[test]
fn small_commands_on_the_way_do_not_put_patience_off() {
    let mut effect = Effect::new(at(-10));
    effect.judge(at(0), load(0, 1_100.0, 1_100.0));
    effect.command(at(0), 1e7, 1e6);
    let mut received = 1_100.0;
    let settled = (1..1_000).find(|i| {
        let is_growing = i % 20 == 0;
        let sampled = if is_growing { 1.2e6 } else { 1e6 };
        let seen = effect.judge(at(5 * i), Load { sampled, ..load(5 * i, received, sampled / 1e4) });
        if is_growing {
            effect.command(at(5 * i), sampled, 1e6);
            received *= 1.2;
        }
        seen == Visibility::Settled
    });
    assert!(settled.is_some_and(|i| 5 * i < 700), "{settled:?}");
}

/// Who asks once a minute has gone most of the way, too, by the time that two traces a second tell.
#[test]
fn what_tells_late_does_not_tell_prompt_clients() {
    let mut effect = Effect::new(at(0));
    let second = |to: i64, received: f64| Load {
        over: Interval::before(at(to), Duration::from_secs(1)),
        received,
        expected: Some(16.0),
        sampled: 2.0,
    };
    effect.judge(at(10), Load { expected: Some(12.0), sampled: 1.5, ..second(10, 12.0) });
    effect.command(at(10), 1.5, 2.0);
    for to in 11..300 {
        effect.judge(at(to), second(to, 12.0 + 4.0 * (to as f64 - 10.0).min(60.0) / 60.0));
    }
    assert!(matches!(effect.adoption(), Some(Adoption::Within(_))), "{:?}", effect.adoption());
}

#[test]
fn a_wall_clock_that_goes_back_makes_no_adoption_instant() {
    let mut effect = Effect::new(at(3_590));
    effect.judge(at(3_600), load(3_600, 200.0, 200.0));
    effect.command(at(3_600), 2e6, 1e6);
    for (to, received) in [(5, 200.0), (10, 180.0), (40, 140.0), (70, 102.0)] {
        effect.judge(at(to), load(to, received, 100.0));
    }
    let Some(Adoption::Within(took)) = effect.adoption() else { panic!("{:?}", effect.adoption()) };
    assert!(took.as_secs() >= 60, "{took:?}");
}

#[test]
fn patience_ends() {
    let mut effect = Effect::new(at(0));
    assert_eq!(effect.judge(at(331), load(331, 7.0, 100.0)), Visibility::Settled);
}

#[test]
fn a_wall_clock_that_goes_back_delays_nothing() {
    let mut effect = Effect::new(at(3_600));
    assert_eq!(effect.judge(at(10), load(10, 100.0, 100.0)), Visibility::Before);
    assert_eq!(effect.judge(at(15), load(15, 100.0, 100.0)), Visibility::Adopted);
}

#[test]
fn small_changes_add_up_to_a_command() {
    let mut effect = Effect::new(at(0));
    effect.command(at(10), 1e6, 0.98e6);
    assert_eq!(effect.commanded_at, at(0));
    effect.command(at(20), 1e6, 0.96e6);
    assert_eq!(effect.commanded_at, at(20));
}
