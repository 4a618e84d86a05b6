//! Options against the input: what would fail every row is refused before the start.

use std::sync::Arc;

use brimful_providers::dialect::{BodyError, Endpoint, Prompt, build_body};
use serde_json::{Map, Value};

use super::open_error::OpenError;
use super::{BatchForm, Format, Input, SourceOptions, near, shown, template};

/// Checks everything that does not need compiled templates.
pub(super) fn options(
    options: &SourceOptions,
    format: Format,
    header: Option<&[String]>,
) -> Result<(), OpenError> {
    match format {
        Format::Batch => return batch_options(options, true),
        Format::Native(BatchForm::Bedrock) if options.model.is_none() => {
            return Err(OpenError::NoModel(format.described().to_owned()));
        }
        Format::Native(_) => return batch_options(options, false),
        _ => {}
    }
    let columns = columns(options, format, header);
    let reserved = |name: &&String| options.reserved_columns.contains(*name);
    if let Some(name) = columns.iter().flatten().find(reserved) {
        return Err(OpenError::Reserved(shown(name)));
    }
    for (flag, column) in [
        ("--id-column", &options.id_column),
        ("--estimate-column", &options.estimate_column),
    ] {
        let Some(name) = column else { continue };
        if format == Format::Text {
            return Err(OpenError::NoColumns {
                flag,
                format: format.described(),
            });
        }
        if let Some(columns) = &columns
            && !columns.contains(name)
        {
            return Err(OpenError::UnknownColumn {
                flag,
                name: name.clone(),
                near: near(name, columns),
                columns: columns
                    .iter()
                    .map(|name| shown(name))
                    .collect::<Vec<_>>()
                    .join(", "),
            });
        }
    }
    match &options.body_template {
        Some(text) => body_template(options, &template::parse_body(text, &options.endpoint)?),
        None => prompt(options),
    }
}

/// The columns of every row, where they are known; `None` where rows may differ.
pub(super) fn columns(
    options: &SourceOptions,
    format: Format,
    header: Option<&[String]>,
) -> Option<Vec<String>> {
    match (&options.input, format, header) {
        (Input::Repeat(_), ..) => Some(vec!["index".to_owned()]),
        (_, Format::Text, _) => Some(vec!["text".to_owned()]),
        (_, Format::Csv | Format::Tsv, Some(header)) => Some(header.to_vec()),
        _ => None,
    }
}

/// `has_models`: every line says its model itself.
fn batch_options(options: &SourceOptions, has_models: bool) -> Result<(), OpenError> {
    let given = [
        ("--prompt", options.prompt.is_some()),
        ("--system", options.system.is_some()),
        ("--body-template", options.body_template.is_some()),
        ("--model", has_models && options.model.is_some()),
        ("--param", !options.params.is_empty()),
        ("--id-column", options.id_column.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(OpenError::NotForBatch(flag)),
        None => Ok(()),
    }
}

fn prompt(options: &SourceOptions) -> Result<(), OpenError> {
    let trial = Prompt {
        model: options.model.as_deref(),
        system: options.system.as_deref(),
        prompt: "",
    };
    if wants_stream(&options.params) && options.endpoint == Endpoint::Converse {
        return Err(OpenError::Stream(options.endpoint.to_string()));
    }
    let body = build_body(&options.endpoint, trial, &options.params)?;
    needs_model(options, body.get("model"))
}

fn body_template(options: &SourceOptions, body: &Map<String, Value>) -> Result<(), OpenError> {
    for (flag, given) in [("--prompt", &options.prompt), ("--system", &options.system)] {
        if given.is_some() {
            return Err(OpenError::BesideBodyTemplate(flag));
        }
    }
    if let Some(name) = options.params.keys().find(|name| body.contains_key(*name)) {
        return Err(BodyError::ParamTaken(name.clone()).into());
    }
    if wants_stream(body) && options.endpoint == Endpoint::Converse {
        return Err(OpenError::Stream(options.endpoint.to_string()));
    }
    let model = options
        .model
        .as_ref()
        .map(|model| Value::from(model.as_str()));
    needs_model(
        options,
        body.get("model")
            .or_else(|| options.params.get("model"))
            .or(model.as_ref()),
    )
}

/// Known endpoints choose the model by the body or the path; what other paths do is their affair.
fn needs_model(options: &SourceOptions, in_body: Option<&Value>) -> Result<(), OpenError> {
    let is_named = match options.endpoint.names_model() {
        true => options.model.is_some(),
        false => in_body.is_some() || matches!(options.endpoint, Endpoint::Path(_)),
    };
    match is_named {
        true => Ok(()),
        false => Err(OpenError::NoModel(options.endpoint.to_string())),
    }
}

/// The path of every row, unless lines say it themselves.
pub(super) fn path(options: &SourceOptions) -> Result<Arc<str>, OpenError> {
    let is_stream = wants_stream(&options.params);
    let path = options
        .endpoint
        .path_for(options.model.as_deref(), is_stream)?;
    Ok(path.into())
}

fn wants_stream(body: &Map<String, Value>) -> bool {
    body.get("stream") == Some(&Value::Bool(true))
}
