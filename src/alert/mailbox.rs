//! What waits for one receiver. A cohort's alarms wait in their order; of a receiver that is down for long, only what is
//! still news is kept: the alarm that it was told last, and the latest. So there are at most as many as cohorts, and
//! nothing that is in force is ever lost.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use super::told::{Alert, AlertKey};

/// Of one cohort: an opening and its end, and the next opening and its end.
const WAITING_MAX: usize = 4;

/// Shared by who puts in and who takes out.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    inner: Mutex<Inner>,
    notify: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// Whose turn it is.
    order: VecDeque<AlertKey>,
    waiting: HashMap<AlertKey, VecDeque<Arc<Alert>>>,
}

impl Mailbox {
    /// Puts one in; those that waited and are no news any more.
    pub(super) fn put(&self, alert: Arc<Alert>) -> Vec<Arc<Alert>> {
        let key = alert.key();
        let mut inner = self.inner();
        let waiting = inner.waiting.entry(key.clone()).or_default();
        let is_new = waiting.is_empty();
        waiting.push_back(alert);
        let mut left_out = Vec::new();
        while waiting.len() > WAITING_MAX {
            // An opening and its end that nobody was told of: together they are nothing. The first may be on its way: its
            // end, which follows it, is told too.
            let first = if waiting[0].resolved_at.is_some() { 1 } else { 2 };
            left_out.extend(waiting.drain(first..first + 2));
        }
        if is_new {
            inner.order.push_back(key);
        }
        drop(inner);
        self.notify.notify_one();
        left_out
    }

    /// The next one; it stays until it is [done](Self::done).
    pub(super) async fn next(&self) -> Arc<Alert> {
        loop {
            if let Some(alert) = self.first() {
                return alert;
            }
            self.notify.notified().await;
        }
    }

    fn first(&self) -> Option<Arc<Alert>> {
        let inner = self.inner();
        inner.waiting.get(inner.order.front()?)?.front().cloned()
    }

    /// It was delivered, or never can be.
    pub(super) fn done(&self, alert: &Arc<Alert>) {
        let mut inner = self.inner();
        let key = alert.key();
        let Some(waiting) = inner.waiting.get_mut(&key) else { return };
        if waiting.front().is_some_and(|first| Arc::ptr_eq(first, alert)) {
            waiting.pop_front();
        }
        let is_empty = waiting.is_empty();
        inner.order.retain(|other| *other != key);
        if is_empty {
            inner.waiting.remove(&key);
        } else {
            inner.order.push_back(key);
        }
    }

    /// It was not delivered: the others' turn.
    pub(super) fn later(&self) {
        let mut inner = self.inner();
        if let Some(key) = inner.order.pop_front() {
            inner.order.push_back(key);
        }
    }

    /// Alarms that wait.
    pub(super) fn len(&self) -> usize {
        self.inner().waiting.values().map(VecDeque::len).sum()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics under this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::alert;
    use super::*;
    use crate::keepalive::alarm::watch::End;
    use crate::time::WallTime;

    fn firing(cohort: &str) -> Arc<Alert> {
        Arc::new(alert(cohort))
    }

    fn over(cohort: &str) -> Arc<Alert> {
        Arc::new(alert(cohort).resolved(WallTime::from_unix_ms(2), End::Recovered))
    }

    fn drained(mailbox: &Mailbox) -> Vec<(String, &'static str)> {
        let mut told = Vec::new();
        while let Some(alert) = mailbox.first() {
            told.push((alert.key.name.to_string(), alert.state()));
            mailbox.done(&alert);
        }
        told
    }

    #[test]
    fn a_cohorts_alarms_come_in_their_order_and_cohorts_take_turns() {
        let mailbox = Mailbox::default();
        [firing("a"), over("a"), firing("b")].into_iter().for_each(|alert| assert_eq!(mailbox.put(alert), []));
        assert_eq!(mailbox.len(), 3);
        let told = drained(&mailbox);
        assert_eq!(told, [("a".into(), "firing"), ("b".into(), "firing"), ("a".into(), "resolved")]);
        assert_eq!(mailbox.len(), 0);
    }

    #[test]
    fn of_a_receiver_that_is_down_for_long_the_latest_state_is_kept() {
        let mailbox = Mailbox::default();
        let put = |i: usize| mailbox.put(if i.is_multiple_of(2) { firing("a") } else { over("a") }).len();
        let left_out: usize = (0..1_000).map(put).sum();
        assert_eq!((mailbox.len(), left_out), (4, 996));
        assert_eq!(drained(&mailbox).last().map(|(_, state)| *state), Some("resolved"));
        let left_out: usize = (0..1_001).map(put).sum();
        assert_eq!(1_001 - left_out, mailbox.len());
        assert_eq!(drained(&mailbox).last().map(|(_, state)| *state), Some("firing"));
    }

    #[test]
    fn an_opening_that_may_be_on_its_way_is_followed_by_its_own_end() {
        for told_before in [0, 1] {
            let mailbox = Mailbox::default();
            for i in told_before..20 {
                let opening = Alert { id: (i / 2).to_string().into(), ..alert("a") };
                let over = opening.resolved(WallTime::from_unix_ms(2), End::Recovered);
                mailbox.put(Arc::new(if i % 2 == 0 { opening } else { over }));
            }
            let ids: Vec<(String, &str)> = std::iter::from_fn(|| {
                let alert = mailbox.first()?;
                mailbox.done(&alert);
                Some((alert.id.to_string(), alert.state()))
            })
            .collect();
            let ids: Vec<(&str, &str)> = ids.iter().map(|(id, state)| (&**id, *state)).collect();
            let last = [("9", "firing"), ("9", "resolved")];
            let first = [("0", "firing"), ("0", "resolved")];
            assert_eq!(ids, [&first[told_before..], &last].concat());
        }
    }

    #[test]
    fn what_is_not_delivered_waits_behind_the_others() {
        let mailbox = Mailbox::default();
        [firing("a"), firing("b")].into_iter().for_each(|alert| _ = mailbox.put(alert));
        mailbox.later();
        assert_eq!(drained(&mailbox), [("b".to_owned(), "firing"), ("a".to_owned(), "firing")]);
    }
}
