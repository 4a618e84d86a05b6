//! Rows into requests, or into reasons why not.

use std::borrow::Cow;
use std::sync::Arc;

use brimful_core::{CUSTOM_KINDS, Lane};
use brimful_providers::count::estimate_for;
use brimful_providers::dialect::{Estimate, Json, Prompt, build_body, model_of, streams};
use bytes::Bytes;
use http::Method;
use serde_json::{Map, Value};

use super::ids::IdSet;
use super::lines::Text;
use super::open_error::OpenError;
use super::row::{Row, RowView};
use super::template::Templates;
use super::{
    BatchForm, Format, RESERVED_REMEDY, SourceOptions, batch, delimited, native, near, shown,
    template, units,
};
use crate::fingerprint::Fingerprint;
use crate::request::{BadRow, Item, Request};

/// Where a row stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) row: u64,
    pub(super) line: u64,
}

/// Makes requests of rows. One for a run: templates are compiled, ids remembered, buffers reused.
#[derive(Debug)]
pub(super) struct Maker {
    format: Format,
    delimiter: u8,
    header: Option<Arc<[String]>>,
    templates: Templates,
    options: SourceOptions,
    path: Arc<str>,
    last_url: Option<Arc<str>>,
    ids: IdSet,
    fields: delimited::Fields,
}

/// Why a row is bad, and what could be read of it nevertheless.
struct Defect {
    id: Option<String>,
    reason: String,
    columns: Option<Box<Row>>,
}

/// A request but for its place.
struct Draft {
    id: Option<String>,
    path: Arc<str>,
    body: Bytes,
    judged: Judged,
    columns: Option<Box<Row>>,
}

/// What its body makes of a request.
struct Judged {
    fingerprint: Fingerprint,
    estimate: Estimate,
    streams: bool,
    custom: [u64; CUSTOM_KINDS],
    lane: Lane,
}

/// What a row itself says of its cost.
#[derive(Clone, Copy, Default)]
struct RowCost {
    input_tokens: Option<u64>,
    custom: [u64; CUSTOM_KINDS],
}

impl Maker {
    /// Refuses what would fail every row.
    pub(super) fn new(
        options: SourceOptions,
        format: Format,
        delimiter: u8,
        header: Option<Arc<[String]>>,
    ) -> Result<Self, OpenError> {
        super::check::options(&options, format, header.as_deref())?;
        let mut templates = match format {
            Format::Batch | Format::Native(_) => Templates::compile(None, None, None)?,
            _ => row_templates(&options, format)?,
        };
        units::compile(&mut templates, &options.units)?;
        let columns = super::check::columns(&options, format, header.as_deref());
        templates.check(columns.as_deref())?;
        let path = match format {
            Format::Batch | Format::Native(_) => Arc::from(""),
            _ => super::check::path(&options)?,
        };
        Ok(Self {
            format,
            delimiter,
            header,
            templates,
            path,
            options,
            last_url: None,
            ids: IdSet::new(),
            fields: delimited::Fields::default(),
        })
    }

    pub(super) fn header(&self) -> Option<&[String]> {
        self.header.as_deref()
    }

    /// The request or bad row that a line or record becomes.
    pub(super) fn item(&mut self, place: Place, text: &Text, bytes: &[u8]) -> Item {
        let raw = match text {
            Text::Whole(_) => bytes,
            Text::Unclosed(_) => {
                let reason = "a quoted cell that begins on this line does not end; \
                              close its quote or double the quotes within it";
                return bad(place, bytes, Defect::new(reason.to_owned()));
            }
            Text::TooLong { head, bytes } => {
                let bound = self.options.line_max_bytes;
                let reason = format!(
                    "the line is {bytes} bytes long, the bound {bound}; split it or raise the bound"
                );
                let raw = [head, bytes.to_string().as_bytes()].concat();
                return bad(place, &raw, Defect::new(reason));
            }
        };
        let text = match str::from_utf8(raw) {
            Ok(text) => text,
            Err(error) => {
                let at = error.valid_up_to() + 1;
                let reason = format!(
                    "no valid UTF-8 at byte {at} of the line; convert the input with iconv"
                );
                return bad(place, raw, Defect::new(reason));
            }
        };
        match self.draft(place, text) {
            Ok(draft) => finish(place, draft),
            Err(defect) => bad(place, raw, defect),
        }
    }

    /// The request number `index` of a repeated prompt.
    pub(super) fn repeated(&mut self, index: u64) -> Item {
        let place = Place {
            row: index,
            line: 0,
        };
        let row = Map::from_iter([("index".to_owned(), Value::from(index))]);
        let text = format!("{{\"index\":{index}}}");
        match self.row_draft(place, RowView::Json(&row), &text) {
            Ok(draft) => finish(place, draft),
            Err(defect) => bad(place, index.to_string().as_bytes(), defect),
        }
    }

    fn draft(&mut self, place: Place, text: &str) -> Result<Draft, Defect> {
        match self.format {
            Format::Batch => self.batch_draft(place, text),
            Format::Native(form) => self.native_draft(place, text, form),
            Format::Jsonl => {
                if !text.trim_start().starts_with('{') {
                    let reason = "the line is no JSON object; write one object a line";
                    return Err(Defect::new(reason.to_owned()));
                }
                let row: Map<String, Value> = serde_json::from_str(text)
                    .map_err(|error| Defect::new(batch::json_reason(&error)))?;
                self.row_draft(place, RowView::Json(&row), text)
            }
            Format::Text => {
                refuse_nul(text.contains('\0')).map_err(Defect::new)?;
                self.row_draft(place, RowView::Text(text), text)
            }
            Format::Csv | Format::Tsv => self.cells_draft(place, text),
        }
    }

    fn cells_draft(&mut self, place: Place, text: &str) -> Result<Draft, Defect> {
        let mut fields = std::mem::take(&mut self.fields);
        fields.split(text, self.delimiter);
        let header = Arc::clone(self.header.get_or_insert_with(|| Arc::from([])));
        let view = RowView::Cells(&header, &fields);
        let defect = |reason| Defect {
            columns: self.kept(view, text),
            ..Defect::new(reason)
        };
        let result = if fields.len() == header.len() {
            refuse_nul(fields.contains('\0'))
                .map_err(defect)
                .and_then(|()| self.row_draft(place, view, text))
        } else {
            let (count, expected) = (fields.len(), header.len());
            Err(defect(format!(
                "the row has {count} fields, the header {expected}; quote cells that hold the \
                 delimiter, quotes or line ends"
            )))
        };
        self.fields = fields;
        result
    }

    fn batch_draft(&mut self, place: Place, text: &str) -> Result<Draft, Defect> {
        let fields = batch::Fields::parse(text).map_err(Defect::new)?;
        let columns = self
            .options
            .keep_columns
            .then(|| Box::new(Row::of_json(text)));
        let id = match fields.id() {
            Ok(id) => id,
            Err(reason) => {
                return Err(Defect {
                    columns,
                    ..Defect::new(reason)
                });
            }
        };
        match self.batch_request(place, text, &fields, &id) {
            Ok((line, judged)) => Ok(Draft {
                id: Some(id),
                path: line.path,
                body: Bytes::copy_from_slice(line.body.as_bytes()),
                judged,
                columns,
            }),
            Err(reason) => Err(Defect {
                id: Some(id),
                reason,
                columns,
            }),
        }
    }

    fn batch_request<'a>(
        &mut self,
        place: Place,
        text: &str,
        fields: &batch::Fields<'a>,
        id: &str,
    ) -> Result<(batch::Line<'a>, Judged), String> {
        if !self.ids.insert(id) {
            return Err(duplicate("custom_id", id));
        }
        let line = fields.request(&mut self.last_url)?;
        let body = Json::parse(line.body)
            .map_err(|error| format!("in `body`: {}", batch::json_reason(&error)))?;
        let cost = self.line_cost(place, text)?;
        let judged = self.judged(Some(id), &line.path, &body, cost);
        Ok((line, judged))
    }

    fn native_draft(&mut self, place: Place, text: &str, form: BatchForm) -> Result<Draft, Defect> {
        let fields = native::Fields::parse(text).map_err(Defect::new)?;
        let keeps = self.options.keep_columns;
        let columns = keeps.then(|| Box::new(Row::of_json(text)));
        let id = match fields.id(form) {
            Ok(id) => id,
            Err(reason) => {
                return Err(Defect {
                    columns,
                    ..Defect::new(reason)
                });
            }
        };
        match self.native_request(place, text, &fields, form, &id) {
            Ok((path, body, judged)) => Ok(Draft {
                id: Some(id),
                path,
                body,
                judged,
                columns,
            }),
            Err(reason) => Err(Defect {
                id: Some(id),
                reason,
                columns,
            }),
        }
    }

    fn native_request(
        &mut self,
        place: Place,
        text: &str,
        fields: &native::Fields<'_>,
        form: BatchForm,
        id: &str,
    ) -> Result<(Arc<str>, Bytes, Judged), String> {
        if !self.ids.insert(id) {
            return Err(duplicate(form.names().0, id));
        }
        let given = fields.body(form)?;
        let invalid = |error| format!("in `{}`: {}", form.names().1, batch::json_reason(&error));
        let parsed = Json::parse(given).map_err(invalid)?;
        let own_model = parsed.get("model").and_then(Json::as_str);
        let model = self.options.model.as_deref();
        let lacks_model = !form.names_model() && own_model.is_none();
        let body = match model.filter(|_| lacks_model) {
            Some(model) => Cow::Owned(with_model(given, model)),
            None => Cow::Borrowed(given),
        };
        let body_json = Json::parse(&body).map_err(invalid)?;
        // Only Gemini's bodies may name the model that stands in the path.
        let in_path = own_model.filter(|_| form == BatchForm::Gemini).or(model);
        let path = form.path(&self.options.endpoint, in_path, &body_json)?;
        // Nearly all lines have the same.
        let path = match &self.last_url {
            Some(last) if *last == path => Arc::clone(last),
            _ => Arc::clone(self.last_url.insert(path)),
        };
        let cost = self.line_cost(place, text)?;
        let judged = self.judged(Some(id), &path, &body_json, cost);
        Ok((path, Bytes::copy_from_slice(body.as_bytes()), judged))
    }

    fn row_draft(&mut self, place: Place, view: RowView<'_>, text: &str) -> Result<Draft, Defect> {
        let columns = self.kept(view, text);
        if let Some(reason) = self.collision(&view) {
            return Err(Defect {
                columns,
                ..Defect::new(reason)
            });
        }
        let id = match self.explicit_id(&view) {
            Ok(id) => id,
            Err(reason) => {
                return Err(Defect {
                    columns,
                    ..Defect::new(reason)
                });
            }
        };
        match self.row_request(place, &view) {
            Ok((value, cost)) => {
                let body = Json::from(&value);
                let judged = self.judged(id.as_deref(), &self.path, &body, cost);
                Ok(Draft {
                    id,
                    path: Arc::clone(&self.path),
                    body: Bytes::from(value.to_string()),
                    judged,
                    columns,
                })
            }
            Err(reason) => Err(Defect {
                id,
                reason,
                columns,
            }),
        }
    }

    fn row_request(&self, place: Place, view: &RowView<'_>) -> Result<(Value, RowCost), String> {
        let cost = self.cost(place, view)?;
        let model = self.options.model.as_deref();
        let value = match self.templates.body(view, place.row) {
            Some(body) => {
                let model = model.filter(|_| !self.options.endpoint.names_model());
                Value::Object(with_defaults(body?, model, &self.options.params))
            }
            None => {
                let prompt = self.templates.prompt(view, place.row)?;
                let system = self
                    .templates
                    .has_system
                    .then(|| self.templates.system(view, place.row));
                let system = system.transpose()?;
                let prompt = Prompt {
                    model,
                    system: system.as_deref(),
                    prompt: &prompt,
                };
                build_body(&self.options.endpoint, prompt, &self.options.params)
                    .map_err(|error| error.to_string())?
            }
        };
        Ok((value, cost))
    }

    fn explicit_id(&mut self, view: &RowView<'_>) -> Result<Option<String>, String> {
        let Some(column) = &self.options.id_column else {
            return Ok(None);
        };
        let Some(id) = view.scalar(column) else {
            return Err(lacking(
                "id",
                column,
                view,
                "give every row an id of its own",
            ));
        };
        if !self.ids.insert(&id) {
            return Err(duplicate(column, &id));
        }
        Ok(Some(id))
    }

    /// What a line of a batch file says of its cost.
    fn line_cost(&self, place: Place, text: &str) -> Result<RowCost, String> {
        if self.options.estimate_column.is_none() && self.options.units.is_empty() {
            return Ok(RowCost::default());
        }
        let row: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
        self.cost(place, &RowView::Json(&row))
    }

    fn cost(&self, place: Place, view: &RowView<'_>) -> Result<RowCost, String> {
        Ok(RowCost {
            input_tokens: self.estimated(view)?,
            custom: units::of_row(&self.templates, &self.options.units, view, place.row)?,
        })
    }

    fn judged(&self, id: Option<&str>, path: &str, body: &Json<'_>, row: RowCost) -> Judged {
        let mut estimate = estimate_for(self.options.count, path, body);
        estimate.input_tokens = row.input_tokens.unwrap_or(estimate.input_tokens);
        let model = model_of(path, body);
        Judged {
            fingerprint: Fingerprint::of_request_json(id, "POST", path, body),
            estimate,
            custom: row.custom,
            lane: Lane(self.options.lanes.lane_of(model.as_deref())),
            streams: streams(path, body),
        }
    }

    /// What the estimate column says; `None` when there is none or its cell is empty.
    fn estimated(&self, view: &RowView<'_>) -> Result<Option<u64>, String> {
        let Some(column) = &self.options.estimate_column else {
            return Ok(None);
        };
        let Some(text) = view.scalar(column) else {
            return Ok(None);
        };
        let count = text.trim().parse().map_err(|_| {
            format!(
                "column `{column}` is {}; write a whole number of tokens",
                shown(&text)
            )
        })?;
        Ok(Some(count))
    }

    fn kept(&self, view: RowView<'_>, text: &str) -> Option<Box<Row>> {
        self.options
            .keep_columns
            .then(|| Box::new(view.to_row(text)))
    }

    /// Columns of JSON rows are not known before the start: one that the output needs for itself
    /// makes a bad row, before anything is paid for it.
    fn collision(&self, view: &RowView<'_>) -> Option<String> {
        let RowView::Json(row) = view else {
            return None;
        };
        let taken = self
            .options
            .reserved_columns
            .iter()
            .find(|name| row.contains_key(*name))?;
        Some(format!(
            "the row has a column {}; {RESERVED_REMEDY}",
            shown(taken)
        ))
    }
}

impl Defect {
    fn new(reason: String) -> Self {
        Self {
            id: None,
            reason,
            columns: None,
        }
    }
}

fn row_templates(options: &SourceOptions, format: Format) -> Result<Templates, OpenError> {
    if let Some(body) = &options.body_template {
        let body = template::parse_body(body, &options.endpoint)?;
        return Templates::compile(None, None, Some(Value::Object(body)));
    }
    let prompt = match &options.prompt {
        Some(prompt) => prompt,
        None if format == Format::Text => "{{ text }}",
        None => return Err(OpenError::NoPrompt(format.described())),
    };
    Templates::compile(Some(prompt), options.system.as_deref(), None)
}

fn with_defaults(
    mut body: Map<String, Value>,
    model: Option<&str>,
    params: &Map<String, Value>,
) -> Map<String, Value> {
    if let Some(model) = model {
        body.entry("model").or_insert_with(|| model.into());
    }
    for (name, value) in params {
        body.entry(name.as_str()).or_insert_with(|| value.clone());
    }
    body
}

/// The object with a model as its first member.
fn with_model(body: &str, model: &str) -> String {
    let rest = body.strip_prefix('{').unwrap_or(body);
    let is_empty = rest.trim_start().starts_with('}');
    let comma = if is_empty { "" } else { "," };
    format!("{{\"model\":{}{comma}{rest}", Value::from(model))
}

fn finish(place: Place, draft: Draft) -> Item {
    let Draft {
        id,
        path,
        body,
        judged,
        columns,
    } = draft;
    Item::Request(Request {
        row: place.row,
        line: place.line,
        id: id.unwrap_or_else(|| place.row.to_string()),
        fingerprint: judged.fingerprint,
        method: Method::POST,
        path,
        body,
        streams: judged.streams,
        input_tokens: judged.estimate.input_tokens,
        custom: judged.custom,
        lane: judged.lane,
        max_output_tokens: judged.estimate.max_output_tokens,
        columns,
    })
}

fn bad(place: Place, raw: &[u8], defect: Defect) -> Item {
    Item::Bad(BadRow {
        row: place.row,
        line: place.line,
        id: defect.id.unwrap_or_else(|| place.row.to_string()),
        fingerprint: Fingerprint::of_bad_row(raw),
        reason: defect.reason,
        columns: defect.columns,
    })
}

fn refuse_nul(found: bool) -> Result<(), String> {
    if found {
        return Err("the row has a NUL byte; remove it, or convert the input to UTF-8".into());
    }
    Ok(())
}

fn duplicate(column: &str, id: &str) -> String {
    format!(
        "`{column}` {} stands in an earlier row too; make ids unique",
        shown(id)
    )
}

fn lacking(what: &str, column: &str, view: &RowView<'_>, remedy: &str) -> String {
    let names = view.names();
    if names.iter().any(|name| name == column) {
        return format!("the {what} column `{column}` is empty or no text or number; {remedy}");
    }
    format!(
        "the row has no column `{column}` for its {what}{}; {remedy}",
        near(column, &names)
    )
}
