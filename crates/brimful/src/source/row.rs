//! One input row, owned or borrowed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use minijinja::Value as Cell;
use minijinja::value::Serde;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::delimited::Fields;

/// A row's own columns.
#[derive(Clone, Debug)]
pub enum Row {
    /// A JSON object, or nothing where a row could not be read.
    Json(JsonRow),
    /// A CSV or TSV record; a bad one may have fewer or more cells than the header.
    Cells {
        /// Names of the columns, the same for all rows.
        header: Arc<[String]>,
        /// The cells, unquoted.
        cells: Vec<String>,
    },
    /// A line of plain text; its only column is `text`.
    Text(String),
}

/// The fields of a JSON object in their order, each value as it was written: a number of more
/// digits than a machine word holds comes out as it went in.
#[derive(Clone, Debug, Default)]
pub struct JsonRow(Vec<(String, Box<RawValue>)>);

impl JsonRow {
    /// Fields in order. A name may stand twice, as it may on the line; the last value counts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), &**value))
    }

    fn find(&self, name: &str) -> Option<&RawValue> {
        self.0
            .iter()
            .rfind(|(field, _)| field == name)
            .map(|(_, value)| &**value)
    }
}

impl<'de> Deserialize<'de> for JsonRow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = JsonRow;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonRow, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(JsonRow(fields))
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

impl Row {
    /// A row of which nothing could be read.
    #[must_use]
    pub fn empty() -> Self {
        Self::Json(JsonRow::default())
    }

    /// The object on a line of JSON; empty when it is none.
    pub(super) fn of_json(line: &str) -> Self {
        serde_json::from_str(line).map_or_else(|_| Self::empty(), Self::Json)
    }

    /// Names of the columns, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let (fields, header, text) = match self {
            Self::Json(fields) => (Some(fields), [].as_slice(), None),
            Self::Cells { header, .. } => (None, &header[..], None),
            Self::Text(_) => (None, [].as_slice(), Some("text")),
        };
        let fields = fields
            .into_iter()
            .flat_map(|fields| fields.iter().map(|(name, _)| name));
        fields.chain(header.iter().map(String::as_str)).chain(text)
    }

    /// The column as it is written in a row of JSON; `None` in other rows.
    #[must_use]
    pub fn json(&self, name: &str) -> Option<&str> {
        match self {
            Self::Json(fields) => fields.find(name).map(RawValue::get),
            Self::Cells { .. } | Self::Text(_) => None,
        }
    }

    /// The column as text: strings as they are, null as nothing, everything else as JSON. `None`
    /// when the row does not have it.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        match self {
            Self::Json(fields) => Some(json_text(fields.find(name)?.get())),
            Self::Cells { header, cells } => {
                let at = header.iter().position(|column| column == name)?;
                cells.get(at).map(|cell| Cow::Borrowed(cell.as_str()))
            }
            Self::Text(text) => (name == "text").then_some(Cow::Borrowed(text.as_str())),
        }
    }
}

/// A JSON value as text: strings as they are, null as nothing, everything else as JSON.
pub(crate) fn json_text(json: &str) -> Cow<'_, str> {
    match json {
        "null" => Cow::Borrowed(""),
        json if json.starts_with('"') => {
            serde_json::from_str(json).map_or(Cow::Borrowed(json), Cow::Owned)
        }
        json => Cow::Borrowed(json),
    }
}

/// A row as it lies in the reader's buffers.
#[derive(Clone, Copy, Debug)]
pub(super) enum RowView<'a> {
    Json(&'a Map<String, Value>),
    Cells(&'a Arc<[String]>, &'a Fields),
    Text(&'a str),
}

impl RowView<'_> {
    /// The column as a template sees it.
    pub(super) fn cell(&self, name: &str) -> Option<Cell> {
        match self {
            Self::Json(fields) => fields.get(name).map(cell_of),
            Self::Cells(header, fields) => {
                let at = header.iter().position(|column| column == name)?;
                fields.at(at).map(Cell::from)
            }
            Self::Text(text) => (name == "text").then(|| Cell::from(*text)),
        }
    }

    /// All columns as one mapping.
    pub(super) fn whole(&self) -> Cell {
        match self {
            Self::Json(fields) => Cell::from(Serde(fields)),
            Self::Cells(header, fields) => {
                let pairs = header.iter().zip(fields.iter());
                let row: Map<String, Value> = pairs
                    .map(|(name, cell)| (name.clone(), cell.into()))
                    .collect();
                Cell::from(Serde(&row))
            }
            Self::Text(text) => Cell::from(BTreeMap::from([("text", Cell::from(*text))])),
        }
    }

    /// The column as text or a number, as an id or a count of tokens is written; `None` when the
    /// row lacks it or it is something else, null and the empty string included.
    pub(super) fn scalar(&self, name: &str) -> Option<String> {
        let text = match self {
            Self::Json(fields) => match fields.get(name)? {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                _ => return None,
            },
            Self::Cells(header, fields) => fields
                .at(header.iter().position(|column| column == name)?)?
                .to_owned(),
            Self::Text(text) if name == "text" => (*text).to_owned(),
            Self::Text(_) => return None,
        };
        (!text.is_empty()).then_some(text)
    }

    pub(super) fn names(&self) -> Vec<String> {
        match self {
            Self::Json(fields) => fields.keys().cloned().collect(),
            Self::Cells(header, _) => header.to_vec(),
            Self::Text(_) => vec!["text".to_owned()],
        }
    }

    /// An owned copy; `text` is the line that the view is of.
    pub(super) fn to_row(self, text: &str) -> Row {
        match self {
            Self::Json(_) => Row::of_json(text),
            Self::Cells(header, fields) => Row::Cells {
                header: Arc::clone(header),
                cells: fields.iter().map(str::to_owned).collect(),
            },
            Self::Text(text) => Row::Text(text.to_owned()),
        }
    }
}

fn cell_of(value: &Value) -> Cell {
    match value {
        Value::String(text) => Cell::from(text.as_str()),
        other => Cell::from(Serde(other)),
    }
}
