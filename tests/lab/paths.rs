//! What lies around the NAT: several carriers and devices, moves, cuts, IPv6, processes.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use flyball::error_chain::chain;
use flyball::lab::{LabError, Nat, SERVER, SERVER_V6, UPLINK};
use libtest_mimic::{Failed, Trial};

use super::bed::{ABSENCE, Bed, PATIENCE, arrival, same};
use super::support::lab::trial;

const MINUTE: Duration = Duration::from_secs(60);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_device_that_moves_keeps_its_socket_and_is_seen_at_the_other_carrier", moved),
        trial("a_cut_uplink_passes_nothing_and_its_bindings_are_still_refreshed", cut_uplink),
        trial("a_device_out_of_coverage_is_not_seen_by_its_nat", out_of_coverage),
        trial("every_address_of_a_device_is_a_binding_of_its_own", household),
        trial("ipv6_is_routed_untranslated_behind_the_same_state", ipv6),
        trial("a_command_runs_inside_and_its_exit_is_told", command),
        trial("a_step_that_fails_says_what_was_told_and_said", refused),
    ]
}

fn nat() -> Nat {
    Nat::random_ports(MINUTE)
}

fn moved() -> Result<(), Failed> {
    let mut bed = Bed::new(&nat())?;
    let other = bed.lab.carrier(&Nat::preserved_ports(MINUTE))?;
    let socket = bed.socket()?;
    let at_home = bed.heartbeat(&socket)?;
    same(at_home.ip(), bed.carrier.public().into())?;
    let v6_at_home = bed.device.address_v6();
    bed.device.move_to(&other)?;
    bed.lost_push(at_home, &socket)?;
    let away = bed.heartbeat(&socket)?;
    same(away.ip(), other.public().into())?;
    bed.push(away, &socket)?;
    same(bed.device.address_v6() == v6_at_home, false)?;
    bed.device.move_to(&bed.carrier)?;
    same(bed.heartbeat(&socket)?, at_home)
}

fn cut_uplink() -> Result<(), Failed> {
    let nat = Nat::random_ports(Duration::from_secs(2));
    let bed = Bed::new(&nat)?;
    let socket = bed.socket()?;
    let address = bed.heartbeat(&socket)?;
    bed.carrier.cut()?;
    bed.carrier.cut()?;
    bed.lost_push(address, &socket)?;
    bed.carrier.change(&nat)?;
    // 2.4 s in all, with packets that the NAT saw.
    for _ in 0..8 {
        bed.lost_heartbeat(&socket)?;
    }
    bed.carrier.restore()?;
    bed.push(address, &socket)?;
    same(bed.heartbeat(&socket)?, address)
}

fn out_of_coverage() -> Result<(), Failed> {
    let bed = Bed::new(&Nat::random_ports(Duration::from_secs(2)))?;
    let neighbour = bed.lab.device(&bed.carrier)?;
    let (socket, neighbours) = (bed.socket()?, neighbour.udp()?);
    let address = bed.heartbeat(&socket)?;
    bed.device.cut()?;
    for _ in 0..8 {
        bed.lost_heartbeat(&socket)?;
        bed.heartbeat(&neighbours)?;
    }
    bed.device.restore()?;
    bed.device.restore()?;
    // 2.4 s without a packet that the NAT saw: forgotten.
    same(bed.heartbeat(&socket)? == address, false)
}

fn household() -> Result<(), Failed> {
    let bed = Bed::new(&Nat::preserved_ports(MINUTE))?;
    let mut seen = Vec::new();
    for last in [1, 2, 254] {
        let address = SocketAddr::from((bed.device.address_at(last), 4_000));
        let socket = bed.device.namespace().udp(address)?;
        let from = bed.heartbeat(&socket)?;
        bed.push(from, &socket)?;
        seen.push(from);
    }
    // Only the first can have the port that all of them use.
    same(seen[0], (bed.carrier.public(), 4_000).into())?;
    same(seen[1] != seen[0] && seen[2] != seen[0] && seen[1] != seen[2], true)
}

fn ipv6() -> Result<(), Failed> {
    let mut bed = Bed::new(&nat())?;
    let other = bed.lab.carrier(&nat())?;
    let server = bed.lab.server().udp((SERVER_V6, 0).into())?;
    let socket = bed.device.udp_v6()?;
    for step in 0..2 {
        let expected = SocketAddr::from((bed.device.address_v6(), socket.local_addr()?.port()));
        if arrival(&server, expected, &socket, ABSENCE)?.is_some() {
            return Err("a stranger's packet passed the carrier".into());
        }
        same(arrival(&socket, server.local_addr()?, &server, PATIENCE)?, Some(expected))?;
        same(arrival(&server, expected, &socket, PATIENCE)?, Some(server.local_addr()?))?;
        if step == 0 {
            bed.device.move_to(&other)?;
        }
    }
    Ok(())
}

fn command() -> Result<(), Failed> {
    let bed = Bed::new(&nat())?;
    let has = |interface| Command::new("ip").args(["link", "show", "dev", interface]).output();
    let inside = bed.lab.server().output(Command::new("ip").args(["link", "show", "dev", UPLINK]))?;
    same(inside.status.success(), true)?;
    same(has(UPLINK)?.status.success(), false)?;
    let mut nonesuch = Command::new("ip");
    let mut child = bed.lab.server().spawn(nonesuch.args(["link", "show", "dev", "nonesuch"]).stderr(Stdio::null()))?;
    same(child.wait()?.success(), false)?;
    let absent = bed.lab.server().output(&mut Command::new("/nonexistent/program"));
    let Err(error @ LabError::Child { .. }) = absent else { return Err(format!("{absent:?}").into()) };
    same(chain(&error).starts_with("cannot run /nonexistent/program in the namespace `server`: "), true)
}

fn refused() -> Result<(), Failed> {
    let bed = Bed::new(&nat())?;
    let taken = bed.server.local_addr()?;
    let socket = bed.lab.server().udp(taken);
    same(matches!(&socket, Err(LabError::Socket { address, .. }) if *address == taken), true)?;
    let foreign = bed.device.namespace().udp((SERVER, 0).into());
    same(matches!(foreign, Err(LabError::Socket { .. })), true)?;
    // Somebody took the tables away.
    bed.carrier.namespace().output(Command::new("nft").args(["flush", "ruleset"]))?;
    let Err(LabError::Refused { command, namespace, said, input, .. }) = bed.carrier.cut() else {
        return Err("cut without its table".into());
    };
    same((command.as_str(), namespace.as_str()), ("nft -f -", "carrier 1"))?;
    same(input.as_str(), "add element inet cut links { \"uplink\" }")?;
    same(said.contains("No such file or directory"), true)
}
