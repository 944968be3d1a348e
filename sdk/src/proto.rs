//! Types generated from `proto/flyball/v1/sampling.proto`.
#![allow(missing_docs, unreachable_pub, clippy::pedantic)]

tonic::include_proto!("flyball.v1");

/// The server half, for tests.
#[cfg(test)]
pub(crate) mod server {
    include!(concat!(env!("OUT_DIR"), "/server/flyball.v1.rs"));
}
