//! `/metrics` of the monitor, read off what it sees when asked. Labels are cohorts only, and there are at most 1,024 of
//! them, each with 134 series of its histogram once a device of it was measured. Without a monitor there is none of
//! this.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use super::exposition::single;
use crate::monitor::board::{Board, Watch};
use crate::monitor::frame::Census;
use crate::monitor::view::View;

/// What the monitor sees.
#[derive(Debug)]
pub(super) struct MonitorCollector(pub(super) Board);

impl Collector for MonitorCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        match &*self.0.read() {
            Watch::Seeing(view) => {
                gaps(&mut encoder, view)?;
                totals(&mut encoder, view)?;
                troubles(&mut encoder, view)?;
                view.census().map_or(Ok(()), |census| devices(&mut encoder, census))
            }
            Watch::Off | Watch::Blind(_) => Ok(()),
        }
    }
}

fn gaps(encoder: &mut DescriptorEncoder<'_>, view: &View) -> fmt::Result {
    let help = "Time between two packets from a device";
    let mut family = encoder.encode_descriptor("flyball_heartbeat_gap_seconds", help, None, MetricType::Histogram)?;
    for cohort in view.cohorts() {
        let gaps = &cohort.totals.gaps;
        if gaps.count() > 0 {
            let buckets: Vec<(f64, u64)> = gaps.buckets().collect();
            let labels = [("cohort", cohort.name.as_ref())];
            let mut series = family.encode_family(&labels)?;
            series.encode_histogram::<[(&str, &str); 1]>(gaps.sum().as_secs_f64(), gaps.count(), &buckets, None)?;
        }
    }
    Ok(())
}

fn totals(encoder: &mut DescriptorEncoder<'_>, view: &View) -> fmt::Result {
    let all = view.all().totals;
    let packets = ("flyball_monitor_packets", "Packets of known devices");
    family(encoder, packets, [([("direction", "from")], all.from), ([("direction", "to")], all.to)])?;
    let counters = [
        ("flyball_monitor_new_devices", "Devices that the map did not hold", all.new_devices),
        ("flyball_monitor_rebindings", "Known devices that came from another address", all.rebindings),
        ("flyball_monitor_migrations", "Known devices that moved with another connection id", all.migrations),
        ("flyball_monitor_missed", "Sequence numbers that never came", all.missed),
        ("flyball_monitor_stale", "Sequence numbers that came again, or late", all.stale),
        ("flyball_monitor_tcp_connections", "TCP connections that ended", all.connections),
        ("flyball_monitor_tcp_unreachable", "TCP connections established, and nothing got through", all.unreachable),
    ];
    counters.into_iter().try_for_each(|(name, help, value)| counter(encoder, (name, help), value))
}

fn troubles(encoder: &mut DescriptorEncoder<'_>, view: &View) -> fmt::Result {
    let troubles = view.troubles();
    let lost = ("flyball_monitor_lost_records", "Events that the kernel could not tell: its ring buffer was full");
    counter(encoder, lost, troubles.lost_records)?;
    let others = [
        ([("trouble", "not_stored")], troubles.not_stored),
        ([("trouble", "unknown_egress")], troubles.unknown_egress),
        ([("trouble", "contended")], troubles.contended),
        ([("trouble", "unreadable")], view.unreadable()),
    ];
    family(encoder, ("flyball_monitor_troubles", "What the monitor did not manage, by what it was"), others)
}

fn devices(encoder: &mut DescriptorEncoder<'_>, census: &Census) -> fmt::Result {
    single(encoder, ("flyball_monitor_devices", "Devices that the map holds"), f64::from(census.devices))?;
    single(encoder, ("flyball_monitor_devices_max", "Devices that the map can hold"), f64::from(census.capacity))?;
    counter(encoder, ("flyball_monitor_evicted", "Devices that made room for others"), census.evicted)
}

/// A counter without labels.
pub(super) fn counter(encoder: &mut DescriptorEncoder<'_>, (name, help): (&str, &str), value: u64) -> fmt::Result {
    ConstCounter::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)
}

/// One counter and its series.
pub(super) fn family<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    series: impl IntoIterator<Item = (L, u64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    series.into_iter().try_for_each(|(labels, value)| ConstCounter::new(value).encode(family.encode_family(&labels)?))
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::super::exposition::openmetrics;
    use super::*;
    use crate::monitor::event::Decoder;
    use crate::monitor::key::Key;
    use crate::monitor::prefixes::UNKNOWN;
    use crate::monitor::synthetic;
    use crate::time::WallTime;

    fn text(watch: Watch) -> String {
        let (board, mut registry) = (Board::default(), Registry::default());
        board.show(watch);
        registry.register_collector(Box::new(MonitorCollector(board)));
        openmetrics(&registry)
    }

    #[test]
    fn what_the_monitor_sees_is_read_off_under_the_contracts_names() {
        let names = vec![UNKNOWN.into(), "carrier=a,region=eu".into(), "carrier=b,region=us".into()];
        let mut view = View::new(Decoder::new(Key::Heartbeat, names, WallTime::default()));
        let [_, (_, frames)] = synthetic::stories();
        frames.into_iter().for_each(|frame| drop(view.take(frame)));
        let text = text(Watch::Seeing(Box::new(view)));
        for line in [
            r#"flyball_heartbeat_gap_seconds_bucket{le="+Inf",cohort="carrier=a,region=eu"} 6"#,
            r#"flyball_heartbeat_gap_seconds_count{cohort="carrier=a,region=eu"} 6"#,
            r#"flyball_monitor_packets_total{direction="from"} 12"#,
            "flyball_monitor_rebindings_total 3",
            "flyball_monitor_migrations_total 1",
            "flyball_monitor_lost_records_total 3",
            r#"flyball_monitor_troubles_total{trouble="contended"} 2"#,
            "flyball_monitor_tcp_unreachable_total 1",
            "flyball_monitor_devices 3.0",
            "flyball_monitor_devices_max 1500.0",
            "flyball_monitor_evicted_total 40",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in:\n{text}");
        }
        assert!(
            !text.contains(&format!("{{cohort=\"{UNKNOWN}\"}}")),
            "a cohort without a gap has no histogram:\n{text}"
        );
    }

    #[test]
    fn without_a_monitor_there_is_none_of_it() {
        assert_eq!(text(Watch::Off), "# EOF\n");
        assert_eq!(text(Watch::Blind("no".to_owned())), "# EOF\n");
    }
}
