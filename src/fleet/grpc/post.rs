//! What waits for one device, and what is known of its session: a slot for each kind of message, and no queue.
//!
//! One order is under way at a time: the next is given out when the device has said something since, so that neither our
//! buffers nor the kernel's ever hold more than one old order, however slowly it reads. What comes in between takes the
//! place of what waits.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::jitter::{Pace, RETRY_DEFAULT};
use flyball_sdk::device::probe::ProbeOrder;
use futures_util::task::AtomicWaker;

use super::hello::{GENERATION_MAX, Hello};
use super::probes::Probes;
use super::refusal::Refusal;
use crate::keepalive::alarm::health::{DeviceHealth, OffPace, Reach};
use crate::keepalive::alarm::ratios::ratio;
use crate::keepalive::cohort::{CohortIndex, Labels};
use crate::keepalive::observation::{BindingClass, ObservationKind, Probe, Silence};
use crate::proto::flyball_v1::server_message::Kind;
use crate::proto::flyball_v1::{self as proto};
use crate::time::MonoTime;

/// An ack later than this after an order may have come over a binding that something else has made anew.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(5);

const RETRY_UNIT_MS: u32 = 20;

/// One session, shared by the stream, the pusher and the sweep.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) device: DeviceId,
    pub(super) key_id: u16,
    pub(super) labels: Labels,
    cohort: AtomicU32,
    pub(super) boot: u32,
    pub(super) peer: IpAddr,
    pub(super) can_probe: bool,
    /// Sessions of the device that came from another address than the one before.
    pub(super) rebindings: u32,
    /// Of the stream's task.
    pub(super) waker: AtomicWaker,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The pace that was chosen for the device, as it was published.
    chosen: Option<Pace>,
    /// The same, under the generation that the device will obey; waits to be given out.
    order: Option<Pace>,
    /// The newest generation that the device was told or had.
    told: u64,
    is_under_way: bool,
    acked: u64,
    /// What the device had in force when it came was of another cohort.
    has_others: bool,
    /// The shortest and the longest wait of the order that was given out last.
    given: Option<[Duration; 2]>,
    /// The last gap between two messages, and the longest wait that was intended for it.
    gap: Duration,
    intended: Duration,
    off_pace: OffPace,
    /// It acked since its last beat: the gap that is open is none between two beats.
    has_spoken: bool,
    /// The last order, where it broke a silence.
    pushed: Option<Pushed>,
    probes: Probes,
    beat: Option<u32>,
    /// The last message from the device, and either way.
    heard: MonoTime,
    last: MonoTime,
    /// The last beat, if there was one.
    beaten: MonoTime,
    has_beaten: bool,
    end: Option<Refusal>,
}

#[derive(Debug, Clone, Copy)]
struct Pushed {
    generation: u64,
    at: MonoTime,
    silence: Duration,
}

/// What became of an ack.
#[derive(Debug, PartialEq)]
pub(super) enum Acked {
    /// It is taken; it may confirm that the order passed after a silence.
    Taken(Option<ObservationKind>),
    /// Of an older order than the last ack, or of one that was never told.
    Ignored,
}

impl Post {
    /// `has_others`: what the device has in force is another cohort's.
    pub(super) fn new(hello: &Hello, cohort: CohortIndex, pace: Option<Pace>, has_others: bool, now: MonoTime) -> Self {
        let state = State {
            chosen: pace,
            order: pace.map(|pace| first(pace, hello.generation, has_others)),
            has_others,
            told: hello.generation,
            is_under_way: false,
            acked: hello.generation,
            given: None,
            gap: Duration::ZERO,
            intended: Duration::ZERO,
            off_pace: OffPace::default(),
            has_spoken: false,
            pushed: None,
            probes: Probes::default(),
            beat: None,
            heard: now,
            last: now,
            beaten: now,
            has_beaten: false,
            end: None,
        };
        Self {
            device: hello.device,
            key_id: hello.key_id,
            labels: hello.labels.clone(),
            cohort: AtomicU32::new(cohort.0),
            boot: hello.boot,
            peer: hello.peer,
            can_probe: hello.can_probe,
            rebindings: 0,
            waker: AtomicWaker::new(),
            state: Mutex::new(state),
        }
    }

    /// Where the device is now.
    pub(super) fn cohort(&self) -> CohortIndex {
        CohortIndex(self.cohort.load(Ordering::Relaxed))
    }

    pub(super) fn move_to(&self, cohort: CohortIndex) {
        self.cohort.store(cohort.0, Ordering::Relaxed);
    }

    /// Whether `pace` is news; `Some(true)` where it is a shorter one.
    pub(super) fn is_news(&self, pace: &Pace) -> Option<bool> {
        let state = self.state();
        let is_shorter = state.chosen.is_none_or(|chosen| pace.longest() < chosen.longest());
        (state.chosen != Some(*pace)).then_some(is_shorter)
    }

    /// A pace for the device: takes the place of one that was not given out yet.
    pub(super) fn order(&self, pace: Pace) {
        let mut state = self.state();
        let (told, has_others) = (state.told, state.has_others);
        let is_first = state.chosen.replace(pace).is_none();
        state.order =
            Some(if is_first { first(pace, told, has_others) } else { at_least(pace, told.saturating_add(1)) });
        drop(state);
        self.waker.wake();
    }

    /// A probe order: rides on the next answer to a beat, so that it breaks no silence.
    pub(super) fn probe(&self, order: ProbeOrder, class: BindingClass) {
        self.state().probes.order(order, class);
    }

    /// Ends the stream, for the first reason given.
    pub(super) fn end(&self, why: Refusal) {
        self.state().end.get_or_insert(why);
        self.waker.wake();
    }

    /// Why the stream is to end, told once.
    pub(super) fn ending(&self) -> Option<Refusal> {
        self.state().end.take()
    }

    /// The messages that are due.
    pub(super) fn take(&self, now: MonoTime) -> Vec<Kind> {
        let mut state = self.state();
        let mut due = Vec::new();
        if let Some(sequence) = state.beat.take() {
            due.push(Kind::BeatAnswer(proto::BeatAnswer { sequence }));
            due.extend(state.probes.give(now).map(Kind::ProbeOrder));
        }
        if !state.is_under_way
            && let Some(pace) = state.order.take()
        {
            let silence = now.since(state.last);
            state.pushed = Some(Pushed { generation: pace.generation, at: now, silence });
            (state.told, state.is_under_way) = (pace.generation, true);
            state.given = Some([pace.interval, pace.longest()]);
            due.push(Kind::Order(to_wire(&pace)));
        }
        if !due.is_empty() {
            state.last = now;
        }
        due
    }

    /// The gap that a beat now ends, over the longest that was intended; none of the first one.
    pub(super) fn gap_ratio(&self, now: MonoTime) -> Option<f32> {
        let state = self.state();
        let longest = state.chosen.map(|pace| pace.longest()).filter(|_| state.has_beaten)?;
        Some((now.since(state.beaten).as_secs_f64() / longest.as_secs_f64()) as f32)
    }

    /// Whether the device has confirmed the pace that was chosen for it.
    pub(super) fn has_adopted(&self) -> bool {
        let state = self.state();
        state.order.is_none() && state.chosen.is_some_and(|pace| state.acked >= pace.generation.min(state.told))
    }

    /// The device beats: the silence before, which ended with it.
    pub(super) fn beat(&self, sequence: u32, now: MonoTime) -> Silence {
        let mut state = self.state();
        let (silence, gap) = (now.since(state.last), now.since(state.heard));
        state.gap_ended(gap);
        state.speak(now);
        (state.beaten, state.has_beaten) = (now, true);
        state.pushed = None;
        state.beat = Some(sequence);
        let (class, device) = (BindingClass::Stream, self.device);
        Silence { device, class, silence, gap, has_moved: false, is_same_address: true, is_doubtful: false }
    }

    /// The device has an order in force.
    pub(super) fn ack(&self, generation: u64, now: MonoTime) -> Acked {
        let mut state = self.state();
        state.speak(now);
        state.has_spoken = true;
        if generation < state.acked || generation > state.told {
            return Acked::Ignored;
        }
        state.acked = generation;
        let pushed = state.pushed.take().filter(|pushed| pushed.generation == generation);
        let confirmed = pushed.filter(|pushed| now.since(pushed.at) <= CONFIRMED_WITHIN);
        Acked::Taken(confirmed.map(|pushed| ObservationKind::Push {
            device: self.device,
            silence: pushed.silence,
            is_confirmed: true,
        }))
    }

    /// A probe's result; `None` where no such test was ordered, or it cannot have ended like this.
    pub(super) fn probed(&self, told: &proto::ProbeResult, now: MonoTime) -> Option<Probe> {
        let mut state = self.state();
        state.speak(now);
        state.probes.result(self.device, told, now)
    }

    /// Since the device was heard, and how long it may be silent by its order.
    pub(super) fn silent_for(&self, now: MonoTime) -> (Duration, Option<Duration>) {
        let state = self.state();
        (now.since(state.heard), state.chosen.map(|pace| pace.longest()))
    }

    /// Gives the order in force again, under a new generation: a device that is there acks it.
    pub(super) fn ask(&self) {
        let mut state = self.state();
        let Some(chosen) = state.chosen else { return };
        state.order = Some(at_least(chosen, state.told.saturating_add(1)));
        drop(state);
        self.waker.wake();
    }

    /// Where the device stands: its last gap or the one that is open, as a ratio to what it was told.
    pub(super) fn standing(&self, now: MonoTime) -> f64 {
        let state = self.state();
        let open = ratio(now.since(state.heard), state.longest());
        if state.intended.is_zero() { open } else { open.max(ratio(state.gap, state.intended)) }
    }

    /// Whether it was heard since then.
    pub(super) fn is_heard_since(&self, asked: MonoTime) -> bool {
        self.state().heard > asked
    }

    /// What a scan finds, before it asks.
    pub(super) fn health(&self, now: MonoTime) -> DeviceHealth {
        let state = self.state();
        DeviceHealth {
            device: self.device,
            serial: self.labels.get("serial").cloned(),
            firmware: self.labels.get("firmware").cloned(),
            silent_for: now.since(state.heard),
            gap: state.gap,
            intended: state.longest(),
            rebindings: self.rebindings,
            reach: Reach::NotAsked,
            pace: state.off_pace.obedience(),
        }
    }

    /// Since the last packet either way, where that one was the device's: nothing of ours is unanswered.
    pub(super) fn silence(&self, now: MonoTime) -> Option<Duration> {
        let state = self.state();
        (state.end.is_none() && !state.is_under_way).then(|| now.since(state.last))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics under this lock")
    }
}

impl State {
    /// The longest wait that the device knows of, or is about to.
    fn longest(&self) -> Duration {
        self.given.map(|[_, longest]| longest).or(self.chosen.map(|pace| pace.longest())).unwrap_or_default()
    }

    fn gap_ended(&mut self, gap: Duration) {
        self.gap = gap;
        self.intended = self.longest();
        let has_spoken = std::mem::take(&mut self.has_spoken);
        if let Some(told) = self.given.filter(|_| !has_spoken) {
            self.off_pace.take(gap, told);
        }
    }

    fn speak(&mut self, now: MonoTime) {
        (self.heard, self.last, self.is_under_way) = (now, now, false);
    }
}

/// The first pace of a session, for a device that has the generation `had` in force: that may be this one, unless it is
/// another cohort's, which may be of the same decision.
fn first(pace: Pace, had: u64, has_others: bool) -> Pace {
    let is_this = pace.generation == had && !has_others;
    if is_this { pace } else { at_least(pace, had.saturating_add(1)) }
}

/// `pace` under a generation that a device which has `floor - 1` in force obeys: a cohort's order may be older than the
/// device's own, or than that of a cohort that it came from.
fn at_least(pace: Pace, floor: u64) -> Pace {
    Pace { generation: pace.generation.max(floor).min(GENERATION_MAX), ..pace }
}

fn to_wire(pace: &Pace) -> proto::Order {
    let retry = if pace.retry == 0 { RETRY_DEFAULT } else { pace.retry };
    proto::Order {
        generation: pace.generation,
        interval_ms: u32::try_from(pace.interval.as_millis()).unwrap_or(u32::MAX),
        jitter_256ths: u32::from(pace.jitter),
        retry_ms: u32::from(retry) * RETRY_UNIT_MS,
        is_hostile: pace.is_hostile,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> MonoTime {
        MonoTime::from_start(Duration::from_secs(seconds))
    }

    fn pace(generation: u64, seconds: u64) -> Pace {
        Pace { generation, interval: Duration::from_secs(seconds), jitter: 64, retry: 0, is_hostile: false }
    }

    fn post(generation: u64) -> Post {
        let hello = Hello {
            device: DeviceId([1; 16]),
            key_id: 1,
            boot: 1,
            labels: Labels::new(),
            generation,
            can_probe: true,
            lost: None,
            peer: [127, 0, 0, 1].into(),
        };
        Post::new(&hello, CohortIndex(1), Some(pace(10, 80)), false, at(0))
    }

    fn generation(kinds: &[Kind]) -> Option<u64> {
        kinds.iter().find_map(|kind| if let Kind::Order(order) = kind { Some(order.generation) } else { None })
    }

    #[test]
    fn one_order_is_under_way_and_the_newest_waits() {
        let post = post(0);
        assert_eq!(generation(&post.take(at(1))), Some(10));
        post.order(pace(11, 70));
        post.order(pace(12, 60));
        assert_eq!(post.take(at(2)), [], "the first is not answered");
        let Acked::Taken(Some(confirmed)) = post.ack(10, at(3)) else { panic!("it came after a second of silence") };
        assert!(matches!(confirmed, ObservationKind::Push { is_confirmed: true, .. }), "{confirmed:?}");
        assert_eq!(generation(&post.take(at(3))), Some(12));
    }

    #[test]
    fn generations_that_a_device_is_told_only_rise() {
        assert_eq!(generation(&post(0).take(at(1))), Some(10));
        assert_eq!(generation(&post(10).take(at(1))), Some(10), "it has this one");
        assert_eq!(generation(&post(11).take(at(1))), Some(12));
        let post = post(GENERATION_MAX);
        assert_eq!(generation(&post.take(at(1))), Some(GENERATION_MAX), "48 bits");
        post.ack(GENERATION_MAX, at(2));
        post.order(pace(11, 70));
        assert_eq!(generation(&post.take(at(2))), Some(GENERATION_MAX));
    }

    #[test]
    fn an_ack_never_goes_back_and_never_beyond_what_was_told() {
        let post = post(0);
        post.take(at(1));
        for (generation, is_taken) in [(11, false), (10, true), (9, false), (10, true)] {
            assert_eq!(post.ack(generation, at(2)) != Acked::Ignored, is_taken, "{generation}");
        }
    }

    #[test]
    fn a_silence_is_from_the_last_packet_either_way_and_a_gap_from_the_last_of_the_device() {
        let post = post(0);
        post.take(at(1));
        post.ack(10, at(2));
        post.order(pace(11, 70));
        post.take(at(50));
        let silence = post.beat(1, at(80));
        assert_eq!((silence.silence, silence.gap), (Duration::from_secs(30), Duration::from_secs(78)));
    }

    #[test]
    fn only_a_prompt_ack_confirms_that_a_push_passed() {
        for (ack_at, is_confirmed) in [(61, true), (66, false)] {
            let post = post(0);
            post.take(at(1));
            post.ack(10, at(1));
            post.order(pace(11, 70));
            post.take(at(60));
            let confirmed = post.ack(11, at(ack_at));
            let push =
                ObservationKind::Push { device: post.device, silence: Duration::from_secs(59), is_confirmed: true };
            assert_eq!(confirmed, Acked::Taken(is_confirmed.then_some(push)), "acked at {ack_at} s");
        }
    }
}
