//! The NAT: lifetimes, ports, changes.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use flyball::lab::{Nat, SERVER};
use libtest_mimic::{Failed, Trial};

use super::bed::{ABSENCE, Bed, PATIENCE, arrival, same, silence};
use super::support::lab::trial;

const SECOND: Duration = Duration::from_secs(1);
/// How far from its timeout a binding is judged: conntrack's clock ticks every 10 ms at most, threads wake late.
const EDGE: Duration = Duration::from_millis(100);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_binding_lives_until_its_timeout_and_no_longer", lifetime),
        trial("a_random_port_changes_after_expiry_and_not_before", random_ports),
        trial("a_preserved_port_is_the_same_after_expiry", preserved_ports),
        trial("a_push_that_passes_refreshes_the_binding", refreshed_by_push),
        trial("a_shorter_timeout_holds_from_the_next_packet_on", shorter),
        trial("a_longer_timeout_holds_from_the_next_packet_on", longer),
        trial("each_carrier_has_timeouts_of_its_own", own_timeouts),
        trial("a_binding_is_for_one_address_and_port_of_the_server", one_peer),
        trial("a_nat_that_reboots_forgets_every_binding", reboot),
        trial("ports_run_out_and_come_back", exhaustion),
        trial("a_heartbeat_answered_at_once_stays_unreplied_and_a_second_ack_makes_it_a_stream", unreplied_trap),
        trial("an_idle_tcp_connection_becomes_unreachable_without_either_end_knowing", tcp),
        trial("what_no_device_asked_for_is_dropped_and_takes_no_port", unsolicited),
    ]
}

/// Each socket is a binding of its own, pushed to once: a push that passes refreshes its binding. How long it was silent is
/// known between two times only, which a busy machine parts.
fn lifetime() -> Result<(), Failed> {
    let timeout = 2 * SECOND;
    let bed = Bed::new(&Nat::random_ports(timeout))?;
    let sockets = (0..12).map(|_| bed.socket()).collect::<Result<Vec<_>, _>>()?;
    let mut bindings = Vec::new();
    for socket in &sockets {
        let said = Instant::now();
        bindings.push((socket, bed.heartbeat(socket)?, said, Instant::now()));
    }
    silence(Duration::from_millis(1500));
    let (mut alive, mut expired) = (0, 0);
    for (socket, address, said, heard) in bindings {
        let shortest = heard.elapsed();
        let arrived = bed.push_arrives(address, socket)?;
        if arrived && shortest > timeout + EDGE {
            return Err(format!("a push passed after a silence of {shortest:?} or more").into());
        }
        // It was waited for after it was sent.
        let longest = said.elapsed().saturating_sub(ABSENCE);
        if !arrived && longest + EDGE < timeout {
            return Err(format!("a push was lost after a silence of {longest:?} or less").into());
        }
        if arrived {
            alive += 1
        } else {
            expired += 1
        }
        // What arrives takes no time, what does not is waited for.
        if arrived {
            silence(EDGE);
        }
    }
    if alive == 0 || expired == 0 { Err(format!("{alive} alive, {expired} expired").into()) } else { Ok(()) }
}

fn random_ports() -> Result<(), Failed> {
    let bed = Bed::new(&Nat::random_ports(2 * SECOND))?;
    let socket = bed.socket()?;
    let first = bed.heartbeat(&socket)?;
    same(first.ip(), bed.carrier.public().into())?;
    silence(SECOND);
    same(bed.heartbeat(&socket)?, first)?;
    silence(2 * SECOND + EDGE);
    let second = bed.heartbeat(&socket)?;
    if second.port() == first.port() {
        return Err(format!("the same port {second} after expiry").into());
    }
    bed.lost_push(first, &socket)?;
    bed.push(second, &socket)
}

fn preserved_ports() -> Result<(), Failed> {
    let bed = Bed::new(&Nat::preserved_ports(SECOND))?;
    let socket = bed.socket()?;
    let first = bed.heartbeat(&socket)?;
    same(first.port(), socket.local_addr()?.port())?;
    silence(SECOND + EDGE);
    bed.lost_push(first, &socket)?;
    same(bed.heartbeat(&socket)?, first)?;
    bed.push(first, &socket)
}

fn refreshed_by_push() -> Result<(), Failed> {
    let bed = Bed::new(&Nat::random_ports(2 * SECOND))?;
    let socket = bed.socket()?;
    let address = bed.heartbeat(&socket)?;
    for _ in 0..3 {
        silence(Duration::from_millis(1200));
        bed.push(address, &socket)?;
    }
    Ok(())
}

fn shorter() -> Result<(), Failed> {
    let bed = Bed::new(&Nat::random_ports(4 * SECOND))?;
    let socket = bed.socket()?;
    let first = bed.heartbeat(&socket)?;
    bed.carrier.change(&Nat::random_ports(SECOND))?;
    silence(2 * SECOND);
    // The binding was promised four seconds, and this packet gives it one.
    same(bed.heartbeat(&socket)?, first)?;
    silence(SECOND + EDGE);
    bed.lost_push(first, &socket)
}

fn longer() -> Result<(), Failed> {
    let bed = Bed::new(&Nat::random_ports(SECOND))?;
    let socket = bed.socket()?;
    bed.heartbeat(&socket)?;
    bed.carrier.change(&Nat::random_ports(4 * SECOND))?;
    let address = bed.heartbeat(&socket)?;
    silence(2 * SECOND);
    bed.push(address, &socket)
}

fn own_timeouts() -> Result<(), Failed> {
    let bed = Bed::new(&Nat::preserved_ports(SECOND))?;
    let patient = bed.lab.device(&bed.lab.carrier(&Nat::preserved_ports(60 * SECOND))?)?;
    let (hasty, patient) = (bed.socket()?, patient.udp()?);
    let (hasty_at, patient_at) = (bed.heartbeat(&hasty)?, bed.heartbeat(&patient)?);
    silence(SECOND + EDGE);
    bed.lost_push(hasty_at, &hasty)?;
    bed.push(patient_at, &patient)
}

/// So that an answer from elsewhere proves nothing about the binding.
fn one_peer() -> Result<(), Failed> {
    let bed = Bed::new(&Nat::random_ports(60 * SECOND))?;
    let socket = bed.socket()?;
    let address = bed.heartbeat(&socket)?;
    let other = bed.lab.server_udp()?;
    same(arrival(&other, address, &socket, ABSENCE)?, None)?;
    let elsewhere = arrival(&socket, other.local_addr()?, &other, PATIENCE)?.ok_or("lost")?;
    same(elsewhere.port() == address.port(), false)
}

fn reboot() -> Result<(), Failed> {
    let bed = Bed::new(&Nat::random_ports(60 * SECOND))?;
    let (first, second) = (bed.socket()?, bed.socket()?);
    let before = [bed.heartbeat(&first)?, bed.heartbeat(&second)?];
    bed.carrier.reboot()?;
    bed.lost_push(before[0], &first)?;
    let after = [bed.heartbeat(&first)?, bed.heartbeat(&second)?];
    if after[0] == before[0] || after[1] == before[1] {
        return Err(format!("{before:?} survived, as {after:?}").into());
    }
    bed.push(after[0], &first)
}

fn exhaustion() -> Result<(), Failed> {
    let nat = Nat::preserved_ports(2 * SECOND);
    let bed = Bed::new(&nat.clone().port_range(4000..=4001))?;
    let sockets = [bed.socket()?, bed.socket()?, bed.socket()?];
    let mut ports = [bed.heartbeat(&sockets[0])?.port(), bed.heartbeat(&sockets[1])?.port()];
    ports.sort_unstable();
    same(ports, [4000, 4001])?;
    bed.lost_heartbeat(&sockets[2])?;
    silence(2 * SECOND + EDGE);
    let freed = bed.heartbeat(&sockets[2])?.port();
    same([4000, 4001].contains(&freed), true)?;
    bed.heartbeat(&sockets[0])?;
    bed.lost_heartbeat(&sockets[1])?;
    bed.carrier.change(&nat)?;
    bed.heartbeat(&sockets[1]).map(drop)
}

/// Two heartbeats on one NAT: both acked at once, one acked again 2.1 s later.
fn unreplied_trap() -> Result<(), Failed> {
    let bed = Bed::new(&Nat::random_ports(6 * SECOND).udp_unreplied(3 * SECOND))?;
    let (once, twice) = (bed.socket()?, bed.socket()?);
    let [once_at, twice_at] = [bed.heartbeat(&once)?, bed.heartbeat(&twice)?];
    bed.push(once_at, &once)?;
    bed.push(twice_at, &twice)?;
    silence(Duration::from_millis(2100));
    bed.push(twice_at, &twice)?;
    silence(Duration::from_millis(4000));
    bed.lost_push(once_at, &once)?;
    bed.push(twice_at, &twice)
}

fn tcp() -> Result<(), Failed> {
    let nat = Nat::preserved_ports(60 * SECOND).tcp_established(2 * SECOND);
    let bed = Bed::new(&nat)?;
    let listener = bed.lab.server().enter(|| TcpListener::bind((SERVER, 0)))??;
    let address = listener.local_addr()?;
    let mut device = bed.device.namespace().enter(|| TcpStream::connect(address))??;
    let (mut server, from) = listener.accept()?;
    same(from.ip(), bed.carrier.public().into())?;
    device.set_read_timeout(Some(5 * SECOND))?;
    let mut byte = [0];
    silence(SECOND);
    server.write_all(b"1")?;
    device.read_exact(&mut byte)?;
    silence(2 * SECOND + EDGE);
    server.write_all(b"2")?;
    device.set_read_timeout(Some(Duration::from_millis(500)))?;
    match device.read_exact(&mut byte) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(()),
        other => Err(format!("{other:?} on a connection that the NAT forgot").into()),
    }
}

fn unsolicited() -> Result<(), Failed> {
    let bed = Bed::new(&Nat::preserved_ports(60 * SECOND))?;
    let socket = bed.socket()?;
    let port = socket.local_addr()?.port();
    let public = (bed.carrier.public(), port).into();
    bed.lost_push(public, &socket)?;
    // The port is still free, so that it is the device's.
    same(bed.heartbeat(&socket)?, public)?;
    bed.push(public, &socket)
}
