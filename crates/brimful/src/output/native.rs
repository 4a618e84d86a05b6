//! Results in the form of a provider's own batch output.

use std::io;

use serde_json::{Value, json};

use super::{NOT_SENT, RowResult, not_sent};
use crate::source::{BatchForm, Row};

/// Google's code for what the caller has ended.
/// <https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto>
const CANCELLED: u16 = 1;

/// Appends the line of one request.
pub(super) fn put(
    line: &mut Vec<u8>,
    form: BatchForm,
    id: &str,
    row: &Row,
    result: RowResult<'_>,
) -> io::Result<()> {
    match form {
        BatchForm::Anthropic => anthropic(line, id, result)?,
        BatchForm::Gemini => gemini(line, id, result)?,
        BatchForm::Bedrock => bedrock(line, id, row, result)?,
        BatchForm::Mistral => mistral(line, id, result)?,
    }
    line.extend_from_slice(b"}\n");
    Ok(())
}

fn anthropic(line: &mut Vec<u8>, id: &str, result: RowResult<'_>) -> io::Result<()> {
    text(line, "{\"custom_id\":", id)?;
    line.extend_from_slice(b",\"result\":{\"type\":");
    match result {
        RowResult::Answer { body, .. } => {
            line.extend_from_slice(b"\"succeeded\",\"message\":");
            put_body(line, body);
        }
        RowResult::Dead {
            code,
            message,
            response,
        } => {
            let said = object(response).filter(|said| said["type"] == "error");
            let made = || json!({"type": "error", "error": {"type": code, "message": message}});
            value(line, "\"errored\",\"error\":", &said.unwrap_or_else(made))?;
        }
        // Its word for what was not sent before the batch was ended.
        RowResult::Pending => line.extend_from_slice(b"\"canceled\""),
    }
    line.push(b'}');
    Ok(())
}

fn gemini(line: &mut Vec<u8>, id: &str, result: RowResult<'_>) -> io::Result<()> {
    text(line, "{\"key\":", id)?;
    let error = match result {
        RowResult::Answer { body, .. } => {
            line.extend_from_slice(b",\"response\":");
            put_body(line, body);
            return Ok(());
        }
        RowResult::Dead {
            code,
            message,
            response,
        } => {
            let mut said = object(response).unwrap_or_default();
            match said["error"].take() {
                error @ Value::Object(_) => error,
                _ => json!({"code": response.map(|(status, _)| status), "message": message,
                    "status": code}),
            }
        }
        RowResult::Pending => {
            json!({"code": CANCELLED, "message": not_sent(), "status": "CANCELLED"})
        }
    };
    value(line, ",\"error\":", &error)
}

fn bedrock(line: &mut Vec<u8>, id: &str, row: &Row, result: RowResult<'_>) -> io::Result<()> {
    text(line, "{\"recordId\":", id)?;
    if let Some(input) = row.json("modelInput") {
        line.extend_from_slice(b",\"modelInput\":");
        put_body(line, input.as_bytes());
    }
    let (code, message) = match result {
        RowResult::Answer { body, .. } => {
            line.extend_from_slice(b",\"modelOutput\":");
            put_body(line, body);
            return Ok(());
        }
        RowResult::Dead {
            code,
            message,
            response,
        } => {
            let status = response.map(|(status, _)| Value::from(status));
            (status.unwrap_or_else(|| code.into()), message.to_owned())
        }
        RowResult::Pending => (NOT_SENT.into(), not_sent()),
    };
    let error = json!({"errorCode": code, "errorMessage": message});
    value(line, ",\"error\":", &error)
}

fn mistral(line: &mut Vec<u8>, id: &str, result: RowResult<'_>) -> io::Result<()> {
    text(line, "{\"id\":", &format!("batch-{id}"))?;
    text(line, ",\"custom_id\":", id)?;
    let (response, error) = match result {
        RowResult::Answer { body, .. } => {
            // What is kept as an answer came with a success.
            line.extend_from_slice(b",\"response\":{\"status_code\":200,\"body\":");
            put_body(line, body);
            line.extend_from_slice(b"},\"error\":null");
            return Ok(());
        }
        RowResult::Dead {
            code,
            message,
            response,
        } => {
            let body = || object(response).unwrap_or_default();
            let response =
                response.map(|(status, _)| json!({"status_code": status, "body": body()}));
            (response, json!({"code": code, "message": message}))
        }
        RowResult::Pending => (None, json!({"code": NOT_SENT, "message": not_sent()})),
    };
    value(line, ",\"response\":", &json!(response))?;
    value(line, ",\"error\":", &error)
}

/// The body of a reply, when it is an object.
fn object(response: Option<(u16, &[u8])>) -> Option<Value> {
    let (_, body) = response?;
    serde_json::from_slice(body).ok().filter(Value::is_object)
}

fn text(line: &mut Vec<u8>, before: &str, text: &str) -> io::Result<()> {
    line.extend_from_slice(before.as_bytes());
    serde_json::to_writer(line, text).map_err(io::Error::from)
}

fn value(line: &mut Vec<u8>, before: &str, value: &Value) -> io::Result<()> {
    line.extend_from_slice(before.as_bytes());
    serde_json::to_writer(line, value).map_err(io::Error::from)
}

/// JSON as it is, on one line: line breaks stand only between its words.
fn put_body(line: &mut Vec<u8>, body: &[u8]) {
    line.extend(body.iter().map(|&byte| match byte {
        b'\n' | b'\r' => b' ',
        byte => byte,
    }));
}
