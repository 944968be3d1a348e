//! Ethernet frames with datagrams in them: by hand, drawn by chance, and spoiled.

use flyball::monitor::key::Key;
use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use super::heartbeat::{ANSWER, HEARTBEAT, HELLO, Heartbeat};
use super::watch::TEST_RUN_BYTES_MAX;

/// The ports that trials with such frames watch.
pub(super) const WATCHED: [u16; 2] = [5_783, 60_001];
const NOT_WATCHED: u16 = 5_784;
/// The kernel runs nothing that ends with its Ethernet header.
const TEST_RUN_BYTES_MIN: usize = 15;
/// Hop-by-hop, destination options (twice), routing, fragment.
const EXTENSIONS: [u8; 5] = [0, 60, 60, 43, 44];

/// What is around a payload.
#[derive(Debug, Clone, Default)]
pub(super) struct Shape {
    pub(super) tags: usize,
    pub(super) is_ipv6: bool,
    pub(super) source: u16,
    pub(super) destination: Option<u16>,
    /// Whole words.
    pub(super) ipv4_options: Vec<u8>,
    pub(super) ipv4_fragment: u16,
    pub(super) ipv6_extensions: Vec<u8>,
    pub(super) padding: usize,
}

/// A frame, and where its headers are.
pub(super) struct Packet {
    pub(super) bytes: Vec<u8>,
    ip_at: usize,
    udp_at: usize,
}

impl Packet {
    pub(super) fn new(shape: &Shape, payload: &[u8]) -> Self {
        let udp_bytes = u16::try_from(payload.len() + 8).expect("short");
        let mut bytes = vec![2; 12];
        for _ in 0..shape.tags {
            bytes.extend([0x81, 0, 0, 7]);
        }
        let ip_at = bytes.len() + 2;
        if shape.is_ipv6 {
            ipv6_header(&mut bytes, shape, udp_bytes)
        } else {
            ipv4_header(&mut bytes, shape, udp_bytes)
        }
        let udp_at = bytes.len();
        for field in [shape.source, shape.destination.unwrap_or(WATCHED[0]), udp_bytes, 0] {
            bytes.extend(field.to_be_bytes());
        }
        bytes.extend(payload);
        bytes.resize(bytes.len() + shape.padding, 0xee);
        Self { bytes, ip_at, udp_at }
    }

    pub(super) fn draw(random: &mut Pcg64Mcg, key: Key, case: u32) -> Self {
        let odd = |random: &mut Pcg64Mcg, one_in: u32| random.random_ratio(1, one_in);
        let port = |random: &mut Pcg64Mcg| [WATCHED[0], WATCHED[1], NOT_WATCHED][random.random_range(0..3)];
        let mut shape = Shape { source: port(random), is_ipv6: random.random(), ..Shape::default() };
        shape.destination = Some(if odd(random, 4) { port(random) } else { WATCHED[case as usize % 2] });
        shape.tags = if odd(random, 3) { random.random_range(1..=3) } else { 0 };
        shape.padding = if odd(random, 4) { random.random_range(1..40) } else { 0 };
        if odd(random, 4) {
            shape.ipv4_options = (0..4 * random.random_range(1..=10)).map(|_| random.random()).collect();
            let extension = |_| EXTENSIONS[random.random_range(0..EXTENSIONS.len())];
            shape.ipv6_extensions = (0..=case % 5).map(extension).collect();
        }
        if odd(random, 10) {
            shape.ipv4_fragment = 1 << random.random_range(0..16);
        }
        let more = [0, 1, random.random_range(0..100), random.random_range(0..3_000)][random.random_range(0..4)];
        let mut payload = payload(random, key, case);
        payload.extend((0..more).map(|_| random.random::<u8>()));
        Self::new(&shape, &payload)
    }

    /// Breaks it in one to three ways, some of which do no harm.
    pub(super) fn spoil(&mut self, random: &mut Pcg64Mcg) {
        for _ in 0..random.random_range(1..=3) {
            let length = self.bytes.len();
            let early = random.random_range(12..length.min(140));
            match random.random_range(0..9) {
                0 => self.bytes.truncate(random.random_range(TEST_RUN_BYTES_MIN..=length)),
                1 => self.bytes.truncate(length - random.random_range(0..=(length - TEST_RUN_BYTES_MIN).min(30))),
                2 | 3 => self.bytes[early] ^= 1 << random.random_range(0..8),
                4 => self.bytes[early] = random.random(),
                5 => self.set_length(self.udp_at + 4, random),
                6 => self.set_length(self.ip_at + 2, random),
                7 => self.set_length(self.ip_at + 4, random),
                _ => self.bytes.insert(early, random.random()),
            }
            self.bytes.truncate(TEST_RUN_BYTES_MAX);
        }
    }

    /// A length that is 0 (a jumbogram's), short of the truth, beyond it, or anything.
    fn set_length(&mut self, at: usize, random: &mut Pcg64Mcg) {
        let Some(field) = self.bytes.get_mut(at..at + 2) else { return };
        let truth = u16::from_be_bytes([field[0], field[1]]);
        let near = truth.wrapping_add(random.random_range(0..40)).wrapping_sub(20);
        let length = [0, 7, 8, near, near, random.random()][random.random_range(0..6)];
        field.copy_from_slice(&length.to_be_bytes());
    }
}

fn ipv4_header(bytes: &mut Vec<u8>, shape: &Shape, udp_bytes: u16) {
    let options = &shape.ipv4_options;
    let words = u8::try_from(5 + options.len() / 4).expect("at most 15");
    bytes.extend([0x08, 0x00, 0x40 | words, 0]);
    bytes.extend((u16::from(words) * 4 + udp_bytes).to_be_bytes());
    bytes.extend([0, 1]);
    bytes.extend(shape.ipv4_fragment.to_be_bytes());
    bytes.extend([64, 17, 0, 0, 198, 51, 100, 7, 203, 0, 113, 1]);
    bytes.extend(options);
}

fn ipv6_header(bytes: &mut Vec<u8>, shape: &Shape, udp_bytes: u16) {
    let extensions = &shape.ipv6_extensions;
    let next = |i: usize| extensions.get(i).copied().unwrap_or(17);
    let length = u16::try_from(extensions.len() * 8).expect("few") + udp_bytes;
    bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    bytes.extend(length.to_be_bytes());
    bytes.extend([next(0), 64]);
    for last in [7, 1] {
        bytes.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    for i in 0..extensions.len() {
        bytes.extend([next(i + 1), 0, 1, 4, 0, 0, 0, 0]);
    }
}

/// A payload that names device number `case`.
fn payload(random: &mut Pcg64Mcg, key: Key, case: u32) -> Vec<u8> {
    let mut id = [0; 20];
    id[..4].copy_from_slice(&case.to_be_bytes());
    let cut = |length: u32| &id[..length as usize];
    let noise: [u8; 20] = random.random();
    match key {
        Key::Heartbeat => {
            let kind = [HEARTBEAT, HEARTBEAT, HEARTBEAT, HELLO, ANSWER, random.random()][random.random_range(0..6)];
            let device = id[..16].try_into().expect("16 of 20");
            Heartbeat { kind, ..Heartbeat::of(device, random.random()) }.bytes()
        }
        Key::Offset { offset, length } => [&noise[..offset as usize], cut(length)].concat(),
        // The fixed bit may be greased.
        Key::Quic { length, .. } if random.random() => [&[noise[0] & 0x7f], cut(length), &noise].concat(),
        Key::Quic { length, .. } => {
            let (version, first) = [([0, 0, 0, 1], 0xe0), ([0x6b, 0x33, 0x43, 0xcf], 0xf0)][random.random_range(0..2)];
            let own = u8::try_from(length).expect("at most 20");
            [&[first | noise[0] & 0x4f], &version[..], &[own], cut(length), &noise].concat()
        }
        Key::Dtls12 { length } => [&[25, 0xfe, 0xfd][..], &noise[..8], cut(length), &[0, 20], &noise].concat(),
        Key::Dtls13 { length } => [&[0x30 | noise[0] & 0x0f], cut(length), &noise].concat(),
    }
}
