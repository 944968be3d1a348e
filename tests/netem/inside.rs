//! What the kernel's netem does to packets, link by link and knob by knob.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use flyball::lab::{Carrier, Chance, Device, Direction, Distribution, Impair, Lab, Loss, Nat, Netem, Rate, Reorder};
use libtest_mimic::{Failed, Trial};

const MS: Duration = Duration::from_millis(1);
/// What will come is here long before.
const PATIENCE: Duration = Duration::from_secs(3);
/// An emulated processor takes so long over a packet that nothing delays.
const SLOW: Duration = Duration::from_millis(40);

pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name, test: fn() -> Result<(), Failed>| Trial::test(name, move || tried(test));
    vec![
        trial("each_direction_of_each_link_is_delayed_by_itself", links),
        trial("jitter_has_the_mean_and_the_deviation_of_its_table", jitter),
        trial("losses_are_as_many_as_their_chain_says", losses),
        trial("a_seed_loses_the_same_packets_again", seeded),
        trial("duplicates_come_twice_and_the_corrupt_not_at_all", copies),
        trial("the_reordered_overtake", reordered),
        trial("a_rate_lets_packets_through_one_by_one", rate),
        trial("beyond_the_limit_packets_are_dropped_and_a_limit_that_is_chosen_drops_none", limit),
        trial("a_change_keeps_what_is_held_and_what_was_set_before_is_gone", changed),
        trial("a_device_that_moves_is_unimpaired", moved),
    ]
}

struct Bed {
    lab: Lab,
    carrier: Carrier,
    device: Device,
    server: UdpSocket,
    socket: UdpSocket,
}

impl Bed {
    fn new() -> Result<Self, Failed> {
        let lab = Lab::start()?;
        let carrier = lab.carrier(&Nat::preserved_ports(Duration::from_secs(60)))?;
        let device = lab.device(&carrier)?;
        let (server, socket) = (lab.server_udp()?, device.udp()?);
        socket.connect(server.local_addr()?)?;
        let bed = Self { lab, carrier, device, server, socket };
        // The neighbours learn each other's addresses, and the NAT has its binding.
        bed.round_trip()?;
        Ok(bed)
    }

    fn round_trip(&self) -> Result<Duration, Failed> {
        let started = Instant::now();
        self.socket.send(b"ping")?;
        let mut bytes = [0; 16];
        let (_, from) = self.server.recv_from(&mut bytes)?;
        self.server.send_to(b"pong", from)?;
        self.socket.recv(&mut bytes)?;
        Ok(started.elapsed())
    }

    /// Sends so many numbered datagrams, one each `gap`; when each copy came, after it was sent.
    fn send(&self, count: u32, gap: Duration, bytes: usize) -> Result<BTreeMap<u32, Vec<Duration>>, Failed> {
        let started = Instant::now();
        let (mut sent, mut came) = (Vec::new(), BTreeMap::<u32, Vec<Duration>>::new());
        let mut quiet_since = Instant::now();
        let mut buffer = vec![0; 2_000];
        self.server.set_read_timeout(Some(MS))?;
        while (sent.len() as u32) < count || quiet_since.elapsed() < PATIENCE / 3 {
            if (sent.len() as u32) < count && started.elapsed() >= gap * sent.len() as u32 {
                let mut datagram = vec![0; bytes.max(4)];
                datagram[..4].copy_from_slice(&(sent.len() as u32).to_be_bytes());
                sent.push(Instant::now());
                self.socket.send(&datagram)?;
                quiet_since = Instant::now();
            }
            // All that is there: a socket's memory is small.
            while let Ok(length) = self.server.recv(&mut buffer) {
                let number = buffer[..length].first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
                let Some((number, sent)) = number.and_then(|n| Some((n, sent.get(n as usize)?))) else { continue };
                came.entry(number).or_default().push(sent.elapsed());
                quiet_since = Instant::now();
            }
        }
        self.server.set_read_timeout(Some(PATIENCE))?;
        Ok(came)
    }

    fn lost(&self, count: u32, loss: Loss, seed: u64) -> Result<Vec<u32>, Failed> {
        self.device.impair(Direction::Up, &Netem { loss, seed: Some(seed), ..Netem::default() })?;
        let came = self.send(count, Duration::ZERO, 4)?;
        self.device.unimpair(Direction::Up)?;
        Ok((0..count).filter(|number| !came.contains_key(number)).collect())
    }
}

/// An emulated processor may be kept from its work for longer than what is measured: once more, twice.
fn tried(test: fn() -> Result<(), Failed>) -> Result<(), Failed> {
    test().or_else(|_| test()).or_else(|_| test())
}

fn holds(is_so: bool, otherwise: impl FnOnce() -> String) -> Result<(), Failed> {
    if is_so { Ok(()) } else { Err(otherwise().into()) }
}

fn delayed(delay: Duration) -> Netem {
    Netem { delay, ..Netem::default() }
}

fn links() -> Result<(), Failed> {
    let bed = Bed::new()?;
    let (netem, all) = (delayed(100 * MS), Direction::ALL);
    for direction in all {
        bed.device.impair(direction, &netem)?;
        let one = bed.round_trip()?;
        bed.carrier.impair(direction, &netem)?;
        let two = bed.round_trip()?;
        bed.lab.impair(direction, &netem)?;
        let three = bed.round_trip()?;
        println!("{direction:?}: {one:?} {two:?} {three:?}");
        for (round_trip, expected) in [(one, 100 * MS), (two, 200 * MS), (three, 300 * MS)] {
            holds((expected..expected + SLOW).contains(&round_trip), || format!("{direction:?} {round_trip:?}"))?;
        }
        for impaired in
            [bed.device.impaired(direction)?, bed.carrier.impaired(direction)?, bed.lab.impaired(direction)?]
        {
            holds(impaired.as_ref().is_some_and(|netem| netem.limit == 12_500), || format!("{impaired:?}"))?;
        }
        bed.device.unimpair(direction)?;
        bed.carrier.unimpair(direction)?;
        bed.lab.unimpair(direction)?;
        let none = bed.round_trip()?;
        holds(none < SLOW && bed.device.impaired(direction)?.is_none(), || format!("{none:?}"))?;
    }
    Ok(())
}

fn jitter() -> Result<(), Failed> {
    for (name, distribution) in Distribution::ALL {
        let bed = Bed::new()?;
        let netem = Netem { delay: 200 * MS, jitter: 30 * MS, distribution, seed: Some(3), ..Netem::default() };
        bed.device.impair(Direction::Up, &netem)?;
        let came = bed.send(600, 3 * MS, 4)?;
        let delays: Vec<f64> = came.values().map(|times| times[0].as_secs_f64() * 1e3).collect();
        let mean = delays.iter().sum::<f64>() / delays.len() as f64;
        let deviation = (delays.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / delays.len() as f64).sqrt();
        println!("{name}: {} packets, mean {mean:.1} ms, deviation {deviation:.1} ms", delays.len());
        let expected = if distribution == Distribution::Uniform { 30.0 / 3f64.sqrt() } else { 30.0 };
        let is_right = delays.len() == 600 && (mean - 203.0).abs() < 10.0 && (deviation / expected - 1.0).abs() < 0.2;
        holds(is_right, || format!("{name}: mean {mean} deviation {deviation}"))?;
    }
    Ok(())
}

fn losses() -> Result<(), Failed> {
    let bed = Bed::new()?;
    let cases = [
        ("random", Loss::Random(Chance::of(0.2)), 0.2),
        // Bad for 0.05 / (0.05 + 0.2) of the packets.
        ("bursts", Loss::GilbertElliott { to_bad: 0.05, to_good: 0.2, lost_bad: 0.9, lost_good: 0.01 }, 0.188),
        // Three to one is 0.04 / 0.25, four to one 0.02, two to three 0.2 / 0.4.
        ("states", Loss::States { p13: 0.04, p31: 0.25, p32: 0.2, p14: 0.02, p23: 0.4 }, 0.18 / 1.26),
    ];
    for (name, loss, expected) in cases {
        let lost = bed.lost(2_000, loss, 1)?.len() as f64 / 2_000.0;
        println!("{name}: lost {lost:.4}, expected {expected:.4}");
        holds((lost / expected - 1.0).abs() < 0.2, || format!("{name}: {lost}"))?;
    }
    Ok(())
}

fn seeded() -> Result<(), Failed> {
    let bed = Bed::new()?;
    let loss = Loss::Random(Chance::of(0.3));
    // A packet of the kernel's own (ARP) takes a draw too, and from there on others are lost: two runs of some must agree.
    let is_same = |one: &[u32], other: &[u32]| one.iter().zip(other).take_while(|(a, b)| a == b).count() > 20;
    let runs: Result<Vec<_>, Failed> = (0..5).map(|_| bed.lost(300, loss, 42)).collect();
    let runs = runs?;
    let agree = |i: usize| runs[..i].iter().any(|before| is_same(before, &runs[i]));
    holds((1..runs.len()).any(agree), || "the same seed lost other packets".to_owned())?;
    let other = bed.lost(300, loss, 43)?;
    holds(!runs.iter().any(|run| is_same(run, &other)), || "another seed lost the same packets".to_owned())?;
    let drawn = bed.device.impair(Direction::Up, &Netem::default())?;
    holds(drawn.seed.is_some(), || format!("{drawn:?}"))
}

fn copies() -> Result<(), Failed> {
    let bed = Bed::new()?;
    bed.device.impair(Direction::Up, &Netem { duplicate: Chance::of(0.3), seed: Some(1), ..Netem::default() })?;
    let came = bed.send(1_000, Duration::ZERO, 4)?;
    let twice = came.values().filter(|times| times.len() == 2).count();
    bed.device.impair(Direction::Up, &Netem { corrupt: Chance::of(0.3), seed: Some(1), ..Netem::default() })?;
    let whole = bed.send(1_000, Duration::ZERO, 200)?.len();
    println!("twice {twice} of 1000 at 30 %; whole {whole} of 1000 at 30 % corrupt");
    holds(came.len() == 1_000 && (240..360).contains(&twice), || format!("{} {twice}", came.len()))?;
    // A bit of an Ethernet address may be anything.
    holds((660..780).contains(&whole), || format!("{whole}"))
}

fn reordered() -> Result<(), Failed> {
    let bed = Bed::new()?;
    let reorder = Some(Reorder { chance: Chance::of(1.0), gap: 5 });
    bed.device.impair(Direction::Up, &Netem { delay: 200 * MS, reorder, ..Netem::default() })?;
    let came = bed.send(50, 5 * MS, 4)?;
    let early: Vec<u32> = came.iter().filter(|(_, times)| times[0] < 100 * MS).map(|(number, _)| *number).collect();
    // A packet of the kernel's own (ARP) counts too.
    let steps = early.windows(2).filter(|pair| pair[1] - pair[0] == 5).count();
    holds(came.len() == 50 && early.len() <= 10 && steps >= 7, || format!("{early:?}"))
}

fn rate() -> Result<(), Failed> {
    let bed = Bed::new()?;
    // 1,000 bytes with all headers are 8,000 bits: ten a second.
    let rate = Some(Rate { bits_per_second: 80_000, packet_overhead: 0 });
    bed.device.impair(Direction::Up, &Netem { rate, ..Netem::default() })?;
    let came = bed.send(10, Duration::ZERO, 958)?;
    let last = came.values().map(|times| times[0]).max().unwrap_or_default();
    println!("the last of ten packets of 100 ms each took {last:?}");
    holds(came.len() == 10 && (850 * MS..1_150 * MS).contains(&last), || format!("{} {last:?}", came.len()))
}

fn limit() -> Result<(), Failed> {
    let bed = Bed::new()?;
    bed.device.impair(Direction::Up, &Netem { limit: Some(5), ..delayed(1_000 * MS) })?;
    let came = bed.send(20, Duration::ZERO, 4)?.len();
    let dropped = bed.device.impaired(Direction::Up)?.map_or(0, |impaired| impaired.dropped);
    // Where the kernel's own (ARP) took a place of the five it is one more that is dropped.
    holds((4..=5).contains(&came) && (15..=17).contains(&dropped), || format!("{came} came, {dropped} dropped"))?;
    // As many as the kernel's own limit would have dropped half of.
    bed.device.impair(Direction::Up, &delayed(2_000 * MS))?;
    let came = bed.send(2_000, Duration::ZERO, 4)?.len();
    holds(came == 2_000, || format!("{came} of 2000 came"))
}

fn changed() -> Result<(), Failed> {
    let bed = Bed::new()?;
    bed.device
        .impair(Direction::Up, &Netem { corrupt: Chance::of(0.01), duplicate: Chance::of(1.0), ..delayed(500 * MS) })?;
    bed.socket.send(b"held")?;
    let held = bed.device.impaired(Direction::Up)?.map_or(0, |impaired| impaired.held);
    bed.device.impair(Direction::Up, &delayed(10 * MS))?;
    let mut buffer = [0; 16];
    let length = bed.server.recv(&mut buffer)?;
    holds(held == 2 && buffer[..length] == *b"held", || format!("{held} held"))?;
    bed.server.recv(&mut buffer)?;
    let came = bed.send(200, Duration::ZERO, 4)?;
    holds(came.len() == 200 && came.values().all(|times| times.len() == 1), || format!("{} came", came.len()))
}

fn moved() -> Result<(), Failed> {
    let mut bed = Bed::new()?;
    let other = bed.lab.carrier(&Nat::preserved_ports(Duration::from_secs(60)))?;
    bed.device.impair(Direction::Up, &delayed(300 * MS))?;
    bed.device.impair(Direction::Down, &delayed(300 * MS))?;
    bed.device.move_to(&other)?;
    let moved = bed.round_trip()?;
    holds(moved < 250 * MS && bed.device.impaired(Direction::Up)?.is_none(), || format!("{moved:?}"))
}
