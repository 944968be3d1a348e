//! Days of a device behind a Linux NAT, over a way that loses packets and has holes. The NAT preserves ports, so nobody
//! sees a binding die: what the device is reached by is its pace, its retries, and the second acks.

use super::*;

const WAY: Duration = Duration::from_millis(20);
const STREAM_TIMEOUT: f64 = 112.347;
const UNREPLIED_TIMEOUT: f64 = 30.0;
const DAY: f64 = 86_400.0;

/// A binding of Linux: conntrack's entry.
#[derive(Debug, Clone, Copy)]
struct Bound {
    made_at: Duration,
    used_at: Duration,
    is_replied: bool,
    is_stream: bool,
}

#[derive(Debug, Clone, Copy)]
enum Packet {
    ToServer(Request),
    ToDevice(Ack),
}

struct World {
    rig: Rig,
    random: u64,
    loss: f64,
    has_second_acks: bool,
    bound: Option<Bound>,
    hole: (Duration, Duration),
    /// Under way: when each arrives.
    packets: Vec<(Duration, Packet)>,
    seen: usize,
    beats: u32,
    heard_at: Option<Duration>,
    seconds: (u32, u32),
}

impl World {
    fn new(loss: f64, has_second_acks: bool) -> Self {
        let pace = Pace { interval: secs(0.75 * STREAM_TIMEOUT), ..PACE };
        let rig = Rig::with(Memory { boot: 1, pace: Some(pace) });
        let packets = Vec::new();
        let (random, hole) = (0x5eed, (secs(3_600.0), secs(3_600.0)));
        let (bound, seen, beats, seconds) = (None, 0, 0, (0, 0));
        Self { rig, random, loss, has_second_acks, bound, hole, packets, seen, beats, heard_at: None, seconds }
    }

    /// xorshift64*, in [0, 1).
    fn draw(&mut self) -> f64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn is_in_hole(&self) -> bool {
        (self.hole.0..self.hole.1).contains(&self.rig.now)
    }

    fn is_reachable(&self) -> bool {
        self.bound.is_some_and(|bound| {
            let timeout = if bound.is_stream { STREAM_TIMEOUT } else { UNREPLIED_TIMEOUT };
            self.rig.now - bound.used_at < secs(timeout)
        })
    }

    /// A packet passes the NAT; false where it is dropped there.
    fn passes(&mut self, is_from_device: bool) -> bool {
        let now = self.rig.now;
        if !self.is_reachable() {
            self.bound = None;
            if !is_from_device {
                return false;
            }
        }
        let new = Bound { made_at: now, used_at: now, is_replied: false, is_stream: false };
        let bound = self.bound.get_or_insert(new);
        bound.used_at = now;
        bound.is_replied |= !is_from_device;
        bound.is_stream |= bound.is_replied && now - bound.made_at > secs(2.0);
        true
    }

    fn device_sends(&mut self, request: Request) {
        self.beats += 1;
        // A half of the loss is before the NAT, and all holes are.
        if self.is_in_hole() || self.draw() < self.loss / 2.0 || !self.passes(true) || self.draw() < self.loss / 2.0 {
            return;
        }
        self.packets.push((self.rig.now + WAY, Packet::ToServer(request)));
    }

    fn server_sends(&mut self, at: Duration, ack: Ack) {
        self.packets.push((at + WAY, Packet::ToDevice(ack)));
    }

    fn arrives(&mut self, packet: Packet) {
        match packet {
            Packet::ToServer(request) => {
                let now = self.rig.now;
                let is_long = self.heard_at.replace(now).is_none_or(|before| now - before > secs(15.0));
                let pace = self.rig.machine.pace();
                let ack = Ack { kind: kind::ACK, flags: 0, sequence: request.sequence, pace, probe: 0 };
                self.server_sends(now, ack);
                if self.has_second_acks && is_long {
                    self.server_sends(now + secs(2.1), Ack { flags: told::SECOND, ..ack });
                }
            }
            Packet::ToDevice(ack) => {
                let is_lost = self.draw() < self.loss / 2.0 || !self.passes(false);
                if is_lost || self.draw() < self.loss / 2.0 || self.is_in_hole() {
                    return;
                }
                self.rig.handle(Flow::MAIN, Answer::Ack(ack));
            }
        }
    }

    fn step(&mut self, end: Duration) {
        let first = self.packets.iter().map(|(at, _)| *at).min().unwrap_or(end);
        self.rig.now = self.rig.now.max(first.min(self.rig.machine.deadline()).min(end));
        if let Some(i) = self.packets.iter().position(|(at, _)| *at <= self.rig.now) {
            let (_, packet) = self.packets.swap_remove(i);
            self.arrives(packet);
        }
        self.rig.timeout();
        while let Some(sent) = self.rig.sent.get(self.seen).copied() {
            self.seen += 1;
            self.device_sends(sent.request);
        }
    }

    /// Share of the time, holes left out, in which a packet to the device would pass; and beats a day.
    fn days(mut self, days: f64, holes: bool) -> (f64, f64) {
        for second in 0..(days * DAY) as u64 {
            let end = Duration::from_secs(second);
            while self.rig.now < end || self.rig.machine.deadline() <= end {
                self.step(end);
            }
            if holes && second % 3_600 == 0 {
                let begin = end + secs(self.draw() * 3_500.0);
                self.hole = (begin, begin + secs(5.0 + self.draw() * 55.0));
            }
            if !self.is_in_hole() {
                self.seconds.0 += u32::from(self.is_reachable());
                self.seconds.1 += 1;
            }
        }
        (f64::from(self.seconds.0) / f64::from(self.seconds.1), f64::from(self.beats) / days)
    }
}

#[test]
fn retries_and_second_acks_keep_a_device_in_reach() {
    let (coverage, beats) = World::new(0.01, true).days(30.0, false);
    println!("1 % loss: {coverage:.6}, {beats:.0} beats a day");
    assert!(coverage > 0.999_9 && beats < 1_000.0, "{coverage} at {beats}");
    let (coverage, beats) = World::new(0.03, true).days(30.0, false);
    println!("3 % loss: {coverage:.6}, {beats:.0} beats a day");
    assert!(coverage > 0.999_9 && beats < 1_050.0, "{coverage} at {beats}");
    let (coverage, beats) = World::new(0.01, true).days(30.0, true);
    println!("1 % loss and holes: {coverage:.6}, {beats:.0} beats a day");
    assert!(coverage > 0.999_5 && beats < 1_100.0, "{coverage} at {beats}");
}

#[test]
fn without_second_acks_the_unreplied_timeout_has_the_device_out_of_reach() {
    let (coverage, _) = World::new(0.0, false).days(1.0, false);
    assert!((0.2..0.45).contains(&coverage), "{coverage}");
}
