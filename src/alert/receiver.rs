//! Delivery to one receiver: in turn, at its rate, again until it is taken. A receiver that is slow or gone delays nobody
//! but itself. What is open is told again in time whatever else has to wait: Alertmanager would take silence for the end.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock as Paced;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::{Instant, sleep_until};

use super::book::{AlertBook, Failure};
use super::mailbox::Mailbox;
use super::metrics::{AlertMetrics, FailureLabels, ReceiverLabels};
use super::send::SendError;
use super::told::{Alert, AlertKey};
use crate::error_chain::chain;
use crate::time::Clock;

/// Between the first two tries; doubled each time, up to the last.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Of the wait, either way: receivers that went down together are not asked together.
const BACKOFF_JITTER: f64 = 0.2;

/// Somebody who is told.
pub(super) trait Receiver: Send + Sync + 'static {
    /// Tells one alarm.
    fn send(&self, alert: &Alert) -> impl Future<Output = Result<(), SendError>> + Send;
    /// How often open alarms are told again, if they are.
    fn resend_every(&self) -> Option<Duration>;
    /// Tells all open alarms again.
    fn resend(&self, open: &[&Alert]) -> impl Future<Output = Result<(), SendError>> + Send;
}

/// The runtime's clock, which tests move by hand.
#[derive(Debug, Clone, Default)]
pub(super) struct RuntimeClock;

impl Paced for RuntimeClock {
    type Instant = std::time::Instant;

    fn now(&self) -> Self::Instant {
        Instant::now().into_std()
    }
}

type Pace = RateLimiter<NotKeyed, InMemoryState, RuntimeClock, NoOpMiddleware<std::time::Instant>>;

/// Who is told, and where that is noted.
pub(super) struct Addressee {
    pub(super) name: Arc<str>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) book: AlertBook,
    pub(super) metrics: AlertMetrics,
    pub(super) clock: Clock,
}

/// The task of one receiver.
pub(super) struct Delivery<R> {
    to: Addressee,
    receiver: R,
    pace: Pace,
    /// What it was told and is not over, as far as it wants to be told again.
    open: BTreeMap<AlertKey, Arc<Alert>>,
    failures: u32,
    /// The next try, after one that failed.
    again_at: Instant,
    /// What waits first has been counted as delayed.
    is_delayed: bool,
}

impl<R: Receiver> Delivery<R> {
    /// `known` = openings that it was told of by an earlier process, and does not know the end of.
    pub(super) fn new(to: Addressee, receiver: R, rate: NonZeroU32, known: Vec<Arc<Alert>>) -> Self {
        let pace = RateLimiter::direct_with_clock(Quota::per_minute(rate), RuntimeClock);
        let is_told_again = receiver.resend_every().is_some();
        let open = known.into_iter().filter(|_| is_told_again).map(|alert| (alert.key(), alert)).collect();
        Self { to, receiver, pace, open, failures: 0, again_at: Instant::now(), is_delayed: false }
    }

    /// For ever.
    pub(super) async fn run(mut self) {
        let every = self.receiver.resend_every();
        // At once what an earlier process told: its time may be up.
        let mut due = every.map(|every| if self.open.is_empty() { Instant::now() + every } else { Instant::now() });
        loop {
            tokio::select! {
                biased;
                () = at(due) => {
                    self.resend().await;
                    due = every.map(|every| Instant::now() + every);
                }
                alert = self.turn() => self.deliver(alert).await,
            }
        }
    }

    /// The next one, when it may be told. May be given up at any moment: it takes nothing before it is ready.
    async fn turn(&mut self) -> Arc<Alert> {
        sleep_until(self.again_at).await;
        let mailbox = Arc::clone(&self.to.mailbox);
        let alert = mailbox.next().await;
        while let Err(too_early) = self.pace.check() {
            if !std::mem::replace(&mut self.is_delayed, true) {
                self.to.metrics.delayed.get_or_create(&self.to.labels()).inc();
            }
            let wait = too_early.earliest_possible().duration_since(RuntimeClock.now());
            sleep_until(Instant::now() + wait).await;
        }
        self.is_delayed = false;
        alert
    }

    async fn deliver(&mut self, alert: Arc<Alert>) {
        // A process that is killed in between must know afterwards what it has said.
        self.to.book.written().await;
        match self.receiver.send(&alert).await {
            Ok(()) => {
                self.failures = 0;
                self.to.metrics.sent.get_or_create(&self.to.labels()).inc();
                self.taken(&alert, None);
            }
            Err(error) => {
                self.note(&error, &alert);
                if error.is_final() {
                    self.taken(&alert, Some(self.to.failure(&error)));
                } else {
                    self.to.book.failed(&self.to.name, &alert, self.to.failure(&error));
                    self.to.mailbox.later();
                    self.again_at = Instant::now() + self.backoff();
                }
            }
        }
        self.to.metrics.waiting.get_or_create(&self.to.labels()).set(self.to.mailbox.len() as i64);
    }

    fn taken(&mut self, alert: &Arc<Alert>, refused: Option<Failure>) {
        self.to.mailbox.done(alert);
        self.to.book.heard(&self.to.name, alert, self.to.clock.now().wall, refused);
        if self.receiver.resend_every().is_none() || alert.resolved_at.is_some() {
            self.open.remove(&alert.key());
        } else {
            self.open.insert(alert.key(), Arc::clone(alert));
        }
    }

    /// Failing is no reason to wait: the next time is the next try.
    async fn resend(&mut self) {
        let open: Vec<&Alert> = self.open.values().map(AsRef::as_ref).collect();
        if open.is_empty() {
            return;
        }
        if let Err(error) = self.receiver.resend(&open).await {
            self.to.count(&error);
            open.iter().for_each(|alert| self.to.book.failed(&self.to.name, alert, self.to.failure(&error)));
        }
    }

    fn backoff(&mut self) -> Duration {
        let doubled = BACKOFF_FIRST.saturating_mul(1 << self.failures.min(10)).min(BACKOFF_MAX);
        self.failures += 1;
        doubled.mul_f64(1.0 + BACKOFF_JITTER * (rand::random::<f64>() * 2.0 - 1.0))
    }

    /// The first failure in a row is worth a line, and each that loses something.
    fn note(&self, error: &SendError, alert: &Alert) {
        self.to.count(error);
        if self.failures == 0 || error.is_final() {
            let (receiver, cohort, is_final) = (&*self.to.name, &*alert.key.name, error.is_final());
            let error = error as &dyn std::error::Error;
            tracing::warn!(receiver, cohort, state = alert.state(), is_final, error, "an alarm was not taken");
        }
    }
}

impl Addressee {
    fn count(&self, error: &SendError) {
        let labels = FailureLabels { receiver: Arc::clone(&self.name), reason: error.kind() };
        self.metrics.failed.get_or_create(&labels).inc();
    }

    fn failure(&self, error: &SendError) -> Failure {
        Failure { at: self.clock.now().wall, why: chain(error).into() }
    }

    fn labels(&self) -> ReceiverLabels {
        ReceiverLabels { receiver: Arc::clone(&self.name) }
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use super::super::sample::alert;
    use super::*;
    use crate::keepalive::alarm::watch::End;
    use crate::time::WallTime;

    /// What it does with a message.
    #[derive(Debug, Clone, Copy)]
    enum Answer {
        Taken,
        Failing,
        Rejecting,
    }

    /// What came, and when: an opening, an end, or so many that are open, again.
    #[derive(Debug, Clone, PartialEq)]
    enum Came {
        Firing(String),
        Resolved(String),
        Again(usize),
    }

    /// Answers the first messages by a list, and takes all later ones.
    #[derive(Clone, Default)]
    struct Script {
        answers: Arc<Mutex<VecDeque<Answer>>>,
        came: Arc<Mutex<Vec<(Duration, Came)>>>,
        began: Option<Instant>,
        resend_every: Option<Duration>,
    }

    impl Script {
        fn note(&self, came: Came) {
            let at = self.began.expect("began").elapsed();
            self.came.lock().expect("not poisoned").push((at, came));
        }

        fn came(&self) -> Vec<(Duration, Came)> {
            self.came.lock().expect("not poisoned").clone()
        }
    }

    impl Receiver for Script {
        async fn send(&self, alert: &Alert) -> Result<(), SendError> {
            let id = alert.id.to_string();
            self.note(if alert.resolved_at.is_some() { Came::Resolved(id) } else { Came::Firing(id) });
            match self.answers.lock().expect("not poisoned").pop_front().unwrap_or(Answer::Taken) {
                Answer::Taken => Ok(()),
                Answer::Failing => Err(SendError::Status(503)),
                Answer::Rejecting => Err(SendError::Rejected { status: 400, told: "no".into() }),
            }
        }

        fn resend_every(&self) -> Option<Duration> {
            self.resend_every
        }

        async fn resend(&self, open: &[&Alert]) -> Result<(), SendError> {
            self.note(Came::Again(open.len()));
            Ok(())
        }
    }

    struct Bed {
        script: Script,
        mailbox: Arc<Mailbox>,
        book: AlertBook,
        metrics: AlertMetrics,
        _running: tokio::task::JoinSet<()>,
    }

    fn bed(rate: u32, resend_every: Option<Duration>, answers: &[Answer], known: Vec<Arc<Alert>>) -> Bed {
        let answers = Arc::new(Mutex::new(answers.iter().copied().collect()));
        let script = Script { answers, began: Some(Instant::now()), resend_every, ..Script::default() };
        let (mailbox, book, metrics) = (Arc::<Mailbox>::default(), AlertBook::default(), AlertMetrics::default());
        let to = Addressee {
            name: "peer".into(),
            mailbox: Arc::clone(&mailbox),
            book: book.clone(),
            metrics: metrics.clone(),
            clock: Clock::start(),
        };
        let mut running = tokio::task::JoinSet::new();
        running.spawn(Delivery::new(to, script.clone(), NonZeroU32::new(rate).expect("some"), known).run());
        Bed { script, mailbox, book, metrics, _running: running }
    }

    impl Bed {
        fn put(&self, alert: &Arc<Alert>) {
            self.book.open(alert, std::iter::once("peer".into()));
            self.mailbox.put(Arc::clone(alert));
        }

        fn end(&self, alert: &Alert) {
            let over = Arc::new(alert.resolved(WallTime::from_unix_ms(2), End::Recovered));
            self.book.over(&over);
            self.mailbox.put(over);
        }

        fn seconds(&self) -> Vec<f64> {
            self.script.came().iter().map(|(at, _)| at.as_secs_f64()).collect()
        }
    }

    fn opening(n: usize) -> Arc<Alert> {
        Arc::new(alert(&format!("carrier={n},region=north")))
    }

    async fn pass(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_as_the_rate_at_once_and_then_one_after_the_other_at_its_pace() {
        let bed = bed(30, None, &[], Vec::new());
        (0..34).for_each(|n| bed.put(&opening(n)));
        pass(60).await;
        let seconds = bed.seconds();
        assert!(seconds[..30].iter().all(|at| *at < 0.1), "{seconds:?}");
        let paced: Vec<f64> = seconds[30..].iter().map(|at| at.round()).collect();
        assert_eq!(paced, [2.0, 4.0, 6.0, 8.0]);
        let labels = ReceiverLabels { receiver: "peer".into() };
        assert_eq!(bed.metrics.delayed.get_or_create(&labels).get(), 4, "each once");
    }

    #[tokio::test(start_paused = true)]
    async fn tries_are_twice_as_far_apart_each_time_up_to_a_minute_and_begin_anew_once_one_was_taken() {
        let bed = bed(6_000, None, &[Answer::Failing; 9], Vec::new());
        bed.put(&opening(1));
        pass(600).await;
        let seconds = bed.seconds();
        assert_eq!(seconds.len(), 10);
        for (waits, wanted) in seconds.windows(2).zip([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]) {
            let wait = waits[1] - waits[0];
            assert!((wanted * 0.79..wanted * 1.21).contains(&wait), "{wait} for {wanted}");
        }
        assert!(
            bed.script.came().iter().all(|(_, came)| matches!(came, Came::Firing(_))),
            "one message, again and again"
        );
        let kept = bed.book.load();
        let told = &kept[0].receivers["peer"];
        assert_eq!((told.heard.as_str(), &told.failure), (Some("firing"), &None));
        *bed.script.answers.lock().expect("not poisoned") = [Answer::Failing].into();
        bed.put(&opening(2));
        pass(2).await;
        assert_eq!(bed.seconds().len(), 12, "a second later, not a minute");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_for_good_is_not_tried_again_and_its_end_is_told() {
        let (bed, alert) = (bed(30, None, &[Answer::Rejecting], Vec::new()), opening(1));
        bed.put(&alert);
        pass(300).await;
        assert_eq!(bed.script.came().len(), 1);
        let kept = bed.book.load();
        assert_eq!(kept[0].receivers["peer"].failure.as_ref().map(|f| &*f.why), Some("status 400: no"));
        bed.end(&alert);
        pass(1).await;
        assert_eq!(bed.script.came().last().map(|(_, came)| came.clone()), Some(Came::Resolved(alert.id.to_string())));
        assert!(bed.book.load().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_is_back_hears_each_thing_once_and_in_order() {
        let (bed, alert) = (bed(30, None, &[Answer::Failing; 3], Vec::new()), opening(1));
        bed.put(&alert);
        pass(1).await;
        bed.end(&alert);
        pass(60).await;
        let came: Vec<Came> = bed.script.came().into_iter().map(|(_, came)| came).skip(3).collect();
        let id = alert.id.to_string();
        assert_eq!(came, [Came::Firing(id.clone()), Came::Resolved(id)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_open_is_told_again_in_time_whatever_else_waits() {
        let every = Duration::from_secs(1);
        // The first is taken; the second is not, and its tries are soon a minute apart.
        let answers = [&[Answer::Taken][..], &[Answer::Failing; 50]].concat();
        let bed = bed(30, Some(every), &answers, Vec::new());
        bed.put(&opening(1));
        bed.put(&opening(2));
        pass(200).await;
        let again: Vec<Duration> =
            bed.script.came().iter().filter(|(_, came)| *came == Came::Again(1)).map(|(at, _)| *at).collect();
        assert!(again.len() > 190, "{}", again.len());
        assert!(again.windows(2).all(|at| at[1] - at[0] < every * 2), "{again:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_earlier_process_told_is_told_again_at_once_and_never_as_news() {
        let (every, alert) = (Duration::from_secs(60), opening(1));
        let bed = bed(30, Some(every), &[], vec![Arc::clone(&alert)]);
        pass(100).await;
        let [first, second] = &bed.script.came()[..] else { panic!("{:?}", bed.script.came()) };
        assert_eq!((&first.1, &second.1), (&Came::Again(1), &Came::Again(1)));
        assert!(first.0 < Duration::from_millis(100), "its time may be up: {:?}", first.0);
        bed.book.open(&alert, std::iter::once("peer".into()));
        bed.end(&alert);
        pass(200).await;
        assert_eq!(
            bed.script.came()[2..].iter().map(|(_, came)| came.clone()).collect::<Vec<_>>(),
            [Came::Resolved(alert.id.to_string())]
        );
    }
}
