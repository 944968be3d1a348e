//! The second loop end to end, over real sockets and without privileges: the real server, the SDK's devices, and a NAT in
//! user space between them whose timeout nobody tells.

mod ab;
mod bed;
#[path = "../../src/demo/nat.rs"]
#[allow(dead_code, clippy::duplicate_mod, unreachable_pub)]
mod nat;
#[path = "../support/mod.rs"]
mod support;
mod waves;

use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};

use bed::{Bed, KEPT};
use support::child::wait_for;

/// Several rounds of tests, on a busy machine.
const LEARNT_WITHIN: Duration = Duration::from_secs(120);
const TOLD_WITHIN: Duration = Duration::from_secs(30);

fn main() {
    let trials = vec![
        Trial::test("a_nats_timeout_is_learnt_and_the_interval_is_on_the_wire", learnt),
        Trial::test("a_fleet_file_that_is_reloaded_paces_devices_anew", reloaded),
        Trial::test("what_is_not_authentic_makes_no_device", refused),
        Trial::test("a_server_that_is_killed_in_the_second_wave_goes_on_there", waves::killed),
        Trial::test("two_plans_are_compared_and_a_person_ends_it", ab::compared),
        Trial::test("a_query_beyond_its_limit_ends_a_comparison", ab::queried),
        Trial::test("an_interval_beyond_the_nats_lifetime_is_taken_back_in_the_first_wave", waves::taken_back),
        Trial::test("a_query_beyond_its_limit_takes_a_release_back", waves::queried),
        Trial::test("a_query_that_nobody_can_answer_lets_no_wave_pass", waves::unanswered),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn learnt() -> Result<(), Failed> {
    let bed = Bed::start();
    // The order to all follows when most devices have outlived what it asks for, each by itself.
    let is_told = |cohort: &serde_json::Value| cohort["verdict"] == "learnt" && cohort["reason"] != "proving";
    let cohort = wait_for("the NAT to be learnt", LEARNT_WITHIN, || bed.cohort("carrier=a").filter(is_told));
    let number = |key: &str| cohort[key].as_f64().unwrap_or_else(|| panic!("{key} in {cohort}"));
    let kept = KEPT.as_secs_f64();
    assert!(number("lower_bound_s") <= kept && kept <= number("upper_bound_s"), "{cohort}");
    assert!(number("interval_s") + number("jitter_s") < kept, "{cohort}");
    assert!(number("interval_s") > 0.5 * kept, "{cohort}");
    assert_eq!((cohort["transport"].as_str(), cohort["devices"].as_u64()), (Some("udp"), Some(bed::DEVICES as u64)));
    wait_for("every device to be told", TOLD_WITHIN, || {
        bed.intervals().iter().all(|told| told.as_secs_f64() > 0.5 * kept).then_some(())
    });
    let metrics = bed.metrics();
    assert!(metrics.contains("flyball_nat_lifetime_seconds{cohort=\"carrier=a\""), "{metrics}");
    assert!(metrics.contains("flyball_cohort_info{cohort=\"carrier=a\",transport=\"udp\",nat_timeout_ms=\""));
    Ok(())
}

fn reloaded() -> Result<(), Failed> {
    let bed = Bed::start();
    wait_for("the devices to be there", TOLD_WITHIN, || {
        bed.cohort("carrier=a").filter(|cohort| cohort["devices"].as_u64() == Some(bed::DEVICES as u64))
    });
    bed.write_fleet("2s");
    bed.reload();
    wait_for("every device to be told", TOLD_WITHIN, || {
        bed.intervals().iter().all(|told| *told >= Duration::from_secs(2)).then_some(())
    });
    Ok(())
}

fn refused() -> Result<(), Failed> {
    let bed = Bed::start();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    let mut forged = [0_u8; 80];
    forged[..4].copy_from_slice(&[0x46, 0x42, 1, 1]);
    forged[7] = 1;
    forged[8..24].fill(0x5a);
    for datagram in [&forged[..], b"hello", &forged[..40]] {
        socket.send_to(datagram, bed.heartbeat())?;
    }
    let refused = |metrics: &str, reason: &str| {
        let start = format!("flyball_heartbeat_refused_total{{reason=\"{reason}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&*start)?.parse::<u64>().ok()).unwrap_or(0)
    };
    wait_for("the refusals to be counted", TOLD_WITHIN, || {
        let metrics = bed.metrics();
        (refused(&metrics, "forged") == 1 && refused(&metrics, "malformed") == 2).then_some(())
    });
    let devices = format!("flyball_heartbeat_devices {}", bed::DEVICES);
    wait_for("the devices to be there", TOLD_WITHIN, || bed.metrics().contains(&devices).then_some(()));
    Ok(())
}
