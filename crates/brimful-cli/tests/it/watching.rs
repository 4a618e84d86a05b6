//! What a run tells while it goes on: trace, logs, progress.

use serde_json::Value;

use crate::mock_process::Mock;
use crate::workdir::{TestDir, json_lines, repository};

fn millis(line: &Value, field: &str) -> f64 {
    let value = line[field].as_f64();
    value.unwrap_or_else(|| panic!("no {field} in {line}"))
}

#[test]
fn the_trace_has_a_line_for_each_attempt() {
    let mock = Mock::start("--latency 20ms --error-share 0.3");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 20);
    dir.run_at(
        mock.url(),
        "in.jsonl -o out.jsonl --rps 200 --trace t.jsonl --max-attempts 20",
    )
    .exits(0);
    let trace = dir.json_lines("t.jsonl");
    assert_eq!(trace.len() as u64, mock.count("requests"));
    for line in &trace {
        assert_eq!(line["upstream"], mock.address());
        assert_eq!(line["fingerprint"].as_str().unwrap().len(), 32);
        let id = line["id"].as_str().unwrap();
        assert_eq!(id, format!("r{}", line["row"]));
        let [enqueued, started, first_byte, ended] =
            ["enqueued_ms", "started_ms", "first_byte_ms", "ended_ms"]
                .map(|field| millis(line, field));
        assert!(
            enqueued <= started && started < first_byte && first_byte <= ended,
            "{line}"
        );
        let latency = millis(line, "latency_ms");
        assert!((latency - (ended - started)).abs() < 0.01, "{line}");
        assert!(
            millis(line, "wait_ms") <= started - enqueued + 0.01,
            "{line}"
        );
        match line["class"].as_str().unwrap() {
            "answered" => {
                assert_eq!(
                    (&line["status"], &line["output_tokens"]),
                    (&200.into(), &16.into())
                );
            }
            class => {
                assert_eq!((class, &line["status"]), ("transient", &500.into()));
                assert_eq!(line["code"], "server_error");
                assert!(line["message"].as_str().unwrap().len() > 5);
            }
        }
    }
    let waited: Vec<&Value> = trace.iter().map(|line| &line["waited_for"]).collect();
    for reason in ["rps", "backoff"] {
        assert!(
            waited.iter().any(|waited| **waited == reason),
            "{reason}: {waited:?}"
        );
    }
}

#[test]
fn every_field_of_trace_and_summary_is_documented() {
    let mock = Mock::start("--error-share 0.3 --rps 100 --burst 10ms");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 30);
    dir.write("extra.txt", "");
    dir.run_at(
        mock.url(),
        "in.jsonl -o out.jsonl --rps 1000 --trace t.jsonl --max-attempts 30",
    )
    .exits(0);
    let page = std::fs::read_to_string(repository("docs/run.md")).unwrap();
    let mut fields: Vec<String> = Vec::new();
    let mut note = |value: &Value| {
        let object = value.as_object().unwrap();
        fields.extend(object.keys().cloned());
    };
    for line in dir.json_lines("t.jsonl") {
        note(&line);
    }
    let summary = dir.summary("out.jsonl");
    note(&summary);
    for part in ["requests", "tokens", "wait"] {
        note(&summary[part]);
    }
    note(&summary["limits"][0]);
    fields.sort();
    fields.dedup();
    let missing: Vec<&String> = fields
        .iter()
        .filter(|field| !page.contains(&format!("`{field}`")))
        .collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn structured_logs_are_json_line_by_line() {
    let mock = Mock::start("--error-share 0.3");
    let poor = Mock::start("--quota-after 2");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 20);
    dir.write("bad.jsonl", "{\"custom_id\": \n");
    let at = mock.url();
    for (url, arguments, code) in [
        (at, "in.jsonl -o a.jsonl --max-attempts 9", 0),
        (
            at,
            "in.jsonl -o - --max-attempts 9 --progress json --progress-every 1ms",
            0,
        ),
        (at, "bad.jsonl --input-format batch -o b.jsonl", 3),
        (at, "bad.jsonl --input-format batch -o b2.jsonl --strict", 2),
        (at, "nofile.jsonl -o c.jsonl", 2),
        (at, "in.jsonl -o c.txt", 2),
        (at, "in.jsonl -o d.jsonl --rps 10 --deadline 150ms", 4),
        (poor.url(), "in.jsonl -o e.jsonl", 1),
        ("nonsense", "in.jsonl -o f.jsonl", 2),
    ] {
        let done = dir
            .run_at(url, arguments)
            .args("--log-format json")
            .exits(code);
        let lines = json_lines(&done.stderr);
        assert!(!lines.is_empty(), "{arguments}");
        assert!(lines.iter().all(Value::is_object), "{done}");
    }
    let done = dir
        .run_at(at, "in.jsonl -o g.jsonl --max-attempts 9 --log-format json")
        .exits(0);
    let lines = json_lines(&done.stderr);
    let attempts: Vec<&Value> = lines
        .iter()
        .filter(|line| line["attempt"].is_u64())
        .collect();
    let answered = attempts.iter().filter(|line| line["class"] == "answered");
    assert_eq!(answered.count(), 20);
    for line in attempts {
        for field in ["id", "upstream", "class", "wait_ms", "latency_ms"] {
            assert!(!line[field].is_null(), "no {field} in {line}");
        }
    }
    assert_eq!(lines.last().unwrap()["summary"]["requests"]["answered"], 20);
}

#[test]
fn progress_is_lines_of_json_where_there_is_no_terminal() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 40);
    for style in ["auto", "json"] {
        let done = dir
            .run_at(
                mock.url(),
                "in.jsonl -o out.jsonl --fresh --rps 40 --progress-every 200ms",
            )
            .args("--price 1,1 --progress")
            .arg(style)
            .exits(0);
        let lines: Vec<Value> = done
            .stderr
            .lines()
            .filter(|line| line.starts_with('{'))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(lines.len() >= 3, "{done}");
        let progress = &lines[1]["progress"];
        for field in [
            "elapsed_s",
            "done",
            "total",
            "answered",
            "failed",
            "throttled",
            "in_flight",
            "rate_per_s",
            "limits",
            "input_tokens",
            "output_tokens",
            "cost_usd",
        ] {
            assert!(!progress[field].is_null(), "no {field} in {progress}");
        }
        assert_eq!(progress["total"], 40);
        assert_eq!(progress["binding"], "rps");
        assert_eq!(progress["limits"][0]["name"], "rps");
    }
    let done = dir
        .run_at(
            mock.url(),
            "in.jsonl -o out.jsonl --fresh --rps 100 --progress none",
        )
        .args("--progress-every 10ms")
        .exits(0);
    assert!(!done.stderr.contains('{'), "{done}");
}

#[test]
fn nothing_is_coloured_where_there_is_no_terminal() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 2);
    for (arguments, code) in [("run --help", 0), ("run --nonsense", 2), ("mock --help", 0)] {
        let done = dir.brimful(arguments).env("NO_COLOR", "1").exits(code);
        assert!(!format!("{}{}", done.stdout, done.stderr).contains('\u{1b}'));
    }
    let done = dir
        .run_at(mock.url(), "in.jsonl -o out.jsonl --progress bar")
        .env("NO_COLOR", "1")
        .exits(0);
    assert!(!done.stderr.contains('\u{1b}'), "{:?}", done.stderr);
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_depends_on_a_standard_error_that_takes_no_more() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 3);
    for (output, flags) in [
        ("a.jsonl", ""),
        ("b.jsonl", "--log-format json"),
        ("c.jsonl", "--progress bar"),
        ("d.jsonl", "--progress json --progress-every 1ms"),
    ] {
        dir.run_at(mock.url(), "in.jsonl -o")
            .arg(output)
            .args(flags)
            .exits_unheard(0);
        assert_eq!(dir.json_lines(output).len(), 3);
    }
    dir.write("bad.jsonl", "nonsense\n");
    dir.run_at(
        mock.url(),
        "bad.jsonl -o e.jsonl --input-format batch --strict",
    )
    .exits_unheard(2);
}
