//! Types generated from `proto/`.
#![allow(missing_docs, unreachable_pub, clippy::pedantic)]

/// `jaeger.api_v2`
pub mod jaeger {
    tonic::include_proto!("jaeger.api_v2");
}

/// `flyball.v1`
pub mod flyball_v1 {
    tonic::include_proto!("flyball.v1");
}
