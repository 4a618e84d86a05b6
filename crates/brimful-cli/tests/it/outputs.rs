//! What comes out, and what stays untouched.

use std::io::Write;

use serde_json::Value;

use crate::mock_process::Mock;
use crate::scripted::{Reply, Scripted, answer};
use crate::workdir::{TestDir, json_lines, until};

#[test]
fn standard_output_carries_rows_and_nothing_else() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write("in.csv", "a,b\n1,x\n2,y\n");
    let done = dir
        .run_at(
            mock.url(),
            "in.csv -o - --model m --prompt {{b}} --progress json --progress-every 1ms",
        )
        .exits(0);
    let rows = json_lines(&done.stdout);
    assert_eq!(rows.len(), 2);
    for row in &rows {
        let keys: Vec<&String> = row.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["a", "b", "response", "usage", "error"]);
    }
    assert_eq!(dir.names(), ["in.csv"], "no journal without --journal");
}

#[test]
fn standard_output_can_be_in_order_and_resume() {
    // The first request fails once, so that it is answered last.
    let server = Scripted::start(|seen| match seen.number {
        0 => Reply::SendAndClose(Vec::new()),
        _ => Reply::Send(answer("fine")),
    });
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 30);
    let command = "in.jsonl -o - --ordered --journal kept.jsonl --concurrency 1";
    let done = dir.run_at(&server.url(), command).exits(0);
    let ids: Vec<String> = json_lines(&done.stdout)
        .iter()
        .map(|line| line["custom_id"].as_str().unwrap().to_owned())
        .collect();
    let expected: Vec<String> = (1..=30).map(|n| format!("r{n}")).collect();
    assert_eq!(ids, expected);
    assert_eq!(dir.json_lines("kept.jsonl").len(), 30);
    // Nothing is sent again, and whoever reads the second run gets everything all the same.
    let again = dir.run_at(&server.url(), command).exits(0);
    assert_eq!(again.stdout, done.stdout);
    assert_eq!(server.seen().len(), 31);
    assert_eq!(dir.summary("kept.jsonl")["requests"]["answered_before"], 30);
}

#[test]
fn a_closed_standard_output_stops_the_run_and_says_so() {
    let mock = Mock::start("--latency 5ms");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 400);
    let running = dir
        .run_at(mock.url(), "in.jsonl -o - --concurrency 4")
        .start_without_stdout();
    let done = running.wait();
    assert_eq!(done.code, Some(1), "{done}");
    done.says(&["standard output"]);
    assert!(mock.count("answered") < 400);
}

#[test]
fn what_the_journal_has_and_nobody_read_is_given_by_the_next_run() {
    let mock = Mock::start("--latency 5ms");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 100);
    let command = "in.jsonl -o - --journal kept.jsonl --concurrency 8";
    let done = dir
        .run_at(mock.url(), command)
        .start_without_stdout()
        .wait();
    assert_eq!(done.code, Some(1), "{done}");
    let kept = dir.json_lines("kept.jsonl").len();
    assert!((1..100).contains(&kept), "{kept} kept");
    // What is kept counts as answered, read or not.
    let summary = dir.summary("kept.jsonl");
    assert_eq!(summary["requests"]["answered"], kept);
    assert_eq!(summary["unwritten_ids"], Value::Array(Vec::new()));
    let again = dir.run_at(mock.url(), command).exits(0);
    assert_eq!(json_lines(&again.stdout).len(), 100);
    assert_eq!(mock.count("duplicate_answers"), 0);
    assert_eq!(mock.count("answered"), 100);
}

#[test]
fn a_standard_output_that_nobody_reads_on_does_not_keep_signals_away() {
    let mock = Mock::start("--output-tokens 4000");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 200);
    let (reader, writer) = std::io::pipe().unwrap();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_brimful"))
        .args([
            "run",
            "in.jsonl",
            "-o",
            "-",
            "--progress",
            "none",
            "--base-url",
            mock.url(),
            "--learn",
            "off",
            "--no-state",
        ])
        .current_dir(dir.path(""))
        .stdout(writer)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    until("all answers", || {
        (mock.count("answered") == 200).then_some(())
    });
    assert!(
        child.try_wait().unwrap().is_none(),
        "the pipe took everything"
    );
    let id = rustix::process::Pid::from_child(&child);
    let interrupt = || {
        rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    };
    // The first one drains, the second one gives up; more do no harm while one is on its way.
    let status = until("the end", || {
        interrupt();
        child.try_wait().unwrap()
    });
    assert_eq!(status.code(), Some(1));
    drop(reader);
}

#[test]
fn a_trace_that_cannot_be_written_stops_nothing() {
    if !std::path::Path::new("/dev/full").exists() {
        return; // Only Linux has it.
    }
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 300);
    let command = "in.jsonl -o out.jsonl --trace /dev/full";
    let done = dir.run_at(mock.url(), command).exits(1);
    done.says(&["300 answered", "trace"]);
    assert_eq!(dir.json_lines("out.jsonl").len(), 300);
}

#[test]
fn a_run_that_has_begun_is_not_complete_whatever_an_earlier_one_was() {
    let mock = Mock::start("--latency 1ms");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 3);
    dir.run_at(mock.url(), "in.jsonl -o out.jsonl").exits(0);
    assert_eq!(dir.summary("out.jsonl")["complete"], true);
    let hanging = Mock::start("--hang-share 1");
    dir.write_batch("in.jsonl", 5);
    let running = dir.run_at(hanging.url(), "in.jsonl -o out.jsonl").start();
    until("the two new requests", || {
        (hanging.count("requests_admitted") == 2).then_some(())
    });
    assert_eq!(dir.summary("out.jsonl")["complete"], false);
    drop(running);
    assert_eq!(dir.summary("out.jsonl")["complete"], false);
}

#[test]
fn an_input_that_changes_during_the_run_is_noticed() {
    let mock = Mock::start("--latency 300ms");
    let dir = TestDir::new();
    dir.write("in.txt", "one\ntwo\n");
    let running = dir
        .run_at(mock.url(), "in.txt -o out.csv --model m")
        .start();
    until("both requests", || {
        (mock.count("requests_admitted") == 2).then_some(())
    });
    dir.write("in.txt", "one\ntwo\nthree\n");
    let done = running.wait();
    assert_eq!(done.code, Some(1), "{done}");
    done.says(&["the input changed", "run the same command again"]);
    assert_eq!(dir.summary("out.csv")["complete"], false);
    dir.run_at(mock.url(), "in.txt -o out.csv --model m")
        .exits(0);
    assert_eq!(mock.count("answered"), 3);
}

#[test]
fn another_outputs_journal_does_not_make_a_file_ours() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write("in.txt", "one\n");
    let command = "in.txt --journal kept.jsonl --model m";
    dir.run_at(mock.url(), command).args("-o out.csv").exits(0);
    dir.write("precious.csv", "a,b\n1,2\n");
    let done = dir
        .run_at(mock.url(), command)
        .args("-o precious.csv")
        .exits(2);
    done.says(&["precious.csv", "was not written by brimful"]);
    assert_eq!(dir.read("precious.csv"), "a,b\n1,2\n");
    dir.run_at(mock.url(), command).args("-o out.csv").exits(0);
}

#[test]
fn a_second_run_on_one_output_is_refused_whatever_its_journal_and_harms_nothing() {
    let mock = Mock::start("--latency 300ms");
    let dir = TestDir::new();
    let command = "- -o out.csv --model m --input-format text";
    let mut first = dir.run_at(mock.url(), command).start();
    let mut pipe = first.stdin().unwrap();
    pipe.write_all(b"one\ntwo\nthree\n").unwrap();
    until("its requests", || {
        (mock.count("requests_admitted") > 0).then_some(())
    });
    let second = dir
        .run_at(mock.url(), command)
        .args("--journal other.jsonl")
        .stdin("foo\n");
    second.exits(1).says(&["out.csv"]);
    drop(pipe);
    let done = first.wait();
    assert_eq!(done.code, Some(0), "{done}");
    let texts: Vec<String> = dir
        .csv("out.csv")
        .iter()
        .map(|row| row[0].clone())
        .collect();
    assert_eq!(texts, ["text", "one", "two", "three"]);
}

#[test]
fn what_is_fatal_counts_more_than_a_cap() {
    let mock = Mock::start("--latency 20ms");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 400);
    let command = "in.jsonl -o - --concurrency 50 --price 1000,1000 --max-cost 0.1";
    let done = dir
        .run_at(mock.url(), command)
        .start_without_stdout()
        .wait();
    assert_eq!(done.code, Some(1), "{done}");
}

#[test]
fn columns_of_the_output_are_not_taken_from_the_input() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write("in.csv", "text,usage\na,b\n");
    dir.write("in.jsonl", "{\"text\":\"a\",\"error\":1}\n");
    let command = "--model m --prompt {{text}}";
    dir.run_at(mock.url(), command)
        .args("in.csv -o out.csv")
        .exits(2)
        .says(&["`usage`", "--output-prefix"]);
    dir.run_at(mock.url(), command)
        .args("in.jsonl -o out.jsonl")
        .exits(2)
        .says(&["`error`", "--output-prefix"]);
    assert_eq!(mock.count("requests"), 0);
    dir.run_at(mock.url(), command)
        .args("in.csv -o out.csv --output-prefix my_")
        .exits(0);
    assert_eq!(
        dir.csv("out.csv")[0],
        ["text", "usage", "my_response", "my_usage", "my_error"]
    );
}

#[test]
fn part_of_the_answer_can_be_chosen() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write("in.txt", "a\n");
    for (path, expected) in [
        ("$.choices[0].finish_reason", Value::from("stop")),
        ("$.usage.completion_tokens", Value::from(16)),
        ("$.choices[*].index", Value::from(0)),
        ("$.nothing", Value::Null),
    ] {
        let done = dir
            .run_at(mock.url(), "in.txt -o - --model m --response-path")
            .arg(path)
            .exits(0);
        assert_eq!(json_lines(&done.stdout)[0]["response"], expected, "{path}");
    }
    dir.run_at(
        mock.url(),
        "in.txt -o out.csv --model m --response-path $.[",
    )
    .exits(2)
    .says(&["--response-path"]);
    assert!(!dir.exists("out.csv"));
}

#[test]
fn the_input_is_never_written_to() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    let rows = "{\"text\":\"a\"}\n";
    for name in [
        "out.jsonl",
        "out.jsonl.journal.jsonl",
        "out.jsonl.errors.jsonl",
        "out.jsonl.summary.json",
        "out.jsonl.stale.jsonl",
        "kept.jsonl",
        "trace.jsonl",
    ] {
        dir.write(name, rows);
        let journal = match name {
            "kept.jsonl" => "--journal kept.jsonl",
            _ => "",
        };
        dir.run_at(mock.url(), "--model m --prompt {{text}} -o out.jsonl")
            .args("--trace ./trace.jsonl --input-format jsonl")
            .args(journal)
            .arg(dir.path(name))
            .exits(2)
            .says(&["input"]);
        assert_eq!(dir.read(name), rows, "{name}");
        assert_eq!(dir.names(), [name]);
        std::fs::remove_file(dir.path(name)).unwrap();
    }
    assert_eq!(mock.count("requests"), 0);
}

#[test]
fn two_outputs_are_never_one_file() {
    let dir = TestDir::new();
    dir.write("in.txt", "a\n");
    for arguments in [
        "--trace out.csv",
        "--trace ./out.csv.journal.jsonl",
        "--trace out.csv.summary.json",
        "--journal out.csv",
        "--journal j.jsonl --trace j.jsonl",
        "--journal out.csv.errors.jsonl",
    ] {
        dir.run_at("http://127.0.0.1:9/v1", "in.txt -o out.csv --model m")
            .args(arguments)
            .exits(2);
        assert_eq!(dir.names(), ["in.txt"], "{arguments}");
    }
}

#[test]
fn what_brimful_did_not_write_is_left_alone() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write("in.txt", "a\n");
    dir.write_batch("in.jsonl", 1);
    dir.write("mine.csv", "my,own\nnotes,1\n");
    dir.write("mine.jsonl", "{\"my\":\"notes\"}\n");
    dir.run_at(mock.url(), "in.txt -o mine.csv --model m")
        .exits(2)
        .says(&["mine.csv", "not written by brimful"]);
    for flag in ["", "--fresh"] {
        let done = dir
            .run_at(mock.url(), "in.jsonl -o mine.jsonl")
            .args(flag)
            .output();
        assert!(matches!(done.code, Some(1 | 2)), "{done}");
        done.says(&["mine.jsonl"]);
    }
    assert_eq!(dir.read("mine.csv"), "my,own\nnotes,1\n");
    assert_eq!(dir.read("mine.jsonl"), "{\"my\":\"notes\"}\n");
    assert_eq!(mock.count("requests"), 0);
}

#[test]
fn an_output_that_cannot_be_is_refused() {
    let dir = TestDir::new();
    dir.write("in.txt", "a\n");
    std::fs::create_dir(dir.path("folder.csv")).unwrap();
    for (output, word) in [
        ("out.txt", "extension"),
        ("out", "extension"),
        ("nowhere/out.csv", "nowhere"),
        ("folder.csv", "not a plain file"),
        ("in.txt", "input"),
    ] {
        dir.run_at("http://127.0.0.1:9/v1", "in.txt --model m -o")
            .arg(output)
            .exits(2)
            .says(&[word]);
    }
    assert_eq!(dir.names(), ["folder.csv", "in.txt"]);
}

#[test]
fn answers_without_a_request_move_away() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 4);
    dir.run_at(mock.url(), "in.jsonl -o out.jsonl").exits(0);
    dir.write_batch("in.jsonl", 3);
    dir.run_at(mock.url(), "in.jsonl -o out.jsonl")
        .exits(0)
        .says(&["1 stale"]);
    let ids: Vec<Value> = dir
        .json_lines("out.jsonl.stale.jsonl")
        .iter()
        .map(|line| line["custom_id"].clone())
        .collect();
    assert_eq!(ids, ["r4"]);
    assert_eq!(dir.json_lines("out.jsonl").len(), 3);
    assert_eq!(mock.count("answered"), 4);
}

#[test]
fn the_summary_says_what_happened() {
    let mock = Mock::start("--latency 20ms");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 20);
    dir.run_at(mock.url(), "in.jsonl -o out.jsonl --rps 100 --price 1,2")
        .exits(0);
    let summary = dir.summary("out.jsonl");
    assert_eq!(summary["version"], 1);
    assert_eq!(summary["complete"], true);
    assert_eq!(summary["stopped_by"], Value::Null);
    assert_eq!(summary["output"], "out.jsonl");
    assert_eq!(summary["errors"], Value::Null);
    assert_eq!(summary["requests"]["read"], 20);
    assert_eq!(summary["requests"]["answered"], 20);
    assert_eq!(summary["attempts"]["answered"], 20);
    assert_eq!(summary["tokens"]["output"], 320);
    assert!(summary["service"]["p50_ms"].as_f64().unwrap() >= 20.0);
    assert!(summary["cost_usd"].as_f64().unwrap() > 0.0);
    let limit = &summary["limits"][0];
    assert_eq!(
        (&limit["name"], &limit["admitted"]),
        (&"rps".into(), &20.into())
    );
    assert!(
        limit["utilisation_percent"].as_f64().unwrap() > 80.0,
        "{limit}"
    );
}

#[test]
fn an_edit_that_is_undone_pays_nothing_twice() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write("in.txt", "one\ntwo\nthree\n");
    for prompt in ["A{{text}}", "B{{text}}", "A{{text}}", "B{{text}}"] {
        dir.run_at(mock.url(), "in.txt -o out.csv --model m --prompt")
            .arg(prompt)
            .exits(0);
        let rows = dir.csv("out.csv");
        assert_eq!(rows.len(), 4);
        assert!(rows.iter().all(|row| !row[1].is_empty()), "{rows:?}");
    }
    assert_eq!(mock.count("answered"), 6);
    assert_eq!(dir.json_lines("out.csv.stale.jsonl").len(), 3);
}

#[test]
fn what_never_fitted_a_limit_is_judged_anew_by_the_next_run() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write("in.txt", "one\ntwo\n");
    let command = "in.txt -o out.csv --model m --tpm";
    for _ in 0..2 {
        let done = dir.run_at(mock.url(), command).arg("500").exits(3);
        done.says(&["2 exceeds_limit", "tpm"]);
        assert_eq!(dir.json_lines("out.csv.errors.jsonl").len(), 2);
    }
    assert_eq!(mock.count("requests"), 0);
    dir.run_at(mock.url(), command).arg("50000").exits(0);
    assert!(!dir.exists("out.csv.errors.jsonl"));
    assert_eq!(mock.count("answered"), 2);
}

#[test]
fn an_address_that_knows_no_path_ends_the_run_before_it_fails_every_row() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 500);
    let wrong = format!("{}/nowhere", mock.url());
    let command = "in.jsonl -o out.jsonl --concurrency 4";
    let done = dir.run_at(&wrong, command).exits(1);
    done.says(&["404", "check --base-url"]);
    assert!(mock.count("requests") < 50);
    dir.run_at(mock.url(), command)
        .args("--retry-failed")
        .exits(0);
    assert_eq!(dir.json_lines("out.jsonl").len(), 500);
}

#[test]
fn the_screen_says_why_requests_failed_and_when_limits_are_told_too_high() {
    let mock = Mock::start("--rpm 600 --burst 100ms --retry-after ms");
    let dir = TestDir::new();
    dir.write("in.jsonl", "{\"a\":1}\n{\"a\":1}\n{\"b\":1}\n");
    let command = "in.jsonl -o out.csv --model m --prompt {{a}} --rpm 6000";
    let done = dir.run_at(mock.url(), command).exits(3);
    done.says(&["1 invalid_row, first `3`: line 3"]);
    dir.write_batch("batch.jsonl", 30);
    let done = dir
        .run_at(mock.url(), "batch.jsonl -o b.jsonl --rpm 60000")
        .exits(0);
    done.says(&["attempts were throttled", "told too high", "Limit 600"]);
}

#[test]
fn an_output_without_its_journal_is_the_only_copy_of_its_answers_and_left_alone() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write("in.txt", "one\ntwo\n");
    for (flags, journal) in [
        ("", "out.csv.journal.jsonl"),
        ("--journal kept.jsonl", "kept.jsonl"),
    ] {
        let command = format!("in.txt -o out.csv --model m {flags}");
        dir.run_at(mock.url(), &command).exits(0);
        let answers = dir.read("out.csv");
        std::fs::remove_file(dir.path(journal)).unwrap();
        let done = dir.run_at(mock.url(), &command).exits(2);
        done.says(&["out.csv", "move it away"]);
        assert_eq!(dir.read("out.csv"), answers);
        std::fs::remove_file(dir.path("out.csv")).unwrap();
    }
    assert_eq!(mock.count("answered"), 4);
}
