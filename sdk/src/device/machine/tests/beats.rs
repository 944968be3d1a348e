use super::*;
use crate::device::wire::sent;

#[test]
fn the_first_beat_is_at_once_and_the_next_at_interval_and_jitter() {
    let mut rig = Rig::new();
    assert_eq!((rig.beats().len(), rig.beats()[0].at, rig.beats()[0].request.flags), (1, Duration::ZERO, 0));
    rig.pass(secs(0.05));
    rig.ack(0);
    rig.pass(secs(200.0));
    let next = rig.beats()[1];
    assert_eq!(next.at, PACE.wait(DEVICE, 1));
    assert_eq!((next.request.flags, next.request.generation), (0, 10));
}

#[test]
fn before_any_order_a_device_beats_every_15_s_and_a_part_of_a_quarter() {
    let mut rig = Rig::new();
    for _ in 0..100 {
        rig.ack_with(0, Pace { generation: 0, ..PACE }, 0);
        let wait = rig.machine.deadline() - rig.now;
        assert!(wait >= secs(15.0) && wait < secs(18.75), "{wait:?}");
        rig.pass(wait);
    }
}

#[test]
fn a_beat_that_nothing_answers_is_sent_every_3_s_for_a_minute_and_then_every_15() {
    let mut rig = Rig::new();
    rig.pass(secs(120.0));
    let times: Vec<u64> = rig.beats().iter().map(|beat| beat.at.as_secs()).collect();
    let expected: Vec<u64> = (0..=20).map(|i| i * 3).chain([75, 90, 105, 120]).collect();
    assert_eq!(times, expected);
    let retries = rig.beats().iter().filter(|beat| beat.request.flags & sent::RETRY != 0).count();
    assert_eq!(retries, expected.len() - 1, "all but the first");
    rig.ack(0);
    let [.., Event::Acked { tries: 25, took, .. }] = rig.events[..] else { panic!("{:?}", rig.events.last()) };
    assert_eq!(took, secs(120.0));
}

#[test]
fn the_ack_of_any_sending_of_a_beat_ends_its_retries() {
    let mut rig = Rig::new();
    rig.pass(secs(7.0));
    let first = rig.beats()[0].request.sequence;
    rig.handle(Flow::MAIN, Answer::Ack(Ack { kind: kind::ACK, flags: 0, sequence: first, pace: PACE, probe: 0 }));
    assert_eq!(rig.machine.deadline(), secs(6.0) + PACE.wait(DEVICE, 3));
    let (ahead, sent) = (rig.beats()[2].request.sequence + 1, rig.sent.len());
    rig.handle(
        Flow::MAIN,
        Answer::Ack(Ack { kind: kind::ACK, flags: told::HELLO, sequence: ahead, pace: PACE, probe: 0 }),
    );
    assert_eq!(rig.sent.len(), sent, "an ack of what was never sent");
}

#[test]
fn a_deadline_that_was_slept_through_is_met_once() {
    let mut rig = Rig::steady();
    rig.now += secs(36_000.0);
    rig.timeout();
    rig.timeout();
    assert_eq!(rig.beats().len(), 2);
    rig.now += secs(36_000.0);
    rig.timeout();
    rig.timeout();
    assert_eq!(rig.beats().len(), 3, "retries too");
}

#[test]
fn a_link_that_comes_up_is_told_at_once_and_a_link_that_flaps_is_no_burst() {
    let mut rig = Rig::steady();
    rig.pass(secs(5.0));
    rig.news();
    rig.link_up();
    let told: Vec<u16> = rig.news().iter().map(|sent| sent.request.flags).collect();
    assert_eq!(told, [sent::LINK_UP], "and no stream any more");
    for _ in 0..100 {
        rig.pass(secs(0.01));
        rig.link_up();
    }
    assert!(rig.news().len() <= 5, "one in {GAP_MIN:?}");
    rig.pass(secs(3.5));
    assert_eq!(rig.news().last().expect("a retry").request.flags, sent::LINK_UP | sent::RETRY);
}

#[test]
fn a_second_ack_makes_the_binding_a_stream_until_it_may_be_lost() {
    let mut rig = Rig::steady();
    assert_eq!(rig.events.last(), Some(&Event::Stream));
    rig.pass(PACE.longest());
    assert_eq!(rig.beats()[1].request.flags, sent::STREAM);
    rig.ack(0);
    rig.pass(PACE.longest() + secs(30.0));
    rig.ack(0);
    rig.pass(secs(3.5));
    let flags: Vec<u16> = rig.beats().iter().rev().take(3).map(|beat| beat.request.flags).collect();
    assert_eq!(flags[0], 0, "silent for longer than the pace allows: who knows");
    assert_eq!(flags[1], sent::STREAM | sent::RETRY, "what the silence that ends was");
}

#[test]
fn where_a_due_second_ack_does_not_come_one_more_beat_takes_its_place() {
    let mut rig = Rig::steady();
    rig.pass(secs(10.0));
    rig.link_up();
    rig.pass(secs(0.1));
    rig.ack(0);
    rig.news();
    rig.pass(secs(3.0));
    let sent = rig.news();
    assert_eq!((sent.len(), sent[0].at), (1, secs(13.1)), "3 s after the ack");
    rig.ack(0);
    assert_eq!(rig.events.last(), Some(&Event::Stream));
    rig.pass(rig.machine.deadline() - rig.now);
    let flags: Vec<u16> = rig.news().iter().map(|sent| sent.request.flags).collect();
    assert_eq!(flags, [sent::STREAM], "once, and the pace again");
}

#[test]
fn no_beat_takes_a_second_acks_place_where_none_is_due() {
    let quiet = |mut rig: Rig, what: &str| {
        rig.news();
        rig.pass(secs(60.0));
        assert_eq!(rig.news(), [], "{what}");
    };
    let mut rig = Rig::steady();
    rig.pass(PACE.longest());
    rig.ack(0);
    quiet(rig, "the binding lived on");
    let mut rig = Rig::steady();
    rig.pass(secs(10.0));
    rig.link_up();
    rig.ack(0);
    rig.pass(secs(2.1));
    rig.ack(told::SECOND);
    quiet(rig, "it came");
    let mut rig = Rig::with(Memory { boot: 1, pace: Some(PACE) });
    rig.ack(0);
    quiet(rig, "the server was never seen to send one");
}

#[test]
fn a_server_that_sends_no_second_acks_any_more_is_believed_after_three() {
    let mut rig = Rig::steady();
    let follow_ups = (0..10).filter(|_| {
        rig.pass(secs(1.0));
        rig.link_up();
        rig.ack(0);
        rig.news();
        rig.pass(secs(4.0));
        rig.ack(0);
        !rig.news().is_empty()
    });
    assert_eq!(follow_ups.count(), 3);
}

#[test]
fn a_new_address_is_answered_at_once_with_the_acks_code() {
    let mut rig = Rig::steady();
    rig.pass(PACE.longest());
    let beats = rig.beats();
    rig.ack(told::NEW_ADDRESS);
    let answer = rig.sent.last().expect("sent").request;
    assert_eq!((answer.kind, answer.flags, answer.cookie), (kind::ANSWER, sent::NEW_ADDRESS, MAC));
    assert_eq!((rig.beats(), rig.events.last()), (beats, Some(&Event::Moved)));
    let sequence = answer.sequence;
    rig.handle(Flow::MAIN, Answer::Ack(Ack { kind: kind::ACK, flags: told::SECOND, sequence, pace: PACE, probe: 0 }));
    rig.news();
    rig.pass(secs(60.0));
    assert_eq!(rig.news(), [], "the server has understood");
}

#[test]
fn an_answer_that_the_server_did_not_get_is_given_again_and_not_for_ever() {
    let mut rig = Rig::with(Memory { boot: 1, pace: Some(PACE) });
    rig.ack(told::NEW_ADDRESS);
    let mut beats = 0;
    for _ in 0..20 {
        rig.pass(secs(3.0));
        if rig.beats().len() > beats {
            beats = rig.beats().len();
            rig.ack(told::NEW_ADDRESS);
        }
    }
    assert_eq!(beats, 4, "the beat, and three in its place");
    let answers = rig.sent.iter().filter(|sent| sent.request.kind == kind::ANSWER).count();
    assert_eq!(answers, 4);
}

#[test]
fn a_challenged_beat_is_repeated_with_the_nonce_within_limits() {
    let mut rig = Rig::new();
    rig.handle(Flow::MAIN, Answer::Challenge { nonce: [7; 16] });
    let repeated = rig.beats()[1].request;
    assert_eq!((repeated.cookie, repeated.flags), ([7; 16], 0));
    for _ in 0..1_000 {
        rig.handle(Flow::MAIN, Answer::Challenge { nonce: [8; 16] });
    }
    assert_eq!(rig.beats().len(), 1 + 8);
    rig.pass(secs(3.0));
    assert_eq!(rig.beats().last().expect("a retry").request.cookie, [0; 16]);
    rig.ack(0);
    rig.pass(secs(8.0));
    rig.news();
    rig.handle(Flow::MAIN, Answer::Challenge { nonce: [9; 16] });
    assert_eq!(rig.news(), [], "nothing waits for an answer");
}

#[test]
fn a_hello_is_said_once_a_beat_where_it_is_asked_for() {
    let mut rig = Rig::new();
    rig.ack(told::HELLO);
    rig.ack(told::HELLO | told::SECOND);
    let hellos: Vec<Sent> = rig.sent.iter().copied().filter(|sent| sent.is_hello).collect();
    assert_eq!((hellos.len(), hellos[0].request.kind, hellos[0].request.generation), (1, kind::HELLO, 0));
    rig.pass(PACE.longest());
    rig.ack(told::HELLO);
    assert_eq!(rig.sent.iter().filter(|sent| sent.is_hello).count(), 2);
}
