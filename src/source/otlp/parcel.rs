//! One request taken apart: what some policy wants of it becomes [`Parcel`]s, the rest is left behind at the door, so
//! that what waits for the next tick is small.
//!
//! A point is refused here if no policy could ever use it: a gauge, a sum that may fall, a value that is no count, a
//! temporality or a time that is not told. Its sender hears of it in the answer's `partial_success`, with the reason.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Instant;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use prost::Message;

use super::names::{Kind, MetricName};
use super::read::Read;
use super::refusal::Refusal;
use crate::source::sampled::derives_from_spans;

/// Longest name of a metric that is read.
const NAME_MAX_BYTES: usize = 1024;

/// The points of one metric of one process.
#[derive(Debug, Clone)]
pub(super) struct Parcel {
    /// When it came.
    pub(super) at: Instant,
    pub(super) resource: Arc<Resource>,
    pub(super) name: Arc<str>,
    pub(super) unit: Arc<str>,
    pub(super) kind: Kind,
    /// Whether each point counts what came since the one before it, and not since its start.
    pub(super) is_delta: bool,
    /// Made of spans, by its scope.
    pub(super) is_of_spans: bool,
    /// Tells scopes with metrics of one name apart.
    pub(super) scope: u64,
    pub(super) points: Vec<Point>,
}

/// The process that a point came from.
#[derive(Debug)]
pub(super) struct Resource {
    pub(super) attributes: Vec<KeyValue>,
    /// Tells it from others.
    pub(super) id: u64,
}

/// One count.
#[derive(Debug, Clone)]
pub(super) struct Point {
    pub(super) attributes: Vec<KeyValue>,
    /// 0: not told.
    pub(super) start_ns: u64,
    pub(super) at_ns: u64,
    /// Finite and not negative.
    pub(super) value: f64,
}

/// What the policies want.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted(pub(super) Vec<WantedMetric>);

/// One signal's metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WantedMetric {
    /// As the policy writes it.
    pub(super) metric: String,
    /// Demand that is not said to be adjusted.
    pub(super) refuses_spans: bool,
}

/// A request, taken apart.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    pub(super) parcels: Vec<Parcel>,
    pub(super) refused: BTreeMap<Refusal, u64>,
    /// The metric of which the first point was refused.
    pub(super) first_refused: Option<String>,
    /// Points that no policy wants.
    pub(super) unwanted: u64,
}

impl Sorted {
    /// Points that were taken.
    pub(super) fn taken(&self) -> usize {
        self.parcels.iter().map(|parcel| parcel.points.len()).sum()
    }

    fn refuse(&mut self, metric: &str, why: Refusal, points: usize) {
        if points > 0 {
            *self.refused.entry(why).or_default() += points as u64;
            self.first_refused.get_or_insert_with(|| metric.to_owned());
        }
    }
}

/// Takes requests apart; its hashes are its own, so that nobody can aim at two names with one.
#[derive(Debug, Default)]
pub(super) struct Sorter {
    hasher: RandomState,
}

impl Sorter {
    /// Sorts a request that came at `at`.
    pub(super) fn sort(&self, request: ExportMetricsServiceRequest, wanted: &Wanted, at: Instant) -> Sorted {
        let mut sorted = Sorted::default();
        for group in request.resource_metrics {
            let attributes = group.resource.unwrap_or_default().attributes;
            let id = identity(&self.hasher, &attributes);
            let resource = Arc::new(Resource { attributes, id });
            for scoped in group.scope_metrics {
                let scope = scoped.scope.unwrap_or_default();
                let origin = Origin {
                    at,
                    resource: &resource,
                    is_of_spans: derives_from_spans(&scope.name),
                    scope: self.hasher.hash_one((&scope.name, &scope.version)),
                };
                scoped.metrics.into_iter().for_each(|metric| origin.sort(metric, wanted, &mut sorted));
            }
        }
        sorted
    }
}

/// Where a metric comes from.
struct Origin<'a> {
    at: Instant,
    resource: &'a Arc<Resource>,
    is_of_spans: bool,
    scope: u64,
}

impl Origin<'_> {
    fn sort(&self, metric: Metric, wanted: &Wanted, sorted: &mut Sorted) {
        let Some(read) = Read::of(metric) else { return };
        let shape = MetricName { name: &read.name, unit: &read.unit, kind: read.kind };
        let wants: Vec<_> = wanted.0.iter().filter(|wanted| shape.is_meant_by(&wanted.metric)).collect();
        let count = read.points.len();
        if wants.is_empty() || read.name.len() > NAME_MAX_BYTES {
            sorted.unwanted += count as u64;
        } else if self.is_of_spans && wants.iter().all(|wanted| wanted.refuses_spans) {
            sorted.refuse(&read.name, Refusal::CountsSampledSpans, count);
            sorted.parcels.push(self.parcel(&read, Vec::new()));
        } else if let Some(why) = read.refusal {
            sorted.refuse(&read.name, why, count);
        } else {
            let mut points = Vec::with_capacity(count);
            for point in &read.points {
                match point {
                    Ok(point) => points.push(point.clone()),
                    Err(why) => sorted.refuse(&read.name, *why, 1),
                }
            }
            sorted.parcels.push(self.parcel(&read, points));
        }
    }

    fn parcel(&self, read: &Read, points: Vec<Point>) -> Parcel {
        Parcel {
            at: self.at,
            resource: Arc::clone(self.resource),
            name: read.name.as_str().into(),
            unit: read.unit.as_str().into(),
            kind: read.kind,
            is_delta: read.is_delta,
            is_of_spans: self.is_of_spans,
            scope: self.scope,
            points,
        }
    }
}

/// The same for the same attributes in any order.
pub(super) fn identity(hasher: &RandomState, attributes: &[KeyValue]) -> u64 {
    let mut hashes: Vec<u64> = attributes.iter().map(|attribute| hasher.hash_one(attribute.encode_to_vec())).collect();
    hashes.sort_unstable();
    hasher.hash_one(hashes)
}

#[cfg(test)]
pub(super) mod tests {
    use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
    use opentelemetry_proto::tonic::metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, NumberDataPoint, ResourceMetrics, ScopeMetrics,
        Sum,
    };
    use proptest::prelude::*;

    use super::*;
    use crate::source::otlp::names::tests::attributes;

    pub(in crate::source::otlp) const SECOND: u64 = 1_000_000_000;

    /// A point at these seconds.
    pub(in crate::source::otlp) fn point(start_s: u64, at_s: u64, value: f64) -> NumberDataPoint {
        NumberDataPoint {
            start_time_unix_nano: start_s * SECOND,
            time_unix_nano: at_s * SECOND,
            value: Some(Value::AsDouble(value)),
            ..NumberDataPoint::default()
        }
    }

    /// A monotonic sum.
    pub(in crate::source::otlp) fn sum(name: &str, is_delta: bool, data_points: Vec<NumberDataPoint>) -> Metric {
        let temporality =
            if is_delta { AggregationTemporality::Delta } else { AggregationTemporality::Cumulative } as i32;
        let data = Data::Sum(Sum { data_points, aggregation_temporality: temporality, is_monotonic: true });
        Metric { name: name.to_owned(), data: Some(data), ..Metric::default() }
    }

    /// One process's metrics under one scope.
    pub(in crate::source::otlp) fn request(
        service: &str,
        scope: &str,
        metrics: Vec<Metric>,
    ) -> ExportMetricsServiceRequest {
        let scope = InstrumentationScope { name: scope.to_owned(), ..InstrumentationScope::default() };
        let resource = opentelemetry_proto::tonic::resource::v1::Resource {
            attributes: attributes(&[("service.name", service)]),
            ..Default::default()
        };
        let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, schema_url: String::new() }];
        let group = ResourceMetrics { resource: Some(resource), scope_metrics, schema_url: String::new() };
        ExportMetricsServiceRequest { resource_metrics: vec![group] }
    }

    fn wanted(metric: &str) -> Wanted {
        Wanted(vec![WantedMetric { metric: metric.to_owned(), refuses_spans: true }])
    }

    fn sorted(metric: Metric) -> Sorted {
        let name = metric.name.clone();
        Sorter::default().sort(request("shop", "test", vec![metric]), &wanted(&name), Instant::now())
    }

    #[test]
    fn what_can_be_a_count_is_taken_and_the_rest_is_refused_with_its_reason() {
        let flagged = NumberDataPoint { flags: 1, ..point(0, 1, 1.0) };
        let no_value = NumberDataPoint { value: None, ..point(0, 1, 1.0) };
        let mut falling = sum("a", false, vec![point(0, 1, 1.0)]);
        if let Some(Data::Sum(sum)) = &mut falling.data {
            sum.is_monotonic = false;
        }
        let mut unsaid = sum("a", false, vec![point(0, 1, 1.0)]);
        if let Some(Data::Sum(sum)) = &mut unsaid.data {
            sum.aggregation_temporality = 0;
        }
        let gauge = Metric {
            name: "a".to_owned(),
            data: Some(Data::Gauge(Gauge { data_points: vec![point(0, 1, 1.0)] })),
            ..Metric::default()
        };
        let table = [
            (sum("a", false, vec![point(0, 1, 1.0), point(0, 2, 0.0)]), 2, None),
            (sum("a", true, vec![point(0, 1, -1.0)]), 0, Some(Refusal::BadValue)),
            (sum("a", true, vec![point(0, 1, f64::NAN), point(0, 1, 5.0)]), 1, Some(Refusal::BadValue)),
            (sum("a", true, vec![point(0, 1, f64::INFINITY)]), 0, Some(Refusal::BadValue)),
            (sum("a", true, vec![no_value]), 0, Some(Refusal::BadValue)),
            (sum("a", true, vec![flagged]), 0, Some(Refusal::NoRecordedValue)),
            (sum("a", true, vec![point(2, 1, 1.0)]), 0, Some(Refusal::BadTime)),
            (sum("a", true, vec![point(0, 0, 1.0)]), 0, Some(Refusal::BadTime)),
            (falling, 0, Some(Refusal::NotACounter)),
            (gauge, 0, Some(Refusal::NotACounter)),
            (unsaid, 0, Some(Refusal::NoTemporality)),
        ];
        for (metric, taken, refusal) in table {
            let shown = format!("{metric:?}");
            let sorted = sorted(metric);
            assert_eq!((sorted.taken(), sorted.refused.keys().next().copied()), (taken, refusal), "{shown}");
        }
    }

    #[test]
    fn a_histogram_is_its_count() {
        let count = HistogramDataPoint { count: 7, time_unix_nano: 5, ..HistogramDataPoint::default() };
        let data = Histogram { data_points: vec![count], aggregation_temporality: 1 };
        let metric = Metric { name: "a".to_owned(), data: Some(Data::Histogram(data)), ..Metric::default() };
        let sorted = sorted(metric);
        assert_eq!((sorted.parcels[0].points[0].value, sorted.parcels[0].is_delta), (7.0, true));
    }

    #[test]
    fn demand_made_of_spans_is_refused_and_what_nobody_wants_is_left() {
        let sort = |scope: &str, wanted: &Wanted| {
            let metric = sum("custom.calls", false, vec![point(0, 1, 1.0)]);
            Sorter::default().sort(request("shop", scope, vec![metric]), wanted, Instant::now())
        };
        let spans = sort("spanmetricsconnector", &wanted("custom.calls"));
        assert_eq!(spans.refused, BTreeMap::from([(Refusal::CountsSampledSpans, 1)]));
        assert_eq!((spans.taken(), spans.parcels[0].is_of_spans), (0, true), "it is known that they came");
        let adjusted = Wanted(vec![WantedMetric { metric: "custom.calls".to_owned(), refuses_spans: false }]);
        assert_eq!(sort("spanmetricsconnector", &adjusted).taken(), 1);
        assert_eq!(sort("http", &wanted("custom.calls")).taken(), 1);
        let other = sort("http", &wanted("other"));
        assert_eq!((other.unwanted, other.parcels.len()), (1, 0));
    }

    #[test]
    fn attributes_in_another_order_are_the_same() {
        let hasher = RandomState::new();
        let of = |pairs: &[(&str, &str)]| identity(&hasher, &attributes(pairs));
        assert_eq!(of(&[("a", "1"), ("b", "2")]), of(&[("b", "2"), ("a", "1")]));
        assert_ne!(of(&[("a", "1"), ("b", "2")]), of(&[("a", "2"), ("b", "1")]));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(request) = ExportMetricsServiceRequest::decode(bytes.as_slice()) {
                let _ = Sorter::default().sort(request, &wanted("a"), Instant::now());
            }
        }

        #[test]
        fn broken_requests_never_panic(at in 0usize..200, byte in any::<u8>()) {
            let metric = sum("a", true, vec![point(1, 2, 3.0), point(2, 3, 4.0)]);
            let mut bytes = request("shop", "test", vec![metric]).encode_to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(request) = ExportMetricsServiceRequest::decode(bytes.as_slice()) {
                let _ = Sorter::default().sort(request, &wanted("a"), Instant::now());
            }
        }
    }
}
