//! The SDK clients that people run take Flyball's answers over real sockets, and change their decisions.
//!
//! An answer that satisfies one client breaks the next, and what breaks is silent: a sampler that cannot read an answer
//! keeps the one before it. So no test here reads a body. Each holds a real sampler, in its own language and as an
//! application would, counts what it decides, publishes something else, and counts again.
//!
//! The clients are installed by `tests/conformance/install.sh`; one that is not there is shown as ignored, and with
//! `FLYBALL_TEST_STRICT=1` it is a failure.

mod clients;
mod process;
mod rust_sdk;
mod sampler;
mod world;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::clients::{Absent, Client};
use crate::world::World;

/// A JVM, two Nodes and the server at once are plenty: more of them only wait for each other.
const TEST_THREADS_MAX: usize = 4;

/// Jaeger's own answer to a name that it does not know.
const UNCLAIMED: f64 = 0.001;

/// What a scenario is made of: the world, with its answers, and a client that asks for them.
type Scenario = fn(&World, &Client) -> Result<(), Failed>;

const SCENARIOS: [(&str, Scenario); 3] = [
    ("follows_what_is_published", follows_what_is_published),
    ("is_told_one_in_a_thousand_as_a_stranger", is_told_one_in_a_thousand_as_a_stranger),
    ("takes_256_operations_of_a_service_with_an_odd_name", takes_256_operations_of_a_service_with_an_odd_name),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(threads.min(TEST_THREADS_MAX));
    let world = Arc::new(tokio::runtime::Runtime::new().expect("a runtime"));
    let mut trials: Vec<Trial> = clients::all().iter().flat_map(|client| trials_of(client, &world)).collect();
    trials.push(health(&world));
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trials_of(client: &Client, runtime: &Arc<tokio::runtime::Runtime>) -> Vec<Trial> {
    let trial = |(name, scenario): (&str, Scenario)| {
        let (client, runtime) = (client.clone(), Arc::clone(runtime));
        let name = format!("{}::{name}", client.name);
        Trial::ignorable_test(name, move || {
            present_or_ignored(client.absent(), || scenario(&World::start(&runtime), &client))
        })
    };
    SCENARIOS.map(trial).into()
}

/// Runs `test` where what it needs is there.
fn present_or_ignored(
    absent: Result<(), Absent>,
    test: impl FnOnce() -> Result<(), Failed>,
) -> Result<Completion, Failed> {
    match absent {
        Ok(()) => test().map(|()| Completion::Completed),
        Err(absent) if std::env::var_os("FLYBALL_TEST_STRICT").is_some_and(|strict| strict == "1") => {
            Err(absent.into())
        }
        Err(absent) => Ok(Completion::ignored_with(absent)),
    }
}

/// Operations with rates of their own, other ones, no operations at all, and no service any more.
fn follows_what_is_published(world: &World, client: &Client) -> Result<(), Failed> {
    let names = ["GET /a", "GET /b", "GET /late", "anything"];
    world.publish("checkout", 0.5, &[("GET /a", 1.0), ("GET /b", 0.0)]);
    let mut sampler = client.start(world, "checkout", &names)?;
    sampler.expect(&[1.0, 0.0, 0.5, 0.5])?;

    world.publish("checkout", 0.125, &[("GET /a", 0.25), ("GET /late", 1.0)]);
    let (left_the_list, never_listed) = if client.keeps_what_left_the_list { (0.0, 0.5) } else { (0.125, 0.125) };
    sampler.expect(&[0.25, left_the_list, 1.0, never_listed])?;

    world.publish("checkout", 0.75, &[]);
    sampler.expect(&[0.75; 4])?;

    world.publish("checkout", 0.0, &[("GET /b", 0.5)]);
    sampler.expect(&[0.0, 0.5, 0.0, 0.0])?;

    world.publish_nothing();
    sampler.expect(&[UNCLAIMED; 4])?;
    sampler.expect_no_complaints()
}

fn is_told_one_in_a_thousand_as_a_stranger(world: &World, client: &Client) -> Result<(), Failed> {
    world.publish("checkout", 0.5, &[]);
    let mut sampler = client.start(world, "unheard-of", &["GET /a", "GET /b", "anything"])?;
    sampler.expect(&[UNCLAIMED; 3])?;
    sampler.expect_no_complaints()
}

fn takes_256_operations_of_a_service_with_an_odd_name(world: &World, client: &Client) -> Result<(), Failed> {
    let mut names: Vec<String> = (0..256).map(|i| format!("GET /operations/{i}/{{id}}")).collect();
    names[128] = "say \"grüezi\" \\ ☃".to_owned();
    let operations: Vec<(&str, f64)> =
        names.iter().zip([1.0, 0.0].into_iter().cycle()).map(|(n, p)| (&**n, p)).collect();
    let service = "shop orders/é";
    world.publish(service, 0.5, &operations);
    let mut sampler = client.start(world, service, &[&names[0], &names[127], &names[128], &names[255], "anything"])?;
    sampler.expect(&[1.0, 0.0, 1.0, 0.0, 0.5])?;
    sampler.expect_no_complaints()
}

/// What an orchestrator's gRPC probe asks.
fn health(runtime: &Arc<tokio::runtime::Runtime>) -> Trial {
    let (client, runtime) = (clients::python_grpc(), Arc::clone(runtime));
    Trial::ignorable_test("python-grpc::health_is_serving_for_the_names_that_probes_ask", move || {
        present_or_ignored(client.absent(), || {
            let world = World::start(&runtime);
            let names = ["", "jaeger.api_v2.SamplingManager", "unheard-of"];
            let said = clients::health(&world, &names)?;
            let expected = r#"{"": "SERVING", "jaeger.api_v2.SamplingManager": "SERVING", "unheard-of": "NOT_FOUND"}"#;
            if said.trim() == expected { Ok(()) } else { Err(format!("expected {expected}, was told {said}").into()) }
        })
    })
}
