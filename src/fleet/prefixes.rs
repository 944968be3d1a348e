//! What the network tells of a device that does not tell it itself: its carrier and its region, by the longest prefix
//! that covers its address. The file is the monitor's; here it is looked up in user space, once a registration or hello.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use crate::keepalive::cohort::Labels;
use crate::monitor::prefixes::{Prefix, Prefixes};

/// Prefixes by length, the longest first.
#[derive(Debug, Clone, Default)]
pub struct PrefixTable {
    by_bits: Vec<(u8, HashMap<u128, u16>)>,
    labels: Vec<Labels>,
}

impl PrefixTable {
    /// The same prefixes, to be looked up.
    pub fn new(prefixes: &Prefixes) -> Self {
        let mut by_bits: HashMap<u8, HashMap<u128, u16>> = HashMap::new();
        for Prefix { address, bits, cohort } in &prefixes.rows {
            by_bits.entry(*bits).or_default().insert(u128::from_be_bytes(*address), *cohort);
        }
        let mut by_bits: Vec<_> = by_bits.into_iter().collect();
        by_bits.sort_by_key(|(bits, _)| std::cmp::Reverse(*bits));
        Self { by_bits, labels: prefixes.names.iter().map(|name| labels(name)).collect() }
    }

    /// What is known of an address; empty where no prefix covers it.
    pub fn labels(&self, address: IpAddr) -> Option<&Labels> {
        let address = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        let cohort = self.by_bits.iter().find_map(|(bits, rows)| rows.get(&masked(address, *bits)));
        cohort.and_then(|cohort| self.labels.get(usize::from(*cohort)))
    }

    /// Adds to a device's labels what it does not say itself.
    pub fn complete(&self, labels: &mut Labels, address: IpAddr) {
        for (key, value) in self.labels(address).into_iter().flatten() {
            labels.entry(Arc::clone(key)).or_insert_with(|| Arc::clone(value));
        }
    }
}

fn masked(address: Ipv6Addr, bits: u8) -> u128 {
    address.to_bits() & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)
}

/// `carrier=a,region=unknown`: what is not known is not said.
fn labels(name: &str) -> Labels {
    let pairs = name.split(',').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(_, value)| *value != "unknown").map(|(key, value)| (key.into(), value.into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::SourceFile;

    fn table() -> PrefixTable {
        let text = "prefix,carrier,region\n10.0.0.0/8,a,eu\n10.1.0.0/16,b,\n2001:db8::/32,c,us\n";
        let file = Arc::new(SourceFile { path: "prefixes.csv".into(), text: text.to_owned() });
        PrefixTable::new(&Prefixes::parse(&file).expect("valid"))
    }

    #[test]
    fn the_longest_prefix_tells() {
        let told = |address: &str| {
            let mut labels = Labels::new();
            table().complete(&mut labels, address.parse().expect("an address"));
            labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
        };
        assert_eq!(told("10.2.3.4"), "carrier=a,region=eu");
        assert_eq!(told("::ffff:10.2.3.4"), "carrier=a,region=eu");
        assert_eq!(told("10.1.3.4"), "carrier=b");
        assert_eq!(told("2001:db8::1"), "carrier=c,region=us");
        assert_eq!(told("192.0.2.1"), "");
    }

    #[test]
    fn what_a_device_says_itself_counts_more() {
        let mut labels: Labels = [("carrier".into(), "mine".into())].into();
        table().complete(&mut labels, "10.0.0.1".parse().expect("an address"));
        assert_eq!((labels["carrier"].as_ref(), labels["region"].as_ref()), ("mine", "eu"));
    }
}
