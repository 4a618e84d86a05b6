//! Where requests go, when there are several places: how each is reached and what it is told.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use brimful_core::{AttemptResult, Class, EngineConfig, UpstreamState, UpstreamStatus};
use brimful_providers::observe::HeaderGrammar;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::limits::LimitNote;
use crate::redact::Redactor;
use crate::transport::Transport;

/// How one upstream is reached. What it may be asked stands in the engine's configuration.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UpstreamOptions {
    /// The way there.
    pub transport: Transport,
    /// What must not be written anywhere of what comes from there. Default: nothing.
    pub redactor: Arc<Redactor>,
    /// How replies name limits, so that these are followed. `None`, the default: they are not read.
    pub headers: Option<HeaderGrammar>,
    /// Its own names for models. Default: all have the names that requests use.
    pub models: ModelNames,
}

impl UpstreamOptions {
    /// An upstream without secrets that has everybody's names for models.
    #[must_use]
    pub fn new(transport: Transport) -> Self {
        Self {
            transport,
            redactor: Arc::default(),
            headers: None,
            models: ModelNames::default(),
        }
    }
}

/// Everything that a live run may be told to do otherwise.
#[derive(Debug)]
pub struct Retune {
    /// Limits and upstreams.
    pub engine: EngineConfig,
    /// What else there is to know of each limit of the engine, in their order.
    pub limits: Vec<LimitNote>,
    /// How the engine's upstreams are reached, in their order.
    pub upstreams: Vec<UpstreamOptions>,
}

/// What an upstream calls the models that requests ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelNames(BTreeMap<String, String>);

impl FromIterator<(String, String)> for ModelNames {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(names: T) -> Self {
        Self(names.into_iter().collect())
    }
}

impl ModelNames {
    /// Whether it has names of its own.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names that requests use.
    pub fn asked(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The path as the upstream is asked: native endpoints name the model there.
    pub(crate) fn path(&self, path: &Arc<str>) -> Arc<str> {
        for mark in ["/models/", "/model/"] {
            let Some((head, rest)) = path.split_once(mark) else {
                continue;
            };
            let end = rest.find(['/', ':', '?']).unwrap_or(rest.len());
            if let Some(own) = self.0.get(&rest[..end]) {
                return format!("{head}{mark}{own}{}", &rest[end..]).into();
            }
        }
        Arc::clone(path)
    }

    /// The body as the upstream is asked. Nothing but the model's name changes, byte for byte; a
    /// body that cannot be read stays as it is.
    pub(crate) fn body(&self, body: &Bytes) -> Bytes {
        self.renamed(body).unwrap_or_else(|| body.clone())
    }

    fn renamed(&self, body: &Bytes) -> Option<Bytes> {
        #[derive(serde::Deserialize)]
        struct Named<'a> {
            #[serde(borrow)]
            model: &'a RawValue,
        }
        let text = str::from_utf8(body).ok()?;
        let named: Named<'_> = serde_json::from_str(text).ok()?;
        let written = named.model.get();
        let asked: Cow<'_, str> = serde_json::from_str(written).ok()?;
        let own = serde_json::to_string(self.0.get(asked.as_ref())?).ok()?;
        // A part of `text`: its place is the distance of the two.
        let at = written.as_ptr() as usize - text.as_ptr() as usize;
        let (head, tail) = (text.get(..at)?, text.get(at + written.len()..)?);
        Some(Bytes::from([head, &own, tail].concat()))
    }
}

/// What went to one upstream and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct UpstreamProgress {
    /// Its name.
    pub name: String,
    /// `ready`, `paused`, `ill`, `returning`, `out: CLASS`, or `retired`.
    pub state: String,
    /// Attempts in flight.
    pub in_flight: u32,
    /// Attempts that are over.
    pub attempts: u64,
    /// Answers.
    pub answered: u64,
    /// 429s for speed.
    pub throttled: u64,
    /// Other attempts without an answer.
    pub failed: u64,
    /// Input tokens that its answers reported.
    pub input_tokens: u64,
    /// Output tokens that its answers reported.
    pub output_tokens: u64,
}

impl UpstreamProgress {
    /// An attempt is over.
    pub(crate) fn ended(&mut self, result: &AttemptResult) {
        self.attempts += 1;
        let usage = match result {
            AttemptResult::Answered(usage) => usage.unwrap_or_default(),
            AttemptResult::Aborted => return,
            AttemptResult::Failed(failure) | AttemptResult::NotSent(failure) => {
                match failure.class {
                    Class::Throttled => self.throttled += 1,
                    _ => self.failed += 1,
                }
                return;
            }
        };
        self.answered += 1;
        // A server may report anything.
        self.input_tokens = self.input_tokens.saturating_add(usage.input);
        self.output_tokens = self.output_tokens.saturating_add(usage.output);
    }

    pub(crate) fn with(&self, status: UpstreamStatus) -> Self {
        Self {
            name: status.name,
            state: match status.state {
                UpstreamState::Ready => "ready".to_owned(),
                UpstreamState::Paused(_) => "paused".to_owned(),
                UpstreamState::Ill(_) => "ill".to_owned(),
                UpstreamState::Returning(_) => "returning".to_owned(),
                UpstreamState::Out(class) => format!("out: {class}"),
                UpstreamState::Retired => "retired".to_owned(),
            },
            in_flight: status.in_flight,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> ModelNames {
        [("small".to_owned(), "own \"s\"".to_owned())]
            .into_iter()
            .collect()
    }

    #[test]
    fn only_the_model_s_name_changes_in_a_body() {
        for (body, expected) in [
            (
                r#" {"messages": [{"model":"small"}], "model" : "small","n":1.0}"#,
                r#" {"messages": [{"model":"small"}], "model" : "own \"s\"","n":1.0}"#,
            ),
            (r#"{"model":"sm\u0061ll"}"#, r#"{"model":"own \"s\""}"#),
            (r#"{"model":"other"}"#, r#"{"model":"other"}"#),
            (r#"{"model":7}"#, r#"{"model":7}"#),
            (r#"{"x":1}"#, r#"{"x":1}"#),
            ("not json", "not json"),
        ] {
            let sent = names().body(&Bytes::from(body));
            assert_eq!(str::from_utf8(&sent).unwrap(), expected);
        }
    }

    #[test]
    fn a_model_in_the_path_is_renamed_there() {
        let names: ModelNames = [("a".to_owned(), "b".to_owned())].into_iter().collect();
        for (path, expected) in [
            (
                "/v1beta/models/a:generateContent",
                "/v1beta/models/b:generateContent",
            ),
            ("/model/a/converse", "/model/b/converse"),
            (
                "/v1beta/models/ab:generateContent",
                "/v1beta/models/ab:generateContent",
            ),
            ("/v1/chat/completions", "/v1/chat/completions"),
        ] {
            assert_eq!(&*names.path(&path.into()), expected);
        }
    }
}
