//! Many devices over several workers.

use flyball::fleet::heartbeat::counters::Count;
use libtest_mimic::Trial;

use crate::bed::{Bed, Plan};
use crate::device::Device;
use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("steering::a_device_is_of_one_worker_from_any_address", || any_address("127.0.0.1:0")),
        trial("steering::a_device_is_of_one_worker_from_any_address_over_ipv6", || any_address("[::1]:0")),
        trial("steering::one_socket_takes_both_families", both_families),
    ]
}

/// Were one device's datagrams ever to come to two workers, the second would not know it, or count it as misrouted.
fn any_address(address: &str) {
    let bed = Bed::with(Plan { workers: 4, address, ..Plan::default() });
    for n in 0..100 {
        let mut device = Device::registered(&bed, &format!("device {n}"));
        for _ in 0..4 {
            device.rebind();
            device.beat();
            let (_, mac) = device.ack();
            device.echo(mac);
            device.ack();
            device.acked();
        }
    }
    let of = |count| bed.count(count);
    assert_eq!((of(Count::Registered), of(Count::AddressMoved), of(Count::Misrouted)), (100, 400, 0));
    assert_eq!((of(Count::Replayed), of(Count::Copied), of(Count::Challenged)), (0, 0, 0));
}

fn both_families() {
    let bed = Bed::with(Plan { workers: 2, address: "[::]:0", ..Plan::default() });
    let port = bed.address.port();
    for (n, server) in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")].into_iter().enumerate() {
        let mut device = Device::at(server.parse().expect("an address"), &format!("device {n}"));
        device.register();
        device.acked();
    }
    assert_eq!(bed.handle.devices(), 2);
}
