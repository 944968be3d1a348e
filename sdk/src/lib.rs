#![doc = include_str!("../README.md")]

mod adaptive;
mod builder;
mod follow;
mod jaeger;
mod limit;
mod meter;
mod proto;
mod rate;
mod sampler;
mod state;
mod strategy;
mod unlisted;

pub use adaptive::{AdaptiveCounts, AdaptiveSpanProcessor, AdaptiveSpanProcessorBuilder, Counts};
pub use builder::{BuildError, FlyballSamplerBuilder};
pub use limit::{LocalLimit, LocalLimitSettings, LocalShare, Roots};
pub use sampler::FlyballSampler;
pub use state::{Connection, SamplerStatus};
