use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::fingerprint::Fingerprint;
use crate::request::Item;
use crate::source::{Input, OpenError, Source, SourceOptions};

const CHAT: &str = "/v1/chat/completions";

fn answer(text: &str) -> Vec<u8> {
    json!({"choices": [{"message": {"content": text}}], "usage": {"total_tokens": 3}})
        .to_string()
        .into_bytes()
}

fn dead() -> RowResult<'static> {
    RowResult::Dead {
        code: "http_400",
        message: "no such \u{1b}[31mmodel",
        response: None,
    }
}

fn cells(names: &[&str], values: &[&str]) -> Row {
    let header: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    Row::Cells {
        header: header.into(),
        cells: values.iter().map(|&value| value.to_owned()).collect(),
    }
}

fn json_row(json: &str) -> Row {
    Row::Json(serde_json::from_str(json).unwrap())
}

fn written(
    options: &OutputOptions,
    columns: Option<&[String]>,
    rows: &[(Row, RowResult<'_>)],
) -> (String, RowCounts) {
    let mut writer = RowWriter::new(Vec::new(), options, columns).unwrap();
    for (row, result) in rows {
        writer.write_row("id", row, *result).unwrap();
    }
    let counts = writer.counts();
    (String::from_utf8(writer.finish().unwrap()).unwrap(), counts)
}

#[test]
fn jsonl_rows_keep_their_columns_as_written_and_gain_three() {
    let body = answer("hé");
    let rows = [
        (
            json_row(r#"{"b":12345678901234567890123,"a":1.0}"#),
            RowResult::Answer {
                path: CHAT,
                body: &body,
            },
        ),
        (cells(&["x", "y"], &["1"]), dead()),
        (Row::Text("t".into()), RowResult::Pending),
    ];
    let (text, counts) = written(&OutputOptions::new(RowFormat::Jsonl), None, &rows);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines[0],
        r#"{"b":12345678901234567890123,"a":1.0,"response":"hé","usage":{"total_tokens":3},"error":null}"#
    );
    assert_eq!(
        lines[1],
        r#"{"x":"1","response":null,"usage":null,"error":"http_400: no such  [31mmodel"}"#
    );
    assert!(
        lines[2].starts_with(r#"{"text":"t","response":null,"usage":null,"error":"not_sent: "#)
    );
    assert_eq!(
        counts,
        RowCounts {
            answered: 1,
            failed: 1,
            pending: 1,
            unmatched: 0
        }
    );
    assert_eq!(counts.rows(), 3);
}

#[test]
fn csv_rows_have_a_header_and_as_many_cells() {
    let columns = ["a".to_owned(), "b".to_owned()];
    let body = answer("say \"hi\",\nplease");
    let rows = [
        (
            cells(&["a", "b"], &["1", "=x"]),
            RowResult::Answer {
                path: CHAT,
                body: &body,
            },
        ),
        (cells(&["a", "b"], &["1", "2", "3"]), dead()),
        (cells(&["a", "b"], &[]), dead()),
        (json_row(r#"{"b":{"c":null},"d":1}"#), dead()),
        (Row::empty(), dead()),
    ];
    let (text, _) = written(&OutputOptions::new(RowFormat::Csv), Some(&columns), &rows);
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().unwrap().clone();
    assert_eq!(header, vec!["a", "b", "response", "usage", "error"]);
    let records: Vec<Vec<String>> = reader.deserialize().map(Result::unwrap).collect();
    assert_eq!(
        records[0],
        ["1", "=x", "say \"hi\",\nplease", "{\"total_tokens\":3}", ""]
    );
    assert_eq!(records[1][..3], ["1", "2", ""]);
    assert_eq!(records[2][..2], ["", ""]);
    assert_eq!(records[3][..2], ["", "{\"c\":null}"]);
    assert_eq!(records[4][4], "http_400: no such  [31mmodel");
}

#[test]
fn an_output_without_rows_still_has_its_header() {
    let options = OutputOptions::new(RowFormat::Csv);
    let (text, _) = written(&options, Some(&["a".to_owned()]), &[]);
    assert_eq!(text, "a,response,usage,error\n");
}

#[test]
fn the_response_path_takes_values_and_notes_what_does_not_match() {
    let options = OutputOptions {
        response_path: Some("$.choices[*].message.n".into()),
        ..OutputOptions::new(RowFormat::Jsonl)
    };
    let response = |body: Value| {
        let body = body.to_string();
        let row = (
            Row::empty(),
            RowResult::Answer {
                path: CHAT,
                body: body.as_bytes(),
            },
        );
        let (text, counts) = written(&options, None, &[row]);
        let row: Value = serde_json::from_str(&text).unwrap();
        (
            row["response"].clone(),
            row["error"].clone(),
            counts.unmatched,
        )
    };
    let choice = |n: Value| json!({"message": {"n": n}});
    let one = response(json!({"choices": [choice(json!({"a": 1}))]}));
    assert_eq!(one, (json!({"a": 1}), Value::Null, 0));
    let two = response(json!({"choices": [choice(json!(1)), choice(json!("b"))]}));
    assert_eq!(two, (json!([1, "b"]), Value::Null, 0));
    let (response, error, unmatched) = response(json!({"choices": []}));
    assert_eq!((response, unmatched), (Value::Null, 1));
    assert!(error.as_str().unwrap().contains("matches nothing"));
}

#[test]
fn an_answer_without_text_is_noted_and_keeps_its_usage() {
    let bodies = [&b"{\"usage\":{\"a\":1}}"[..], b"<html>"];
    let rows = bodies.map(|body| (Row::empty(), RowResult::Answer { path: CHAT, body }));
    let (text, counts) = written(&OutputOptions::new(RowFormat::Jsonl), None, &rows);
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["usage"], json!({"a": 1}));
    assert!(lines[0]["error"].as_str().unwrap().contains("no text"));
    assert!(lines[1]["error"].as_str().unwrap().contains("no JSON"));
    assert_eq!((counts.answered, counts.unmatched), (2, 2));
}

#[test]
fn collisions_are_refused_beforehand_and_resolved_by_a_prefix() {
    let options = OutputOptions::new(RowFormat::Csv);
    let columns = ["a".to_owned(), "usage".to_owned()];
    let error = RowWriter::new(Vec::new(), &options, Some(&columns))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`usage`") && error.contains("--output-prefix"),
        "{error}"
    );
    let options = OutputOptions {
        prefix: "llm_".into(),
        ..options
    };
    let (text, _) = written(&options, Some(&columns), &[]);
    assert_eq!(text, "a,usage,llm_response,llm_usage,llm_error\n");
}

#[test]
fn a_row_of_json_that_has_the_name_already_loses_nothing() {
    let row = (json_row(r#"{"error":1,"_error":2}"#), dead());
    let (text, _) = written(&OutputOptions::new(RowFormat::Jsonl), None, &[row]);
    let row: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&row["error"], &row["_error"]), (&json!(1), &json!(2)));
    assert!(row["__error"].as_str().unwrap().starts_with("http_400"));
}

#[test]
fn options_that_cannot_work_are_refused() {
    assert!(matches!(
        RowFormat::of_path(Path::new("-")),
        Ok(RowFormat::Jsonl)
    ));
    assert!(matches!(
        RowFormat::of_path(Path::new("a.CSV")),
        Ok(RowFormat::Csv)
    ));
    assert!(matches!(
        RowFormat::of_path(Path::new("a.xlsx")),
        Err(OutputError::Extension(_))
    ));
    let no_header = RowWriter::new(Vec::new(), &OutputOptions::new(RowFormat::Csv), None);
    assert!(matches!(no_header, Err(OutputError::NoHeader)));
    let path = OutputOptions {
        response_path: Some("$.[".into()),
        ..OutputOptions::new(RowFormat::Jsonl)
    };
    let error = RowWriter::new(Vec::new(), &path, None)
        .unwrap_err()
        .to_string();
    assert!(error.contains("`--response-path $.[`"), "{error}");
}

struct Run {
    directory: tempfile::TempDir,
    source: SourceOptions,
}

impl Run {
    fn new(name: &str, content: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let input = directory.path().join(name);
        fs::write(&input, content).unwrap();
        let source = SourceOptions {
            model: Some("m".into()),
            prompt: Some("{{ text | default('') }}".into()),
            reserved_columns: OutputOptions::new(RowFormat::Jsonl).own_columns().into(),
            ..SourceOptions::new(Input::Path(input))
        };
        Self { directory, source }
    }

    fn out(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Assembles with the answer `A<id>` for the rows whose id `answered` accepts.
    fn assemble(&self, name: &str, answered: impl Fn(&str) -> bool) -> (String, RowCounts) {
        let mut answers: BTreeMap<Fingerprint, Vec<Bytes>> = BTreeMap::new();
        let source = Source::open(self.source.clone()).unwrap();
        let again = source.options_to_reread().unwrap();
        for item in source {
            if let Item::Request(request) = item.unwrap()
                && answered(&request.id)
            {
                let body = answer(&format!("A{}", request.id));
                answers
                    .entry(request.fingerprint)
                    .or_default()
                    .insert(0, body.into());
            }
        }
        let out = self.out(name);
        let options = OutputOptions::new(RowFormat::of_path(&out).unwrap());
        let mut lookup = |fingerprint: &Fingerprint| {
            let found = answers.get_mut(fingerprint).and_then(Vec::pop);
            Ok(found.map_or(Recorded::Pending, Recorded::Answer))
        };
        let counts = assemble(&again, &out, &options, &mut lookup).unwrap();
        (fs::read_to_string(out).unwrap(), counts)
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn every_row_is_assembled_once_in_input_order_whatever_its_end() {
    let run = Run::new("in.csv", "text,n\nsame,1\nbad\nsame,2\nnot yet,3\n");
    let (text, counts) = run.assemble("out.jsonl", |id| id != "4");
    let rows: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 4);
    assert_eq!(
        (&rows[0]["n"], &rows[0]["response"]),
        (&json!("1"), &json!("A1"))
    );
    assert_eq!(
        (&rows[2]["n"], &rows[2]["response"]),
        (&json!("2"), &json!("A3"))
    );
    let error = rows[1]["error"].as_str().unwrap();
    assert!(
        error.starts_with("invalid_row: line 3: the row has 1 fields"),
        "{error}"
    );
    assert!(rows[3]["error"].as_str().unwrap().starts_with("not_sent"));
    assert_eq!(
        counts,
        RowCounts {
            answered: 2,
            failed: 1,
            pending: 1,
            unmatched: 0
        }
    );
    assert_eq!(run.files(), ["in.csv", "out.jsonl"]);
}

#[test]
fn a_csv_of_json_rows_has_the_columns_of_all() {
    let run = Run::new(
        "in.jsonl",
        "{\"text\":\"a\"}\nnonsense\n{\"z\":[1],\"text\":\"b\"}\n",
    );
    let (text, counts) = run.assemble("out.csv", |_| true);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "text,z,response,usage,error");
    assert_eq!(lines[1], "a,,A1,\"{\"\"total_tokens\"\":3}\",");
    assert!(lines[2].starts_with(",,,,"), "{}", lines[2]);
    assert!(lines[3].starts_with("b,[1],A3,"), "{}", lines[3]);
    assert_eq!(counts.failed, 1);
}

#[test]
fn only_what_the_run_covered_is_assembled() {
    let mut run = Run::new("in.txt", "a\n\nb\nc\n");
    run.source.first = Some(2);
    let (text, counts) = run.assemble("out.csv", |_| true);
    assert_eq!(text.lines().count(), 3);
    assert_eq!(counts.rows(), 2);
    run.source.input = Input::Repeat(3);
    run.source.prompt = Some("{{ index }}".into());
    let (text, _) = run.assemble("out.csv", |_| true);
    assert!(
        text.starts_with("index,response,usage,error\n1,A1,"),
        "{text}"
    );
}

#[test]
fn json_rows_that_collide_are_found_before_anything_is_sent() {
    let run = Run::new("in.jsonl", "{\"text\":\"a\",\"usage\":1}\n");
    assert!(matches!(
        Source::open(run.source),
        Err(OpenError::Reserved(_))
    ));
    let run = Run::new("in.csv", "text,error\n1,2\n");
    assert!(matches!(
        Source::open(run.source),
        Err(OpenError::Reserved(_))
    ));
    let run = Run::new(
        "in.jsonl",
        "{\"text\":\"a\"}\n{\"text\":\"b\",\"error\":\"mine\"}\n",
    );
    let (text, counts) = run.assemble("out.csv", |_| true);
    assert_eq!(
        text.lines().next(),
        Some("text,error,response,usage,_error")
    );
    assert!(
        text.contains("b,mine,,,\"invalid_row: line 2: the row has a column `error`"),
        "{text}"
    );
    assert_eq!((counts.answered, counts.failed), (1, 1));
}

#[test]
fn a_failure_leaves_the_old_output_and_no_other_file() {
    let run = Run::new("in.txt", "a\nb\n");
    let out = run.out("out.jsonl");
    fs::write(&out, "old").unwrap();
    let mut lookup = |_: &Fingerprint| Err(io::Error::other("gone"));
    let options = OutputOptions::new(RowFormat::Jsonl);
    let error = assemble(&run.source, &out, &options, &mut lookup).unwrap_err();
    assert!(matches!(error, AssembleError::Lookup(_)));
    assert_eq!(fs::read_to_string(&out).unwrap(), "old");
    assert_eq!(run.files(), ["in.txt", "out.jsonl"]);
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_leftovers_are_not() {
    let run = Run::new("in.txt", "a\n");
    let real = run.out("real.jsonl");
    fs::write(&real, "old").unwrap();
    std::os::unix::fs::symlink(&real, run.out("out.jsonl")).unwrap();
    // A leftover that points elsewhere must not be written through.
    std::os::unix::fs::symlink(run.out("in.txt"), run.out(".real.jsonl.partial")).unwrap();
    run.assemble("out.jsonl", |_| true);
    assert!(
        fs::symlink_metadata(run.out("out.jsonl"))
            .unwrap()
            .is_symlink()
    );
    assert!(fs::read_to_string(&real).unwrap().contains("\"A1\""));
    assert_eq!(fs::read_to_string(run.out("in.txt")).unwrap(), "a\n");
}

#[cfg(unix)]
#[test]
fn a_device_is_written_in_place_and_stays_a_device() {
    let run = Run::new("in.txt", "a\n");
    let options = OutputOptions::new(RowFormat::Jsonl);
    let null = Path::new("/dev/null");
    assemble(&run.source, null, &options, &mut |_| Ok(Recorded::Pending)).unwrap();
    assert!(!fs::metadata(null).unwrap().is_file());
}

proptest! {
    #[test]
    fn any_cells_and_answer_survive_a_csv(
        values in prop::collection::vec("[a\"',\r\n=é;\u{1b}]{0,8}", 1..4),
        text in "[a\",\r\n é]{0,10}",
    ) {
        let columns: Vec<String> = (0..values.len()).map(|n| format!("c{n}")).collect();
        let row = Row::Cells { header: columns.clone().into(), cells: values.clone() };
        let body = answer(&text);
        let rows = [(row, RowResult::Answer { path: CHAT, body: &body })];
        let (csv, _) = written(&OutputOptions::new(RowFormat::Csv), Some(&columns), &rows);
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        let record: Vec<String> = reader.deserialize().next().unwrap().unwrap();
        prop_assert_eq!(&record[..values.len()], &values[..]);
        prop_assert_eq!(&record[values.len()], &text);
    }

    #[test]
    fn any_row_is_one_line_of_json(name in ".{0,6}", value in ".{0,8}", message in ".{0,12}") {
        let row = json_row(&json!({&name: &value}).to_string());
        let result = RowResult::Dead { code: "c", message: &message, response: None };
        let (text, _) = written(&OutputOptions::new(RowFormat::Jsonl), None, &[(row, result)]);
        prop_assert_eq!(text.matches('\n').count(), 1);
        let parsed: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&parsed[&name], &json!(value));
    }
}
