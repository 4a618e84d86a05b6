mod properties;
mod units;

use std::io::Cursor;

use serde_json::json;

use super::*;
use crate::request::{BadRow, Request};

fn named(name: &str) -> SourceOptions {
    SourceOptions {
        model: Some("m".into()),
        ..SourceOptions::new(Input::Path(name.into()))
    }
}

fn prompted(name: &str, prompt: &str) -> SourceOptions {
    SourceOptions {
        prompt: Some(prompt.into()),
        ..named(name)
    }
}

fn batch_options() -> SourceOptions {
    SourceOptions::new(Input::Path("batch.jsonl".into()))
}

fn open(options: SourceOptions, content: impl AsRef<[u8]>) -> Result<Source, OpenError> {
    let content = content.as_ref().to_vec();
    let length = content.len() as u64;
    Source::from_reader(options, Box::new(Cursor::new(content)), Some(length))
}

fn read(options: SourceOptions, content: impl AsRef<[u8]>) -> Vec<Item> {
    open(options, content)
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

fn refusal(options: SourceOptions, content: impl AsRef<[u8]>) -> String {
    open(options, content)
        .map(|_| ())
        .expect_err("is refused")
        .to_string()
}

fn request(item: &Item) -> &Request {
    match item {
        Item::Request(request) => request,
        Item::Bad(bad) => panic!("bad row {}: {}", bad.row, bad.reason),
    }
}

fn bad(item: &Item) -> &BadRow {
    match item {
        Item::Bad(bad) => bad,
        Item::Request(request) => panic!("row {} is good", request.row),
    }
}

fn body(item: &Item) -> Value {
    serde_json::from_slice(&request(item).body).unwrap()
}

fn prompt_of(item: &Item) -> String {
    body(item)["messages"][0]["content"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn batch_line(id: &str, text: &str) -> String {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": text}], "n": 1});
    json!({"custom_id": id, "method": "POST", "url": "/v1/chat/completions", "body": body})
        .to_string()
}

#[test]
fn batch_lines_are_sent_as_they_are() {
    let line = r#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{ "b":1.0,"a":[ ] , "max_tokens":7}}"#;
    let items = read(
        batch_options(),
        format!("{line}\r\n\n{}", batch_line("é", "hallo")),
    );
    let first = request(&items[0]);
    assert_eq!(&first.body[..], br#"{ "b":1.0,"a":[ ] , "max_tokens":7}"#);
    assert_eq!((first.row, first.line, first.id.as_str()), (1, 1, "a"));
    assert_eq!(
        (&*first.path, first.max_output_tokens),
        ("/v1/chat/completions", Some(7))
    );
    let second = request(&items[1]);
    assert_eq!((second.row, second.line, second.id.as_str()), (2, 3, "é"));
    assert_eq!(second.input_tokens, 2);
    assert_eq!(items.len(), 2);
}

#[test]
fn bad_batch_lines_are_named_and_the_others_go_on() {
    let bad_lines = [
        ("not json", "no JSON object"),
        (r#"{"custom_id":"x","method":"POST""#, "cut off"),
        (
            r#"{"custom_id":"b","method":"POST","url":"/v1/x"}"#,
            "no `body`",
        ),
        (
            r#"{"custom_id":"c","method":"POST","url":"http://127.0.0.1:9/","body":{}}"#,
            "must be a path",
        ),
        (
            r#"{"custom_id":"d","method":"POST","url":"/v1/x","body":{"a":01}}"#,
            "invalid JSON",
        ),
        (
            r#"{"custom_id":"good","method":"POST","url":"/v1/x","body":{}}"#,
            "earlier row",
        ),
    ];
    let content = std::iter::once(batch_line("good", "x"))
        .chain(bad_lines.iter().map(|(line, _)| (*line).to_owned()))
        .chain([batch_line("last", "x")])
        .collect::<Vec<_>>()
        .join("\n");
    let items = read(batch_options(), content);
    assert_eq!(items.len(), bad_lines.len() + 2);
    for (item, (line, words)) in items[1..].iter().zip(bad_lines) {
        assert!(
            bad(item).reason.contains(words),
            "{line} gives {}",
            bad(item).reason
        );
    }
    assert_eq!(bad(&items[3]).id, "b");
    assert_eq!(request(&items[7]).line, 8);
}

#[test]
fn a_request_for_a_stream_says_so() {
    let line = |url: &str, body: &str| {
        format!(
            r#"{{"custom_id":"{}","method":"POST","url":"{url}","body":{body}}}"#,
            url.len() + body.len()
        )
    };
    let gemini = "/v1beta/models/m:streamGenerateContent";
    let lines = [
        line("/v1/messages", r#"{"stream":true}"#),
        line(gemini, "{}"),
        line("/v1/messages", r#"{"stream":false}"#),
    ];
    let items = read(batch_options(), lines.join("\n"));
    let streams = items.iter().map(|item| request(item).streams);
    assert_eq!(streams.collect::<Vec<_>>(), [true, true, false]);
    let options = SourceOptions {
        endpoint: Endpoint::GenerateContent,
        params: Map::from_iter([("stream".to_owned(), true.into())]),
        ..prompted("x.csv", "{{ text }}")
    };
    let items = read(options, "text,note\na,1\n");
    let request = request(&items[0]);
    assert!(request.streams && request.path.ends_with("m:streamGenerateContent?alt=sse"));
    assert!(!str::from_utf8(&request.body).unwrap().contains("stream"));
}

#[test]
fn the_identity_of_a_batch_line_is_its_content_and_not_its_place() {
    let one = read(
        batch_options(),
        [batch_line("a", "x"), batch_line("b", "x")].join("\n"),
    );
    let two = read(
        batch_options(),
        [batch_line("b", "x"), batch_line("a", "x")].join("\n"),
    );
    assert_eq!(request(&one[0]).fingerprint, request(&two[1]).fingerprint);
    assert_ne!(request(&one[0]).fingerprint, request(&one[1]).fingerprint);
    let spaced = batch_line("a", "x").replace("\"n\":1", "\"n\" : 1");
    let spaced = read(batch_options(), spaced);
    assert_eq!(
        request(&one[0]).fingerprint,
        request(&spaced[0]).fingerprint
    );
}

#[test]
fn rows_without_an_id_column_are_known_by_their_request_alone() {
    let options = prompted("x.csv", "{{ text }}");
    let items = read(options.clone(), "text,note\na,1\nb,2\na,3\n");
    assert_eq!(
        request(&items[0]).fingerprint,
        request(&items[2]).fingerprint
    );
    assert_eq!(request(&items[2]).id, "3");
    let with_id = SourceOptions {
        id_column: Some("note".into()),
        ..options
    };
    let items = read(with_id, "text,note\na,1\nb,1\na,3\nc,\n");
    assert_eq!(request(&items[0]).id, "1");
    assert_ne!(
        request(&items[0]).fingerprint,
        request(&items[2]).fingerprint
    );
    assert!(
        bad(&items[1])
            .reason
            .contains("`note` `1` stands in an earlier row")
    );
    assert!(
        bad(&items[3]).reason.contains("`note` is empty"),
        "{}",
        bad(&items[3]).reason
    );
}

#[test]
fn csv_lines_are_numbered_through_quoted_line_ends() {
    let content = "\u{feff}text,b\r\n\"one\r\ntwo\",1\r\n\r\nthree,2\r\nfour\r\n\"five,3";
    let items = read(prompted("x.csv", "{{ text }}"), content);
    assert_eq!(prompt_of(&items[0]), "one\r\ntwo");
    assert_eq!((request(&items[0]).row, request(&items[0]).line), (1, 2));
    assert_eq!((request(&items[1]).row, request(&items[1]).line), (2, 5));
    assert!(bad(&items[2]).reason.contains("1 fields, the header 2"));
    assert_eq!(bad(&items[2]).line, 6);
    assert!(bad(&items[3]).reason.contains("does not end"));
    assert_eq!((bad(&items[3]).line, items.len()), (7, 4));
}

#[test]
fn unreadable_rows_are_bad_rows() {
    let items = read(prompted("x.csv", "{{ a }}"), b"a,b\n\xff,1\nx\0,2\nfine,3");
    assert!(bad(&items[0]).reason.contains("UTF-8 at byte 1"));
    assert!(bad(&items[1]).reason.contains("NUL"));
    assert_eq!(prompt_of(&items[2]), "fine");
    let short = SourceOptions {
        line_max_bytes: 5,
        ..named("x.txt")
    };
    let items = read(short, "12345\n123456\r\n1");
    assert_eq!(prompt_of(&items[0]), "12345");
    assert!(bad(&items[1]).reason.contains("6 bytes long, the bound 5"));
    assert_eq!(prompt_of(&items[2]), "1");
    let items = read(
        prompted("x.jsonl", "{{ a }}"),
        "{\"a\":1}\n[1]\n5\n{\"a\"\n{\"a\":2}",
    );
    assert_eq!(
        items
            .iter()
            .filter(|item| matches!(item, Item::Bad(_)))
            .count(),
        3
    );
}

#[test]
fn what_fails_every_row_is_refused_before_the_start() {
    let csv = "text,First name\na,b\n";
    for (options, content, words) in [
        (
            prompted("x.csv", "{{ txt }}"),
            csv,
            "`txt` is no column of the input (did you mean `text`?)",
        ),
        (
            prompted("x.csv", "{{ row.txt }}"),
            csv,
            "`txt` is no column",
        ),
        (prompted("x.csv", "a\n{{ text"), csv, "line 2, column"),
        (prompted("x.csv", "{{ text | uper }}"), csv, "uper"),
        (prompted("x.csv", "{{ text is nice }}"), csv, "nice"),
        (
            prompted("x.csv", "{{ fetch(text) }}"),
            csv,
            "`fetch` is no column",
        ),
        (named("x.csv"), csv, "a prompt is needed"),
        (prompted("x.csv", "x"), "a,b,a\n", "two columns `a`"),
        (prompted("x.csv", "x"), "\"a,b\n1,2\n", "does not end"),
        (prompted("x.txt", "{{ line }}"), "a", "`line` is no column"),
        (
            SourceOptions {
                model: None,
                ..prompted("x.csv", "x")
            },
            csv,
            "--model",
        ),
        (
            SourceOptions {
                id_column: Some("Text".into()),
                ..prompted("x.csv", "x")
            },
            csv,
            "`--id-column Text` is no column of the input (did you mean `text`?)",
        ),
        (
            SourceOptions {
                estimate_column: Some("n".into()),
                ..prompted("x.csv", "x")
            },
            csv,
            "`--estimate-column n`",
        ),
        (
            SourceOptions {
                id_column: Some("id".into()),
                ..named("x.txt")
            },
            "a",
            "has none",
        ),
        (
            prompted("batch.jsonl", "x"),
            &batch_line("a", "x"),
            "--prompt",
        ),
        (
            SourceOptions {
                endpoint: Endpoint::Path("/v1/rerank".into()),
                ..prompted("x.csv", "x")
            },
            csv,
            "--body-template",
        ),
        (
            SourceOptions {
                body_template: Some("{\"a\":".into()),
                ..named("x.csv")
            },
            csv,
            "no valid JSON",
        ),
        (
            SourceOptions {
                body_template: Some("[]".into()),
                ..named("x.csv")
            },
            csv,
            "object",
        ),
        (
            SourceOptions {
                body_template: Some("{\"a\":[\"{{ x }\"]}".into()),
                ..named("x.csv")
            },
            csv,
            "`--body-template.a[0]` is no valid template",
        ),
        (
            SourceOptions {
                body_template: Some("{\"stream\":true}".into()),
                endpoint: Endpoint::Converse,
                model: Some("m".into()),
                ..named("x.csv")
            },
            csv,
            "stream",
        ),
        (
            SourceOptions {
                endpoint: Endpoint::GenerateContent,
                model: None,
                ..prompted("x.csv", "x")
            },
            csv,
            "--model",
        ),
        (
            SourceOptions {
                endpoint: Endpoint::GenerateContent,
                model: Some("../m".into()),
                ..prompted("x.csv", "x")
            },
            csv,
            "segment",
        ),
        (
            SourceOptions {
                body_template: Some("{}".into()),
                ..prompted("x.csv", "x")
            },
            csv,
            "`--prompt` has no effect",
        ),
    ] {
        let error = refusal(options, content);
        assert!(error.contains(words), "expected {words:?} in {error:?}");
    }
}

#[test]
fn an_empty_input_has_no_rows_and_is_no_error() {
    for name in ["x.csv", "x.txt", "x.jsonl", "x"] {
        assert!(read(prompted(name, "{{ text }}"), "").is_empty(), "{name}");
    }
    let source = open(prompted("x.csv", "{{ a }}"), "a,b\n").unwrap();
    assert_eq!(
        source.columns(),
        Some(&["a".to_owned(), "b".to_owned()][..])
    );
    assert_eq!(source.count(), 0);
}

#[test]
fn templates_see_columns_index_and_the_whole_row() {
    let options = prompted(
        "x.csv",
        "{{ index }}: {{ row['First name'] }} {{ text | upper }}\n",
    );
    let items = read(options, "text,First name\na,b\n");
    assert_eq!(prompt_of(&items[0]), "1: b A");
    let items = read(prompted("x.csv", "{{ index }}"), "index,b\nmine,1\n");
    assert_eq!(prompt_of(&items[0]), "mine");
    let options = prompted(
        "x.jsonl",
        "{{ a.b[1] }} {{ n + 1 }} {{ none }}|{{ row | tojson }}",
    );
    let items = read(options, r#"{"n":1,"none":null,"a":{"b":[1,"<&'"]}}"#);
    let row = r#"{"n":1,"none":null,"a":{"b":[1,"<&'"]}}"#;
    assert_eq!(prompt_of(&items[0]), format!("<&' 2 |{row}"));
    let items = read(
        SourceOptions {
            system: Some("s {{ text }}".into()),
            ..named("x.txt")
        },
        "hi",
    );
    assert_eq!(
        body(&items[0])["messages"][0],
        json!({"role": "system", "content": "s hi"})
    );
}

#[test]
fn an_undefined_variable_is_a_bad_row_that_names_it() {
    let content = "{\"text\":\"a\"}\n{\"txt\":\"b\"}\n{\"text\":\"c\"}";
    let items = read(prompted("x.jsonl", "{{ text }}"), content);
    assert_eq!(
        bad(&items[1]).reason,
        "the template variable `text` is no column of this row (did you mean `txt`?); \
         write {{ text | default('') }} where it may be missing"
    );
    assert_eq!(prompt_of(&items[2]), "c");
    let items = read(prompted("x.jsonl", "{{ text | default('-') }}"), content);
    assert_eq!(prompt_of(&items[1]), "-");
}

#[test]
fn a_template_that_never_ends_is_stopped() {
    let prompt = "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
    let items = read(prompted("x.txt", prompt), "a");
    assert!(
        bad(&items[0]).reason.contains("takes too long"),
        "{}",
        bad(&items[0]).reason
    );
}

#[test]
fn a_refused_template_is_named_without_its_control_characters() {
    let options = SourceOptions {
        prompt: None,
        body_template: Some(r#"{"model":"t","\u001b[31m":"{{ a | \u001b }}"}"#.to_owned()),
        ..named("x.jsonl")
    };
    let refusal = refusal(options, "{}");
    assert!(refusal.contains("--body-template."), "{refusal}");
    assert!(!refusal.contains(char::is_control), "{refusal:?}");
}

#[test]
fn only_an_explicit_tojson_changes_the_type_of_a_body_string() {
    let template = r#"{"model":"t","messages":"{{ m | tojson }}","n":"{{ n }}",
        "k":"{{ n | int | tojson }}","s":"x {{ m | tojson }}","plain":"}{"}"#;
    let options = SourceOptions {
        body_template: Some(template.into()),
        ..named("x.jsonl")
    };
    let items = read(options, r#"{"m":[{"role":"user"}],"n":"5"}"#);
    let expected = json!({
        "model": "t", "messages": [{"role": "user"}], "n": "5", "k": 5,
        "s": "x [{\"role\":\"user\"}]", "plain": "}{"
    });
    assert_eq!(body(&items[0]), expected);
}

#[test]
fn the_estimate_column_overrides_the_estimate() {
    let options = SourceOptions {
        estimate_column: Some("n".into()),
        ..prompted("x.csv", "{{ text }}")
    };
    let items = read(options, "text,n\nabcdefgh,77\nabcdefgh,\nabcdefgh,-1\n");
    assert_eq!(request(&items[0]).input_tokens, 77);
    assert_eq!(request(&items[1]).input_tokens, 2);
    assert!(bad(&items[2]).reason.contains("`-1`"));
    let options = SourceOptions {
        estimate_column: Some("n".into()),
        ..batch_options()
    };
    let items = read(options, batch_line("a", "x").replacen('{', "{\"n\":9,", 1));
    assert_eq!(request(&items[0]).input_tokens, 9);
}

#[test]
fn a_repeated_prompt_needs_no_input() {
    let options = SourceOptions {
        model: Some("m".into()),
        prompt: Some("nonce {{ index }}".into()),
        first: Some(3),
        ..SourceOptions::new(Input::Repeat(5))
    };
    let source = Source::open(options).unwrap();
    assert_eq!(source.rows_expected(), Some(3));
    let items: Vec<_> = source.map(Result::unwrap).collect();
    assert_eq!(items.len(), 3);
    assert_eq!(prompt_of(&items[2]), "nonce 3");
    assert_eq!((request(&items[2]).row, request(&items[2]).line), (3, 0));
}

#[test]
fn only_the_first_rows_are_read() {
    let options = SourceOptions {
        first: Some(2),
        ..named("x.txt")
    };
    assert_eq!(read(options, "a\nb\nc\n").len(), 2);
}

#[test]
fn progress_is_known_in_bytes_and_extrapolated_to_rows() {
    let mut source = open(named("x.txt"), "aaa\nbbb\nccc\nddd\n").unwrap();
    assert_eq!(
        (source.rows_expected(), source.bytes_total()),
        (None, Some(16))
    );
    source.next();
    assert_eq!((source.bytes_read(), source.rows_expected()), (4, Some(4)));
}

#[test]
fn a_stream_is_copied_and_read_again_from_the_copy() {
    let directory = tempfile::tempdir().unwrap();
    let spool = directory.path().join("spool");
    let options = SourceOptions {
        input: Input::Stdin,
        spool: Some(spool.clone()),
        keep_columns: true,
        ..prompted("", "{{ a }}")
    };
    let content = b"\xEF\xBB\xBFa,b\n1,2\n3,4\n".to_vec();
    let mut source =
        Source::from_reader(options, Box::new(Cursor::new(content.clone())), None).unwrap();
    let first: Vec<_> = source.by_ref().map(Result::unwrap).collect();
    assert_eq!(std::fs::read(&spool).unwrap(), content);
    let again = source.options_to_reread().unwrap();
    assert_eq!(
        (again.format, &again.input),
        (Some(Format::Csv), &Input::Path(spool.clone()))
    );
    let second: Vec<_> = Source::open(again).unwrap().map(Result::unwrap).collect();
    assert_eq!(format!("{first:?}"), format!("{second:?}"));
    assert_eq!(std::fs::read(&spool).unwrap(), content);
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&spool).unwrap());
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_table_is_read_again_with_the_same_delimiter() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("table");
    std::fs::write(&path, "id;name,first;x\n1;2,3;4\n").unwrap();
    let options = SourceOptions {
        keep_columns: true,
        input: Input::Path(path),
        ..prompted("", "{{ id }}")
    };
    let first = Source::open(options).unwrap();
    let again = Source::open(first.options_to_reread().unwrap()).unwrap();
    assert_eq!(again.columns(), first.columns());
    let first: Vec<_> = first.map(Result::unwrap).collect();
    let again: Vec<_> = again.map(Result::unwrap).collect();
    assert_eq!(prompt_of(&first[0]), "1");
    assert_eq!(format!("{again:?}"), format!("{first:?}"));
}

#[test]
fn kept_columns_come_with_good_and_bad_rows() {
    let options = SourceOptions {
        keep_columns: true,
        ..prompted("x.csv", "{{ a }}")
    };
    let items = read(options, "a,b\n1,2\n3\n");
    let row = request(&items[0]).columns.as_deref().unwrap();
    assert_eq!(row.names().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(row.text("b").as_deref(), Some("2"));
    let row = bad(&items[1]).columns.as_deref().unwrap();
    assert_eq!((row.text("a").as_deref(), row.text("b")), (Some("3"), None));
}

#[test]
fn strict_validation_counts_all_problems_and_keeps_the_first() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.csv");
    std::fs::write(&path, "a,b\n1,2\n3\n4\n5,6\n7\n").unwrap();
    let options = SourceOptions {
        model: Some("m".into()),
        prompt: Some("{{ a }}".into()),
        ..SourceOptions::new(Input::Path(path))
    };
    let found = validate(options, 2, &mut |_| None).unwrap();
    assert_eq!((found.rows, found.bad, found.problems.len()), (5, 3, 2));
    assert_eq!((found.problems[0].line, found.problems[1].line), (3, 4));
}

#[test]
fn a_missing_file_and_a_directory_are_refused() {
    let missing = SourceOptions::new(Input::Path("/no/such/file".into()));
    assert!(matches!(Source::open(missing), Err(OpenError::Read { .. })));
    let directory = tempfile::tempdir().unwrap();
    let options = SourceOptions::new(Input::Path(directory.path().into()));
    assert!(matches!(Source::open(options), Err(OpenError::Read { .. })));
}

#[test]
fn an_error_of_the_input_ends_the_source_and_is_told() {
    struct Failing(bool);
    impl Read for Failing {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            if std::mem::replace(&mut self.0, true) {
                return Err(io::Error::other("disk gone"));
            }
            buf[..4].copy_from_slice(b"a\nb\n");
            Ok(4)
        }
    }
    let source = Source::from_reader(named("x.txt"), Box::new(Failing(false)), None).unwrap();
    let results: Vec<_> = source.collect();
    assert_eq!(results.len(), 3);
    assert!(matches!(results[2], Err(ReadError::Io { line: 3, .. })));
}

/// Run with `cargo test --release -p brimful -- --ignored --nocapture rows_per_second`.
#[test]
#[ignore = "a measurement"]
fn rows_per_second() {
    let measure = |what: &str, options: SourceOptions, content: String| {
        let rows = content.lines().count() as f64;
        let began = std::time::Instant::now();
        let good = open(options, content)
            .unwrap()
            .filter(|i| matches!(i, Ok(Item::Request(_))));
        let good = good.count();
        let rate = rows / began.elapsed().as_secs_f64();
        println!("{what}: {rate:.0} rows/s ({good} good)");
    };
    let text = "x".repeat(140);
    let batch = |n: usize| batch_line(&format!("request-{n}"), &text) + "\n";
    println!("{} bytes a Batch line", batch(100_000).len());
    measure("Batch", batch_options(), (0..300_000).map(batch).collect());
    let jsonl = |n: usize| json!({"id": n, "text": text}).to_string() + "\n";
    measure(
        "JSONL",
        prompted("x.jsonl", "Say {{ text }}"),
        (0..300_000).map(jsonl).collect(),
    );
    let csv = |n: usize| format!("{n},\"{text}\"\n");
    let csv = String::from("id,text\n") + &(0..300_000).map(csv).collect::<String>();
    measure("CSV", prompted("x.csv", "Say {{ text }}"), csv);
}
