//! Which metric and which attribute a policy means. People know both spellings of a name: OTLP's own
//! (`http.server.request.duration`, `service.name`) and what a Prometheus server makes of it
//! (`http_server_request_duration_seconds_count`, `job`). Either is taken.
//!
//! A signal stays with the first metric that it found; another one whose name looks the same to Prometheus is refused as
//! ambiguous, since their sum would count twice.

use std::borrow::Cow;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};

/// How a metric counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A monotonic sum.
    Sum,
    /// A histogram of any kind, or a summary: its `count` is read.
    Histogram,
}

/// What a policy's name for a metric is compared with.
#[derive(Debug, Clone, Copy)]
pub(super) struct MetricName<'a> {
    pub(super) name: &'a str,
    pub(super) unit: &'a str,
    pub(super) kind: Kind,
}

/// UCUM units that Prometheus names carry in words.
const UNITS: [(&str, &str); 14] = [
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("min", "minutes"),
    ("h", "hours"),
    ("d", "days"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("kBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("%", "percent"),
];

impl MetricName<'_> {
    /// Whether `written` in a policy means this metric.
    pub(super) fn is_meant_by(&self, written: &str) -> bool {
        if written == self.name {
            return true;
        }
        let suffix = match self.kind {
            Kind::Sum => "_total",
            Kind::Histogram => "_count",
        };
        let name = sanitised(self.name);
        let Some(rest) = written.strip_prefix(name.as_ref()) else { return false };
        let unit = UNITS.iter().find(|(ucum, _)| *ucum == self.unit).map(|(_, word)| *word);
        let after_unit = unit.and_then(|unit| rest.strip_prefix('_')?.strip_prefix(unit));
        [Some(rest), after_unit].into_iter().flatten().any(|rest| rest.is_empty() || rest == suffix)
    }
}

/// A point's attributes and those of the process that it came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes<'a> {
    pub(super) point: &'a [KeyValue],
    pub(super) resource: &'a [KeyValue],
}

impl<'a> Attributes<'a> {
    /// The value of the attribute that `label` means, empty where there is none. The point's own win over its
    /// resource's, exact names over Prometheus' spelling; then come the labels that Prometheus makes of a resource.
    pub(super) fn value(&self, label: &str) -> Cow<'a, str> {
        let exact = |key: &str| key == label;
        let alike = |key: &str| key != label && sanitised(key) == label;
        let places = [self.point, self.resource];
        let found =
            places.iter().find_map(|all| find(all, exact)).or_else(|| places.iter().find_map(|all| find(all, alike)));
        found.unwrap_or_else(|| match label {
            "service" => self.of_resource("service.name"),
            "instance" => self.of_resource("service.instance.id"),
            "job" => self.job(),
            _ => Cow::Borrowed(""),
        })
    }

    /// `service.namespace/service.name`, as the compatibility specification has it.
    fn job(&self) -> Cow<'a, str> {
        let (namespace, name) = (self.of_resource("service.namespace"), self.of_resource("service.name"));
        if namespace.is_empty() { name } else { Cow::Owned(format!("{namespace}/{name}")) }
    }

    fn of_resource(&self, key: &str) -> Cow<'a, str> {
        find(self.resource, |known| known == key).unwrap_or_default()
    }
}

fn find<'a>(attributes: &'a [KeyValue], is_meant: impl Fn(&str) -> bool) -> Option<Cow<'a, str>> {
    attributes.iter().find(|attribute| is_meant(&attribute.key)).map(|attribute| text(attribute.value.as_ref()))
}

/// Values that are no names (bytes, lists, maps) are empty.
fn text(value: Option<&AnyValue>) -> Cow<'_, str> {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => Cow::Borrowed(text),
        Some(Value::BoolValue(value)) => Cow::Owned(value.to_string()),
        Some(Value::IntValue(value)) => Cow::Owned(value.to_string()),
        Some(Value::DoubleValue(value)) => Cow::Owned(value.to_string()),
        _ => Cow::Borrowed(""),
    }
}

/// As Prometheus spells it: what its names cannot hold becomes `_`.
fn sanitised(name: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    if name.chars().all(is_plain) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Attributes with text for values.
    pub(in crate::source::otlp) fn attributes(pairs: &[(&str, &str)]) -> Vec<KeyValue> {
        let value = |text: &str| Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) });
        pairs.iter().map(|(k, v)| KeyValue { key: (*k).to_owned(), value: value(v), ..KeyValue::default() }).collect()
    }

    #[test]
    fn a_metric_is_meant_by_its_own_name_and_by_prometheus_names_for_it() {
        let duration = MetricName { name: "http.server.request.duration", unit: "s", kind: Kind::Histogram };
        let requests = MetricName { name: "http.server.requests", unit: "{request}", kind: Kind::Sum };
        let table = [
            (duration, "http.server.request.duration", true),
            (duration, "http_server_request_duration_seconds_count", true),
            (duration, "http_server_request_duration_count", true),
            (duration, "http_server_request_duration", true),
            (duration, "http_server_request_duration_seconds_bucket", false),
            (duration, "http_server_request_duration_seconds_total", false),
            (duration, "http_server_request", false),
            (requests, "http.server.requests", true),
            (requests, "http_server_requests_total", true),
            (requests, "http_server_requests", true),
            (requests, "http_server_requests_count", false),
            (requests, "http.server.requests.more", false),
        ];
        for (metric, written, expected) in table {
            assert_eq!(metric.is_meant_by(written), expected, "{written} {metric:?}");
        }
    }

    #[test]
    fn labels_are_attributes_of_point_and_resource_in_either_spelling() {
        let point = attributes(&[("http.route", "/cart"), ("service", "")]);
        let resource = attributes(&[
            ("service.name", "shop"),
            ("service.namespace", "eu"),
            ("service.instance.id", "i-1"),
            ("http.route", "never"),
        ]);
        let all = Attributes { point: &point[..1], resource: &resource };
        let table = [
            ("http.route", "/cart"),
            ("http_route", "/cart"),
            ("service.name", "shop"),
            ("service_name", "shop"),
            ("service", "shop"),
            ("job", "eu/shop"),
            ("instance", "i-1"),
            ("absent", ""),
        ];
        for (label, expected) in table {
            assert_eq!(all.value(label), expected, "{label}");
        }
        let own = Attributes { point: &point, resource: &resource };
        assert_eq!(own.value("service"), "", "an attribute of that name comes first, even if it is empty");
    }
}
