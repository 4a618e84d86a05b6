//! Every scenario of the zoo under three seeds.

use brimful_sim::virtual_run::zoo::{Summary, scenarios};

#[test]
fn every_scenario_reaches_its_goal() {
    for scenario in scenarios() {
        let mut summary = Summary::default();
        for seed in 0..3 {
            summary.add(scenario.run.run(seed).unwrap());
        }
        let missed = summary.missed(&scenario.goal);
        assert!(missed.is_empty(), "{}: {missed:?}", scenario.name);
    }
}
