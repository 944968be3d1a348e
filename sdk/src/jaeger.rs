//! Reads the answer of a Jaeger remote-sampling endpoint, which servers write in different ways: `strategyType` is a
//! string, a number or absent, lists may be null, and unknown members appear. What cannot be said as probabilities (a
//! rate limit) is refused.

use serde::Deserialize;

use crate::strategy::{Strategy, StrategyError};

/// Why an answer was not adopted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    #[error("the answer is not the JSON of a sampling strategy")]
    Json(#[source] serde_json::Error),
    #[error("the answer names no probability (a rate limit is not followed)")]
    NoProbability,
    #[error("the answer's strategy is refused")]
    Strategy(#[source] StrategyError),
}

/// The strategy in `body`, at `generation`, because the answer carries none.
pub(crate) fn parse(body: &[u8], generation: u64) -> Result<Strategy, AnswerError> {
    let answer: Answer = serde_json::from_slice(body).map_err(AnswerError::Json)?;
    let uniform = answer.probabilistic_sampling.and_then(|p| p.sampling_rate);
    let (probability, listed) = match answer.operation_sampling {
        Some(operations) => {
            let listed = operations.per_operation_strategies.unwrap_or_default();
            (operations.default_sampling_probability.or(uniform), listed)
        }
        None => (uniform, Vec::new()),
    };
    let probability = probability.ok_or(AnswerError::NoProbability)?;
    let listed = listed.into_iter().filter_map(|entry| {
        let probability = entry.probabilistic_sampling?.sampling_rate?;
        Some((entry.operation?, probability))
    });
    Strategy::new(generation, probability, listed).map_err(AnswerError::Strategy)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    probabilistic_sampling: Option<Probabilistic>,
    operation_sampling: Option<Operations>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probabilistic {
    sampling_rate: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Operations {
    default_sampling_probability: Option<f64>,
    per_operation_strategies: Option<Vec<Operation>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Operation {
    operation: Option<String>,
    probabilistic_sampling: Option<Probabilistic>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<(f64, f64), AnswerError> {
        let strategy = parse(body.as_bytes(), 7)?;
        assert_eq!(strategy.generation(), 7);
        Ok((strategy.probability(), strategy.rate_of("GET /").0.probability()))
    }

    #[test]
    fn every_way_in_which_servers_write_a_strategy_is_read() {
        let uniform = r#""probabilisticSampling":{"samplingRate":0.25}"#;
        let listed = r#""perOperationStrategies":[{"operation":"GET /","probabilisticSampling":{"samplingRate":1}}]"#;
        let table = [
            (format!(r#"{{"strategyType":"PROBABILISTIC",{uniform}}}"#), (0.25, 0.25)),
            (format!(r#"{{"strategyType":0,{uniform}}}"#), (0.25, 0.25)),
            (format!(r#"{{{uniform},"operationSampling":null,"rateLimitingSampling":null,"x":[1]}}"#), (0.25, 0.25)),
            (format!(r#"{{{uniform},"operationSampling":{{"defaultSamplingProbability":0.5,{listed}}}}}"#), (0.5, 1.0)),
            (format!(r#"{{{uniform},"operationSampling":{{{listed}}}}}"#), (0.25, 1.0)),
            (format!(r#"{{{uniform},"operationSampling":{{"perOperationStrategies":null}}}}"#), (0.25, 0.25)),
            (
                format!(r#"{{{uniform},"operationSampling":{{"perOperationStrategies":[{{"operation":"GET /"}}]}}}}"#),
                (0.25, 0.25),
            ),
            (r#"{"probabilisticSampling":{"samplingRate":7}}"#.to_owned(), (1.0, 1.0)),
            (r#"{"probabilisticSampling":{"samplingRate":-7}}"#.to_owned(), (0.0, 0.0)),
        ];
        for (body, expected) in table {
            assert_eq!(read(&body).expect(&body), expected, "{body}");
        }
    }

    #[test]
    fn an_answer_without_a_probability_is_refused() {
        let limit = r#"{"strategyType":"RATE_LIMITING","rateLimitingSampling":{"maxTracesPerSecond":10}}"#;
        for body in [limit, "{}", r#"{"probabilisticSampling":{}}"#, r#"{"probabilisticSampling":null}"#] {
            assert!(matches!(read(body), Err(AnswerError::NoProbability)), "{body}");
        }
    }

    #[test]
    fn garbage_is_refused() {
        let deep = "[".repeat(100_000);
        let garbage = ["", "null", "<html>", "[]", "\u{0}", &deep, r#"{"probabilisticSampling":{"samplingRate":NaN}}"#];
        let wrong_types = [r#"{"probabilisticSampling":7}"#, r#"{"probabilisticSampling":{"samplingRate":"1"}}"#];
        for body in garbage.into_iter().chain(wrong_types) {
            assert!(matches!(read(body), Err(AnswerError::Json(_))), "{body:.40}");
        }
        // A number that no f64 holds is a syntax error, not infinity.
        assert!(read(r#"{"probabilisticSampling":{"samplingRate":1e999}}"#).is_err());
    }
}
