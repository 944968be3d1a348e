//! A metric of any type, as counts: a monotonic sum is its value, a histogram of any kind its `count`.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, DataPointFlags, Metric, NumberDataPoint, metric::Data, number_data_point::Value,
};

use super::names::Kind;
use super::parcel::Point;
use super::refusal::Refusal;

/// The largest time that is believed: the year 2262, where signed nanoseconds end.
const TIME_MAX_NS: u64 = i64::MAX as u64;

/// A metric of any type, as counts.
pub(super) struct Read {
    pub(super) name: String,
    pub(super) unit: String,
    pub(super) kind: Kind,
    pub(super) is_delta: bool,
    /// Why none of its points can be read.
    pub(super) refusal: Option<Refusal>,
    pub(super) points: Vec<Result<Point, Refusal>>,
}

impl Read {
    /// `None` for a metric without any type.
    pub(super) fn of(metric: Metric) -> Option<Self> {
        let Metric { name, unit, data, .. } = metric;
        let sum = |points: Vec<NumberDataPoint>| points.into_iter().map(of_number).collect::<Vec<_>>();
        let (kind, temporality, points) = match data? {
            Data::Gauge(gauge) => (Kind::Sum, None, sum(gauge.data_points)),
            Data::Sum(data) if !data.is_monotonic => (Kind::Sum, None, sum(data.data_points)),
            Data::Sum(data) => (Kind::Sum, Some(data.aggregation_temporality), sum(data.data_points)),
            Data::Histogram(data) => {
                let points = data.data_points.into_iter();
                let points = points
                    .map(|p| of_count(p.attributes, (p.start_time_unix_nano, p.time_unix_nano), p.flags, p.count));
                (Kind::Histogram, Some(data.aggregation_temporality), points.collect())
            }
            Data::ExponentialHistogram(data) => {
                let points = data.data_points.into_iter();
                let points = points
                    .map(|p| of_count(p.attributes, (p.start_time_unix_nano, p.time_unix_nano), p.flags, p.count));
                (Kind::Histogram, Some(data.aggregation_temporality), points.collect())
            }
            // A summary's count has always grown since its start: the format has no field for it.
            Data::Summary(data) => {
                let points = data.data_points.into_iter();
                let points = points
                    .map(|p| of_count(p.attributes, (p.start_time_unix_nano, p.time_unix_nano), p.flags, p.count));
                (Kind::Histogram, Some(AggregationTemporality::Cumulative as i32), points.collect())
            }
        };
        let (is_delta, refusal) = match temporality.map(AggregationTemporality::try_from) {
            None => (false, Some(Refusal::NotACounter)),
            Some(Ok(AggregationTemporality::Delta)) => (true, None),
            Some(Ok(AggregationTemporality::Cumulative)) => (false, None),
            Some(_) => (false, Some(Refusal::NoTemporality)),
        };
        Some(Self { name, unit, kind, is_delta, refusal, points })
    }
}

fn of_number(point: NumberDataPoint) -> Result<Point, Refusal> {
    let value = match point.value {
        Some(Value::AsDouble(value)) => value,
        Some(Value::AsInt(value)) => value as f64,
        None => f64::NAN,
    };
    of_value(point.attributes, (point.start_time_unix_nano, point.time_unix_nano), point.flags, value)
}

fn of_count(attributes: Vec<KeyValue>, times_ns: (u64, u64), flags: u32, count: u64) -> Result<Point, Refusal> {
    of_value(attributes, times_ns, flags, count as f64)
}

fn of_value(
    attributes: Vec<KeyValue>,
    (start_ns, at_ns): (u64, u64),
    flags: u32,
    value: f64,
) -> Result<Point, Refusal> {
    if flags & DataPointFlags::NoRecordedValueMask as u32 != 0 {
        return Err(Refusal::NoRecordedValue);
    }
    if at_ns == 0 || at_ns > TIME_MAX_NS || start_ns > at_ns {
        return Err(Refusal::BadTime);
    }
    if !value.is_finite() || value < 0.0 {
        return Err(Refusal::BadValue);
    }
    Ok(Point { attributes, start_ns, at_ns, value })
}
