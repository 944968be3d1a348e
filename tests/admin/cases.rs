//! What is claimed of the admin socket.

use std::process::Command;

use libtest_mimic::{Failed, Trial};

use crate::{alerting, answers, explaining, exposition, writes};

pub(crate) type Outcome = Result<(), Failed>;
type Case = fn() -> Outcome;

pub(crate) fn all() -> Vec<Trial> {
    let mut trials: Vec<Trial> = CASES.iter().map(|(name, case)| Trial::test(*name, *case)).collect();
    for (tool, name, case) in TOOL_CASES {
        let is_there = Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
        trials.push(needs(tool, is_there, name, *case));
    }
    trials
}

/// Shown as ignored, with the reason, where what it needs is absent; a failure under `FLYBALL_TEST_STRICT=1`.
fn needs(what: &str, is_there: bool, name: &str, case: Case) -> Trial {
    let is_strict = std::env::var_os("FLYBALL_TEST_STRICT").is_some_and(|value| value == "1");
    if is_there {
        Trial::test(name, case)
    } else if is_strict {
        let missing = format!("{what} is missing");
        Trial::test(name, move || Err(missing.into()))
    } else {
        Trial::test(format!("{name} (needs {what})"), || Ok(())).with_ignored_flag(true)
    }
}

const CASES: &[(&str, Case)] = &[
    ("liveness_and_readiness_are_200_also_before_the_first_policy", answers::ready_before_policies),
    ("readiness_stays_200_when_degraded_and_says_why", answers::ready_when_degraded),
    ("status_tells_version_generation_policies_and_age", answers::status_tells),
    ("the_page_is_complete_without_scripts_and_forbids_foreign_ones", answers::page_is_complete),
    ("hostile_names_are_text_on_the_page_in_json_and_in_labels", answers::hostile_names),
    ("a_services_own_row_comes_first", answers::own_row_first),
    ("a_service_is_found_by_its_percent_encoded_name", answers::percent_encoded),
    ("an_unknown_service_is_404_and_says_what_it_is_told", answers::unknown_service),
    ("unknown_paths_are_404_and_wrong_methods_405", answers::wrong_paths_and_methods),
    ("a_hundred_thousand_rows_are_one_consistent_list", answers::many_rows),
    ("metrics_have_the_contracts_names_and_the_right_content_type", exposition::metrics_names),
    ("cohorts_are_told_under_the_contracts_names", exposition::cohorts_told),
    ("cohorts_are_on_the_page_and_in_the_metrics_and_hostile_labels_stay_text", exposition::cohorts_shown),
    ("without_the_second_loop_there_are_no_cohorts", exposition::no_cohorts),
    ("a_door_for_devices_that_ended_degrades_and_readiness_stays", exposition::door_down),
    ("without_an_alarm_the_list_of_alerts_is_empty", alerting::none),
    ("an_open_alarm_is_told_under_the_contracts_names_with_who_has_heard_of_it", alerting::told),
    ("an_open_alarm_is_on_the_page_and_a_hostile_cohort_stays_text", alerting::shown),
    ("alerts_are_read_by_all_and_written_by_nobody", alerting::read_by_all),
    ("a_local_program_may_reload_and_a_foreign_page_may_not", writes::reload_local),
    ("with_a_token_file_a_token_is_needed_and_rotation_is_seen", writes::reload_token),
    ("a_reload_that_fails_is_422_with_the_errors", writes::reload_fails),
    ("an_unusable_token_file_is_refused_at_start", writes::bad_token_file),
    ("an_occupied_port_is_an_error_that_names_it", writes::occupied_port),
    ("a_stop_ends_idle_connections_and_the_server_within_five_seconds", writes::stop_drains),
    ("explain_says_why_what_would_change_it_and_how_old", explaining::explain_says_why),
    ("explain_names_operations_answered_but_never_matched", explaining::explain_unmatched),
    ("explain_of_an_unknown_service_ends_with_1_and_says_what_it_is_told", explaining::explain_unknown),
    ("explain_without_a_server_ends_with_1_and_says_where_it_looked", explaining::explain_without_server),
    ("explain_with_a_bad_url_ends_with_2", explaining::explain_bad_url),
    ("explain_prints_no_control_character_of_a_name", explaining::explain_hostile),
];

/// Both tools come with Debian's package `prometheus`.
const TOOL_CASES: &[(&str, &str, Case)] = &[
    ("promtool", "promtool_finds_no_fault_in_the_metrics", exposition::promtool_check),
    ("prometheus", "a_real_prometheus_scrapes_hostile_names_unchanged", exposition::prometheus_scrape),
];
