//! What the tests of a plan begin with.

use std::sync::Arc;

use crate::document::SourceFile;
use crate::scenario::load;
use crate::simulate::fleet::scenario::FleetScenario;
use crate::simulate::plan::Plan;

/// Two carriers, one ten times the other.
pub(super) const TWO: &str =
    "duration: 1m\nfleet: {carriers: [{name: a, devices: 100, timeout: 4s}, {name: b, devices: 10, timeout: 3s}]}\n";

/// A valid scenario.
pub(super) fn scenario(text: &str) -> FleetScenario {
    let file = Arc::new(SourceFile { path: "s.yaml".into(), text: text.to_owned() });
    match load::parse(&file, None) {
        Ok(Plan::Fleet(scenario)) => *scenario,
        other => panic!("{other:?}"),
    }
}
