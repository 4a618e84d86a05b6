//! Every scenario of the zoo under three seeds. A test for each part of the table, so that they run
//! side by side. `cargo xtask bench zoo` runs twenty seeds and prints what came out.

use brimful_core::LimitSpec;
use brimful_sim::virtual_run::zoo::{Aim, Goal, Summary, Verdict, scenarios};

const SEEDS: u64 = 3;

/// Three seeds scatter more than twenty: shares of 429s may be this many times the goal's. What
/// must be zero stays zero, and utilisation does not scatter enough to need a margin.
const MARGIN: f64 = 2.0;

fn goals_are_met(part: impl Fn(&str) -> bool) {
    let mut missed = Vec::new();
    let mut ran = 0;
    for scenario in scenarios() {
        if !part(&scenario.name) {
            continue;
        }
        ran += 1;
        let mut summary = Summary::default();
        for seed in 0..SEEDS {
            summary.add(scenario.run.run(seed).unwrap());
        }
        if let Verdict::Missed(all) = scenario.aim.judge(&summary, MARGIN) {
            missed.extend(all.iter().map(|what| format!("{}: {what}", scenario.name)));
        }
    }
    assert!(ran > 0, "no such scenario");
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn a_known_bucket_is_filled_to_the_brim_and_never_over() {
    goals_are_met(|name| name.contains("; token-bucket") && name.contains(" rpm, bucket"));
}

#[test]
fn a_known_window_of_unknown_phase_is_filled_as_far_as_is_safe() {
    goals_are_met(|name| name.contains("delay varies by"));
}

#[test]
fn even_sending_gets_nearly_all_of_whatever_it_is_judged_by_at_600_a_minute() {
    goals_are_met(|name| name.starts_with("600 rpm, ") && name.ends_with("; paced"));
}

#[test]
fn even_sending_gets_nearly_all_of_whatever_it_is_judged_by_at_6000_a_minute() {
    goals_are_met(|name| name.starts_with("6000 rpm, ") && name.ends_with("; paced"));
}

#[test]
fn every_charging_rule_and_several_limits_at_once_lead_to_no_429() {
    goals_are_met(|name| name.contains("tpm") || name.ends_with("; concurrency"));
}

#[test]
fn no_fault_breaks_a_law() {
    goals_are_met(|name| name.starts_with("safety"));
}

#[test]
fn once_faults_heal_everything_is_answered() {
    goals_are_met(|name| name.starts_with("liveness"));
}

#[test]
fn every_scenario_belongs_to_a_test_and_has_a_name_of_its_own() {
    let names: Vec<String> = scenarios().into_iter().map(|s| s.name).collect();
    for name in &names {
        assert_eq!(
            names.iter().filter(|other| *other == name).count(),
            1,
            "{name}"
        );
        let parts = [
            name.contains("; token-bucket") && name.contains(" rpm, bucket"),
            name.contains("delay varies by"),
            name.contains(" rpm, ") && name.ends_with("; paced") && !name.contains("tpm"),
            name.contains("tpm") || name.ends_with("; concurrency"),
            name.starts_with("safety"),
            name.starts_with("liveness"),
        ];
        assert_eq!(parts.iter().filter(|part| **part).count(), 1, "{name}");
    }
}

#[test]
fn a_client_that_gives_up_at_once_misses_the_goal_of_every_fault_that_tries_survive() {
    let mut ran = 0;
    for mut scenario in scenarios() {
        let fails = [
            "half of",
            "three in ten",
            "every tenth",
            "a bit of",
            "cost nothing",
        ];
        let fault = fails.iter().any(|part| scenario.name.contains(part));
        // A connection that fails uses up no attempts.
        if !fault || !scenario.name.starts_with("safety") || scenario.name.contains("connection") {
            continue;
        }
        ran += 1;
        scenario.run.engine.retry.max_attempts = 1;
        let mut summary = Summary::default();
        summary.add(scenario.run.run(0).unwrap());
        let verdict = scenario.aim.judge(&summary, MARGIN);
        assert!(
            matches!(verdict, Verdict::Missed(_)),
            "{}: {verdict:?}",
            scenario.name
        );
    }
    assert_eq!(ran, 10);
}

#[test]
fn a_run_that_stops_early_has_not_answered_everything() {
    let stopped = scenarios()
        .into_iter()
        .find(|scenario| scenario.name.ends_with("Retry-After absurd"))
        .unwrap();
    let mut summary = Summary::default();
    summary.add(stopped.run.run(0).unwrap());
    let missed = summary.missed(&Goal::answered()).join("; ");
    let without = 3_000 - summary.reports()[0].answered;
    assert!(
        missed.contains(&format!("{without} without an answer")),
        "{missed}"
    );
    assert!(missed.contains("the run stopped"), "{missed}");
}

#[test]
fn a_floor_is_told_from_a_goal_and_guards_all_the_same() {
    let short = scenarios()
        .into_iter()
        .find(|scenario| {
            scenario
                .name
                .ends_with("charged sum, bucket of 10 s; paced")
        })
        .unwrap();
    let mut summary = Summary::default();
    summary.add(short.run.run(0).unwrap());
    let verdict = short.aim.judge(&summary, 1.0);
    let Verdict::Floor(missed) = verdict else {
        panic!("{verdict:?}");
    };
    assert!(missed[0].starts_with("98."), "{missed:?}");
    assert!(
        missed[0].ends_with("% used, asked: at least 99.000 %"),
        "{missed:?}"
    );
    let Aim::Floor { mut floor, .. } = short.aim else {
        panic!("{:?}", short.aim);
    };
    floor.utilisation_least = Some(0.999);
    let short_of = Some(Goal::rate(0.0, 0.9));
    let below = Aim::Floor { floor, short_of }.judge(&summary, 1.0);
    assert!(matches!(below, Verdict::Missed(_)), "{below:?}");
}

#[test]
fn a_client_that_leaves_one_of_32_places_empty_misses_the_goal_of_concurrency() {
    let mut scenario = scenarios()
        .into_iter()
        .find(|scenario| scenario.name.ends_with("; concurrency"))
        .unwrap();
    let mut judged = |places| {
        scenario.run.engine.upstreams[0].limits = vec![LimitSpec::concurrency(places)];
        let mut summary = Summary::default();
        summary.add(scenario.run.run(0).unwrap());
        scenario.aim.judge(&summary, 1.0)
    };
    assert_eq!(judged(32), Verdict::Met);
    let Verdict::Missed(missed) = judged(31) else {
        panic!("one place was left empty");
    };
    assert!(
        missed[0].contains("of the lower bound's rate"),
        "{missed:?}"
    );
}
