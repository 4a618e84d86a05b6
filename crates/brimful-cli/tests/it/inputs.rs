//! What may come in: every format, from files and from standard input.

use std::io::Write;

use serde_json::Value;

use crate::mock_process::Mock;
use crate::scripted::{Reply, Scripted, answer};
use crate::workdir::{TestDir, batch_line, json_lines, until};

/// The prompts that a server that answers with each request's own prompt saw, in any order.
fn echo() -> Scripted {
    Scripted::start(|seen| {
        let body: Value = serde_json::from_str(&seen.body).unwrap();
        let text = body["messages"].as_array().and_then(|all| all.last());
        let text = text.map_or("", |message| message["content"].as_str().unwrap());
        Reply::Send(answer(&format!("<{text}>")))
    })
}

/// What each row was answered, by the column `response`.
fn responses(dir: &TestDir, output: &str) -> Vec<String> {
    let rows = dir.csv(output);
    let column = rows[0].iter().position(|name| name == "response").unwrap();
    rows[1..].iter().map(|row| row[column].clone()).collect()
}

#[test]
fn a_batch_file_is_answered_in_its_own_format() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 50);
    dir.run_at(mock.url(), "in.jsonl -o out.jsonl").exits(0);
    let mut answers = dir.json_lines("out.jsonl");
    answers.sort_by_key(|line| {
        line["custom_id"].as_str().unwrap()[1..]
            .parse::<u32>()
            .unwrap()
    });
    for (n, line) in answers.iter().enumerate() {
        assert_eq!(line["custom_id"], format!("r{}", n + 1));
        assert_eq!(line["response"]["status_code"], 200);
        let id = line["response"]["request_id"].as_str().unwrap();
        assert!(id.starts_with("req_"), "{id}");
        assert_eq!(line["response"]["body"]["object"], "chat.completion");
        assert_eq!(line["error"], Value::Null);
        let id = line["id"].as_str().unwrap().strip_prefix("batch_req_");
        assert_eq!(id.unwrap().len(), 32, "128 bits in hexadecimal");
    }
    assert_eq!(answers.len(), 50);
    assert_eq!(mock.count("duplicate_answers"), 0);
}

#[test]
fn the_body_of_a_batch_line_is_sent_byte_for_byte() {
    let server = echo();
    let dir = TestDir::new();
    let body = r#"{"n" : 1.0, "big":12345678901234567890,"messages":[{"role":"user","content":"\u00e9"}]}"#;
    dir.write(
        "in.jsonl",
        format!("{{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/chat/completions?x=1\",\"body\":{body}}}"),
    );
    dir.run_at(&server.url(), "in.jsonl -o out.jsonl").exits(0);
    let seen = server.seen();
    assert_eq!(seen[0].body, body);
    assert_eq!(seen[0].line, "POST /v1/chat/completions?x=1 HTTP/1.1");
    assert!(seen[0].head.contains("content-type: application/json\r\n"));
}

#[test]
fn rows_come_out_in_the_order_of_the_input_with_their_own_columns() {
    // The first rows are answered last.
    let mock = Mock::start("--latency 20ms --latency-sigma 1");
    let dir = TestDir::new();
    let mut csv = "n,text,note\n".to_owned();
    for n in 1..=60 {
        csv.push_str(&format!("{n},\"say \"\"{n}\"\", twice\",\"two\nlines\"\n"));
    }
    dir.write("in.csv", &csv);
    dir.run_at(mock.url(), "in.csv -o out.csv --model m --prompt {{text}}")
        .exits(0);
    let rows = dir.csv("out.csv");
    assert_eq!(rows[0], ["n", "text", "note", "response", "usage", "error"]);
    for (n, row) in rows[1..].iter().enumerate() {
        assert_eq!(row[0], (n + 1).to_string());
        assert_eq!(row[1], format!("say \"{}\", twice", n + 1));
        assert_eq!(row[2], "two\nlines");
        let usage: Value = serde_json::from_str(&row[4]).unwrap();
        assert_eq!(usage["completion_tokens"], 16);
    }
    assert_eq!(rows.len(), 61);
}

#[test]
fn every_format_is_known_by_its_content() {
    let server = echo();
    for (name, contents) in [
        ("a.csv", "text,n\nx y,1\nz,2\n"),
        ("a.csv", "\u{feff}text;n\r\nx y;1\r\nz;2\r\n"),
        ("a.tsv", "text\tn\nx y\t1\nz\t2\n"),
        ("a.data", "text\tn\nx y\t1\nz\t2\n"),
        ("a.data", "text,n\nx y,1\nz,2\n"),
        ("a.jsonl", "{\"text\":\"x y\",\"n\":1}\n\n{\"text\":\"z\"}"),
        ("a.data", "{\"text\":\"x y\"}\r\n{\"text\":\"z\"}\r\n"),
        ("a.txt", "x y\nz\n"),
        ("a.data", "x y\n\nz"),
    ] {
        let dir = TestDir::new();
        dir.write(name, contents);
        dir.run_at(&server.url(), name)
            .args("-o out.csv --model m --prompt {{text}}")
            .exits(0);
        assert_eq!(responses(&dir, "out.csv"), ["<x y>", "<z>"], "{contents:?}");
    }
}

#[test]
fn the_format_can_be_said() {
    let server = echo();
    let dir = TestDir::new();
    dir.write("in.jsonl", "text,n\nx,1\n");
    dir.run_at(
        &server.url(),
        "in.jsonl --input-format text -o out.csv --model m",
    )
    .exits(0);
    assert_eq!(responses(&dir, "out.csv"), ["<text,n>", "<x,1>"]);
    dir.run_at(
        &server.url(),
        "in.jsonl --input-format csv -o out2.csv --model m --prompt {{n}}",
    )
    .exits(0);
    assert_eq!(responses(&dir, "out2.csv"), ["<1>"]);
}

#[test]
fn text_needs_no_prompt() {
    let server = echo();
    let dir = TestDir::new();
    dir.write("in.txt", "{{ this is no template }}\n");
    dir.run_at(&server.url(), "in.txt -o out.csv --model m")
        .exits(0);
    assert_eq!(responses(&dir, "out.csv"), ["<{{ this is no template }}>"]);
}

#[test]
fn values_of_json_rows_keep_their_form() {
    let server = echo();
    let dir = TestDir::new();
    let row =
        r#"{"n":1.50,"big":12345678901234567890,"list":[1,"a"],"none":null,"yes":true,"é":"ü"}"#;
    dir.write("in.jsonl", format!("{row}\n"));
    dir.run_at(&server.url(), "in.jsonl -o out.jsonl --model m")
        .arg("--prompt")
        .arg("{{ n }} {{ list }} {{ none }} {{ yes }} {{ row['é'] }}")
        .exits(0);
    let line = dir.read("out.jsonl");
    assert!(line.starts_with(row.strip_suffix('}').unwrap()), "{line}");
    let value = &dir.json_lines("out.jsonl")[0];
    assert_eq!(value["usage"]["total_tokens"], 8);
    assert_eq!(value["error"], Value::Null);
}

#[test]
fn standard_input_is_read_like_a_file() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.run_at(mock.url(), "- -o out.jsonl")
        .stdin([batch_line("a"), batch_line("b")].concat())
        .exits(0);
    assert_eq!(dir.json_lines("out.jsonl").len(), 2);
    dir.run_at(mock.url(), "- -o out.csv --model m --prompt {{b}}")
        .stdin("a,b\n1,x\n2,y\n")
        .exits(0);
    assert_eq!(dir.csv("out.csv")[2][..2], ["2", "y"]);
    // The copy of the rows is gone with its purpose.
    assert!(!dir.exists("out.csv.input"), "{:?}", dir.names());
}

#[test]
fn standard_input_is_answered_before_it_ends() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    for (first, second, arguments) in [
        ("one\n", "two\n", "--input-format text --model m"),
        (
            "t,u\nx,1\n",
            "y,2\n",
            "--input-format csv --model m --prompt {{t}}",
        ),
        (&batch_line("a"), &batch_line("b"), ""),
    ] {
        let mut running = dir
            .run_at(mock.url(), "- -o - --concurrency 4")
            .args(arguments)
            .start();
        let mut stdin = running.stdin().unwrap();
        for (lines, text) in [(1, first), (2, second)] {
            stdin.write_all(text.as_bytes()).unwrap();
            until("an answer while standard input is open", || {
                let out = running.stdout_so_far();
                (out.lines().count() == lines && out.ends_with('\n')).then_some(())
            });
        }
        drop(stdin);
        let done = running.wait();
        assert_eq!(done.code, Some(0), "{done}");
        assert_eq!(json_lines(&done.stdout).len(), 2);
    }
}

#[test]
fn standard_input_resumes_from_its_journal() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    let command = "- -o out.jsonl";
    dir.run_at(mock.url(), command)
        .stdin(batch_line("a"))
        .exits(0);
    dir.run_at(mock.url(), command)
        .stdin([batch_line("a"), batch_line("b")].concat())
        .exits(0)
        .says(&["1 answered in", "1 answered before"]);
    assert_eq!(mock.count("answered"), 2);
}

#[test]
fn a_repeated_prompt_counts_from_one() {
    let server = echo();
    let dir = TestDir::new();
    dir.run_at(&server.url(), "--repeat 12 -o out.csv --model m --ordered")
        .args("--prompt x")
        .exits(2)
        .says(&["--ordered"]);
    dir.run_at(&server.url(), "--repeat 12 -o out.csv --model m")
        .arg("--prompt")
        .arg("nonce {{ index }}")
        .exits(0);
    let expected: Vec<String> = (1..=12).map(|n| format!("<nonce {n}>")).collect();
    assert_eq!(responses(&dir, "out.csv"), expected);
    assert_eq!(dir.csv("out.csv")[0][0], "index");
}

#[test]
fn a_repeated_prompt_has_no_input() {
    let dir = TestDir::new();
    dir.write("in.txt", "x\n");
    let at = "http://127.0.0.1:9/v1";
    for arguments in [
        "in.txt --repeat 3 -o out.csv --model m --prompt x",
        "--repeat 0 -o out.csv --model m --prompt x",
        "--repeat 3 -o out.csv --model m",
        "--repeat 3 -o out.csv --model m --prompt {{text}}",
    ] {
        dir.run_at(at, arguments).exits(2);
    }
}

#[test]
fn only_the_first_rows_can_be_sent_and_the_rest_later() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 10);
    let command = "in.jsonl -o out.jsonl";
    dir.run_at(mock.url(), command).args("--first 3").exits(0);
    assert_eq!(mock.count("answered"), 3);
    dir.run_at(mock.url(), command).args("--first 2").exits(0);
    assert_eq!(dir.json_lines("out.jsonl").len(), 3, "nothing is stale");
    dir.run_at(mock.url(), command).exits(0);
    assert_eq!(mock.count("answered"), 10);
    assert_eq!(mock.count("duplicate_answers"), 0);
}

#[test]
fn the_example_data_is_answered() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    let emoji = crate::workdir::repository("examples/emoji.csv");
    dir.run_at(mock.url(), "-o out.csv --model m")
        .arg("--prompt")
        .arg("Caption for {{ emoji }} ({{ name }})")
        .arg(&emoji)
        .exits(0);
    assert_eq!(dir.csv("out.csv").len(), 1 + 1966);
    let batch = crate::workdir::repository("examples/batch.jsonl");
    dir.run_at(mock.url(), "-o out.jsonl").arg(&batch).exits(0);
    assert_eq!(dir.json_lines("out.jsonl").len(), 20);
}
