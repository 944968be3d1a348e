//! Why a point is left out, by the door's name for it and in words for its sender.

/// Why a point is not read. Each is a metric's label, and words for the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Refusal {
    /// A gauge, or a sum that may fall.
    NotACounter,
    /// Neither delta nor cumulative.
    NoTemporality,
    /// NaN, infinite or negative.
    BadValue,
    /// No time, or one before its own start.
    BadTime,
    /// Flagged by its sender.
    NoRecordedValue,
    /// Demand, made of spans.
    CountsSampledSpans,
}

impl Refusal {
    /// As a metric's label.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::NotACounter => "not_a_counter",
            Self::NoTemporality => "no_temporality",
            Self::BadValue => "bad_value",
            Self::BadTime => "bad_time",
            Self::NoRecordedValue => "no_recorded_value",
            Self::CountsSampledSpans => "counts_sampled_spans",
        }
    }

    /// For the sender.
    pub(super) const fn advice(self) -> &'static str {
        match self {
            Self::NotACounter => "is a gauge or a sum that may fall: only a counter or a histogram's count has a rate",
            Self::NoTemporality => "has points that are neither delta nor cumulative",
            Self::BadValue => "has values that are no counts: NaN, infinite or negative",
            Self::BadTime => "has points without a time, or with one before their start",
            Self::NoRecordedValue => "has points that are flagged as not recorded",
            Self::CountsSampledSpans => {
                "counts spans after sampling, so as demand it would fall with the probability that it sets: push the \
                 services' own request metrics, or set `adjusted: true` on the policy's demand"
            }
        }
    }
}
