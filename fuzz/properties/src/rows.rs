//! Input files of any format.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use brimful::fingerprint::Fingerprint;
use brimful::request::{BadRow, Item, Request};
use brimful::source::{BatchForm, Format, Input, Source, SourceOptions, validate};
use brimful_providers::dialect::{Endpoint, Json, check_path, streams};
use serde_json::{Value, json};

use crate::is_one_line;
use crate::message::line;
use crate::scratch::in_folder;

const SHORT_LINE_BYTES: usize = 64;
/// A reason quotes cells and names of columns, each cut to 60 characters, and a few of them.
const REASON_CHARS_MAX: usize = 2_000;

/// The first line holds options, a letter each; the rest is the input.
///
/// `b`, `j`, `c`, `t`, `x`, `a`, `g`, `r`, `m`: the format (Batch, JSONL, CSV, TSV, text, and the
/// batches of Anthropic, Gemini, Bedrock and Mistral), else it is found out; `n`: a model; `i`: ids
/// from the column `id`; `e`: estimates from the column `tokens`; `s`: lines of at most 64 bytes;
/// `k`: columns are kept; `3`: the first three rows only; `p`: a prompt.
pub fn hold(data: &[u8]) {
    let (letters, input) = line(data);
    in_folder(|folder| {
        let path = folder.join("input");
        fs::write(&path, input).expect("the folder is writable");
        let options = options(letters, &path);
        let Some(items) = read(&options, input.len()) else {
            return;
        };
        counted(&options, &items);
        same_again(&options, &items);
        as_batch(folder, &items);
    });
}

fn options(letters: &[u8], path: &Path) -> SourceOptions {
    let has = |letter| letters.contains(&letter);
    let formats = [
        (b'b', Format::Batch),
        (b'j', Format::Jsonl),
        (b'c', Format::Csv),
        (b't', Format::Tsv),
        (b'x', Format::Text),
        (b'a', Format::Native(BatchForm::Anthropic)),
        (b'g', Format::Native(BatchForm::Gemini)),
        (b'r', Format::Native(BatchForm::Bedrock)),
        (b'm', Format::Native(BatchForm::Mistral)),
    ];
    let format = formats.into_iter().find(|(letter, _)| has(*letter));
    let mut options = SourceOptions {
        format: format.map(|(_, format)| format),
        id_column: has(b'i').then(|| "id".to_owned()),
        estimate_column: has(b'e').then(|| "tokens".to_owned()),
        first: has(b'3').then_some(3),
        keep_columns: has(b'k'),
        ..SourceOptions::new(Input::Path(path.to_owned()))
    };
    if has(b's') {
        options.line_max_bytes = SHORT_LINE_BYTES;
    }
    if has(b'n') {
        options.model = Some("m".to_owned());
    }
    if has(b'p') {
        options.model = Some("m".to_owned());
        options.prompt = Some("{{ row }}".to_owned());
    }
    options
}

/// Every row once, in order, each a request that may be sent or a reason that may be shown. `None`
/// when the input is refused.
fn read(options: &SourceOptions, input_bytes: usize) -> Option<Vec<Item>> {
    let mut source = match Source::open(options.clone()) {
        Ok(source) => source,
        Err(error) => {
            let reason = error.to_string();
            assert!(is_one_line(&reason), "{reason:?}");
            return None;
        }
    };
    // A document is turned into lines, and one that was cut off has no end.
    let may_be_document = source.format() == Format::Native(BatchForm::Anthropic);
    let items: Result<Vec<Item>, _> = source.by_ref().collect();
    let items = match items {
        Ok(items) => items,
        Err(error) => {
            assert!(may_be_document, "{error}");
            return None;
        }
    };
    if options.first.is_none() && !may_be_document {
        assert_eq!(source.bytes_read(), input_bytes as u64);
    }
    let mut ids = HashSet::new();
    let mut last_line = 0;
    for (item, expected_row) in items.iter().zip(1..) {
        let (row, line) = match item {
            Item::Request(request) => {
                sendable(request);
                let is_batch = matches!(source.format(), Format::Batch | Format::Native(_));
                let unique = options.id_column.is_some() || is_batch;
                assert!(!unique || ids.insert(&request.id), "{} twice", request.id);
                (request.row, request.line)
            }
            Item::Bad(bad) => {
                explained(bad);
                (bad.row, bad.line)
            }
        };
        assert_eq!(row, expected_row);
        assert!(line > last_line, "line {line} after {last_line}");
        last_line = line;
    }
    Some(items)
}

fn sendable(request: &Request) {
    assert_eq!(check_path(&request.path), Ok(()));
    assert_eq!(request.method, http::Method::POST);
    assert!(!request.id.is_empty());
    let body: Value = serde_json::from_slice(&request.body).expect("a body is JSON");
    assert!(body.is_object(), "{body}");
    let body = parsed(&request.body);
    assert_eq!(request.streams, streams(&request.path, &body));
    let named = Fingerprint::of_request_json(Some(&request.id), "POST", &request.path, &body);
    let nameless = Fingerprint::of_request_json(None, "POST", &request.path, &body);
    if let Some(columns) = &request.columns {
        assert!(columns.names().all(|name| columns.text(name).is_some()));
    }
    let own = request.fingerprint;
    assert!(own == named || (own == nameless && request.id == request.row.to_string()));
}

fn parsed(body: &[u8]) -> Json<'_> {
    let text = std::str::from_utf8(body).expect("a body is text");
    Json::parse(text).expect("a body is JSON")
}

fn explained(bad: &BadRow) {
    assert!(is_one_line(&bad.reason), "{:?}", bad.reason);
    assert!(bad.reason.chars().count() <= REASON_CHARS_MAX);
    assert!(!bad.id.is_empty());
}

/// What `--strict` counts is what a run meets.
fn counted(options: &SourceOptions, items: &[Item]) {
    let found = validate(options.clone(), usize::MAX, &mut |_| None).expect("it was read once");
    let bad = items.iter().filter(|item| matches!(item, Item::Bad(_)));
    assert_eq!(found.rows, items.len() as u64);
    assert_eq!(found.bad, bad.count() as u64);
}

/// What is read again for the output has the same rows, also when the format is no longer guessed.
fn same_again(options: &SourceOptions, items: &[Item]) {
    let source = Source::open(options.clone()).expect("it was opened once");
    let again = source
        .options_to_reread()
        .expect("a file can be read again");
    let again = Source::open(again).expect("it was opened once");
    let again: Vec<_> = again.map(|item| told(&item.expect("a file"))).collect();
    let first: Vec<_> = items.iter().map(told).collect();
    assert_eq!(again, first);
}

fn told(item: &Item) -> (u64, u64, String, Fingerprint, String) {
    match item {
        Item::Request(it) => {
            let body = String::from_utf8_lossy(&it.body).into_owned();
            (it.row, it.line, it.id.clone(), it.fingerprint, body)
        }
        Item::Bad(it) => (
            it.row,
            it.line,
            it.id.clone(),
            it.fingerprint,
            it.reason.clone(),
        ),
    }
}

/// Requests written as Batch JSONL are the same requests: body byte for byte, fingerprint too where
/// the id is explicit.
fn as_batch(folder: &Path, items: &[Item]) {
    let mut seen = HashSet::new();
    let requests: Vec<&Request> = items
        .iter()
        .filter_map(|item| match item {
            Item::Request(request) => Some(request),
            Item::Bad(_) => None,
        })
        .filter(|request| seen.insert(&request.id))
        .collect();
    let mut batch = Vec::new();
    for request in &requests {
        let (id, path) = (json!(request.id), json!(&*request.path));
        let head = format!("{{\"custom_id\":{id},\"method\":\"POST\",\"url\":{path},\"body\":");
        batch.extend_from_slice(head.as_bytes());
        batch.extend_from_slice(&request.body);
        batch.extend_from_slice(b"}\n");
    }
    let path = folder.join("batch");
    fs::write(&path, batch).expect("the folder is writable");
    let options = SourceOptions {
        format: Some(Format::Batch),
        endpoint: Endpoint::Chat,
        ..SourceOptions::new(Input::Path(path))
    };
    let source = Source::open(options).expect("Batch needs no options");
    let again: Vec<Item> = source.map(|item| item.expect("a file")).collect();
    assert_eq!(again.len(), requests.len());
    for (item, request) in again.iter().zip(requests) {
        let Item::Request(item) = item else {
            panic!("{item:?} was {request:?}")
        };
        assert_eq!((&item.id, &item.path), (&request.id, &request.path));
        assert_eq!(item.body, request.body);
        assert_eq!(item.max_output_tokens, request.max_output_tokens);
        let body = parsed(&item.body);
        let named = Fingerprint::of_request_json(Some(&item.id), "POST", &item.path, &body);
        assert_eq!(item.fingerprint, named);
    }
}
