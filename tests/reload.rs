//! Policies reload while the process runs, on a real file system.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flyball::policy::load::load;
use flyball::policy::watch::{PolicyWatcher, ReloadHandle};
use flyball::policy::{PolicySet, SourceKind};
use flyball::telemetry::metrics::Metrics;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Several polls long.
const DEADLINE: Duration = Duration::from_secs(30);

struct Fixture {
    metrics: Metrics,
    policies: watch::Receiver<Arc<PolicySet>>,
    handle: ReloadHandle,
    _shutdown: tokio_util::sync::DropGuard,
}

fn text(max_age: &str) -> String {
    format!(
        "policy: p
signals:
  demand: {{query: 'sum by (service) (rate(a[1m]))'}}
  received: {{query: 'sum(rate(b[1m]))'}}
  dropped: {{query: 'sum(rate(c[1m]))'}}
max_age: {max_age}
"
    )
}

fn watching(folder: &Path) -> Fixture {
    let loaded = load(folder, SourceKind::Prometheus).unwrap_or_else(|errors| panic!("{errors}"));
    let (metrics, shutdown) = (Metrics::default(), CancellationToken::new());
    let (policies, handle) =
        PolicyWatcher::spawn(folder.to_owned(), SourceKind::Prometheus, loaded, metrics.clone(), shutdown.clone());
    Fixture { metrics, policies, handle, _shutdown: shutdown.drop_guard() }
}

impl Fixture {
    fn max_age(&self) -> u64 {
        self.policies.borrow().policies[0].sampling.max_age.as_secs()
    }

    async fn wait_for_max_age(&mut self, seconds: u64) {
        let reached = self.policies.wait_for(|set| set.policies[0].sampling.max_age.as_secs() == seconds);
        timeout(DEADLINE, reached).await.expect("noticed before the deadline").expect("the watcher lives");
    }
}

#[tokio::test]
async fn a_request_reloads_at_once_and_tells_the_outcome() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("p.yaml");
    fs::write(&file, text("10s")).expect("writable");
    let fixture = watching(folder.path());
    fs::write(&file, text("20s")).expect("writable");
    let report = fixture.handle.reload().await.expect("valid");
    // A hint may have been faster; then the request finds nothing new.
    assert_eq!((report.policies, fixture.max_age()), (1, 20));
    let again = fixture.handle.reload().await.expect("valid");
    assert!(!again.is_changed);
}

#[tokio::test]
async fn the_last_good_set_stays_until_a_better_one_comes() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("p.yaml");
    fs::write(&file, text("10s")).expect("writable");
    let fixture = watching(folder.path());
    fs::write(&file, text("never")).expect("writable");
    fs::write(folder.path().join("q.yaml"), "policy: [").expect("writable");
    let errors = fixture.handle.reload().await.expect_err("invalid");
    assert_eq!(errors.0.len(), 2, "{errors}");
    assert_eq!((fixture.max_age(), fixture.metrics.reload_success.get()), (10, 0));
    let again = fixture.handle.reload().await.expect_err("still invalid");
    assert_eq!(errors, again);

    fs::remove_file(folder.path().join("q.yaml")).expect("removable");
    fs::write(&file, text("30s")).expect("writable");
    fixture.handle.reload().await.expect("valid");
    assert_eq!((fixture.max_age(), fixture.metrics.reload_success.get()), (30, 1));
}

#[tokio::test]
async fn a_folder_that_went_away_leaves_the_last_good_set() {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().join("policies");
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("p.yaml"), text("10s")).expect("writable");
    let fixture = watching(&folder);
    fs::remove_dir_all(&folder).expect("removable");
    fixture.handle.reload().await.expect_err("gone");
    assert_eq!((fixture.max_age(), fixture.metrics.reload_success.get()), (10, 0));
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("p.yaml"), text("10s")).expect("writable");
    let report = fixture.handle.reload().await.expect("the same as before");
    assert!(!report.is_changed);
    assert_eq!(fixture.metrics.reload_success.get(), 1);
}

#[tokio::test]
async fn a_file_moved_over_another_is_noticed_without_a_request() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("p.yaml"), text("10s")).expect("writable");
    let mut fixture = watching(folder.path());
    fs::write(folder.path().join("new"), text("20s")).expect("writable");
    fs::rename(folder.path().join("new"), folder.path().join("p.yaml")).expect("movable");
    fixture.wait_for_max_age(20).await;
}

#[tokio::test]
async fn a_swapped_link_of_a_config_map_is_noticed_without_a_request() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    for (version, max_age) in [("..v1", "10s"), ("..v2", "20s")] {
        fs::create_dir(at(version)).expect("a folder");
        fs::write(at(version).join("p.yaml"), text(max_age)).expect("writable");
    }
    symlink("..v1", at("..data")).expect("a link");
    symlink("..data/p.yaml", at("p.yaml")).expect("a link");
    let mut fixture = watching(folder.path());
    assert_eq!(fixture.max_age(), 10);
    symlink("..v2", at("..data_tmp")).expect("a link");
    fs::rename(at("..data_tmp"), at("..data")).expect("movable");
    fixture.wait_for_max_age(20).await;
}

#[tokio::test]
async fn a_whole_folder_swapped_by_its_link_is_noticed_without_a_request() {
    let parent = tempfile::tempdir().expect("a folder");
    let at = |name: &str| parent.path().join(name);
    for (version, max_age) in [("v1", "10s"), ("v2", "20s")] {
        fs::create_dir(at(version)).expect("a folder");
        fs::write(at(version).join("p.yaml"), text(max_age)).expect("writable");
    }
    symlink("v1", at("policies")).expect("a link");
    let mut fixture = watching(&at("policies"));
    symlink("v2", at("next")).expect("a link");
    fs::rename(at("next"), at("policies")).expect("movable");
    fixture.wait_for_max_age(20).await;
}

#[tokio::test]
async fn a_fleet_file_reloads_with_the_policies() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("p.yaml"), text("10s")).expect("writable");
    let fixture = watching(folder.path());
    let file = folder.path().join("fleet.yaml");
    fs::write(&file, "fleet: f\ninterval: {min: 40s}\n").expect("writable");
    let report = fixture.handle.reload().await.expect("valid");
    assert_eq!((report.policies, report.fleets), (1, 1));
    let floor = || fixture.policies.borrow().fleets[0].interval.min.as_secs();
    assert_eq!(floor(), 40);
    fs::write(&file, "fleet: f\ninterval: {min: never}\n").expect("writable");
    fixture.handle.reload().await.expect_err("invalid");
    assert_eq!((floor(), fixture.max_age()), (40, 10), "the last good set stays, whole");
}
