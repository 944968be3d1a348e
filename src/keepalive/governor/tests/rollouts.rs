//! What is longer goes out in waves, what is shorter at once, and what failed is not tried again for nothing.

use std::sync::Arc;

use super::*;
use crate::keepalive::observation::Beat;
use crate::keepalive::policy::Waves;
use crate::keepalive::wave::audit::{Event, What, Who, Why};
use crate::keepalive::wave::plan::WavePolicy;
use crate::keepalive::wave::spec::{Command, State};

/// A world that tells the beats of its devices as an edge does.
struct Waved {
    world: World,
    events: Vec<Event>,
    urgent: usize,
    /// Beats of devices at an interval above this fail.
    bears: f64,
    next_beat: Vec<f64>,
}

fn waved(percent: &[u8]) -> Fleet {
    let policy = WavePolicy { percent: percent.to_vec(), hold_intervals: 3, max_hold: Duration::from_secs(24 * 3_600) };
    Fleet { waves: Some(Waves { policy, ..Waves::default() }), ..fleet() }
}

fn pinned(seconds: u64, fleet: Fleet) -> Fleet {
    let cohort: Labels = [("carrier".into(), "a".into())].into();
    let pin = Pin { cohort, nat_timeout: Duration::from_secs(seconds), until: None, reason: "told so".into() };
    Fleet { pins: vec![pin], ..fleet }
}

impl Waved {
    fn new(fleet: Fleet, devices: usize) -> Self {
        let world = World::new(fleet, &vec![117.0; devices]);
        Self { world, events: Vec::new(), urgent: 0, bears: f64::MAX, next_beat: vec![0.0; devices] }
    }

    /// Beats are told from the second on in which the rollout runs; each device's own, at its own pace.
    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.world.second += 1;
            let now = tick(self.world.second);
            let decided = self.world.governor.decide(now);
            self.events.extend(decided.events);
            for command in decided.commands {
                let index = u128::from_be_bytes(command.device.0) as usize - 1;
                match command.order {
                    DeviceOrder::Own(pace) => self.world.devices[index].own = Some(pace),
                    DeviceOrder::Cohort => self.world.devices[index].own = None,
                    DeviceOrder::Probe { order, class } => self.world.open(index, order, class),
                }
                self.urgent += usize::from(command.is_urgent);
            }
            let tells = decided.orders.cohorts[0].tell_beats.is_some();
            for index in 0..self.world.devices.len() {
                self.world.end_flows(index);
                if self.next_beat[index] > self.world.second as f64 {
                    continue;
                }
                let interval = self.world.interval(index);
                self.next_beat[index] = self.world.second as f64 + interval * 1.1;
                let device = self.world.devices[index].id;
                let is_confirmed = interval <= self.bears;
                if tells {
                    self.world.tell(
                        0,
                        ObservationKind::Beat(Beat {
                            device,
                            is_confirmed,
                            gap_ratio: Some(0.9),
                            is_reached: Some(is_confirmed),
                            has_adopted: true,
                        }),
                    );
                }
            }
        }
    }

    fn until(&mut self, what: What) -> Event {
        for _ in 0..3_000 {
            self.run(30);
            if let Some(event) = self.events.iter().find(|event| event.what == what) {
                return event.clone();
            }
        }
        panic!("{what:?} never came: {:?}", self.events);
    }

    fn told(&self) -> Vec<(What, usize)> {
        self.events.iter().map(|event| (event.what, event.wave)).collect()
    }

    fn with(&self, interval: f64) -> usize {
        (0..self.world.devices.len()).filter(|index| self.world.interval(*index) == interval).count()
    }

    fn id(&self) -> Arc<str> {
        Arc::clone(&self.world.governor.rollouts()[0].spec.id)
    }

    fn say(&mut self, command: Command) {
        let (id, now) = (self.id(), tick(self.world.second).wall);
        let (who, why) = ("kim".into(), "so".into());
        self.world.governor.command(&id, command, (&who, &why), now).expect("it takes that");
    }
}

#[test]
fn a_longer_interval_goes_out_in_waves_and_then_to_all() {
    let mut waved = Waved::new(pinned(80, waved(&[5, 20, 100])), 400);
    waved.run(60);
    assert_eq!((waved.with(60.0), waved.with(15.0)), (20, 380));
    assert_eq!(waved.world.report().reason, Reason::Rollout);
    waved.until(What::Released);
    waved.run(60);
    assert_eq!(waved.with(60.0), 400);
    let began = |wave| (What::WaveBegan, wave);
    assert_eq!(waved.told(), [began(1), began(2), began(3), (What::Released, 3)]);
    assert_eq!((waved.world.report().reason, waved.urgent), (Reason::Pin, 0));
    assert_eq!(waved.world.report().pace.interval, Duration::from_secs(60));
}

#[test]
fn what_the_law_has_learnt_and_proven_goes_the_same_way() {
    let mut waved = Waved::new(waved(&[20, 100]), 200);
    waved.until(What::WaveBegan);
    waved.run(120);
    let new = (0..200).filter(|index| waved.world.interval(*index) > 80.0).count();
    assert!((35..=40).contains(&new), "{new}");
    assert!(waved.world.report().pace.interval == Duration::from_secs(15));
    waved.until(What::Released);
    waved.run(120);
    assert!((0..200).all(|index| waved.world.interval(index) > 80.0));
    waved.run(7_200);
    assert_eq!(waved.events.iter().filter(|event| event.what == What::Released).count(), 1, "{:?}", waved.told());
}

#[test]
fn a_bad_release_is_taken_back_in_the_first_wave_and_is_not_tried_again() {
    let mut waved = Waved::new(pinned(80, waved(&[5, 20, 100])), 400);
    waved.bears = 30.0;
    let event = waved.until(What::RolledBack);
    assert_eq!((event.wave, &event.who), (1, &Who::Law));
    waved.run(5);
    assert_eq!((waved.with(15.0), waved.urgent), (400, 20), "told unasked, each of them");
    waved.run(100_000);
    assert_eq!(waved.told(), [(What::WaveBegan, 1), (What::RolledBack, 1)], "a pin is a person's word");
    assert_eq!(waved.world.report().reason, Reason::RolledBack);
    let fleets = |fleet| Arc::new(Fleets { fleets: vec![Arc::new(fleet)] });
    waved.world.governor.set_fleets(fleets(pinned(30, self::waved(&[5, 20, 100]))));
    waved.run(3);
    assert_eq!(waved.told().last(), Some(&(What::WaveBegan, 1)), "another pin is another word");
}

#[test]
fn what_the_law_alone_asked_for_is_tried_again_later_each_time() {
    let mut waved = Waved::new(waved(&[20, 100]), 200);
    waved.bears = 30.0;
    waved.until(What::RolledBack);
    waved.run(86_000);
    assert_eq!(waved.told().len(), 2, "{:?}", waved.told());
    waved.run(86_400 * 3);
    let tries = waved.told().iter().filter(|(what, _)| *what == What::WaveBegan).count();
    assert_eq!(tries, 3, "after one day, and two: {:?}", waved.told());
}

#[test]
fn a_law_that_wants_less_than_before_withdraws_and_less_than_asked_goes_on() {
    let fleets = |fleet| Arc::new(Fleets { fleets: vec![Arc::new(fleet)] });
    let mut waved = Waved::new(pinned(80, waved(&[20, 100])), 200);
    waved.run(60);
    waved.world.governor.set_fleets(fleets(pinned(60, self::waved(&[20, 100]))));
    waved.run(60);
    assert_eq!((waved.with(45.0), waved.told().len()), (40, 1), "single devices have less: {:?}", waved.told());
    waved.world.governor.set_fleets(fleets(pinned(18, self::waved(&[20, 100]))));
    waved.run(60);
    assert_eq!(waved.with(15.0), 200);
    let last = waved.events.last().expect("it ended");
    assert_eq!((last.what, &last.why), (What::RolledBack, &Why::Shorter));
}

#[test]
fn a_person_promotes_and_aborts_and_nothing_is_tried_again_then() {
    let mut waved = Waved::new(pinned(80, waved(&[20, 100])), 200);
    waved.run(60);
    waved.say(Command::Promote);
    waved.run(5);
    assert_eq!(waved.with(60.0), 180);
    waved.say(Command::Pause);
    waved.run(5);
    assert_eq!((waved.with(60.0), waved.world.report().reason), (180, Reason::AwaitsRelease));
    waved.say(Command::Abort);
    waved.run(1);
    let ended = waved.world.governor.rollouts();
    assert_eq!((ended.len(), ended[0].state), (1, State::RolledBack), "it is told once, as it ended");
    waved.run(4);
    assert_eq!((waved.with(15.0), waved.urgent), (200, 180));
    waved.run(20_000);
    assert!(waved.world.governor.rollouts().is_empty());
}

#[test]
fn a_later_process_goes_on_in_the_same_wave_with_the_same_devices() {
    let mut waved = Waved::new(pinned(80, waved(&[5, 20, 100])), 400);
    while waved.told().len() < 2 {
        waved.run(30);
    }
    waved.run(60);
    let new: Vec<usize> = (0..400).filter(|index| waved.world.interval(*index) == 60.0).collect();
    assert_eq!(new.len(), 80);
    let written = serde_json::to_string(&waved.world.governor.memory()).expect("written");
    let mut next = Waved::new(pinned(80, self::waved(&[5, 20, 100])), 0);
    next.world.governor.remember(serde_json::from_str(&written).expect("read"));
    next.world.second = waved.world.second + 20;
    (0..400).for_each(|_| next.world.join(117.0));
    next.next_beat = vec![next.world.second as f64; 400];
    next.run(5);
    let again: Vec<usize> = (0..400).filter(|index| next.world.interval(*index) == 60.0).collect();
    assert_eq!((again, next.told().len()), (new, 0));
    let report = &next.world.governor.rollouts()[0];
    assert_eq!((report.wave, report.state), ((2, 3), State::Running));
    assert_eq!(next.until(What::Released).wave, 3);
}

#[test]
fn a_device_that_joins_in_a_wave_is_in_it_by_its_hash() {
    let mut waved = Waved::new(pinned(80, waved(&[20, 100])), 200);
    waved.run(60);
    (0..300).for_each(|_| waved.world.join(117.0));
    waved.next_beat.resize(500, waved.world.second as f64);
    waved.run(10);
    assert!((75..130).contains(&waved.with(60.0)), "{}", waved.with(60.0));
    let report = &waved.world.governor.rollouts()[0];
    assert_eq!(report.devices[0], 500);
    assert_eq!(report.devices[1] as usize, waved.with(60.0));
}

#[test]
fn without_waves_what_was_under_way_goes_out_at_once() {
    let mut waved = Waved::new(pinned(80, waved(&[20, 100])), 200);
    waved.run(60);
    let fleets = Arc::new(Fleets { fleets: vec![Arc::new(pinned(80, fleet()))] });
    waved.world.governor.set_fleets(fleets);
    waved.run(10);
    assert_eq!((waved.with(60.0), waved.events.last().map(|event| event.what)), (200, Some(What::Released)));
}
