//! The bytes that clients receive, made once when a strategy changes: serving is a look-up and a clone.
//!
//! One answer must satisfy every client, and each neighbour's breaks some: `strategyType` is the string
//! `"PROBABILISTIC"`, a top-level rate is always there, `operationSampling` comes whole or not at all, no member is
//! added (Go refuses unknown ones), and protobuf fields are written in number order, because the Java SDK's
//! hand-written parser loses what follows field 4.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use serde::Serialize;

use super::wire;
use crate::proto::flyball_v1;
use crate::sampling::local::LocalShare;
use crate::sampling::probability::Probability;
use crate::sampling::traffic::Name;

/// Room for a body's JSON, without operations and for each of them, besides its name.
const JSON_BYTES: usize = 320;
const JSON_OPERATION_BYTES: usize = 90;

/// What a service's root spans are to be sampled at.
#[derive(Debug, Clone, PartialEq)]
pub struct Strategy {
    /// For operations that are not listed.
    pub probability: Probability,
    /// Unique non-empty names, the hottest first, at most [`OPERATIONS_MAX`].
    ///
    /// [`OPERATIONS_MAX`]: crate::sampling::decision::OPERATIONS_MAX
    pub operations: Vec<(Name, Probability)>,
    /// What the clients of the push stream limit themselves by.
    pub local: Option<LocalShare>,
}

/// A strategy and its encodings.
#[derive(Debug)]
pub struct Answer {
    /// Generation of the snapshot in which this strategy first appeared.
    pub generation: u64,
    /// The strategy itself.
    pub strategy: Strategy,
    /// Body of the HTTP answer.
    pub json: Bytes,
    /// The gRPC message with its five-byte frame header, uncompressed.
    pub grpc_frame: Bytes,
    /// The push stream's message without its first field, the generation, which is the snapshot's at the time of
    /// sending: a service that becomes a stranger falls back to an older answer, and must still be obeyed.
    pub stream_tail: Bytes,
}

impl Strategy {
    /// The same probability for everything.
    pub fn uniform(probability: Probability) -> Self {
        Self { probability, operations: Vec::new(), local: None }
    }

    /// Encodes it once.
    pub fn into_answer(self, generation: u64) -> Answer {
        let json = json(&self);
        let grpc_frame = wire::framed(&self);
        let stream_tail = wire::pushed(&push_head(&self), &self);
        Answer { generation, strategy: self, json, grpc_frame, stream_tail }
    }
}

impl Answer {
    /// The same probabilities with another local share: clients that poll get the same bytes.
    pub fn with_local(&self, local: Option<LocalShare>, generation: u64) -> Self {
        let strategy = Strategy { local, ..self.strategy.clone() };
        let stream_tail = wire::pushed(&push_head(&strategy), &strategy);
        Self { generation, strategy, json: self.json.clone(), grpc_frame: self.grpc_frame.clone(), stream_tail }
    }
}

fn json(strategy: &Strategy) -> Bytes {
    let names: usize = strategy.operations.iter().map(|(name, _)| name.len() + JSON_OPERATION_BYTES).sum();
    let mut json = Vec::with_capacity(JSON_BYTES + names);
    serde_json::to_writer(&mut json, &JsonAnswer::of(strategy)).expect("plain structs become JSON");
    Bytes::from(json.into_boxed_slice())
}

/// The push stream's message, without operations.
fn push_head(strategy: &Strategy) -> flyball_v1::Strategy {
    flyball_v1::Strategy {
        generation: 0, // proto3 leaves a zero out
        probability: strategy.probability.get(),
        operations: Vec::new(),
        expected_traces_per_second: strategy.local.map_or(0.0, |local| local.expected_traces_per_second),
        share_traces_per_second: strategy.local.map_or(0.0, |local| local.share_traces_per_second),
    }
}

/// `message` behind the five bytes that gRPC puts before each, uncompressed.
pub(crate) fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(5 + length);
    frame.put_u8(0); // not compressed
    frame.put_u32(u32::try_from(length).expect("an answer is far below 4 GiB"));
    message.encode(&mut frame).expect("the buffer grows");
    frame.freeze()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonAnswer<'a> {
    strategy_type: &'static str,
    probabilistic_sampling: JsonRate,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation_sampling: Option<JsonOperations<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonRate {
    sampling_rate: Probability,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonOperations<'a> {
    default_sampling_probability: Probability,
    default_lower_bound_traces_per_second: f64,
    per_operation_strategies: Vec<JsonOperation<'a>>,
    default_upper_bound_traces_per_second: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonOperation<'a> {
    operation: &'a str,
    probabilistic_sampling: JsonRate,
}

impl<'a> JsonAnswer<'a> {
    fn of(strategy: &'a Strategy) -> Self {
        let operation = |(name, p): &'a (Name, Probability)| JsonOperation {
            operation: name,
            probabilistic_sampling: JsonRate { sampling_rate: *p },
        };
        Self {
            strategy_type: "PROBABILISTIC",
            probabilistic_sampling: JsonRate { sampling_rate: strategy.probability },
            operation_sampling: (!strategy.operations.is_empty()).then(|| JsonOperations {
                default_sampling_probability: strategy.probability,
                default_lower_bound_traces_per_second: 0.0,
                per_operation_strategies: strategy.operations.iter().map(operation).collect(),
                default_upper_bound_traces_per_second: 0.0,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::jaeger;

    fn probability(value: f64) -> Probability {
        Probability::new(value).expect("a probability")
    }

    #[test]
    fn an_answer_without_operations_has_the_type_and_the_rate_alone() {
        let answer = Strategy::uniform(probability(0.25)).into_answer(7);
        assert_eq!(answer.json, r#"{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":0.25}}"#);
    }

    #[test]
    fn operations_come_with_all_four_members_and_explicit_zeros() {
        let operations = vec![("GET /\"a\"".into(), probability(1.0))];
        let strategy = Strategy { operations, ..Strategy::uniform(probability(0.5)) };
        let json = strategy.into_answer(7).json;
        assert_eq!(
            std::str::from_utf8(&json).expect("UTF-8"),
            concat!(
                r#"{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":0.5},"#,
                r#""operationSampling":{"defaultSamplingProbability":0.5,"defaultLowerBoundTracesPerSecond":0.0,"#,
                r#""perOperationStrategies":[{"operation":"GET /\"a\"","probabilisticSampling":{"samplingRate":1.0}}],"#,
                r#""defaultUpperBoundTracesPerSecond":0.0}}"#
            )
        );
    }

    #[test]
    fn the_grpc_frame_decodes_to_the_strategy_and_ends_with_field_four() {
        let operations = vec![("a".into(), probability(0.125))];
        let strategy = Strategy { operations, ..Strategy::uniform(probability(0.5)) };
        let frame = strategy.into_answer(7).grpc_frame;
        assert_eq!(frame[0], 0);
        assert_eq!(u32::from_be_bytes([frame[1], frame[2], frame[3], frame[4]]) as usize, frame.len() - 5);
        let message = jaeger::SamplingStrategyResponse::decode(&frame[5..]).expect("our own message");
        assert_eq!(message.probabilistic_sampling.map(|p| p.sampling_rate), Some(0.5));
        let operations = message.operation_sampling.expect("operations");
        assert_eq!(operations.per_operation_strategies[0].operation, "a");
        // Field 2 (tag 0x12) comes before field 4 (tag 0x22), and field 4 reaches to the end.
        assert_eq!((frame[5], frame[16]), (0x12, 0x22));
        assert_eq!(usize::from(frame[17]), frame.len() - 18);
    }

    #[test]
    fn the_local_share_is_in_the_push_streams_bytes_alone() {
        let plain = Strategy::uniform(probability(0.5)).into_answer(7);
        let local = LocalShare { expected_traces_per_second: 30.0, share_traces_per_second: 40.0 };
        let told = plain.with_local(Some(local), 8);
        assert_eq!((&told.json, &told.grpc_frame, told.generation), (&plain.json, &plain.grpc_frame, 8));
        assert_ne!(told.stream_tail, plain.stream_tail);
        let pushed = flyball_v1::Strategy::decode(&*told.stream_tail).expect("our own message");
        assert_eq!((pushed.expected_traces_per_second, pushed.share_traces_per_second), (30.0, 40.0));
        let whole = Strategy { local: Some(local), ..Strategy::uniform(probability(0.5)) }.into_answer(8);
        assert_eq!(whole.stream_tail, told.stream_tail);
        assert_eq!(told.with_local(None, 9).stream_tail, plain.stream_tail);
    }
}
