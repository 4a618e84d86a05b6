//! Prompts and bodies from templates.
//!
//! Templates are the user's own, cells are not trusted: a cell is only ever a value, never parsed
//! as a template, and the strings of a body template are rendered after its JSON was parsed.

use std::collections::BTreeMap;

use brimful_providers::dialect::Endpoint;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Kwargs;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value as Cell};
use serde_json::{Map, Value};

use super::open_error::OpenError;
use super::row::RowView;
use super::{near, shown};

/// Instructions that one rendering may take: a loop over 100,000 items, and well under a second.
const FUEL: u64 = 2_000_000;

const PROMPT: &str = "--prompt";
const SYSTEM: &str = "--system";
const BODY: &str = "--body-template";

/// The whole row, for columns whose names are no identifiers: `{{ row["First name"] }}`.
const ROW: &str = "row";
/// The 1-based row number.
const INDEX: &str = "index";

/// All templates of a run, compiled once.
#[derive(Debug)]
pub(super) struct Templates {
    env: Environment<'static>,
    pub(super) has_system: bool,
    body: Option<Node>,
    /// Variables that any template mentions, built-in functions left out.
    names: Vec<String>,
    /// Attributes of `row` that templates mention as `row.name`.
    row_names: Vec<String>,
}

/// A body template: JSON with templates in the place of strings.
#[derive(Debug)]
enum Node {
    Literal(Value),
    /// Name of a template whose text is a string.
    Text(String),
    /// Name of a template whose text is JSON, because it is one `{{ … | tojson }}` and nothing
    /// else.
    Json(String),
    Array(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl Templates {
    /// Compiles what is given; each is optional.
    pub(super) fn compile(
        prompt: Option<&str>,
        system: Option<&str>,
        body: Option<Value>,
    ) -> Result<Self, OpenError> {
        let mut templates = Self {
            env: environment(),
            has_system: system.is_some(),
            body: None,
            names: Vec::new(),
            row_names: Vec::new(),
        };
        for (name, source) in [(PROMPT, prompt), (SYSTEM, system)] {
            if let Some(source) = source {
                // The last line end of a prompt file is the editor's, not the prompt's.
                let source = source.strip_suffix('\n').unwrap_or(source);
                templates.add(name.to_owned(), source.strip_suffix('\r').unwrap_or(source))?;
            }
        }
        if let Some(body) = body {
            templates.body = Some(templates.node(body, String::new())?);
        }
        Ok(templates)
    }

    /// Compiles one more template under a name of its own.
    pub(super) fn add(&mut self, name: String, source: &str) -> Result<(), OpenError> {
        let added = self.env.add_template_owned(name.clone(), source.to_owned());
        added.map_err(|error| OpenError::syntax(&name, source, &error))?;
        let Ok(template) = self.env.get_template(&name) else {
            return Ok(());
        };
        let globals: Vec<&str> = self.env.globals().map(|(name, _)| name).collect();
        for name in template.undeclared_variables(false) {
            if !globals.contains(&name.as_str()) {
                self.names.push(name);
            }
        }
        let nested = template.undeclared_variables(true);
        let of_row = nested.iter().filter_map(|name| name.strip_prefix("row."));
        self.row_names.extend(of_row.map(str::to_owned));
        self.names.sort_unstable();
        self.names.dedup();
        Ok(())
    }

    fn node(&mut self, value: Value, at: String) -> Result<Node, OpenError> {
        Ok(match value {
            Value::String(text) if is_template(&text) => {
                let name = format!("{BODY}{at}");
                self.add(name.clone(), &text)?;
                if is_json_expression(&text) {
                    Node::Json(name)
                } else {
                    Node::Text(name)
                }
            }
            Value::Array(items) => {
                let items = items.into_iter().enumerate();
                let nodes = items.map(|(index, item)| self.node(item, format!("{at}[{index}]")));
                Node::Array(nodes.collect::<Result<_, _>>()?)
            }
            Value::Object(fields) => {
                let nodes = fields.into_iter().map(|(name, value)| {
                    let node = self.node(value, format!("{at}.{name}"))?;
                    Ok::<_, OpenError>((name, node))
                });
                Node::Object(nodes.collect::<Result<_, _>>()?)
            }
            literal => Node::Literal(literal),
        })
    }

    /// Refuses what would fail every row: variables that are no column, unknown filters and tests.
    /// `columns` is `None` where rows may differ.
    pub(super) fn check(&self, columns: Option<&[String]>) -> Result<(), OpenError> {
        if let Some(columns) = columns {
            let known = |name: &str| columns.iter().any(|column| column == name);
            let unknown = self
                .names
                .iter()
                .find(|name| !known(name) && name.as_str() != INDEX && name.as_str() != ROW);
            let of_row = self
                .row_names
                .iter()
                .find(|name| !known(ROW) && !known(name));
            if let Some(name) = unknown.or(of_row) {
                return Err(OpenError::UnknownVariable {
                    name: name.clone(),
                    columns: columns
                        .iter()
                        .map(|name| shown(name))
                        .collect::<Vec<_>>()
                        .join(", "),
                    near: near(name, columns),
                });
            }
        }
        let row = self
            .names
            .iter()
            .map(|name| (name.clone(), Value::String(String::new())));
        let row = Map::from_iter(row);
        for (name, template) in self.env.templates() {
            let context = self.context(&RowView::Json(&row), 1);
            if let Err(error) = template.render(context) {
                use ErrorKind::{TemplateNotFound, UnknownFilter, UnknownFunction, UnknownTest};
                if matches!(
                    error.kind(),
                    UnknownFilter | UnknownTest | UnknownFunction | TemplateNotFound
                ) {
                    let source = template.source().to_owned();
                    return Err(OpenError::syntax(name, &source, &error));
                }
            }
        }
        Ok(())
    }

    /// The rendered prompt; empty when there is no template for it.
    pub(super) fn prompt(&self, row: &RowView<'_>, index: u64) -> Result<String, String> {
        self.render(PROMPT, row, &self.context(row, index))
    }

    /// The rendered system prompt.
    pub(super) fn system(&self, row: &RowView<'_>, index: u64) -> Result<String, String> {
        self.render(SYSTEM, row, &self.context(row, index))
    }

    /// The text of a template that was added by its name.
    pub(super) fn text(&self, name: &str, row: &RowView<'_>, index: u64) -> Result<String, String> {
        self.render(name, row, &self.context(row, index))
    }

    /// The rendered body template; `None` when there is none.
    pub(super) fn body(
        &self,
        row: &RowView<'_>,
        index: u64,
    ) -> Option<Result<Map<String, Value>, String>> {
        let Some(Node::Object(fields)) = &self.body else {
            return None;
        };
        let context = self.context(row, index);
        let render = |(name, node): &(String, Node)| {
            self.render_node(node, row, &context)
                .map(|value| (name.clone(), value))
        };
        Some(fields.iter().map(render).collect())
    }

    fn render_node(&self, node: &Node, row: &RowView<'_>, context: &Cell) -> Result<Value, String> {
        match node {
            Node::Literal(value) => Ok(value.clone()),
            Node::Text(name) => self.render(name, row, context).map(Value::String),
            Node::Json(name) => {
                let text = self.render(name, row, context)?;
                serde_json::from_str(&text)
                    .map_err(|error| format!("`{name}` does not render to JSON: {error}"))
            }
            Node::Array(items) => {
                let items = items
                    .iter()
                    .map(|item| self.render_node(item, row, context));
                items.collect::<Result<_, _>>().map(Value::Array)
            }
            Node::Object(fields) => {
                let fields = fields
                    .iter()
                    .map(|(name, node)| Ok((name.clone(), self.render_node(node, row, context)?)));
                fields.collect::<Result<_, String>>().map(Value::Object)
            }
        }
    }

    fn render(&self, name: &str, row: &RowView<'_>, context: &Cell) -> Result<String, String> {
        let template = self
            .env
            .get_template(name)
            .map_err(|error| error.to_string())?;
        template
            .render(context)
            .map_err(|error| self.reason(name, row, &error))
    }

    /// The values of the variables that are mentioned, and no others: large columns that no
    /// template uses are not copied.
    fn context(&self, row: &RowView<'_>, index: u64) -> Cell {
        let mut context = BTreeMap::new();
        for name in &self.names {
            let value = match row.cell(name) {
                Some(value) => value,
                None if name == INDEX => Cell::from(index),
                None if name == ROW => row.whole(),
                None => continue,
            };
            context.insert(name.as_str(), value);
        }
        Cell::from(context)
    }

    fn reason(&self, name: &str, row: &RowView<'_>, error: &minijinja::Error) -> String {
        if error.kind() == ErrorKind::OutOfFuel {
            return format!("rendering {name} takes too long; simplify its loops");
        }
        let lacks = |name: &&String| {
            row.cell(name).is_none() && name.as_str() != INDEX && name.as_str() != ROW
        };
        let missing = self.names.iter().find(lacks);
        match (error.kind(), missing) {
            (ErrorKind::UndefinedError, Some(variable)) => {
                let columns = row.names();
                let near = near(variable, &columns);
                format!(
                    "the template variable `{variable}` is no column of this row{near}; \
                     write {{{{ {variable} | default('') }}}} where it may be missing"
                )
            }
            _ => shown_error(error),
        }
    }
}

/// An error within a template, on one line, without data that could hold escape codes.
pub(super) fn shown_error(error: &minijinja::Error) -> String {
    let text = error.to_string();
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(300)
        .collect()
}

fn environment() -> Environment<'static> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_fuel(Some(FUEL));
    env.set_auto_escape_callback(|_| AutoEscape::None);
    let mut syntax = SyntaxConfig::builder();
    // The default delimiters are valid; only the handling of white space is not the default.
    if let Ok(syntax) = syntax.keep_trailing_newline(true).build() {
        env.set_syntax(syntax);
    }
    // A JSON null prints as nothing, as an empty CSV cell does.
    env.set_formatter(|out, state, value| {
        if value.is_none() {
            Ok(())
        } else {
            minijinja::escape_formatter(out, state, value)
        }
    });
    env.add_filter("tojson", to_json);
    env
}

/// JSON as it is, not escaped for HTML as the built-in filter does. `indent` spreads it over lines.
fn to_json(value: &Cell, kwargs: Kwargs) -> Result<String, minijinja::Error> {
    let indent: Option<usize> = kwargs.get("indent")?;
    kwargs.assert_all_used()?;
    let fail = |error: serde_json::Error| {
        minijinja::Error::new(ErrorKind::InvalidOperation, "cannot be written as JSON")
            .with_source(error)
    };
    let Some(indent) = indent else {
        return serde_json::to_string(value).map_err(fail);
    };
    let spaces = " ".repeat(indent.min(16));
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(spaces.as_bytes());
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    serde::Serialize::serialize(value, &mut serializer).map_err(fail)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn is_template(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|open| text.contains(open))
}

/// True for a single `{{ … | tojson }}` with nothing around it.
fn is_json_expression(text: &str) -> bool {
    let inner = text
        .trim()
        .strip_prefix("{{")
        .and_then(|text| text.strip_suffix("}}"));
    inner.is_some_and(|inner| {
        let inner = inner.strip_prefix('-').unwrap_or(inner);
        let inner = inner.strip_suffix('-').unwrap_or(inner).trim_end();
        let piped = inner
            .strip_suffix("tojson")
            .is_some_and(|rest| rest.trim_end().ends_with('|'));
        piped
            && !["{{", "}}", "{%", "{#"]
                .iter()
                .any(|mark| inner.contains(mark))
    })
}

/// Parses a body template: a JSON object without streaming.
pub(super) fn parse_body(text: &str, endpoint: &Endpoint) -> Result<Map<String, Value>, OpenError> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| OpenError::BodyTemplate(error.to_string()))?;
    let Value::Object(fields) = value else {
        return Err(OpenError::BodyTemplate(format!(
            "it must be an object, as `{endpoint}` takes it"
        )));
    };
    Ok(fields)
}
