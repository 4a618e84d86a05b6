//! What is learnt of limits: from headers, kept for the next run, shared, shown and forgotten.

use serde_json::Value;

use crate::mock_process::Mock;
use crate::workdir::{Invocation, TestDir};

/// A run of `count` requests that is told nothing of limits.
fn run(dir: &TestDir, mock: &Mock, state: &TestDir, flags: &str) -> Invocation {
    dir.learn_at(
        mock.url(),
        "-o out.jsonl --fresh --prompt x{{index}} --model m",
    )
    .args("--provider openai --trace trace.jsonl")
    .args(flags)
    .env("BRIMFUL_STATE_DIR", state.path("").to_str().unwrap())
    .env("OPENAI_API_KEY", "sk-secret-0123456789abcdef")
}

fn events(dir: &TestDir, name: &str) -> Vec<Value> {
    let mut lines = dir.json_lines("trace.jsonl");
    lines.retain(|line| line["event"] == name);
    lines
}

fn limits(dir: &TestDir) -> Vec<(String, u64, String)> {
    let summary = dir.summary("out.jsonl");
    let limits = summary["limits"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    limits
        .map(|limit| {
            let amount = limit["amount"].as_u64().unwrap();
            (text(&limit["name"]), amount, text(&limit["source"]))
        })
        .collect()
}

#[test]
fn a_limit_that_headers_name_is_followed_told_and_known_to_the_next_run() {
    let mock = Mock::start("--rpm 6000");
    let (dir, state) = (TestDir::new(), TestDir::new());
    run(&dir, &mock, &state, "--repeat 40").exits(0).says(&[
        "no limit is given",
        "learnt limit told-rpm: 6000 requests in 60 s",
    ]);
    let told = events(&dir, "limit_learned");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (&told[0]["amount"], &told[0]["counts"]),
        (&6000.into(), &"requests".into())
    );
    let learned = ("told-rpm".to_owned(), 6000, "learned".to_owned());
    assert!(limits(&dir).contains(&learned), "{:?}", limits(&dir));
    assert_eq!(mock.stats()["by_status"]["429"], Value::Null);

    let shown = dir
        .brimful("limits --learned --state-dir")
        .arg(state.path(""));
    let shown = shown.exits(0).stdout;
    assert!(shown.contains("6000 requests in 60s"), "{shown}");
    assert!(
        shown.contains("127.0.0.1") && !shown.contains("sk-secret"),
        "{shown}"
    );

    // The next run knows it before a reply says so.
    run(&dir, &mock, &state, "--repeat 3").exits(0);
    assert_eq!(events(&dir, "limit_learned"), [] as [Value; 0]);
    assert!(limits(&dir).contains(&learned), "{:?}", limits(&dir));

    let forget = |place: &str| {
        let forget = dir.brimful("limits --forget").arg(place).arg("--state-dir");
        forget.arg(state.path("")).exits(0).stdout
    };
    assert!(forget("groq").contains("nothing to forget"));
    assert!(forget("127.0.0.1").contains("with 1 key"));
    let shown = dir
        .brimful("limits --learned --json --state-dir")
        .arg(state.path(""));
    assert_eq!(shown.exits(0).stdout, "[]\n");
    run(&dir, &mock, &state, "--repeat 3").exits(0);
    assert_eq!(events(&dir, "limit_learned").len(), 1, "it is news again");
}

#[test]
fn what_is_not_to_be_learnt_is_not() {
    let mock = Mock::start("--rpm 6000");
    let (dir, state) = (TestDir::new(), TestDir::new());
    let done = run(&dir, &mock, &state, "--repeat 5 --learn off").exits(0);
    assert!(!done.stderr.contains("limit"), "{done}");
    assert_eq!(limits(&dir).len(), 1, "concurrency alone");
    run(&dir, &mock, &state, "--repeat 5 --no-state").exits(0);
    assert_eq!(
        state
            .names()
            .iter()
            .filter(|name| name.contains(".state."))
            .count(),
        0
    );
}

#[test]
fn of_a_learnt_limit_too_a_run_takes_its_share() {
    let mock = Mock::start("--rpm 6000");
    let (dir, state) = (TestDir::new(), TestDir::new());
    // All of it lets 40 start at once; a thousandth, one in 10 s.
    run(
        &dir,
        &mock,
        &state,
        "--repeat 40 --share 0.1% --deadline 2s",
    )
    .exits(4);
    assert!(mock.count("answered") < 10, "{}", mock.count("answered"));
    let learned = ("told-rpm".to_owned(), 6000, "learned".to_owned());
    assert!(limits(&dir).contains(&learned), "what the server said");
}

#[test]
fn an_unknown_tier_is_refused_with_those_that_are_known() {
    let dir = TestDir::new();
    dir.learn_at(
        "http://127.0.0.1:9/v1",
        "--repeat 1 --prompt x --model gpt-4o -o out.jsonl",
    )
    .args("--provider openai --tier gold")
    .exits(2)
    .says(&["OpenAI has no such tier", "known are tier-1"]);
    dir.brimful("limits --state-dir x")
        .exits(2)
        .says(&["--learned"]);
}
