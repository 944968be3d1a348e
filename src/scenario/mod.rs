//! Scenario files: YAML in, a valid [`Scenario`](crate::simulate::scenario::Scenario) out, all errors at once. The
//! policy under test is written and checked as in a policy file; a recorded trace is read here, so that the simulator
//! stays pure.

mod checks;
mod keys;
pub mod load;
pub mod raw;
mod recorded;
mod services;
mod shapes;
mod validate;
mod world;
