//! Sources over real sockets: a fake API with named scenarios, scraped exporters, and a real Prometheus server where one
//! is installed.

mod api;
mod http;
mod policy;
mod real;
mod scrape;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let trials: Vec<Trial> = [api::trials(), scrape::trials(), real::trials()].into_iter().flatten().collect();
    libtest_mimic::run(&arguments, trials).exit();
}

/// A test that is a future, on a runtime of its own.
fn trial(name: &str, test: impl AsyncFnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(test());
        Ok(())
    })
}
