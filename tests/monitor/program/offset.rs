//! Key `offset:N,len:M`: any protocol over UDP that names its device at a fixed place.

use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use super::bed::Bed;
use super::watch::Event;
use crate::support::lab::trial;

/// Over the threshold of a gap.
const LONG_SILENCE: Duration = Duration::from_millis(1_200);

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("offset::a_device_is_followed_wherever_it_is", followed),
        trial("offset::a_gateway_speaks_for_many_devices", gateway),
        trial("offset::a_payload_that_ends_before_the_key_is_passed_by", short),
        trial("offset::a_gap_is_told", gap),
    ]
}

fn id(name: &[u8; 4]) -> [u8; 16] {
    let mut id = [0; 16];
    id[..4].copy_from_slice(name);
    id
}

fn followed() -> Result<(), Failed> {
    let mut bed = Bed::new("offset:2,len:4")?;
    let (socket, other) = (bed.device.udp()?, bed.device.udp()?);
    let first = bed.send(&socket, b"..dev1 hello")?;
    bed.push(first, &socket, b"ack")?;
    let second = bed.send(&other, b"??dev1")?;
    bed.push(second, &other, b"ack")?;
    bed.send(&other, b"__dev1 again")?;
    let events = [Event::new("new", id(b"dev1"), first, first), Event::new("rebinding", id(b"dev1"), first, second)];
    assert_eq!(bed.watch.events(), events);
    let counts = bed.watch.counts()?;
    assert_eq!((counts.from, counts.to, counts.rebindings), (3, 2, 1));
    Ok(())
}

/// All of them at one address: whom a packet goes out to is the one that spoke last.
fn gateway() -> Result<(), Failed> {
    let mut bed = Bed::new("offset:0,len:4")?;
    let socket = bed.device.udp()?;
    let names = [b"dev1", b"dev2", b"dev3"];
    let mut expected = Vec::new();
    for name in names {
        let at = bed.send(&socket, name)?;
        expected.push(Event::new("new", id(name), at, at));
    }
    for name in names {
        bed.send(&socket, name)?;
    }
    assert_eq!(bed.watch.events(), expected);
    assert_eq!(bed.watch.counts()?.rebindings, 0);
    Ok(())
}

fn short() -> Result<(), Failed> {
    let mut bed = Bed::new("offset:40,len:16")?;
    let socket = bed.device.udp()?;
    for length in [0, 1, 40, 55] {
        bed.send(&socket, &vec![b'x'; length])?;
    }
    assert_eq!(bed.watch.events(), []);
    let at = bed.send(&socket, &[b'x'; 56])?;
    assert_eq!(bed.watch.events(), [Event::new("new", [b'x'; 16], at, at)]);
    Ok(())
}

fn gap() -> Result<(), Failed> {
    let mut bed = Bed::new("offset:0,len:4")?;
    let socket = bed.device.udp()?;
    let at = bed.send(&socket, b"dev1")?;
    std::thread::sleep(LONG_SILENCE);
    bed.send(&socket, b"dev1")?;
    let events = [Event::new("new", id(b"dev1"), at, at), Event::new("gap", id(b"dev1"), at, at)];
    assert_eq!(bed.watch.events(), events);
    Ok(())
}
