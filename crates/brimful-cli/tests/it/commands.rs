//! `brimful mock`, completions, man pages, help and exit codes.

use std::io::Write;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::mock_process::Mock;
use crate::workdir::TestDir;

#[test]
fn completions_are_scripts_for_every_shell() {
    let dir = TestDir::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = dir.brimful("completions").arg(shell).exits(0).stdout;
        for word in ["brimful", "retry-failed", "latency-sigma"] {
            assert!(script.contains(word), "no {word} for {shell}");
        }
        if shell == "bash" {
            let mut bash = Command::new("bash")
                .arg("-n")
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            bash.stdin
                .take()
                .unwrap()
                .write_all(script.as_bytes())
                .unwrap();
            assert!(bash.wait().unwrap().success());
        }
    }
    dir.brimful("completions tcsh").exits(2);
}

#[test]
fn the_example_in_the_help_is_not_broken_by_a_narrow_terminal() {
    let dir = TestDir::new();
    let help = dir.brimful("run --help").env("COLUMNS", "80").exits(0);
    let (_, examples) = help.stdout.split_once("Examples:\n").unwrap();
    let (first, _) = examples.split_once("An OpenAI Batch").unwrap();
    let command: Vec<&str> = first.lines().skip(1).map(str::trim_end).collect();
    let (last, lines) = command[..command.len() - 1].split_last().unwrap();
    assert!(lines.iter().all(|line| line.ends_with('\\')), "{first}");
    assert!(!last.ends_with('\\'), "{first}");
}

#[test]
fn every_command_has_a_man_page() {
    let dir = TestDir::new();
    for (command, title, word) in [
        ("man", ".TH brimful 1  \"brimful ", "brimful\\-run(1)"),
        (
            "man run",
            ".TH brimful-run 1  \"brimful ",
            "\\-\\-retry\\-failed",
        ),
        (
            "man mock",
            ".TH brimful-mock 1  \"brimful ",
            "\\-\\-latency\\-sigma",
        ),
        (
            "man completions",
            ".TH brimful-completions 1  \"brimful ",
            "zsh",
        ),
        (
            "man limits",
            ".TH brimful-limits 1  \"brimful ",
            "\\-\\-markdown",
        ),
        ("man probe", ".TH brimful-probe 1  \"brimful ", "\\-\\-once"),
        ("man man", ".TH brimful-man 1  \"brimful ", "page"),
    ] {
        let page = dir.brimful(command).exits(0).stdout;
        for part in [title, ".SH NAME", ".SH DESCRIPTION", word] {
            assert!(
                page.contains(part),
                "no `{part}` in {command}:\n{page:.600}"
            );
        }
    }
    dir.brimful("man unknown").exits(2).says(&["`unknown`"]);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let dir = TestDir::new();
    for command in ["completions bash", "man run", "run --help"] {
        let done = dir.brimful(command).start_without_stdout().wait();
        assert_eq!(
            (done.code, done.stderr.as_str()),
            (Some(0), ""),
            "{command}"
        );
    }
}

#[test]
fn wrong_usage_is_exit_2_and_help_is_0() {
    let dir = TestDir::new();
    for (arguments, code) in [
        ("", 2),
        ("unknown", 2),
        ("run", 2),
        ("run in.txt", 2),
        ("run in.txt -o", 2),
        ("run in.txt -o out.csv --unknown", 2),
        ("mock --unknown", 2),
        ("help run", 0),
        ("run --help", 0),
        ("run -h", 0),
        ("mock --help", 0),
        ("--version", 0),
        ("run --version", 0),
    ] {
        dir.brimful(arguments).exits(code);
    }
    assert_eq!(dir.names(), [""; 0]);
}

#[test]
fn the_mock_answers_counts_and_forgets() {
    let mock = Mock::start("--output-tokens 8");
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
    let answer = mock.ask("POST", "/v1/chat/completions", body);
    assert!(answer.contains("\"completion_tokens\":8"), "{answer}");
    let streamed = format!("{},\"stream\":true}}", body.strip_suffix('}').unwrap());
    let events = mock.ask("POST", "/v1/chat/completions", &streamed);
    assert!(events.contains("data: [DONE]"), "{events}");
    assert!(mock.ask("GET", "/v1/models", "").contains("\"object\""));
    assert_eq!(mock.count("answered"), 2);
    mock.ask("POST", "/reset", "");
    assert_eq!(mock.count("answered"), 0);
}

#[test]
fn the_mock_is_deterministic_by_its_seed() {
    let statuses = |seed: u64| {
        let mock = Mock::start(&format!("--error-share 0.5 --seed {seed}"));
        let dir = TestDir::new();
        dir.write_batch("in.jsonl", 40);
        dir.run_at(
            mock.url(),
            "in.jsonl -o out.jsonl --max-attempts 1 --concurrency 1",
        )
        .exits(3);
        let dead = dir.json_lines("out.jsonl.errors.jsonl");
        dead.iter()
            .map(|line| line["custom_id"].to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(statuses(5), statuses(5));
    assert_ne!(statuses(5), statuses(6));
}

#[test]
fn a_mock_that_cannot_be_is_refused_by_the_flag_that_is_wrong() {
    let dir = TestDir::new();
    for (arguments, word) in [
        ("--error-share 1.5", "--error-share"),
        ("--error-share 0.6 --reset-share 0.6", "shares"),
        ("--latency-sigma 99", "--latency-sigma"),
        ("--output-tokens 0", "--output-tokens"),
        ("--output-sigma nan", "--output-sigma"),
        ("--rpm 0", "--rpm"),
        ("--auth-env NOT_SET_ANYWHERE", "NOT_SET_ANYWHERE"),
        ("--listen nowhere", "127.0.0.1:8080"),
        ("--tls-cert-out ca.pem", "--tls"),
    ] {
        dir.brimful("mock").args(arguments).exits(2).says(&[word]);
    }
    let mock = Mock::start("");
    dir.brimful("mock --listen")
        .arg(mock.address())
        .exits(1)
        .says(&["cannot listen", mock.address()]);
}

#[test]
fn the_mock_ends_quietly_when_asked_to() {
    for signal in [Signal::INT, Signal::TERM] {
        let running = Mock::start("").into_process();
        kill_process(Pid::from_raw(running.id()).unwrap(), signal).unwrap();
        let done = running.wait();
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done}");
    }
}

#[test]
fn the_simulator_inside_needs_neither_key_nor_network() {
    let dir = TestDir::new();
    dir.write("in.txt", "a\nb\nc\n");
    let done = dir
        .brimful("run in.txt -o out.csv --provider mock --model m --rpm 6000")
        // Nobody listens there: a proxy that is asked would fail the run.
        .env("HTTP_PROXY", "http://127.0.0.1:9")
        .env("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
        .exits(0);
    done.says(&["3 answered", "simulator"]);
    let summary = dir.summary("out.csv");
    assert_eq!(summary["mock"]["answered"], 3);
    assert_eq!(summary["mock"]["by_status"]["200"], 3);
    dir.brimful("run in.txt -o b.csv --provider mock --model m --base-url http://x/v1")
        .exits(2)
        .says(&["--base-url"]);
}
