//! Every scenario of learning under three seeds. `cargo xtask bench learn` runs twenty seeds and
//! prints what came out. A test for each file of scenarios, so that they run side by side.

use std::thread;

use brimful_sim::virtual_run::Report;
use brimful_sim::virtual_run::learn::{Scenario, scenarios};

const SEEDS: u64 = 3;

/// Three seeds scatter more than twenty: shares of 429s may be this many times the goal's.
const MARGIN: f64 = 2.0;

/// The first word of each part of the table, by which its test finds it.
const PARTS: [(&str, &str); 10] = [
    ("windows", "unknown window"),
    ("headers", " s late, foreign "),
    ("misleading", "misleading headers"),
    ("charge", "charge learnt"),
    ("told", "a limit that headers name"),
    ("upstreams", "4 keys"),
    ("unknown", "unknown limit"),
    ("declared", ", declared; "),
    ("found out", ", found out; "),
    ("saturating", "saturating: "),
];

fn goals_are_met(part: &str) {
    let ours = |scenario: &Scenario| part_of(&scenario.name) == part;
    let mut missed = Vec::new();
    let mut ran = 0;
    for scenario in scenarios().into_iter().filter(ours) {
        ran += 1;
        let reports = reports(&scenario);
        let all = scenario.judge(&reports, MARGIN).missed();
        missed.extend(all.iter().map(|what| format!("{}: {what}", scenario.name)));
    }
    assert!(ran > 0, "no such scenario");
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

fn reports(scenario: &Scenario) -> Vec<Report> {
    thread::scope(|scope| {
        let runs: Vec<_> = (0..SEEDS)
            .map(|seed| scope.spawn(move || scenario.run.run(seed).unwrap()))
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    })
}

fn part_of(name: &str) -> &'static str {
    let parts: Vec<&str> = PARTS
        .iter()
        .filter(|(_, text)| name.contains(text))
        .map(|(part, _)| *part)
        .collect();
    assert_eq!(parts.len(), 1, "{name} belongs to {parts:?}");
    parts[0]
}

#[test]
fn a_window_of_unknown_length_is_found_out() {
    goals_are_met("windows");
}

#[test]
fn keys_that_die_and_return_leave_nothing_of_the_others_unused() {
    goals_are_met("upstreams");
}

#[test]
fn others_who_use_a_limit_that_headers_name_are_left_their_share() {
    goals_are_met("headers");
}

#[test]
fn headers_that_mislead_cost_no_more_than_a_little() {
    goals_are_met("misleading");
}

#[test]
fn what_the_server_really_takes_for_a_request_is_learnt() {
    goals_are_met("charge");
}

#[test]
fn a_limit_that_headers_name_is_followed_up_and_down() {
    goals_are_met("told");
}

#[test]
fn a_limit_that_nobody_knows_is_found_out() {
    goals_are_met("unknown");
}

#[test]
fn a_declared_limit_that_changes_is_followed_without_a_storm() {
    goals_are_met("declared");
}

#[test]
fn a_limit_that_was_found_out_and_changes_is_found_out_again() {
    goals_are_met("found out");
}

#[test]
fn as_many_places_are_used_as_bring_the_most_tokens() {
    goals_are_met("saturating");
}

#[test]
fn every_scenario_belongs_to_a_part_and_has_a_name_of_its_own() {
    let names: Vec<String> = scenarios().into_iter().map(|s| s.name).collect();
    for name in &names {
        part_of(name);
        let same = names.iter().filter(|other| *other == name).count();
        assert_eq!(same, 1, "{name}");
    }
}

#[test]
fn a_run_repeats_to_the_nanosecond() {
    let scenario = &scenarios()[0];
    assert_eq!(scenario.run.run(1).unwrap(), scenario.run.run(1).unwrap());
}
