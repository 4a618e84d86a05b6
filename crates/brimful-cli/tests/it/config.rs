//! The configuration file says what the flags say, and flags win.

use serde_json::{Value, json};

use crate::scripted::{Reply, Scripted, answer};
use crate::workdir::{Outcome, TestDir, repository};

fn server() -> Scripted {
    Scripted::start(|_| Reply::Send(answer("fine")))
}

#[test]
fn everything_can_stand_in_the_file() {
    let server = server();
    let dir = TestDir::new();
    dir.write("in.csv", "text\nhello\n");
    let url = server.url();
    dir.write(
        "brimful.toml",
        format!(
            r#"
            [run]
            input = "in.csv"
            output = "out.csv"
            base-url = "{url}"
            model = "m"
            prompt = "Say {{{{ text }}}}"
            rpm = 60_000
            tpm = "1M"
            concurrency = 4
            timeout = "20s"
            connect-timeout = 5
            durability = "process"
            max-cost = 1.5
            price = "0.15,0.60"
            output-prefix = "my_"
            strict = true
            fresh = false
            [run.param]
            temperature = 0.5
            top_k = 0x10
            stop = ["a", "b"]
            [run.header]
            X-Team = "blue"
            X-Secret = "env:MY_SECRET"
            "#
        ),
    );
    dir.brimful("run --config brimful.toml")
        .env("MY_SECRET", "hidden-77")
        .exits(0);
    let seen = &server.seen()[0];
    let body: Value = serde_json::from_str(&seen.body).unwrap();
    let message = json!([{"role": "user", "content": "Say hello"}]);
    let expected = json!({"model": "m", "messages": message, "temperature": 0.5, "top_k": 16,
        "stop": ["a", "b"]});
    assert_eq!(body, expected);
    assert!(seen.head.contains("x-team: blue\r\n"));
    assert!(seen.head.contains("x-secret: hidden-77\r\n"));
    assert_eq!(
        dir.csv("out.csv")[0],
        ["text", "my_response", "my_usage", "my_error"]
    );
    let names: Vec<Value> = dir.summary("out.csv")["limits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|limit| limit["name"].clone())
        .collect();
    assert_eq!(names, ["rpm", "tpm", "concurrency"]);
}

#[test]
fn flags_win_over_the_file() {
    let server = server();
    let dir = TestDir::new();
    dir.write("in.csv", "text\nhello\n");
    dir.write("other.csv", "text\nbye\nbye bye\n");
    dir.write("prompt.txt", "by file {{ text }}");
    dir.write(
        "c.toml",
        format!(
            "[run]\ninput = 'in.csv'\noutput = 'out.csv'\nbase-url = '{}'\nmodel = 'file'\n\
             prompt = 'no {{{{ column }}}}'\nheader = ['X-A: 1', 'X-B: 2']\nfirst = 1\n",
            server.url()
        ),
    );
    dir.brimful("run --config c.toml -o flag.csv other.csv -m flag --prompt-file prompt.txt")
        .args("--first 2 --header X-C:3 --concurrency 1")
        .exits(0);
    assert!(!dir.exists("out.csv"));
    assert_eq!(dir.csv("flag.csv").len(), 3);
    let seen = server.seen();
    let body: Value = serde_json::from_str(&seen[0].body).unwrap();
    assert_eq!(body["model"], "flag");
    assert_eq!(body["messages"][0]["content"], "by file bye");
    assert!(seen[0].head.contains("x-c: 3") && !seen[0].head.contains("x-a: 1"));
    // A repeated prompt has no input, whatever the file names.
    dir.brimful("run --config c.toml --repeat 2 --prompt x -o repeated.csv")
        .exits(0);
    assert_eq!(dir.csv("repeated.csv").len(), 3);
}

fn refused(contents: &str) -> Outcome {
    let dir = TestDir::new();
    dir.write("in.txt", "x\n");
    dir.write("c.toml", contents);
    let done = dir
        .run_at(
            "http://127.0.0.1:9/v1",
            "in.txt -o out.csv -m m --config c.toml",
        )
        .exits(2);
    assert_eq!(dir.names(), ["c.toml", "in.txt"], "{contents}");
    done
}

#[test]
fn mistakes_are_named_with_their_line_and_a_remedy() {
    for (line, words) in [
        (
            "rmp = 500",
            &["c.toml:3: ", "`rmp`", "did you mean `rpm`?"][..],
        ),
        (
            "max_attempts = 3",
            &["c.toml:3: ", "did you mean `max-attempts`?"],
        ),
        ("out-put = 'x'", &["c.toml:3: ", "did you mean `output`?"]),
        ("config = 'x'", &["c.toml:3: ", "unknown key `config`"]),
        ("quite-unknown = 1", &["c.toml:3: ", "known are"]),
        (
            "rpm = 'many'",
            &["c.toml:3: ", "`many` is not an amount", "--rpm"],
        ),
        ("rpm = 0", &["c.toml:3: ", "at least 1"]),
        ("rpm = 1.5", &["c.toml:3: ", "--rpm"]),
        ("rpm = [1]", &["c.toml:3: ", "`rpm` is a single value"]),
        (
            "rpm = 2026-01-01",
            &["c.toml:3: ", "`rpm` is a single value"],
        ),
        (
            "strict = 'yes'",
            &["c.toml:3: ", "`strict` is true or false"],
        ),
        (
            "limit-shape = 'round'",
            &["c.toml:3: ", "paced, token-bucket"],
        ),
        ("timeout = '5 parsecs'", &["c.toml:3: ", "not a duration"]),
        (
            "param = { t = inf }",
            &["c.toml:3: ", "`t` is no number of JSON"],
        ),
        ("header = { X = [1] }", &["c.toml:3: ", "single value"]),
        ("rpm = 1\nrpm = 2", &["c.toml:4: ", "duplicate"]),
        ("rpm = ", &["c.toml:3: "]),
    ] {
        refused(&format!("[run]\nprogress = 'none'\n{line}\n")).says(words);
    }
}

#[test]
fn mistakes_outside_of_the_table_are_named() {
    refused("\n[runn]\nrpm = 5\n").says(&["c.toml:2: ", "unknown table `runn`", "`run`"]);
    refused("rpm = 5\n").says(&["c.toml:1: ", "[run]"]);
    refused("run = 5\n").says(&["c.toml:1: ", "[run]"]);
    refused("[[run]]\nrpm = 5\n").says(&["c.toml:1: ", "[run]"]);
    refused("[run\n").says(&["c.toml:1: "]);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let dir = TestDir::new();
    dir.brimful("run --config nofile.toml")
        .exits(2)
        .says(&["nofile.toml"]);
    dir.write("c.toml", "[run]\nmodel = 'm'\n");
    dir.brimful("run --config c.toml").exits(2).says(&["INPUT"]);
    dir.write("c.toml", "[run]\ninput = 'in.txt'\n");
    dir.brimful("run --config c.toml").exits(2).says(&["-o"]);
}

#[test]
fn the_example_works_without_a_key_or_a_network() {
    let dir = TestDir::new();
    std::fs::create_dir(dir.path("examples")).unwrap();
    for name in ["examples/brimful.toml", "examples/emoji.csv"] {
        std::fs::copy(repository(name), dir.path(name)).unwrap();
    }
    let done = dir
        .brimful("run --config examples/brimful.toml --first 5 -o out.csv")
        .exits(0);
    assert_eq!(dir.csv("out.csv").len(), 6, "{done}");
}

#[test]
fn the_example_names_every_flag() {
    let dir = TestDir::new();
    let help = dir.brimful("run --help").exits(0).stdout;
    let example = std::fs::read_to_string(repository("examples/brimful.toml")).unwrap();
    let keys: Vec<&str> = example
        .lines()
        .map(|line| line.trim_start_matches("# "))
        .filter_map(|line| line.split([' ', '=', '.']).next())
        .collect();
    let tables = example.contains("[run.param]") && example.contains("[run.header]");
    let missing: Vec<String> = crate::documents::long_flags(&help)
        .into_iter()
        .filter(|flag| !["help", "version", "config"].contains(&flag.as_str()))
        .filter(|flag| !(tables && ["param", "header"].contains(&flag.as_str())))
        .filter(|flag| !keys.contains(&flag.as_str()))
        .collect();
    assert_eq!(missing, [""; 0]);
}
