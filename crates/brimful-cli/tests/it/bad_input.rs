//! Input that is wrong: named with its line, never in the way of the rest.

use serde_json::Value;

use crate::mock_process::Mock;
use crate::workdir::{TestDir, batch_line};

/// Good rows around everything that can be wrong with a line of Batch JSONL.
fn damaged_batch() -> Vec<u8> {
    let mut lines = Vec::new();
    for (n, line) in [
        batch_line("first").as_bytes(),
        b"{\"custom_id\": \"cut off\n",
        b"not json\n",
        b"{\"custom_id\":\"bad utf-8 \xFF\"}\n",
        batch_line("first").as_bytes(),
        b"{\"custom_id\":\"get\",\"method\":\"GET\",\"url\":\"/v1/x\",\"body\":{}}\n",
        b"{\"custom_id\":\"no body\",\"method\":\"POST\",\"url\":\"/v1/x\"}\n",
        b"{\"custom_id\":7,\"method\":\"POST\",\"url\":\"/v1/x\",\"body\":{}}\n",
        b"{\"method\":\"POST\",\"url\":\"/v1/x\",\"body\":{}}\n",
        b"{\"custom_id\":\"s\",\"method\":\"POST\",\"url\":\"/v1/x\",\"body\":[true]}\n",
        b"[]\n",
        batch_line("last").as_bytes(),
    ]
    .into_iter()
    .enumerate()
    {
        if n == 2 {
            // A blank line is no row but counts as a line.
            lines.push(b'\n');
        }
        lines.extend_from_slice(line);
    }
    lines
}

const BAD_LINES: [u64; 10] = [2, 4, 5, 6, 7, 8, 9, 10, 11, 12];

#[test]
fn bad_lines_are_named_and_the_others_go_on() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write("in.jsonl", damaged_batch());
    let done = dir.run_at(mock.url(), "in.jsonl -o out.jsonl").exits(3);
    done.says(&["2 answered", "10 failed", "out.jsonl.errors.jsonl"]);
    let dead = dir.json_lines("out.jsonl.errors.jsonl");
    let lines: Vec<u64> = dead.iter().map(line_of).collect();
    assert_eq!(lines, BAD_LINES);
    for dead in &dead {
        assert_eq!(dead["error"]["code"], "invalid_row");
        assert_eq!(dead["response"], Value::Null);
    }
    assert_eq!(mock.count("requests"), 2);
    let summary = dir.summary("out.jsonl");
    assert_eq!(summary["requests"]["bad_rows"], 10);
    assert_eq!(summary["requests"]["dead"], 10);
    assert_eq!(summary["complete"], true);
    assert_eq!(summary["errors"], "out.jsonl.errors.jsonl");
}

fn line_of(dead: &Value) -> u64 {
    let message = dead["error"]["message"].as_str().unwrap();
    let number = message.strip_prefix("line ").unwrap().split(':').next();
    number.unwrap().parse().unwrap()
}

#[test]
fn strict_lists_every_bad_line_and_sends_nothing() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write("in.jsonl", damaged_batch());
    let done = dir
        .run_at(mock.url(), "in.jsonl -o out.jsonl --strict")
        .exits(2);
    let listed: Vec<u64> = done
        .stderr
        .lines()
        .filter_map(|line| line.strip_prefix("in.jsonl:")?.split(':').next())
        .map(|number| number.parse().unwrap())
        .collect();
    assert_eq!(listed, BAD_LINES, "{done}");
    done.says(&["10 of 12 rows are bad; nothing was sent"]);
    assert_eq!(mock.count("requests"), 0);
    assert_eq!(dir.names(), ["in.jsonl"]);
}

#[test]
fn strict_lets_good_input_pass() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 5);
    dir.run_at(mock.url(), "in.jsonl -o out.jsonl --strict")
        .exits(0);
    assert_eq!(mock.count("answered"), 5);
}

#[test]
fn strict_needs_an_input_that_can_be_read_twice() {
    let dir = TestDir::new();
    dir.run_at("http://127.0.0.1:9/v1", "- -o out.jsonl --strict")
        .stdin(batch_line("a"))
        .exits(2)
        .says(&["--strict", "standard input"]);
}

#[test]
fn dead_letters_are_skipped_until_asked_for() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write("in.jsonl", damaged_batch());
    let command = "in.jsonl -o out.jsonl";
    dir.run_at(mock.url(), command).exits(3);
    dir.run_at(mock.url(), command).exits(3).says(&[
        "0 answered",
        "2 answered before",
        "10 failed",
    ]);
    assert_eq!(mock.count("requests"), 2);
    assert_eq!(dir.json_lines("out.jsonl.errors.jsonl").len(), 10);
}

#[test]
fn a_corrected_input_leaves_no_dead_letters_behind() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write("in.jsonl", [&batch_line("a"), "{broken\n"].concat());
    let command = "in.jsonl -o out.jsonl";
    dir.run_at(mock.url(), command).exits(3);
    dir.write("in.jsonl", [batch_line("a"), batch_line("b")].concat());
    dir.run_at(mock.url(), command).exits(0);
    assert_eq!(mock.count("requests"), 2);
    assert_eq!(dir.summary("out.jsonl")["requests"]["dead"], 0);
    assert_eq!(dir.json_lines("out.jsonl").len(), 2);
}

#[test]
fn retry_failed_sends_dead_letters_again() {
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 4);
    let failing = Mock::start("--error-share 1");
    dir.run_at(failing.url(), "in.jsonl -o out.jsonl --max-attempts 2")
        .exits(3);
    assert_eq!(dir.json_lines("out.jsonl.errors.jsonl").len(), 4);
    let mock = Mock::start("");
    let command = "in.jsonl -o out.jsonl";
    dir.run_at(mock.url(), command).exits(3);
    assert_eq!(mock.count("requests"), 0);
    dir.run_at(mock.url(), command)
        .args("--retry-failed")
        .exits(0);
    assert_eq!(mock.count("answered"), 4);
    assert_eq!(dir.json_lines("out.jsonl").len(), 4);
    assert_eq!(dir.summary("out.jsonl")["requests"]["dead"], 0);
}

#[test]
fn retry_failed_is_refused_for_a_part_of_the_input() {
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 4);
    let failing = Mock::start("--error-share 1");
    dir.run_at(failing.url(), "in.jsonl -o out.jsonl --max-attempts 1")
        .exits(3);
    let before = dir.read("out.jsonl.errors.jsonl");
    let mock = Mock::start("");
    dir.write("brimful.toml", "[run]\nretry-failed = true\n");
    for flags in ["--retry-failed", "--config brimful.toml"] {
        dir.run_at(mock.url(), "in.jsonl -o out.jsonl --first 1")
            .args(flags)
            .exits(2)
            .says(&["--retry-failed", "--first"]);
    }
    assert_eq!(mock.count("requests"), 0);
    assert_eq!(dir.read("out.jsonl.errors.jsonl"), before);
}

#[test]
fn fresh_starts_over_and_keeps_the_old_answers() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 3);
    let command = "in.jsonl -o out.jsonl";
    dir.run_at(mock.url(), command).exits(0);
    let before = dir.read("out.jsonl");
    dir.run_at(mock.url(), command).args("--fresh").exits(0);
    assert_eq!(mock.count("answered"), 6);
    assert_eq!(dir.read("out.jsonl.old"), before);
    assert_eq!(dir.json_lines("out.jsonl").len(), 3);
}

#[test]
fn bad_rows_of_a_csv_keep_their_cells_and_their_place() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    let mut csv = b"id,text\na,one\nb\na,again\nc,\xFF\nd,\"two\nlines\"\ne,x,y\n,none\n".to_vec();
    csv.extend_from_slice(b"f,\"open");
    dir.write("in.csv", csv);
    dir.run_at(
        mock.url(),
        "in.csv -o out.csv --model m --id-column id --prompt {{text}}",
    )
    .exits(3);
    let rows = dir.csv("out.csv");
    assert_eq!(rows[0], ["id", "text", "response", "usage", "error"]);
    let told: Vec<(&str, &str)> = rows[1..]
        .iter()
        .map(|row| (row[0].as_str(), row[4].as_str()))
        .collect();
    let expected = [
        ("a", ""),
        ("b", "line 3: the row has 1 fields, the header 2"),
        ("a", "line 4: `id` `a` stands in an earlier row too"),
        ("", "line 5: no valid UTF-8"),
        ("d", ""),
        ("e", "line 8: the row has 3 fields, the header 2"),
        ("", "line 9: the id column `id` is empty"),
        (
            "",
            "line 10: a quoted cell that begins on this line does not end",
        ),
    ];
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for ((id, error), (expected_id, part)) in told.iter().zip(expected) {
        assert_eq!(*id, expected_id, "{error}");
        assert!(error.contains(part), "no `{part}` in `{error}`");
        assert_eq!(error.is_empty(), part.is_empty(), "{error}");
    }
    assert_eq!(mock.count("answered"), 2);
}

#[test]
fn a_row_of_json_without_the_column_is_bad_alone() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write(
        "in.jsonl",
        "{\"text\":\"a\"}\n{\"txet\":\"b\"}\n{\"text\":\"c\"}\n",
    );
    dir.run_at(
        mock.url(),
        "in.jsonl -o out.jsonl --model m --prompt {{text}}",
    )
    .exits(3);
    let rows = dir.json_lines("out.jsonl");
    let error = rows[1]["error"].as_str().unwrap();
    assert!(
        error.contains("line 2") && error.contains("text"),
        "{error}"
    );
    assert_eq!(rows[1]["txet"], "b");
    assert_eq!(rows[1]["response"], Value::Null);
    assert_eq!(mock.count("answered"), 2);
}

#[test]
fn an_unknown_variable_of_a_table_is_refused_with_a_suggestion() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write("in.csv", "word,text\na,b\n");
    for arguments in [
        "--prompt {{wrod}}",
        "--prompt {{text}} --system {{wrod}}",
        "--prompt {{text}} --id-column wrod",
        "--prompt {{text}} --estimate-column wrod",
    ] {
        dir.run_at(mock.url(), "in.csv -o out.csv --model m")
            .args(arguments)
            .exits(2)
            .says(&["wrod", "did you mean `word`?"]);
    }
    assert_eq!(dir.names(), ["in.csv"]);
    assert_eq!(mock.count("requests"), 0);
}

#[test]
fn a_request_larger_than_a_limit_fails_at_once_with_the_reason() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    let large = "word ".repeat(2000);
    dir.write("in.txt", format!("small\n{large}\nsmall too\n"));
    let command = "in.txt -o out.csv --model m --tpm 1500 --default-output-tokens 10";
    dir.run_at(mock.url(), command).exits(3);
    let rows = dir.csv("out.csv");
    assert!(rows[2][3].starts_with("exceeds_limit: "), "{}", rows[2][3]);
    assert!(rows[2][3].contains("tpm"), "{}", rows[2][3]);
    assert_eq!(mock.count("requests"), 2);
    dir.run_at(mock.url(), command)
        .args("--strict --fresh")
        .exits(2)
        .says(&["in.txt:2: ", "tpm"]);
}

#[test]
fn a_line_beyond_the_bound_is_bad_alone() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write("in.txt", format!("one\n{}\nthree\n", "x".repeat(5000)));
    dir.run_at(
        mock.url(),
        "in.txt -o out.csv --model m --line-max-bytes 1KB",
    )
    .exits(3);
    let rows = dir.csv("out.csv");
    assert_eq!(rows.len(), 4);
    assert!(rows[2][3].contains("5000 bytes long"), "{}", rows[2][3]);
    assert_eq!(mock.count("answered"), 2);
}

#[test]
fn an_empty_input_is_done_at_once() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    for name in ["in.jsonl", "in.csv", "in.txt"] {
        dir.write(name, "");
        dir.run_at(mock.url(), name)
            .args("-o out.csv --fresh --model m --prompt x")
            .exits(0);
    }
    assert_eq!(mock.count("requests"), 0);
}

#[test]
fn what_is_no_text_is_refused_with_a_remedy() {
    let dir = TestDir::new();
    for (contents, word) in [
        (&b"\x1F\x8B\x08\x00rest"[..], "gzip -dc"),
        (b"PAR1rest", "Parquet"),
        (b"\xFF\xFEa\x00", "iconv"),
        (b"[{\"a\":1}]", "jq -c"),
    ] {
        dir.write("in.jsonl", contents);
        dir.run_at("http://127.0.0.1:9/v1", "in.jsonl -o out.jsonl --model m")
            .exits(2)
            .says(&[word]);
    }
}
