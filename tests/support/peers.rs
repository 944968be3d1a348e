//! Tests that need a program which may be absent: shown as ignored with the reason, and failed where strict.

use libtest_mimic::{Failed, Trial};

use super::child::is_installed;

/// Whether absence is a failure.
pub fn is_strict() -> bool {
    std::env::var_os("FLYBALL_TEST_STRICT").is_some_and(|v| v == "1")
}

/// A test that needs `program`.
pub fn needing(program: &'static str, name: &str, test: impl FnOnce() -> Result<(), Failed> + Send + 'static) -> Trial {
    if is_installed(program) {
        return Trial::test(name, test);
    }
    let shown = format!("{name} (needs `{program}`, which is not installed)");
    Trial::test(shown, move || Err(format!("`{program}` is not installed").into())).with_ignored_flag(!is_strict())
}
