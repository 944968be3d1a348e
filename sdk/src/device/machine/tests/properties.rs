use proptest::prelude::*;

use super::*;
use crate::device::machine::Bounds;

/// What may happen to a machine.
#[derive(Debug, Clone)]
enum Happening {
    Pass(u64),
    Sleep(u64),
    LinkUp,
    Order(Pace),
    Answer(usize, Answer),
}

fn paces() -> impl Strategy<Value = Pace> {
    let generation = prop_oneof![0_u64..50, any::<u64>().prop_map(|g| g >> 16)];
    (generation, 0_u64..6_553_600, any::<u8>(), any::<u8>(), any::<bool>()).prop_map(
        |(generation, millis, jitter, retry, is_hostile)| {
            let interval = Duration::from_millis(millis);
            Pace { generation, interval, jitter, retry, is_hostile }
        },
    )
}

fn answers() -> impl Strategy<Value = Answer> {
    let kinds = prop_oneof![9 => Just(kind::ACK), 3 => Just(kind::ANSWER), 1 => any::<u8>()];
    let sequences = prop_oneof![9 => 0_u32..100, 1 => any::<u32>()];
    let acks = (kinds, any::<u16>(), sequences, paces(), any::<u16>());
    prop_oneof![
        9 => acks.prop_map(|(kind, flags, sequence, pace, probe)| Answer::Ack(Ack { kind, flags, sequence, pace, probe })),
        1 => any::<[u8; 16]>().prop_map(|nonce| Answer::Challenge { nonce }),
    ]
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = prop_oneof![
        4 => (0_u64..2_000).prop_map(Happening::Pass),
        2 => (0_u64..200_000).prop_map(Happening::Pass),
        1 => any::<u32>().prop_map(|ms| Happening::Sleep(ms.into())),
        1 => Just(Happening::LinkUp),
        1 => paces().prop_map(Happening::Order),
        12 => (0_usize..5, answers()).prop_map(|(flow, answer)| Happening::Answer(flow, answer)),
    ];
    proptest::collection::vec(one, 1..120)
}

fn happen(rig: &mut Rig, happening: &Happening) {
    match happening {
        Happening::Pass(ms) => rig.pass(Duration::from_millis(*ms)),
        Happening::Sleep(ms) => {
            rig.now += Duration::from_millis(*ms);
            rig.timeout();
        }
        Happening::LinkUp => rig.link_up(),
        Happening::Order(pace) => {
            rig.machine.order(rig.now, *pace, &mut rig.out);
            rig.drain();
        }
        Happening::Answer(flow, answer) => {
            // Half of the sequences are those of the last beat, so that some are believed.
            let mut answer = *answer;
            if let Answer::Ack(ack) = &mut answer {
                let last = rig.sent.last().map_or(0, |sent| sent.request.sequence);
                ack.sequence =
                    if ack.sequence % 2 == 0 { last.saturating_sub(ack.sequence / 2 % 4) } else { ack.sequence };
            }
            rig.handle(Flow::numbered(*flow).expect("five flows"), answer);
        }
    }
}

/// The most that anything can have a device send in ten seconds: beats at the shortest gap, and at the server's word a
/// burst of eight and one a second, each of which may open four flows of three datagrams each (and a report).
const BEATS_IN_10_S: usize = 51;
const WORDS_IN_10_S: usize = 8 + 10;
const PER_WORD: usize = 4 * 6;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_happens_a_device_stays_within_its_bounds(happenings in happenings()) {
        let bounds = Bounds::new(Duration::from_secs(5), Duration::from_secs(300)).expect("sound");
        let settings = Settings { bounds, ..Settings::new(DEVICE, 3) };
        // The rig itself refuses numbers that do not rise, more than four side flows, and deadlines that stay due.
        let mut rig = Rig::of(settings, Memory { boot: 1, pace: None });
        let mut generation = 0;
        for happening in &happenings {
            happen(&mut rig, happening);
            let pace = rig.machine.pace();
            prop_assert!(pace.interval >= bounds.min() && pace.longest() <= bounds.max(), "{pace:?}");
            prop_assert!(pace.generation >= generation, "{} after {generation}", pace.generation);
            generation = pace.generation;
            prop_assert!(rig.machine.deadline() <= rig.now + bounds.max(), "it always beats again");
        }
        let beats = rig.beats();
        for pair in beats.windows(2) {
            let is_repeat = pair[1].request.cookie != [0; 16];
            prop_assert!(is_repeat || pair[1].at - pair[0].at >= GAP_MIN, "{pair:?}");
        }
        for (i, sent) in rig.sent.iter().enumerate() {
            let within = rig.sent[i..].iter().take_while(|later| later.at < sent.at + secs(10.0));
            prop_assert!(within.count() <= BEATS_IN_10_S + WORDS_IN_10_S * PER_WORD);
        }
        let kept = rig.kept.windows(2).all(|pair| pair[0] != pair[1]);
        prop_assert!(kept, "written on change only");
    }
}
