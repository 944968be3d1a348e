//! Plants on fake time: services, their SDKs, a scraper and a tracing backend of finite capacity around the real laws and
//! the real guard; devices, their carriers and a server around the real keepalive governor. Pure: a scenario, a law and a seed give a run, the same one each time, thousands of times faster
//! than the world.

mod backend;
mod clients;
mod demand;
pub mod fleet;
mod law;
mod ledger;
pub mod live;
pub mod metrics;
pub mod netem;
pub mod plan;
mod plant;
pub mod plot;
pub mod scenario;
pub mod score;
mod scrape;
pub mod trace;
pub mod trajectory;
pub mod verdict;

pub use plant::{is_constant, run};
