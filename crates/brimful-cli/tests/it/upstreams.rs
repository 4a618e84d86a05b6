//! Several upstreams in the configuration file: who gets what, whose trouble is whose, and a run
//! that is told otherwise while it goes on.

use serde_json::Value;

use crate::mock_process::Mock;
use crate::scripted::{Reply, Scripted, answer, reply};
use crate::workdir::{Invocation, TestDir, until};

/// A run of `in.jsonl` by this configuration file.
fn run(dir: &TestDir, config: &str) -> Invocation {
    dir.write("brimful.toml", config);
    dir.brimful("run in.jsonl -o out.jsonl --config brimful.toml --durability process --no-state")
        .args("--base-backoff 10ms")
}

fn upstream<'a>(summary: &'a Value, name: &str) -> &'a Value {
    let upstreams = summary["upstreams"].as_array().unwrap();
    let found = upstreams.iter().find(|upstream| upstream["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {upstreams:?}"))
}

fn ids(dir: &TestDir, output: &str) -> Vec<String> {
    let lines = dir.json_lines(output).into_iter();
    let mut ids: Vec<String> = lines.map(|line| line["id"].to_string()).collect();
    ids.sort();
    ids
}

#[test]
fn each_upstream_gets_its_own_key_and_its_own_names_and_the_figures_tell_them_apart() {
    let first = Scripted::start(|_| Reply::Send(answer("one")));
    let second = Scripted::start(|_| Reply::Send(answer("two")));
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 40);
    let config = format!(
        "[[upstream]]\nname = \"one\"\nbase-url = \"{}\"\napi-key-env = \"KEY_ONE\"\n\
         [[upstream]]\nname = \"two\"\nbase-url = \"{}\"\napi-key-env = \"KEY_TWO\"\nweight = 3\n\
         [upstream.models]\nm = \"their-m\"\n",
        first.url(),
        second.url()
    );
    run(&dir, &config)
        .args("--trace trace.jsonl --concurrency 4 --learn off")
        .env("KEY_ONE", "key-1")
        .env("KEY_TWO", "key-2")
        .exits(0);
    let (one, two) = (first.seen(), second.seen());
    assert_eq!(one.len() + two.len(), 40);
    assert_eq!(two.len(), 30, "three of four");
    for seen in &one {
        assert!(
            seen.head.contains("authorization: bearer key-1"),
            "{}",
            seen.head
        );
        assert!(seen.body.contains(r#""model":"m""#), "{}", seen.body);
    }
    for seen in &two {
        assert!(
            seen.head.contains("authorization: bearer key-2"),
            "{}",
            seen.head
        );
        assert!(seen.body.contains(r#""model":"their-m""#), "{}", seen.body);
    }
    let summary = dir.summary("out.jsonl");
    assert_eq!(upstream(&summary, "one")["answered"], 10);
    assert_eq!(upstream(&summary, "two")["answered"], 30);
    assert_eq!(upstream(&summary, "two")["state"], "ready");
    let attempts = dir.json_lines("trace.jsonl").into_iter();
    let to_two = attempts.filter(|attempt| attempt["upstream"] == "two");
    assert_eq!(to_two.count(), 30);
    // Where a request went and what it was called there is no part of what it is.
    let by_several = ids(&dir, "out.jsonl");
    dir.run_at(&first.url(), "in.jsonl -o alone.jsonl").exits(0);
    assert_eq!(ids(&dir, "alone.jsonl"), by_several);
}

#[test]
fn a_wrong_key_takes_out_its_upstream_alone_and_everything_is_answered() {
    let wrong = Scripted::start(|_| {
        let body = br#"{"error":{"message":"Incorrect API key","code":"invalid_api_key"}}"#;
        Reply::Send(reply(
            "401 Unauthorized",
            "content-type: application/json\r\n",
            body,
        ))
    });
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 30);
    let config = format!(
        "[[upstream]]\nname = \"bad\"\nbase-url = \"{}\"\nconcurrency = 1\n\
         [[upstream]]\nname = \"good\"\nbase-url = \"{}\"\n",
        wrong.url(),
        mock.url()
    );
    run(&dir, &config)
        .exits(0)
        .says(&["upstream bad is out (fatal)", "Incorrect API key"]);
    assert_eq!(wrong.seen().len(), 1);
    assert_eq!(mock.count("answered"), 30);
    let summary = dir.summary("out.jsonl");
    assert_eq!(upstream(&summary, "bad")["state"], "out: fatal");
    assert_eq!(summary["complete"], true);
}

#[test]
fn a_fallback_is_asked_only_for_what_the_primary_keeps_waiting() {
    let primary = Mock::start("");
    let fallback = Mock::start("");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 12);
    let config = |rate: &str| {
        format!(
            "[[upstream]]\nname = \"first\"\nbase-url = \"{}\"\n{rate}\n\
             [[upstream]]\nname = \"second\"\nbase-url = \"{}\"\nfallback-after = \"5s\"\n",
            primary.url(),
            fallback.url()
        )
    };
    run(&dir, &config("rps = 500")).exits(0);
    assert_eq!(
        (primary.count("answered"), fallback.count("answered")),
        (12, 0)
    );
    run(&dir, &config("rpm = 2")).args("--fresh").exits(0);
    assert_eq!(
        (primary.count("answered"), fallback.count("answered")),
        (13, 11)
    );
}

#[test]
fn limits_of_the_run_are_shared_by_all_its_upstreams() {
    let (one, two) = (Mock::start(""), Mock::start(""));
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 30);
    let config = format!(
        "[run]\nrph = 10\n[[upstream]]\nname = \"one\"\nbase-url = \"{}\"\nrph = 4\n\
         [[upstream]]\nname = \"two\"\nbase-url = \"{}\"\n",
        one.url(),
        two.url()
    );
    // Else the second would learn its own limits below the shared ones, beginning slowly.
    run(&dir, &config)
        .args("--deadline 1s --learn off")
        .exits(4);
    let (one, two) = (one.count("answered"), two.count("answered"));
    assert_eq!(one + two, 10);
    assert!(one <= 4, "{one}");
    let summary = dir.summary("out.jsonl");
    let limits = summary["limits"].as_array().unwrap();
    let names: Vec<&str> = limits.iter().map(|l| l["name"].as_str().unwrap()).collect();
    assert!(
        names.contains(&"rph") && names.contains(&"one rph"),
        "{names:?}"
    );
}

#[test]
fn a_live_run_follows_its_configuration_file_and_passes_over_one_that_is_wrong() {
    let (slow, joined) = (Mock::start(""), Mock::start(""));
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 300);
    let first = format!(
        "[[upstream]]\nname = \"slow\"\nbase-url = \"{}\"\nrpm = 6\n",
        slow.url()
    );
    let running = run(&dir, &first).start();
    until("the first answer", || {
        (slow.count("answered") > 0).then_some(())
    });
    dir.write("brimful.toml", format!("{first}rmp = 7\n"));
    until("the mistake is told", || {
        let said = running.stderr_so_far();
        said.contains("did you mean `rpm`?").then_some(())
    });
    let second = format!(
        "{}[[upstream]]\nname = \"joined\"\nbase-url = \"{}\"\n",
        first.replace("rpm = 6", "rpm = 60_000"),
        joined.url()
    );
    dir.write("brimful.toml", second);
    let done = running.wait();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    done.says(&[
        "the run goes on as it was",
        "those of the configuration as it is now",
    ]);
    assert_eq!(slow.count("answered") + joined.count("answered"), 300);
    assert!(joined.count("answered") > 0);
    let summary = dir.summary("out.jsonl");
    assert!(upstream(&summary, "joined")["answered"].as_u64() > Some(0));
}

#[test]
fn a_limit_that_joins_a_daily_one_keeps_its_own_window() {
    let mock = Mock::start("--latency 20ms");
    let (dir, state) = (TestDir::new(), TestDir::new());
    dir.write_batch("in.jsonl", 5_000);
    let config = |rate: &str| {
        format!(
            "[run]\nbase-url = \"{}\"\nrpd = 100_000\ndaily-reset = \"00:00@UTC\"\n\
             concurrency = 1\n{rate}",
            mock.url()
        )
    };
    dir.write("brimful.toml", config(""));
    let running = dir
        .brimful("run in.jsonl -o out.jsonl --config brimful.toml --durability process")
        .args("--learn off --state-dir")
        .arg(state.path(""))
        .start();
    until("the first answer", || {
        (mock.count("answered") > 0).then_some(())
    });
    dir.write("brimful.toml", config("rpm = 60_000\n"));
    until("the change is told", || {
        let said = running.stderr_so_far();
        said.contains("configuration as it is now").then_some(())
    });
    // Resets are looked after whenever state is saved.
    let saved = || {
        let mut files = state.names().into_iter();
        let file = files.find(|name| name.ends_with(".state.json"))?;
        std::fs::read(state.path(&file)).ok()
    };
    for _ in 0..3 {
        let before = saved();
        until("state is saved", || (saved() != before).then_some(()));
    }
    let process = rustix::process::Pid::from_raw(running.id()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    running.wait();
    let summary = dir.summary("out.jsonl");
    let limits = summary["limits"].as_array().unwrap();
    let window = |name: &str| {
        let found = limits.iter().find(|limit| limit["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {limits:?}"))["window_s"].as_f64()
    };
    assert_eq!(window("rpm"), Some(60.0));
    assert_eq!(window("rpd"), Some(86_400.0));
}

#[test]
fn sigusr1_reads_the_file_again_and_says_so_where_there_is_none() {
    let mock = Mock::start("--latency 30ms");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 40);
    let running = dir
        .run_at(
            mock.url(),
            "in.jsonl -o out.jsonl --concurrency 1 --no-state",
        )
        .start();
    until("the first answer", || {
        (mock.count("answered") > 0).then_some(())
    });
    let process = rustix::process::Pid::from_raw(running.id()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::USR1).unwrap();
    let done = running.wait();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    done.says(&["--config names none"]);
    assert_eq!(mock.count("answered"), 40);
}

#[test]
fn mistakes_in_an_upstream_are_told_with_their_line() {
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 1);
    let base = "[[upstream]]\nbase-url = \"http://127.0.0.1:9/v1\"\n";
    for (config, told) in [
        (
            "[[upstream]]\nrmp = 7\n".to_owned(),
            "brimful.toml:2: unknown key `rmp`",
        ),
        (
            "[[upstream]]\nprompt = \"x\"\n".to_owned(),
            "unknown key `prompt` of an upstream",
        ),
        (
            format!("{base}weight = 0\n"),
            "brimful.toml:3: `weight`: is 1 to 1,000",
        ),
        (format!("{base}rpm = 0\n"), "brimful.toml:3"),
        (
            format!("{base}name = \"a\"\n{base}name = \"a\"\n"),
            "two upstreams are called `a`",
        ),
        (
            format!("[run]\nbase-url = \"http://x\"\n{base}"),
            "--base-url is of no use",
        ),
        ("upstream = 3\n".to_owned(), "write [[upstream]]"),
        (
            format!("{base}models = [\"a*\"]\n"),
            "`a*` is no name of a model",
        ),
    ] {
        run(&dir, &config).exits(2).says(&[told]);
    }
    assert!(!dir.exists("out.jsonl"));
}

#[test]
fn a_model_that_no_upstream_serves_is_told_and_nothing_of_it_is_given_up() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 3);
    let config = format!(
        "[[upstream]]\nbase-url = \"{}\"\nmodels = [\"other\"]\n",
        mock.url()
    );
    run(&dir, &config)
        .exits(1)
        .says(&["no upstream serves the models of some requests"]);
    assert_eq!(dir.summary("out.jsonl")["complete"], false);
    run(&dir, &config.replace("other", "m")).exits(0);
    assert_eq!(mock.count("answered"), 3);
}
