//! Types generated from `proto/flyball/v1/keepalive.proto`.
#![allow(missing_docs, unreachable_pub, clippy::pedantic)]

include!(concat!(env!("OUT_DIR"), "/keepalive/flyball.v1.rs"));
