//! What outlives a run: levels of long windows, and the notice of a second run with the same key.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::mock_process::Mock;
use crate::workdir::{Invocation, TestDir, until};

const KEY: &str = "sk-secret-0123456789abcdef";

/// A run of ten requests with its state in a folder of its own, ended soon.
fn run(dir: &TestDir, mock: &Mock, state: &TestDir, flags: &str) -> Invocation {
    dir.write_batch("in.jsonl", 10);
    dir.run_at(mock.url(), "in.jsonl -o out.jsonl --fresh")
        .args(flags)
        .env("BRIMFUL_STATE_DIR", state.path("").to_str().unwrap())
        .env("OPENAI_API_KEY", KEY)
}

/// What all state files hold of requests, of any model.
fn kept_requests(state: &TestDir) -> u64 {
    let names = state.names().into_iter();
    let states = names.filter(|name| name.ends_with(".state.json"));
    let texts = states.filter_map(|name| std::fs::read_to_string(state.path(&name)).ok());
    let mut sum = 0;
    for text in texts {
        let kept: Value = serde_json::from_str(&text).unwrap();
        for model in kept["models"].as_object().unwrap().values() {
            for level in model["levels"].as_array().unwrap() {
                assert_eq!(level["counts"], "requests");
                let taken = level["taken"].as_array().unwrap();
                sum += taken
                    .iter()
                    .map(|t| t["units"].as_u64().unwrap())
                    .sum::<u64>();
            }
        }
    }
    sum
}

#[test]
fn a_daily_limit_survives_a_restart() {
    let mock = Mock::start("");
    let (dir, state) = (TestDir::new(), TestDir::new());
    run(&dir, &mock, &state, "--rpd 6 --first 4").exits(0);
    assert_eq!(kept_requests(&state), 4);
    run(&dir, &mock, &state, "--rpd 6 --deadline 500ms").exits(4);
    assert_eq!(mock.count("answered"), 6);
    run(&dir, &mock, &state, "--rpd 6 --deadline 300ms").exits(4);
    assert_eq!(mock.count("answered"), 6, "the day is spent");
    let other = run(&dir, &mock, &state, "--rpd 6 --first 5").env("OPENAI_API_KEY", "sk-other-key");
    other.exits(0);
    run(&dir, &mock, &state, "--rpd 6 --first 5 --no-state").exits(0);
    assert_eq!(
        mock.count("answered"),
        16,
        "another key, and no state, are full limits"
    );
    run(&dir, &mock, &state, "--rpd 20 --first 5").exits(0);
    assert_eq!(kept_requests(&state), 6 + 5 + 5);
}

#[test]
fn the_key_is_found_nowhere_in_state_and_nobody_else_may_read_it() {
    let mock = Mock::start("");
    let (dir, state) = (TestDir::new(), TestDir::new());
    run(&dir, &mock, &state, "--rpd 50").exits(0);
    assert_eq!(state.files_with("sk-secret"), [] as [&str; 0]);
    for name in state.names() {
        let mode = std::fs::metadata(state.path(&name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
        assert!(!name.ends_with(".run.json"), "the run is over: {name}");
    }
}

#[test]
fn what_a_killed_run_has_taken_is_counted() {
    let mock = Mock::start("");
    let (dir, state) = (TestDir::new(), TestDir::new());
    let running = run(&dir, &mock, &state, "--rpd 7").start();
    until("the levels to be saved", || {
        (kept_requests(&state) == 7).then_some(())
    });
    // Dropping kills it.
    drop(running);
    let done = run(&dir, &mock, &state, "--rpd 7 --deadline 300ms").exits(4);
    assert_eq!(mock.count("answered"), 7);
    assert!(
        !done.stderr.contains("same key"),
        "a killed run is no run: {done}"
    );
}

#[test]
fn both_of_two_runs_with_one_key_are_told() {
    let mock = Mock::start("");
    let (dir, other, state) = (TestDir::new(), TestDir::new(), TestDir::new());
    let first = run(&dir, &mock, &state, "--rpd 3 --progress none").start();
    until("the first run", || {
        (mock.count("answered") == 3).then_some(())
    });
    let second = run(&other, &mock, &state, "--rpd 6 --first 3");
    second.exits(0).says(&[
        "another run (process",
        "same key for 127.0.0.1",
        "together they take 200 % of every limit",
        "--share",
    ]);
    let third = run(
        &other,
        &mock,
        &state,
        "--rpd 9 --share 50% --log-format json",
    )
    .start();
    until("the first to be told", || {
        first.stderr_so_far().contains("same key for").then_some(())
    });
    drop(third);
}

#[test]
fn runs_whose_shares_fit_together_are_no_news() {
    let mock = Mock::start("");
    let (dir, other, state) = (TestDir::new(), TestDir::new(), TestDir::new());
    let first = run(&dir, &mock, &state, "--rpd 6 --share 50%").start();
    until("the first run", || {
        (mock.count("answered") == 3).then_some(())
    });
    let second = run(&other, &mock, &state, "--rpm 6000 --share 50%").exits(0);
    assert!(!second.stderr.contains("same key"), "{second}");
    assert!(!first.stderr_so_far().contains("same key"));
}

#[test]
fn state_that_is_damaged_or_cannot_be_kept_costs_no_answer() {
    let mock = Mock::start("");
    let (dir, state) = (TestDir::new(), TestDir::new());
    run(&dir, &mock, &state, "--rpd 50").exits(0);
    let name = state
        .names()
        .into_iter()
        .find(|name| name.ends_with(".state.json"));
    let name = name.unwrap();
    state.write(&name, "{\"version\": 1, \"mod");
    run(&dir, &mock, &state, "--rpd 50")
        .exits(0)
        .says(&["is damaged", "begin anew"]);
    assert!(state.exists(&format!("{name}.damaged")));
    dir.write("a-file", "");
    dir.run_at(
        mock.url(),
        "in.jsonl -o out.jsonl --fresh --rpd 50 --state-dir a-file/x",
    )
    .exits(0)
    .says(&["a-file/x", "going on without state"]);
    dir.run_at(mock.url(), "in.jsonl -o out.jsonl --fresh --rpd 50")
        .exits(0)
        .says(&["$HOME is not set", "--state-dir"]);
    dir.run_at(
        mock.url(),
        "in.jsonl -o out.jsonl --fresh --state-dir s --no-state",
    )
    .exits(2);
}

#[test]
fn a_day_that_begins_anew_counts_only_what_was_taken_in_it() {
    let mock = Mock::start("");
    let (dir, state) = (TestDir::new(), TestDir::new());
    // Whatever time it is: one of these began at least ten hours ago and ends in ten at least.
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let reset = format!("{:02}:00@UTC", (now.hour() + 12) % 24);
    let flags = format!("--rpd 4 --daily-reset {reset}");
    run(&dir, &mock, &state, &format!("{flags} --first 3")).exits(0);
    run(&dir, &mock, &state, &format!("{flags} --deadline 300ms")).exits(4);
    assert_eq!(mock.count("answered"), 4);
    let name = state
        .names()
        .into_iter()
        .find(|name| name.ends_with(".state.json"));
    let name = name.unwrap();
    let mut kept: Value = serde_json::from_str(&state.read(&name)).unwrap();
    let levels = kept["models"]["*"]["levels"].as_array_mut().unwrap();
    for taken in levels
        .iter_mut()
        .flat_map(|level| level["taken"].as_array_mut().unwrap())
    {
        // Yesterday, though less than 24 hours ago.
        let at = taken["at"].as_u64().unwrap();
        taken["at"] = (at - 14 * 3_600_000).into();
    }
    state.write(&name, kept.to_string());
    run(&dir, &mock, &state, &format!("{flags} --first 4")).exits(0);
    assert_eq!(mock.count("answered"), 8);
}
