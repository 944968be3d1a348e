//! Scenario files: YAML in, a valid [`Plan`](crate::simulate::plan::Plan) out, all errors at once. The
//! policy under test is written and checked as in a policy file; a recorded trace is read here, so that the simulator
//! stays pure.

mod checks;
mod fleet;
mod keys;
pub mod load;
pub mod raw;
mod recorded;
mod services;
mod shapes;
mod validate;
mod world;
