//! Equal seeds give equal runs.

use brimful_core::Timestamp;
use brimful_sim::virtual_run::zoo::scenarios;

#[test]
fn the_same_seed_repeats_a_run_to_the_nanosecond_and_another_seed_does_not() {
    for scenario in scenarios() {
        // The long ones repeat for the same reasons as the short ones, and the bench replays all.
        if scenario.name.contains(" rpm, ") {
            continue;
        }
        let first = scenario.run.run(11).unwrap();
        assert_eq!(first, scenario.run.run(11).unwrap(), "{}", scenario.name);
        let other = scenario.run.run(12).unwrap();
        assert_ne!(first.trace_hash, other.trace_hash, "{}", scenario.name);
    }
}

#[test]
fn the_trace_tells_every_step_in_the_order_of_time() {
    let all = scenarios();
    let scenario = all
        .iter()
        .find(|scenario| scenario.name.contains("a bit of everything, healed"))
        .unwrap();
    let mut steps = 0;
    let mut last = Timestamp::ZERO;
    let report = scenario.run.run_traced(3, &mut |at, _| {
        assert!(at >= last);
        last = at;
        steps += 1;
    });
    let report = report.unwrap();
    assert_eq!(report.steps, steps);
    assert_eq!(report.trace_hash, scenario.run.run(3).unwrap().trace_hash);
}
