//! One session: an HTTP body that reads the device's messages and gives out ours. It has no task and no queue of its own;
//! it is asked for bytes when the device spoke, when something waits for it, and when there is room.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use tonic::Status;

use super::desk::Desk;
use super::frame::{Inbound, framed};
use super::post::{Acked, Post};
use super::refusal::Refusal;
use super::reply;
use crate::keepalive::observation::{Beat, Observation, ObservationKind};
use crate::proto::flyball_v1::{DeviceMessage, device_message};
use crate::socket::idle::Requests;

/// One open session.
pub(super) struct Session {
    desk: Arc<Desk>,
    post: Arc<Post>,
    inbound: Inbound,
    has_ended: bool,
    /// While it lives, its connection is in use.
    _open: Requests,
}

impl Session {
    pub(super) fn new(desk: Arc<Desk>, post: Arc<Post>, inbound: Inbound, open: Requests) -> Self {
        desk.counts.sessions.inc();
        Self { desk, post, inbound, has_ended: false, _open: open }
    }

    /// Reads all that has arrived. `true` where the device has ended its half.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, Refusal> {
        while let Poll::Ready(message) = self.inbound.poll_message(cx)? {
            let Some(message) = message else { return Ok(true) };
            self.hear(message)?;
        }
        Ok(false)
    }

    fn hear(&self, message: DeviceMessage) -> Result<(), Refusal> {
        let now = self.desk.now();
        match message.kind {
            Some(device_message::Kind::Beat(beat)) => {
                self.desk.counts.beats.inc();
                let gap_ratio = self.post.gap_ratio(now);
                let silence = self.post.beat(beat.sequence, now);
                self.judge(gap_ratio);
                self.tell_from(silence.silence, ObservationKind::Silence(silence));
            }
            Some(device_message::Kind::Ack(ack)) => match self.post.ack(ack.generation, now) {
                Acked::Taken(Some(push @ ObservationKind::Push { silence, .. })) => self.tell_from(silence, push),
                Acked::Taken(_) => {}
                Acked::Ignored => _ = self.desk.counts.acks_ignored.inc(),
            },
            Some(device_message::Kind::ProbeResult(told)) => match self.post.probed(&told, now) {
                Some(probe) => self.tell(ObservationKind::Probe(probe)),
                None => _ = self.desk.counts.probes_ignored.inc(),
            },
            Some(device_message::Kind::Hello(_)) => return Err(Refusal::Order),
            // A kind that this version does not know.
            None => {}
        }
        Ok(())
    }

    /// Tells what a silence showed, if it was long enough to teach something.
    fn tell_from(&self, silence: std::time::Duration, kind: ObservationKind) {
        let orders = self.desk.orders.load();
        if orders.cohort(self.post.cohort()).is_some_and(|order| silence >= order.tell_silences_from) {
            self.tell(kind);
        }
    }

    /// A beat of a cohort whose rollout is judged. That it came over the session that it was expected on confirms it.
    fn judge(&self, gap_ratio: Option<f32>) {
        let orders = self.desk.orders.load();
        if orders.cohort(self.post.cohort()).is_some_and(|order| order.tell_beats.is_some()) {
            let (device, has_adopted) = (self.post.device, self.post.has_adopted());
            let beat = Beat { device, is_confirmed: true, gap_ratio, is_reached: None, has_adopted };
            self.tell(ObservationKind::Beat(beat));
        }
    }

    fn tell(&self, kind: ObservationKind) {
        self.desk.note([Observation { at: self.desk.now(), cohort: self.post.cohort(), kind }]);
    }

    fn end(&mut self, status: &Status) -> Frame<Bytes> {
        self.has_ended = true;
        self.desk.registry.leave(&self.post);
        Frame::trailers(reply::trailers(status))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.desk.registry.leave(&self.post);
        self.desk.counts.sessions.dec();
    }
}

impl Body for Session {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        // Before the look: what is ordered after it wakes the task.
        self.post.waker.register(cx.waker());
        let ending = self.post.ending();
        let read = ending.map_or_else(|| self.read(cx), Err);
        let due = self.post.take(self.desk.now());
        match read {
            Err(why) => {
                self.desk.counts.refuse(&why);
                Poll::Ready(Some(Ok(self.end(&Status::from(&why)))))
            }
            Ok(_) if !due.is_empty() => Poll::Ready(Some(Ok(Frame::data(framed(due))))),
            Ok(true) => Poll::Ready(Some(Ok(self.end(&Status::ok(""))))),
            Ok(false) => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended
    }
}
