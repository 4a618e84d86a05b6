//! Templates over rows. A template is its author's own; a cell is anybody's.

use std::fs;
use std::path::Path;

use brimful::request::Item;
use brimful::source::{Format, Input, Source, SourceOptions};
use serde_json::{Map, Value, json};

use crate::is_one_line;
use crate::message::line;
use crate::scratch::in_folder;

const MARKS: [&str; 3] = ["{{", "{%", "{#"];

/// The first line is a template, each further line a cell.
pub fn hold(data: &[u8]) {
    let (template, cells) = line(data);
    let template = String::from_utf8_lossy(template);
    let cells = String::from_utf8_lossy(cells);
    let cells: Vec<&str> = cells.lines().collect();
    in_folder(|folder| {
        let path = folder.join("rows.jsonl");
        let rows = cells
            .iter()
            .map(|cell| format!("{}\n", json!({"text": cell})));
        fs::write(&path, rows.collect::<String>()).expect("the folder is writable");
        cells_pass_unchanged(&path, &cells);
        prompts(&path, &template, cells.len());
        if let Ok(Value::Object(body)) = serde_json::from_str(&template) {
            bodies(&path, &body);
        }
    });
}

/// Whatever stands in a cell comes out as it went in, and a body keeps its shape around it.
fn cells_pass_unchanged(path: &Path, cells: &[&str]) {
    let prompted = made(options(path, Some("{{ text }}"), None));
    let body =
        r#"{"a":["{{ text }}",{"{{ text }}":"<{{ text }}>"}],"b":"{{ row.text | tojson }}"}"#;
    let templated = made(options(path, None, Some(body)));
    assert_eq!(
        (prompted.len(), templated.len()),
        (cells.len(), cells.len())
    );
    for ((cell, prompted), templated) in cells.iter().zip(prompted).zip(templated) {
        let prompted = prompted.expect("a cell fails no template");
        assert_eq!(prompted["messages"][0]["content"], *cell);
        let expected = json!({
            "a": [cell, {"{{ text }}": format!("<{cell}>")}],
            "b": cell,
            "model": "m",
        });
        assert_eq!(templated, Ok(expected));
    }
}

/// A prompt that was accepted makes a request or a reason of each row, the same each time; one
/// without any mark of a template is the prompt itself.
fn prompts(path: &Path, template: &str, rows: usize) {
    let Some(first) = accepted(options(path, Some(template), None)) else {
        return;
    };
    assert_eq!(first.len(), rows);
    assert_eq!(
        Some(&first),
        accepted(options(path, Some(template), None)).as_ref()
    );
    let is_literal = !MARKS.iter().any(|mark| template.contains(mark));
    // The last line end of a prompt file is the editor's.
    let text = template.strip_suffix('\r').unwrap_or(template);
    for body in first.into_iter().filter(|_| is_literal) {
        let body = body.expect("a literal fails for no row");
        assert_eq!(body["messages"][0]["content"], text);
    }
}

/// A body has the keys and lengths of its template, whatever the cells hold.
fn bodies(path: &Path, template: &Map<String, Value>) {
    let text = Value::from(template.clone()).to_string();
    let Some(bodies) = accepted(options(path, None, Some(&text))) else {
        return;
    };
    for body in bodies.into_iter().flatten() {
        let Value::Object(mut body) = body else {
            panic!("{body} is no object")
        };
        if !template.contains_key("model") {
            assert_eq!(body.remove("model"), Some(json!("m")));
        }
        same_shape(&Value::from(template.clone()), &Value::from(body));
    }
}

fn same_shape(template: &Value, body: &Value) {
    match (template, body) {
        (Value::String(text), _) if text.contains("tojson") => {}
        (Value::String(text), Value::String(rendered)) => {
            assert!(MARKS.iter().any(|mark| text.contains(mark)) || text == rendered);
        }
        (Value::Array(template), Value::Array(body)) => {
            assert_eq!(template.len(), body.len());
            for (template, body) in template.iter().zip(body) {
                same_shape(template, body);
            }
        }
        (Value::Object(template), Value::Object(body)) => {
            let keys: Vec<_> = template.keys().collect();
            assert_eq!(keys, body.keys().collect::<Vec<_>>());
            for (key, template) in template {
                same_shape(template, &body[key]);
            }
        }
        _ => assert_eq!(template, body),
    }
}

fn options(path: &Path, prompt: Option<&str>, body_template: Option<&str>) -> SourceOptions {
    SourceOptions {
        format: Some(Format::Jsonl),
        model: Some("m".to_owned()),
        prompt: prompt.map(str::to_owned),
        body_template: body_template.map(str::to_owned),
        ..SourceOptions::new(Input::Path(path.to_owned()))
    }
}

fn made(options: SourceOptions) -> Vec<Result<Value, String>> {
    accepted(options).expect("the template is valid")
}

/// The body of each row or why it has none; `None` when the template is refused.
fn accepted(options: SourceOptions) -> Option<Vec<Result<Value, String>>> {
    let source = match Source::open(options) {
        Ok(source) => source,
        Err(error) => {
            assert!(is_one_line(&error.to_string()), "{error:?}");
            return None;
        }
    };
    let body = |item| match item {
        Item::Request(request) => {
            Ok(serde_json::from_slice(&request.body).expect("a body is JSON"))
        }
        Item::Bad(bad) => {
            assert!(is_one_line(&bad.reason), "{:?}", bad.reason);
            Err(bad.reason)
        }
    };
    Some(
        source
            .map(|item| body(item.expect("a file can be read to its end")))
            .collect(),
    )
}
