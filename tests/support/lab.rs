//! Tests that need the NAT lab: where this machine cannot have one they are shown as ignored with the reason, and failed
//! where strict.

use std::sync::OnceLock;

use flyball::lab::Lab;
use libtest_mimic::{Completion, Failed, Trial};

use super::peers::is_strict;

static MISSING: OnceLock<Option<String>> = OnceLock::new();

/// A test that needs a lab.
pub fn trial(name: &str, test: impl FnOnce() -> Result<(), Failed> + Send + 'static) -> Trial {
    Trial::ignorable_test(name, move || match MISSING.get_or_init(Lab::missing) {
        None => test().map(|()| Completion::Completed),
        Some(reason) if is_strict() => Err(Failed::from(reason)),
        Some(reason) => Ok(Completion::ignored_with(reason)),
    })
}
