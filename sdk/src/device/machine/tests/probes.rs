use super::*;
use crate::device::machine::Probed;
use crate::device::probe::{Cell, ProbeOrder, ProbeOutcome, ProbePhase, ProbeReport};
use crate::device::wire::sent;

const RTT: Duration = Duration::from_millis(50);

/// What a server does with probes; `way` says whether the test's packet, and its control, get through.
fn answer(rig: &mut Rig, sent: Sent, way: &dyn Fn(ProbeReport) -> (bool, bool)) {
    let request = sent.request;
    let Some(report) = request.report() else { return };
    let named = ProbeOrder { flows: report.flow + 1, ..report.order }.to_bits();
    let ack =
        |flags| Answer::Ack(Ack { kind: kind::ANSWER, flags, sequence: request.sequence, pace: PACE, probe: named });
    let side = Flow::numbered(usize::from(report.flow) + 1).expect("a side flow");
    let is_unreplied = request.flags & sent::UNREPLIED != 0;
    match report.phase {
        ProbePhase::Open if is_unreplied => {}
        ProbePhase::Test => {
            assert_eq!(sent.flow, Flow::MAIN, "asked over the main flow");
            let (passes, is_controlled) = way(report);
            if is_controlled {
                rig.handle(Flow::MAIN, ack(told::CONTROL));
            }
            if passes {
                rig.handle(side, ack(0));
            }
        }
        _ => {
            assert_eq!(sent.flow, side);
            rig.handle(side, ack(0));
        }
    }
}

/// Runs for a while; everything is answered a round trip later.
fn run(rig: &mut Rig, time: Duration, way: &dyn Fn(ProbeReport) -> (bool, bool)) -> Vec<Sent> {
    let (end, mut log, mut seen) = (rig.now + time, Vec::new(), rig.sent.len());
    while rig.machine.deadline() <= end {
        rig.now = rig.now.max(rig.machine.deadline());
        rig.timeout();
        while seen < rig.sent.len() {
            let sent = rig.sent[seen];
            rig.now = sent.at + RTT;
            match sent.request.kind {
                kind::HEARTBEAT => rig.ack(0),
                _ => answer(rig, sent, way),
            }
            log.push(sent);
            seen += 1;
        }
    }
    rig.now = end;
    log
}

fn order(rig: &mut Rig, order: ProbeOrder, flags: u16) {
    rig.ack_with(told::PROBE | flags, PACE, order.to_bits());
}

fn probed(rig: &Rig) -> Vec<Probed> {
    rig.events.iter().filter_map(|event| if let Event::Probed(probed) = event { Some(*probed) } else { None }).collect()
}

fn cell(seconds: f64) -> Cell {
    Cell::at_most(secs(seconds))
}

/// Times and phases of what the probe sent, in tenths of a second.
fn timeline(log: &[Sent], start: Duration) -> Vec<(u128, ProbePhase)> {
    let phase = |sent: &Sent| Some(((sent.at - start).as_millis() / 100, sent.request.report()?.phase));
    log.iter().filter_map(phase).collect()
}

#[test]
fn a_silence_that_survives_takes_one_question() {
    let mut rig = Rig::steady();
    let (start, silence) = (rig.now, cell(30.0));
    rig.news();
    order(&mut rig, ProbeOrder::one(silence), 0);
    let opened = rig.news();
    rig.now = start + RTT;
    answer(&mut rig, opened[0], &|_| (true, true));
    let log = run(&mut rig, secs(60.0), &|_| (true, true));
    let asked = 21 + (silence.silence().as_millis() / 100);
    assert_eq!(timeline(&log, start)[0], (21, ProbePhase::Settle));
    let [(_, ProbePhase::Settle), (at, ProbePhase::Test), (_, ProbePhase::Report)] = timeline(&log, start)[..] else {
        panic!("{:?}", timeline(&log, start))
    };
    assert!(at.abs_diff(asked) <= 1, "{at} {asked}");
    let expected =
        Probed { cell: silence, is_unreplied: false, outcome: ProbeOutcome::Survived, controls: 1, passed: 1 };
    assert_eq!((probed(&rig), rig.open.len()), (vec![expected], 0));
}

#[test]
fn the_outcome_is_what_came_of_three_questions() {
    let table = [
        ([true, true, true], [false; 3], ProbeOutcome::Expired, 3, 0),
        ([true, false, true], [false; 3], ProbeOutcome::Expired, 2, 0),
        ([true, false, false], [false; 3], ProbeOutcome::Lost, 1, 0),
        ([false; 3], [false; 3], ProbeOutcome::Lost, 0, 0),
        ([false; 3], [false, false, true], ProbeOutcome::Survived, 0, 1),
        ([true; 3], [false, true, true], ProbeOutcome::Survived, 2, 1),
    ];
    for (controls, passes, outcome, controlled, passed_count) in table {
        let mut rig = Rig::steady();
        order(&mut rig, ProbeOrder::one(cell(20.0)), 0);
        let asked = std::cell::Cell::new(0);
        run(&mut rig, secs(60.0), &|_| {
            let i = asked.replace(asked.get() + 1);
            (passes[i], controls[i])
        });
        let expected =
            Probed { cell: cell(20.0), is_unreplied: false, outcome, controls: controlled, passed: passed_count };
        assert_eq!((probed(&rig), rig.open.len()), (vec![expected], 0), "{controls:?} {passes:?}");
    }
}

#[test]
fn a_ladder_of_four_flows_brackets_a_lifetime_and_no_beat_is_late() {
    let mut rig = Rig::steady();
    let ladder = ProbeOrder { first: cell(40.0), flows: 4, step: 6 };
    order(&mut rig, ladder, 0);
    let log =
        run(&mut rig, secs(400.0), &|report| (report.order.cell(report.flow.into()).silence() < secs(60.0), true));
    let outcomes: Vec<(Cell, ProbeOutcome)> = probed(&rig).iter().map(|probed| (probed.cell, probed.outcome)).collect();
    let expected: Vec<_> = ladder
        .cells()
        .zip([ProbeOutcome::Survived, ProbeOutcome::Survived, ProbeOutcome::Expired, ProbeOutcome::Expired])
        .collect();
    assert_eq!((outcomes, rig.open.len()), (expected, 0));
    let beats: Vec<Sent> = log.into_iter().filter(|sent| sent.request.kind == kind::HEARTBEAT).collect();
    assert!(beats.len() >= 4);
    for pair in beats.windows(2) {
        assert_eq!(pair[1].at - pair[0].at, PACE.wait(DEVICE, pair[0].request.sequence), "as without a probe");
    }
}

#[test]
fn an_unreplied_flow_is_opened_once_and_hears_nothing_before_the_question() {
    let mut rig = Rig::steady();
    rig.news();
    let start = rig.now;
    order(&mut rig, ProbeOrder::one(cell(30.0)), told::UNREPLIED);
    run(&mut rig, secs(60.0), &|_| (false, true));
    let log = rig.news();
    let phases: Vec<ProbePhase> = timeline(&log, start).iter().map(|(_, phase)| *phase).collect();
    assert_eq!(phases, [ProbePhase::Open, ProbePhase::Test, ProbePhase::Test, ProbePhase::Test, ProbePhase::Report]);
    assert!(log.iter().all(|sent| sent.request.report().is_none() || sent.request.flags == sent::UNREPLIED));
    assert!(probed(&rig)[0].is_unreplied);
}

#[test]
fn a_flow_that_nothing_answers_is_given_up_and_closed() {
    let mut rig = Rig::steady();
    rig.news();
    order(&mut rig, ProbeOrder::one(cell(30.0)), 0);
    rig.pass(secs(60.0));
    let phases =
        |wanted| rig.sent.iter().filter(|sent| sent.request.report().is_some_and(|r| r.phase == wanted)).count();
    assert_eq!((phases(ProbePhase::Open), phases(ProbePhase::Settle), phases(ProbePhase::Report)), (4, 0, 6));
    assert_eq!((probed(&rig)[0].outcome, rig.open.len()), (ProbeOutcome::Lost, 0));
}

#[test]
fn a_silence_that_was_slept_through_is_another_silence() {
    let mut rig = Rig::steady();
    order(&mut rig, ProbeOrder::one(cell(30.0)), 0);
    run(&mut rig, secs(20.0), &|_| (true, true));
    rig.now += secs(30.0);
    run(&mut rig, secs(10.0), &|_| panic!("no question is asked"));
    assert_eq!(probed(&rig)[0].outcome, ProbeOutcome::Lost);
}

#[test]
fn a_late_answer_begins_the_silence_anew() {
    let mut rig = Rig::steady();
    order(&mut rig, ProbeOrder::one(cell(30.0)), 0);
    let log = run(&mut rig, secs(10.0), &|_| (true, true));
    let settle = *log.iter().rfind(|sent| sent.flow != Flow::MAIN).expect("settled");
    answer(&mut rig, settle, &|_| (true, true));
    let again = rig.now;
    let log = run(&mut rig, secs(60.0), &|_| (true, true));
    let question = log.iter().find(|sent| sent.request.report().is_some()).expect("asked");
    assert!((question.at - again).abs_diff(cell(30.0).silence()) <= RTT);
}

#[test]
fn the_newest_order_wins_and_the_same_one_changes_nothing() {
    let mut rig = Rig::steady();
    let (first, second) = (ProbeOrder { first: cell(30.0), flows: 4, step: 3 }, ProbeOrder::one(cell(90.0)));
    order(&mut rig, first, 0);
    assert_eq!(rig.open.len(), 4);
    rig.news();
    order(&mut rig, first, 0);
    assert_eq!(rig.news(), [], "it runs already");
    order(&mut rig, second, 0);
    assert_eq!((rig.open.len(), probed(&rig).len()), (1, 0));
    run(&mut rig, secs(200.0), &|_| (true, true));
    assert_eq!(probed(&rig).iter().map(|probed| probed.cell).collect::<Vec<_>>(), [cell(90.0)]);
}

#[test]
fn a_link_that_comes_up_forgets_the_probe() {
    let mut rig = Rig::steady();
    order(&mut rig, ProbeOrder { first: cell(30.0), flows: 3, step: 3 }, 0);
    rig.link_up();
    assert_eq!((rig.open.len(), probed(&rig).len()), (0, 0));
    run(&mut rig, secs(60.0), &|_| panic!("no question is asked"));
}
