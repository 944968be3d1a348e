#![cfg_attr(feature = "sampler", doc = include_str!("../README.md"))]
#![cfg_attr(
    not(feature = "sampler"),
    doc = "The device side of Flyball's keepalive; see the feature `sampler` for the rest."
)]

#[cfg(feature = "sampler")]
mod adaptive;
#[cfg(feature = "sampler")]
mod builder;
#[cfg(feature = "device")]
pub mod device;
#[cfg(feature = "sampler")]
mod follow;
#[cfg(feature = "sampler")]
mod jaeger;
#[cfg(feature = "sampler")]
mod limit;
#[cfg(feature = "sampler")]
mod meter;
#[cfg(feature = "sampler")]
mod proto;
#[cfg(feature = "sampler")]
mod rate;
#[cfg(feature = "sampler")]
mod sampler;
#[cfg(feature = "sampler")]
mod state;
#[cfg(feature = "sampler")]
mod strategy;
#[cfg(feature = "sampler")]
mod unlisted;

#[cfg(feature = "sampler")]
pub use adaptive::{AdaptiveCounts, AdaptiveSpanProcessor, AdaptiveSpanProcessorBuilder, Counts};
#[cfg(feature = "sampler")]
pub use builder::{BuildError, FlyballSamplerBuilder};
#[cfg(feature = "sampler")]
pub use limit::{LocalLimit, LocalLimitSettings, LocalShare, Roots};
#[cfg(feature = "sampler")]
pub use sampler::FlyballSampler;
#[cfg(feature = "sampler")]
pub use state::{Connection, SamplerStatus};
