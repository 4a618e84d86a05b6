//! What an input is, by its content.

use std::io;
use std::path::Path;

use memchr::memchr;
use serde_json::Value;

use super::delimited::Fields;
use super::lines::Lines;
use super::open_error::OpenError;
use super::{BatchForm, Format, Input};

/// How many lines are looked at before an input whose lines begin with `{` but are no JSON is
/// taken for rows.
const LINES_TO_TRY: usize = 100;

/// The format, the bytes to pass over at the start, and the delimiter of a CSV.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Detected {
    pub(super) format: Format,
    pub(super) delimiter: u8,
}

/// Refuses what is no UTF-8 text and passes over a byte order mark.
pub(super) fn check_start(lines: &mut Lines) -> Result<(), StartError> {
    let start = lines.peek(4)?;
    let (what, remedy) = match start {
        [b'P', b'A', b'R', b'1', ..] => (
            "Parquet, which this version does not read",
            "convert it to JSONL or CSV",
        ),
        [0x1F, 0x8B, ..] => (
            "compressed with gzip",
            "pipe it in: gzip -dc FILE | brimful run -",
        ),
        [0x28, 0xB5, 0x2F, 0xFD, ..] => (
            "compressed with zstd",
            "pipe it in: zstd -dc FILE | brimful run -",
        ),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => (
            "compressed with bzip2",
            "pipe it in: bzip2 -dc FILE | brimful run -",
        ),
        [0xFD, b'7', b'z', b'X', ..] => (
            "compressed with xz",
            "pipe it in: xz -dc FILE | brimful run -",
        ),
        [b'P', b'K', 3, 4, ..] => (
            "a ZIP archive or a spreadsheet",
            "unpack it, or save it as CSV in UTF-8",
        ),
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => {
            ("UTF-16", "convert it: iconv -f UTF-16 -t UTF-8 FILE")
        }
        [0xEF, 0xBB, 0xBF, ..] => {
            lines.skip(3);
            return Ok(());
        }
        _ => return Ok(()),
    };
    Err(OpenError::NotSupported { what, remedy }.into())
}

/// Either kind of trouble at the start of an input.
#[derive(Debug)]
pub(super) enum StartError {
    Open(OpenError),
    Io(io::Error),
}

impl From<OpenError> for StartError {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Decides by what was asked for, then by the name where it says it, then by the content.
pub(super) fn detect(
    lines: &mut Lines,
    asked: Option<Format>,
    input: &Input,
    has_prompt: bool,
) -> Result<Detected, StartError> {
    let named = asked.or_else(|| by_name(input));
    let format = match named {
        Some(Format::Jsonl) if asked.is_none() => by_json(lines, has_prompt)?,
        Some(format) => Some(format),
        None => None,
    };
    match format {
        Some(Format::Csv) => {
            let delimiter = delimiter_of(lines)?;
            Ok(Detected {
                format: Format::Csv,
                delimiter,
            })
        }
        Some(format) => Ok(Detected {
            format,
            delimiter: b'\t',
        }),
        None => by_content(lines, has_prompt),
    }
}

fn by_name(input: &Input) -> Option<Format> {
    let Input::Path(path) = input else {
        return None;
    };
    let extension = Path::new(path).extension()?.to_str()?.to_ascii_lowercase();
    match extension.as_str() {
        "jsonl" | "ndjson" | "json" => Some(Format::Jsonl),
        "csv" => Some(Format::Csv),
        "tsv" | "tab" => Some(Format::Tsv),
        "txt" => Some(Format::Text),
        _ => None,
    }
}

fn by_content(lines: &mut Lines, has_prompt: bool) -> Result<Detected, StartError> {
    let text = Detected {
        format: Format::Text,
        delimiter: b'\t',
    };
    let Some((first, next)) = first_line(lines)? else {
        return Ok(text);
    };
    if matches!(first.trim_ascii_start().first(), Some(b'{' | b'[')) {
        let format = by_json(lines, has_prompt)?;
        return Ok(format.map_or(text, |format| Detected {
            format,
            delimiter: b'\t',
        }));
    }
    let Some(second) = lines.peek_line(next)? else {
        return Ok(text);
    };
    let second = second.0.to_vec();
    if is_header(&first, &second, b'\t') {
        return Ok(Detected {
            format: Format::Tsv,
            delimiter: b'\t',
        });
    }
    // As for an input of which CSV is all that is known: it may be opened again as such.
    let delimiter = delimiter_of(lines)?;
    let is_table = is_header(&first, &second, delimiter);
    Ok(if is_table {
        Detected {
            format: Format::Csv,
            delimiter,
        }
    } else {
        text
    })
}

/// The first line that is not blank, and the offset behind it.
pub(super) fn first_line(lines: &mut Lines) -> Result<Option<(Vec<u8>, usize)>, StartError> {
    let mut offset = 0;
    while let Some((line, next)) = lines.peek_line(offset)? {
        if !line.trim_ascii().is_empty() {
            return Ok(Some((line.to_vec(), next)));
        }
        offset = next;
    }
    Ok(None)
}

/// Two or more distinct names without spaces, and as many fields on the next line. Prompts with
/// commas in them must not pass for a table.
fn is_header(first: &[u8], second: &[u8], delimiter: u8) -> bool {
    let (Ok(first), Ok(second)) = (str::from_utf8(first), str::from_utf8(second)) else {
        return false;
    };
    let mut header = Fields::default();
    let mut row = Fields::default();
    header.split(first, delimiter);
    row.split(second, delimiter);
    let mut names: Vec<&str> = header.iter().collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    let is_name = |name: &&str| {
        let starts = name.starts_with(|c: char| c.is_alphabetic() || c == '_');
        starts && name.len() <= 64 && !name.contains(char::is_whitespace)
    };
    count >= 2 && names.len() == count && row.len() == count && names.iter().all(is_name)
}

/// Batch or row JSONL by the first line that is an object. `None` when the lines are no JSON.
fn by_json(lines: &mut Lines, has_prompt: bool) -> Result<Option<Format>, StartError> {
    let mut offset = 0;
    let mut tried = 0;
    while let Some((line, next)) = lines.peek_line(offset)? {
        offset = next;
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        tried += 1;
        if tried == 1 {
            refuse_documents(line)?;
        }
        if let Some(format) = format_of_line(line, has_prompt) {
            // A Batch file whose first line lacks a field must not pass for Mistral's.
            let may_be_batch = format == Format::Native(BatchForm::Mistral);
            if may_be_batch && next_has_url(lines, offset)? {
                return Ok(Some(Format::Batch));
            }
            return Ok(Some(format));
        }
        if tried == LINES_TO_TRY {
            break;
        }
    }
    Ok((tried > 0).then_some(Format::Jsonl))
}

/// One JSON document over many lines, or one array: not one object a line.
fn refuse_documents(line: &[u8]) -> Result<(), OpenError> {
    let (what, remedy) = match line {
        b"{" => (
            "JSON spread over several lines",
            "write one object a line: jq -c . FILE",
        ),
        [b'[', rest @ ..] if matches!(rest.trim_ascii_start().first(), None | Some(b'{')) => {
            ("a JSON array", "write one object a line: jq -c '.[]' FILE")
        }
        _ => return Ok(()),
    };
    Err(OpenError::NotSupported { what, remedy })
}

fn format_of_line(line: &[u8], has_prompt: bool) -> Option<Format> {
    let Ok(Value::Object(fields)) = serde_json::from_slice(line) else {
        return None;
    };
    let has = |name: &str| fields.contains_key(name);
    if ["custom_id", "method", "url", "body"].into_iter().all(has) {
        return Some(Format::Batch);
    }
    // Rows may have any columns: with a prompt they are what they look like.
    if has_prompt {
        return Some(Format::Jsonl);
    }
    let forms = [BatchForm::Anthropic, BatchForm::Gemini, BatchForm::Bedrock];
    let is_form = |form: &BatchForm| {
        let (id, body) = form.names();
        has(id) && fields.get(body).is_some_and(Value::is_object)
    };
    if let Some(form) = forms.into_iter().find(is_form) {
        return Some(Format::Native(form));
    }
    // A first line that lacks a field must not make rows of a Batch file.
    Some(match has("custom_id") && (has("body") || has("url")) {
        true if !has("method") && !has("url") => Format::Native(BatchForm::Mistral),
        true => Format::Batch,
        false => Format::Jsonl,
    })
}

/// Whether the next line that is not blank is an object with a `url`.
fn next_has_url(lines: &mut Lines, mut offset: usize) -> Result<bool, StartError> {
    while let Some((line, next)) = lines.peek_line(offset)? {
        offset = next;
        if !line.trim_ascii().is_empty() {
            let fields = serde_json::from_slice::<Value>(line);
            return Ok(fields.is_ok_and(|fields| fields.get("url").is_some()));
        }
    }
    Ok(false)
}

/// The most frequent of comma, semicolon and tab in the header; the comma when in doubt.
fn delimiter_of(lines: &mut Lines) -> Result<u8, StartError> {
    let Some((header, _)) = first_line(lines)? else {
        return Ok(b',');
    };
    let Ok(header) = str::from_utf8(&header) else {
        return Ok(b',');
    };
    if memchr(b',', header.as_bytes()).is_none() && !header.contains([';', '\t']) {
        return Ok(b',');
    }
    let mut fields = Fields::default();
    let mut best = (0, b',');
    for delimiter in [b',', b';', b'\t'] {
        fields.split(header, delimiter);
        if fields.len() > best.0 {
            best = (fields.len(), delimiter);
        }
    }
    Ok(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detected(name: &str, content: &[u8], asked: Option<Format>) -> Result<Detected, OpenError> {
        detected_with(name, content, asked, true)
    }

    fn detected_with(
        name: &str,
        content: &[u8],
        asked: Option<Format>,
        has_prompt: bool,
    ) -> Result<Detected, OpenError> {
        let mut lines = Lines::new(Box::new(io::Cursor::new(content.to_vec())), None, 1 << 20);
        let input = Input::Path(name.into());
        let result =
            check_start(&mut lines).and_then(|()| detect(&mut lines, asked, &input, has_prompt));
        result.map_err(|error| match error {
            StartError::Open(error) => error,
            StartError::Io(error) => panic!("{error}"),
        })
    }

    fn format(name: &str, content: &[u8]) -> Format {
        detected(name, content, None).unwrap().format
    }

    const BATCH: &[u8] = br#"{"custom_id":"a","method":"POST","url":"/v1/x","body":{}}"#;

    #[test]
    fn json_lines_are_batch_or_rows() {
        assert_eq!(format("x", BATCH), Format::Batch);
        assert_eq!(format("x.jsonl", BATCH), Format::Batch);
        assert_eq!(format("x", br#"{"text":"a"}"#), Format::Jsonl);
        assert_eq!(format("x", b"\n\n{\"text\":1}\n"), Format::Jsonl);
        let torn = [b"{\"custom_id\":\"a\n", BATCH].concat();
        assert_eq!(format("x", &torn), Format::Batch);
        assert_eq!(format("x", b"{torn\n{torn"), Format::Jsonl);
        assert_eq!(format("x.jsonl", b"not json"), Format::Jsonl);
        assert_eq!(
            detected("x", BATCH, Some(Format::Text)).unwrap().format,
            Format::Text
        );
    }

    #[test]
    fn other_providers_batch_files_are_known_by_their_keys_unless_there_is_a_prompt() {
        use BatchForm::{Anthropic, Bedrock, Gemini, Mistral};
        for (line, form) in [
            (r#"{"custom_id":"a","params":{}}"#, Some(Anthropic)),
            (r#"{"request":{},"key":"a","x":1}"#, Some(Gemini)),
            (r#"{"recordId":"a","modelInput":{}}"#, Some(Bedrock)),
            (r#"{"custom_id":"a","body":{}}"#, Some(Mistral)),
            (r#"{"custom_id":"a","params":"x"}"#, None),
            (r#"{"key":"a","request":"x"}"#, None),
            (r#"{"key":"a"}"#, None),
        ] {
            let expected = form.map_or(Format::Jsonl, Format::Native);
            for name in ["x", "x.jsonl"] {
                let found = detected_with(name, line.as_bytes(), None, false).unwrap();
                assert_eq!(found.format, expected, "{line}");
                assert_eq!(format(name, line.as_bytes()), Format::Jsonl, "{line}");
            }
        }
        for line in [
            r#"{"custom_id":"a","url":"/"}"#,
            r#"{"custom_id":"a","method":"","body":{}}"#,
        ] {
            let found = detected_with("x", line.as_bytes(), None, false).unwrap();
            assert_eq!(found.format, Format::Batch, "{line}");
        }
        let batch = [b"{\"custom_id\":\"a\",\"body\":{}}\n\n", BATCH].concat();
        assert_eq!(
            detected_with("x", &batch, None, false).unwrap().format,
            Format::Batch
        );
    }

    #[test]
    fn tables_are_recognised_by_name_or_by_a_header_that_fits() {
        let csv = |delimiter| Detected {
            format: Format::Csv,
            delimiter,
        };
        assert_eq!(
            detected("x.csv", b"text\nhello, you\n", None).unwrap(),
            csv(b',')
        );
        assert_eq!(detected("x.CSV", b"a;b\n1;2\n", None).unwrap(), csv(b';'));
        assert_eq!(
            detected("x", b"id,text\n1,hello\n", None).unwrap(),
            csv(b',')
        );
        assert_eq!(
            detected("x", b"id;name,first;x\n1;2,3;4\n", None).unwrap(),
            csv(b';')
        );
        assert_eq!(format("x", b"id\ttext\n1\thello\n"), Format::Tsv);
        assert_eq!(format("x.tsv", b"text\n"), Format::Tsv);
    }

    #[test]
    fn prompts_with_commas_are_text() {
        for text in [
            "Say hello, please\nSay goodbye, now\n",
            "Hello, world\nHello, you\n",
            "one\ntwo\n",
            "red,green\nblue\n",
            "",
            "\n\n",
        ] {
            assert_eq!(format("x", text.as_bytes()), Format::Text, "{text:?}");
        }
        assert_eq!(format("x.txt", b"a,b\n1,2\n"), Format::Text);
    }

    #[test]
    fn what_is_no_text_is_refused_with_a_remedy() {
        for (content, word) in [
            (&b"PAR1\x00"[..], "Parquet"),
            (b"\x1F\x8B\x08\x00", "gzip"),
            (b"\x28\xB5\x2F\xFD", "zstd"),
            (b"PK\x03\x04", "ZIP"),
            (b"\xFF\xFEa\x00", "UTF-16"),
            (b"\xFE\xFF\x00a", "UTF-16"),
            (b"[{\"a\":1}]", "array"),
            (b"[\n{\"a\":1}]", "array"),
            (b"{\n \"a\":1}", "several lines"),
        ] {
            let error = detected("x", content, None).expect_err(word).to_string();
            assert!(error.contains(word) && error.contains("; "), "{error}");
        }
        assert_eq!(format("x", b"\xEF\xBB\xBF{\"a\":1}"), Format::Jsonl);
    }
}
