//! Rows in, requests out.

/// A row's own columns.
#[derive(Debug)]
pub enum Row {
    /// A JSON object, in the order of its keys.
    Json(serde_json::Map<String, serde_json::Value>),
}
