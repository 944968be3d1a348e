//! What the edge tests share. Each test binary uses a part of it.
#![allow(dead_code, missing_docs, unreachable_pub)]

pub mod alertmanager;
pub mod child;
pub mod flyball;
pub mod http;
pub mod lab;
pub mod peers;
pub mod prometheus;
