//! Plants on fake time: services, their SDKs, a scraper and a tracing backend of finite capacity, around the real laws
//! and the real guard. Pure: a scenario, a law and a seed give a run, the same one each time, thousands of times faster
//! than the world.

mod backend;
mod clients;
mod demand;
mod law;
mod ledger;
pub mod metrics;
mod plant;
pub mod plot;
pub mod scenario;
pub mod score;
mod scrape;
pub mod trace;
pub mod trajectory;
pub mod verdict;

pub use plant::{is_constant, run};
