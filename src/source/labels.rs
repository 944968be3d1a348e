//! A series' labels, and which service and operation they name.

use std::borrow::Cow;

use super::signals::{DemandSignal, Query};

/// Longest name of a service or an operation, the same as the longest that is answered.
const NAME_MAX_BYTES: usize = 256;

/// Labels of one series, borrowed from the body that they came in where they needed no unescaping.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Labels<'a>(pub(super) Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl Labels<'_> {
    /// The label's value; empty where it is absent, which PromQL takes for the same.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(label, _)| label == name).map_or("", |(_, value)| value)
    }
}

/// Which labels name what a signal's series are summed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Grouping {
    /// Everything is one sum.
    Total,
    /// By service, and by operation where there is a label for it.
    Names { service: String, operation: Option<String> },
}

impl Grouping {
    /// As the demand's labels say. A counter summed `by` other labels does not show these.
    pub(super) fn of_demand(demand: &DemandSignal) -> Self {
        let is_shown = |label: &String| match &demand.query {
            Query::Counter(counter) | Query::Pushed(counter) => counter.by.contains(label),
            Query::Opaque { .. } => true,
        };
        let service = Some(&demand.service_label).filter(|l| is_shown(l)).cloned().unwrap_or_default();
        Self::Names { service, operation: demand.operation_label.clone().filter(is_shown) }
    }

    /// The names in `labels`; `None` where they cannot be names: no service, or longer than can be answered.
    pub(super) fn names<'l>(&self, labels: &'l Labels<'_>) -> Option<(&'l str, Option<&'l str>)> {
        let Self::Names { service, operation } = self else { return Some(("", None)) };
        let service = labels.get(service);
        let operation = operation.as_ref().map(|label| labels.get(label)).filter(|o| !o.is_empty());
        let fits = |name: &str| name.len() <= NAME_MAX_BYTES;
        (!service.is_empty() && fits(service) && operation.is_none_or(fits)).then_some((service, operation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answerable_names_are_names() {
        let grouping = Grouping::Names { service: "s".into(), operation: Some("o".into()) };
        let long = "x".repeat(NAME_MAX_BYTES + 1);
        let table: [(&[(&str, &str)], _); 5] = [
            (&[("s", "cart"), ("o", "GET /")], Some(("cart", Some("GET /")))),
            (&[("s", "cart"), ("o", "")], Some(("cart", None))),
            (&[("o", "GET /")], None),
            (&[("s", &long)], None),
            (&[("s", "cart"), ("o", &long)], None),
        ];
        for (pairs, expected) in table {
            let labels = Labels(pairs.iter().map(|(l, v)| (Cow::Borrowed(*l), Cow::Borrowed(*v))).collect());
            assert_eq!(grouping.names(&labels), expected, "{pairs:?}");
        }
    }
}
