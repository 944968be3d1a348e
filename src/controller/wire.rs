//! A strategy as protobuf, its operations written without the generated types in between: 100,000 operations at one tick
//! would be as many strings to make and to drop, for each encoding. The generated types are what it is tested against.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};

use super::answer::Strategy;
use crate::proto::flyball_v1;
use crate::sampling::probability::Probability;

/// One byte that tells whether the message is compressed, and four that tell its length.
const FRAME_HEAD_BYTES: usize = 5;

/// Keys of the fields (`number << 3 | type`), as in `proto/jaeger/api_v2/sampling.proto`.
mod key {
    /// `ProbabilisticSamplingStrategy.samplingRate`, and `PerOperationSamplingStrategies.defaultSamplingProbability`.
    pub(super) const PROBABILITY: u8 = 1 << 3 | 1;
    /// `OperationSamplingStrategy.operation`.
    pub(super) const OPERATION: u8 = 1 << 3 | 2;
    /// `probabilisticSampling`, of an operation and of the whole.
    pub(super) const PROBABILISTIC: u8 = 2 << 3 | 2;
    /// `PerOperationSamplingStrategies.perOperationStrategies`.
    pub(super) const PER_OPERATION: u8 = 3 << 3 | 2;
    /// `SamplingStrategyResponse.operationSampling`.
    pub(super) const OPERATION_SAMPLING: u8 = 4 << 3 | 2;
    /// `Strategy.operations` of the push stream.
    pub(super) const PUSHED_OPERATION: u8 = 3 << 3 | 2;
    /// `Operation.name` of the push stream.
    pub(super) const PUSHED_NAME: u8 = 1 << 3 | 2;
    /// `Operation.probability` of the push stream.
    pub(super) const PUSHED_PROBABILITY: u8 = 2 << 3 | 1;
}

/// `jaeger.api_v2.SamplingStrategyResponse` behind its frame's head, uncompressed. Fields are in the order of their
/// numbers, and zeros are left out, as proto3 does.
pub(super) fn framed(strategy: &Strategy) -> Bytes {
    let operations: usize =
        strategy.operations.iter().map(|(name, p)| nested_len(operation_len(name, *p))).sum::<usize>();
    let per_operation = probability_len(strategy.probability) + operations;
    let has_operations = !strategy.operations.is_empty();
    let whole =
        nested_len(probability_len(strategy.probability)) + if has_operations { nested_len(per_operation) } else { 0 };

    let mut frame = BytesMut::with_capacity(FRAME_HEAD_BYTES + whole);
    frame.put_u8(0); // not compressed
    frame.put_u32(u32::try_from(whole).expect("an answer is far below 4 GiB"));
    put_probabilistic(&mut frame, strategy.probability);
    if has_operations {
        put_nested(&mut frame, key::OPERATION_SAMPLING, per_operation);
        put_probability(&mut frame, key::PROBABILITY, strategy.probability);
        for (name, probability) in &strategy.operations {
            put_nested(&mut frame, key::PER_OPERATION, operation_len(name, *probability));
            put_name(&mut frame, key::OPERATION, name);
            put_probabilistic(&mut frame, *probability);
        }
    }
    frame.freeze()
}

/// `flyball.v1.Strategy`: `head`, which has no operations, and those of `strategy` behind it.
pub(super) fn pushed(head: &flyball_v1::Strategy, strategy: &Strategy) -> Bytes {
    debug_assert!(head.operations.is_empty(), "the operations are written here");
    let operation_len = |name: &str, p: Probability| {
        let name = if name.is_empty() { 0 } else { nested_len(name.len()) };
        name + probability_len(p)
    };
    let operations = strategy.operations.iter().map(|(name, p)| nested_len(operation_len(name, *p)));
    let mut message = BytesMut::with_capacity(head.encoded_len() + operations.sum::<usize>());
    head.encode(&mut message).expect("the buffer grows");
    for (name, probability) in &strategy.operations {
        put_nested(&mut message, key::PUSHED_OPERATION, operation_len(name, *probability));
        put_name(&mut message, key::PUSHED_NAME, name);
        put_probability(&mut message, key::PUSHED_PROBABILITY, *probability);
    }
    message.freeze()
}

/// Of a field that is a message or a string of so many bytes, with its key and its length.
fn nested_len(length: usize) -> usize {
    1 + encoded_len_varint(length as u64) + length
}

fn operation_len(name: &str, probability: Probability) -> usize {
    let name = if name.is_empty() { 0 } else { nested_len(name.len()) };
    name + nested_len(probability_len(probability))
}

fn probability_len(probability: Probability) -> usize {
    if probability.get() == 0.0 { 0 } else { 1 + size_of::<f64>() }
}

fn put_nested(frame: &mut BytesMut, key: u8, length: usize) {
    frame.put_u8(key);
    encode_varint(length as u64, frame);
}

fn put_name(frame: &mut BytesMut, key: u8, name: &str) {
    if !name.is_empty() {
        put_nested(frame, key, name.len());
        frame.put_slice(name.as_bytes());
    }
}

fn put_probabilistic(frame: &mut BytesMut, probability: Probability) {
    put_nested(frame, key::PROBABILISTIC, probability_len(probability));
    put_probability(frame, key::PROBABILITY, probability);
}

fn put_probability(frame: &mut BytesMut, key: u8, probability: Probability) {
    if probability.get() != 0.0 {
        frame.put_u8(key);
        frame.put_f64_le(probability.get());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, prop_assert_eq, prop_oneof, proptest};
    use prost::Message;

    use super::*;
    use crate::proto::jaeger;
    use crate::sampling::traffic::Name;

    fn generated(strategy: &Strategy) -> jaeger::SamplingStrategyResponse {
        let rate = |p: Probability| Some(jaeger::ProbabilisticSamplingStrategy { sampling_rate: p.get() });
        let operations = strategy.operations.iter().map(|(name, p)| jaeger::OperationSamplingStrategy {
            operation: name.to_string(),
            probabilistic_sampling: rate(*p),
        });
        jaeger::SamplingStrategyResponse {
            strategy_type: jaeger::SamplingStrategyType::Probabilistic.into(),
            probabilistic_sampling: rate(strategy.probability),
            rate_limiting_sampling: None,
            operation_sampling: (!strategy.operations.is_empty()).then(|| jaeger::PerOperationSamplingStrategies {
                default_sampling_probability: strategy.probability.get(),
                default_lower_bound_traces_per_second: 0.0,
                per_operation_strategies: operations.collect(),
                default_upper_bound_traces_per_second: 0.0,
            }),
        }
    }

    proptest! {
        #[test]
        fn the_bytes_are_those_of_the_generated_types(
            probability in prop_oneof![Just(0.0), 0.0..=1.0f64],
            operations in proptest::collection::vec((".{0,200}", prop_oneof![Just(0.0), 0.0..=1.0f64]), 0..40),
        ) {
            let valid = |p: f64| Probability::new(p).expect("a probability");
            let operations = operations.into_iter().map(|(name, p)| (name.into(), valid(p))).collect();
            let strategy = Strategy { operations, ..Strategy::uniform(valid(probability)) };
            let message = generated(&strategy).encode_to_vec();
            let frame = framed(&strategy);
            prop_assert_eq!(&frame[..5], &[&[0][..], &(message.len() as u32).to_be_bytes()].concat()[..]);
            prop_assert_eq!(&frame[5..], &message[..]);

            let operation = |(name, p): &(Name, Probability)| {
                flyball_v1::Operation { name: name.to_string(), probability: p.get() }
            };
            let head = flyball_v1::Strategy { probability, ..Default::default() };
            let whole =
                flyball_v1::Strategy { operations: strategy.operations.iter().map(operation).collect(), ..head.clone() };
            prop_assert_eq!(pushed(&head, &strategy), whole.encode_to_vec());
        }
    }
}
