//! One session: hello, then beats and orders until it ends.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Endpoint;

use super::proto::keepalive_client::KeepaliveClient;
use super::proto::{self, DeviceMessage, ServerMessage, device_message, server_message};
use super::{Event, SessionError, State};
use crate::device::jitter::Pace;
use crate::device::session;

/// To connect, and for the first order.
const OPEN_MAX: Duration = Duration::from_secs(10);

/// A beat that is not answered within this many fast retries finds the connection dead: the kernel has sent it again
/// several times by then.
const ANSWER_RETRIES: u32 = 3;

/// Messages that wait for the connection: a beat and an ack.
const OUT_QUEUE: usize = 4;

/// Largest message from the server that is taken.
const MESSAGE_MAX_BYTES: usize = 4_096;

const RETRY_UNIT_MS: u32 = 20;

/// An open session.
#[derive(Debug)]
pub(super) struct Session {
    out: mpsc::Sender<DeviceMessage>,
    orders: Streaming<ServerMessage>,
    sequence: u32,
    /// The last packet either way, and the last from here.
    last: Instant,
    said: Instant,
    beat: Option<Beat>,
}

/// A beat that is not answered yet.
#[derive(Debug, Clone, Copy)]
struct Beat {
    at: Instant,
    silence: Duration,
}

impl Session {
    /// Connects and says hello. Returns when the server has accepted it.
    pub(super) async fn open(state: &State) -> Result<Self, SessionError> {
        timeout(OPEN_MAX, Self::begin(state)).await.unwrap_or(Err(SessionError::NoAnswer(OPEN_MAX)))
    }

    async fn begin(state: &State) -> Result<Self, SessionError> {
        let endpoint = Endpoint::from(state.settings.endpoint.clone()).tcp_nodelay(true);
        let channel = endpoint.connect().await.map_err(SessionError::Connect)?;
        let (out, messages) = mpsc::channel(OUT_QUEUE);
        out.try_send(message(device_message::Kind::Hello(hello(state)))).expect("an empty queue");
        let mut client = KeepaliveClient::new(channel).max_decoding_message_size(MESSAGE_MAX_BYTES);
        let watched = client.watch(ReceiverStream::new(messages)).await;
        let orders = watched.map_err(|status| SessionError::Refused(Box::new(status)))?.into_inner();
        let now = Instant::now();
        Ok(Self { out, orders, sequence: 0, last: now, said: now, beat: None })
    }

    /// Lives until the session ends.
    pub(super) async fn run(mut self, state: &mut State, on_event: &mut impl FnMut(Event)) -> SessionError {
        state.lost = None;
        let error = loop {
            let due = self.said + state.pace.wait(state.settings.device, self.sequence);
            let patience = state.pace.retry_wait(1) * ANSWER_RETRIES;
            let wake = self.beat.map_or(due, |beat| beat.at + patience);
            let heard = tokio::select! {
                heard = self.orders.message() => heard,
                () = sleep_until(wake) => {
                    if self.beat.is_some() {
                        break SessionError::Unanswered(patience);
                    }
                    self.beat_now();
                    continue;
                }
            };
            match heard {
                Ok(Some(message)) => self.hear(message, state, on_event),
                Ok(None) => break SessionError::Ended,
                Err(status) => break SessionError::of_begun(status),
            }
        };
        state.lost = self.beat.and_then(|beat| lost(&error, beat));
        error
    }

    fn beat_now(&mut self) {
        let now = Instant::now();
        self.sequence = self.sequence.wrapping_add(1);
        self.beat = Some(Beat { at: now, silence: now - self.last });
        self.say(device_message::Kind::Beat(proto::Beat { sequence: self.sequence }));
    }

    fn hear(&mut self, message: ServerMessage, state: &mut State, on_event: &mut impl FnMut(Event)) {
        self.last = Instant::now();
        match message.kind {
            Some(server_message::Kind::Order(order)) => {
                if let Some(event) = state.obey(pace(&order)) {
                    on_event(event);
                }
                self.say(device_message::Kind::Ack(proto::Ack { generation: state.pace.generation }));
            }
            Some(server_message::Kind::BeatAnswer(answer)) if answer.sequence == self.sequence => {
                if let Some(beat) = self.beat.take() {
                    let (sequence, silence, took) = (self.sequence, beat.silence, beat.at.elapsed());
                    on_event(Event::Answered { sequence, silence, took });
                }
            }
            _ => {}
        }
    }

    /// A full queue is a connection that takes nothing: the next beat finds it dead.
    fn say(&mut self, kind: device_message::Kind) {
        let now = Instant::now();
        (self.last, self.said) = (now, now);
        let _ = self.out.try_send(message(kind));
    }
}

/// What the next hello says of the end; nothing where the server told why it ends.
fn lost(error: &SessionError, beat: Beat) -> Option<proto::LostSession> {
    let is_reset = error.is_reset();
    let is_dead = is_reset || matches!(error, SessionError::Unanswered(_));
    let silence_ms = u32::try_from(beat.silence.as_millis()).unwrap_or(u32::MAX);
    is_dead.then_some(proto::LostSession { silence_ms, is_reset })
}

fn hello(state: &State) -> proto::Hello {
    let settings = &state.settings;
    proto::Hello {
        device_id: settings.device.0.to_vec(),
        key_id: u32::from(settings.key_id),
        boot: settings.boot,
        token: session::token(&settings.key, settings.device, settings.boot).to_vec(),
        labels: settings.labels.clone().into_iter().collect(),
        generation: state.pace.generation,
        can_probe: false,
        lost: state.lost,
    }
}

const fn message(kind: device_message::Kind) -> DeviceMessage {
    DeviceMessage { kind: Some(kind) }
}

/// An order as the device keeps it. A retry that is none of the wire's steps is rounded to one.
fn pace(order: &proto::Order) -> Pace {
    Pace {
        generation: order.generation,
        interval: Duration::from_millis(u64::from(order.interval_ms)),
        jitter: u8::try_from(order.jitter_256ths).unwrap_or(u8::MAX),
        retry: u8::try_from(order.retry_ms.div_ceil(RETRY_UNIT_MS)).unwrap_or(u8::MAX),
        is_hostile: order.is_hostile,
    }
}
