//! Bodies from prompts.

use serde_json::{Map, Value, json};

use super::{Endpoint, Shape};

/// `max_tokens` of a message whose parameters do not say it: Anthropic's API demands one, and every
/// model of it gives that many.
pub const MESSAGES_MAX_TOKENS: u64 = 4096;

/// Fields of Gemini's body; all other parameters belong into its `generationConfig`.
const GEMINI_FIELDS: [&str; 9] = [
    "contents",
    "systemInstruction",
    "generationConfig",
    "tools",
    "toolConfig",
    "safetySettings",
    "cachedContent",
    "labels",
    "serviceTier",
];

/// Parameters that belong into `inferenceConfig` of Bedrock's body; all others are its fields.
const CONVERSE_CONFIG: [&str; 4] = ["maxTokens", "temperature", "topP", "stopSequences"];

/// What a row says, ready to be put into a body.
#[derive(Clone, Copy, Debug)]
pub struct Prompt<'a> {
    /// Name of the model; `None` when the provider chooses it by the path or `--param model=…`.
    pub model: Option<&'a str>,
    /// System prompt (`instructions` of the responses endpoint).
    pub system: Option<&'a str>,
    /// The prompt itself.
    pub prompt: &'a str,
}

/// Why no body can be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The path is none whose body is known.
    #[error("the body that `{0}` takes is not known; give it with --body-template")]
    UnknownBody(String),
    /// A system prompt for an endpoint without one.
    #[error("`{0}` takes no system prompt; put it into the prompt")]
    NoSystem(String),
    /// A parameter would overwrite what was built from the row.
    #[error("the parameter `{0}` is already set by the prompt or model; drop --param {0}=…")]
    ParamTaken(String),
}

/// The body for one prompt, with `params` added as top-level fields.
///
/// Where the API has a place of its own for settings of the generation, they go there: into
/// Gemini's `generationConfig` all that is no field of the body, into Bedrock's `inferenceConfig`
/// the four that it knows. A `stream` that only the path can say is left out.
///
/// # Errors
/// When the endpoint's body is not known, it takes no system prompt, or a parameter collides with a
/// field that is set from the prompt. All of these hold for every row alike, so that one trial call
/// before the start finds them.
pub fn build_body(
    endpoint: &Endpoint,
    prompt: Prompt<'_>,
    params: &Map<String, Value>,
) -> Result<Value, BodyError> {
    let path = endpoint.path();
    let shape = Shape::of_path(path).ok_or_else(|| BodyError::UnknownBody(path.to_owned()))?;
    if prompt.system.is_some() && !endpoint.takes_system() {
        return Err(BodyError::NoSystem(path.to_owned()));
    }
    let mut body = Map::new();
    if let Some(model) = prompt.model.filter(|_| !endpoint.names_model()) {
        body.insert("model".into(), model.into());
    }
    put_prompt(&mut body, shape, prompt);
    if shape == Shape::Messages && !params.contains_key("max_tokens") {
        body.insert("max_tokens".into(), MESSAGES_MAX_TOKENS.into());
    }
    put_params(body, shape, params)
}

/// Prompt and system prompt, where the endpoint has them.
fn put_prompt(body: &mut Map<String, Value>, shape: Shape, prompt: Prompt<'_>) {
    match shape {
        Shape::Chat => {
            let mut messages = Vec::with_capacity(2);
            if let Some(system) = prompt.system {
                messages.push(json!({"role": "system", "content": system}));
            }
            messages.push(json!({"role": "user", "content": prompt.prompt}));
            body.insert("messages".into(), messages.into());
        }
        Shape::Responses => {
            if let Some(system) = prompt.system {
                body.insert("instructions".into(), system.into());
            }
            body.insert("input".into(), prompt.prompt.into());
        }
        Shape::Completions => {
            body.insert("prompt".into(), prompt.prompt.into());
        }
        Shape::Embeddings => {
            body.insert("input".into(), prompt.prompt.into());
        }
        Shape::Messages => {
            if let Some(system) = prompt.system {
                body.insert("system".into(), system.into());
            }
            let message = json!({"role": "user", "content": prompt.prompt});
            body.insert("messages".into(), json!([message]));
        }
        Shape::Generate => {
            if let Some(system) = prompt.system {
                body.insert(
                    "systemInstruction".into(),
                    json!({"parts": [{"text": system}]}),
                );
            }
            let content = json!({"role": "user", "parts": [{"text": prompt.prompt}]});
            body.insert("contents".into(), json!([content]));
        }
        Shape::Converse => {
            if let Some(system) = prompt.system {
                body.insert("system".into(), json!([{"text": system}]));
            }
            let message = json!({"role": "user", "content": [{"text": prompt.prompt}]});
            body.insert("messages".into(), json!([message]));
        }
    }
}

fn put_params(
    mut body: Map<String, Value>,
    shape: Shape,
    params: &Map<String, Value>,
) -> Result<Value, BodyError> {
    for (name, value) in params {
        let Some(place) = place_of(shape, &mut body, name) else {
            return Err(BodyError::ParamTaken(name.clone()));
        };
        let is_path = shape == Shape::Generate && name == "stream";
        // A setting that was given twice, whole and by its name.
        if !is_path && place.insert(name.clone(), value.clone()).is_some() {
            return Err(BodyError::ParamTaken(name.clone()));
        }
    }
    Ok(Value::Object(body))
}

/// The object that a parameter belongs into; `None` when there is something else in its place.
fn place_of<'a>(
    shape: Shape,
    body: &'a mut Map<String, Value>,
    name: &str,
) -> Option<&'a mut Map<String, Value>> {
    let config = match shape {
        Shape::Generate if name != "stream" && !GEMINI_FIELDS.contains(&name) => "generationConfig",
        Shape::Converse if CONVERSE_CONFIG.contains(&name) => "inferenceConfig",
        _ => return Some(body),
    };
    body.entry(config)
        .or_insert_with(|| json!({}))
        .as_object_mut()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMPT: Prompt<'_> = Prompt {
        model: Some("m"),
        system: Some("s"),
        prompt: "p",
    };

    fn params() -> Map<String, Value> {
        Map::from_iter([("max_tokens".to_owned(), json!(5))])
    }

    #[test]
    fn each_endpoint_gets_its_own_fields() {
        let build = |endpoint: Endpoint, prompt| build_body(&endpoint, prompt, &params());
        let bare = Prompt {
            system: None,
            ..PROMPT
        };
        assert_eq!(
            build(Endpoint::Chat, PROMPT),
            Ok(json!({"model": "m", "messages": [
                {"role": "system", "content": "s"}, {"role": "user", "content": "p"}
            ], "max_tokens": 5}))
        );
        assert_eq!(
            build(Endpoint::Responses, PROMPT),
            Ok(json!({"model": "m", "instructions": "s", "input": "p", "max_tokens": 5}))
        );
        assert_eq!(
            build(Endpoint::Completions, bare),
            Ok(json!({"model": "m", "prompt": "p", "max_tokens": 5}))
        );
        assert_eq!(
            build(
                Endpoint::Embeddings,
                Prompt {
                    model: None,
                    ..bare
                }
            ),
            Ok(json!({"input": "p", "max_tokens": 5}))
        );
    }

    #[test]
    fn native_endpoints_get_their_own_fields_too() {
        let build = |endpoint: Endpoint, params: Value| {
            let Value::Object(params) = params else {
                panic!("parameters are an object");
            };
            build_body(&endpoint, PROMPT, &params)
        };
        let messages = json!([{"role": "user", "content": "p"}]);
        assert_eq!(
            build(Endpoint::Messages, json!({"top_k": 1})),
            Ok(
                json!({"model": "m", "max_tokens": 4096, "system": "s", "messages": messages,
                "top_k": 1})
            )
        );
        let body = build(Endpoint::Messages, json!({"max_tokens": 9})).expect("known");
        assert_eq!(body["max_tokens"], 9);
        let params = json!({"maxOutputTokens": 5, "tools": [], "stream": true});
        assert_eq!(
            build(Endpoint::GenerateContent, params),
            Ok(json!({"systemInstruction": {"parts": [{"text": "s"}]},
                "contents": [{"role": "user", "parts": [{"text": "p"}]}],
                "generationConfig": {"maxOutputTokens": 5}, "tools": []}))
        );
        assert_eq!(
            build(
                Endpoint::Converse,
                json!({"maxTokens": 5, "toolConfig": {}})
            ),
            Ok(json!({"system": [{"text": "s"}],
                "messages": [{"role": "user", "content": [{"text": "p"}]}],
                "inferenceConfig": {"maxTokens": 5}, "toolConfig": {}}))
        );
        for (endpoint, params, name) in [
            (Endpoint::Messages, json!({"messages": []}), "messages"),
            (
                Endpoint::GenerateContent,
                json!({"contents": 1}),
                "contents",
            ),
            (
                Endpoint::GenerateContent,
                json!({"generationConfig": {"topP": 1}, "topP": 0}),
                "topP",
            ),
            (
                Endpoint::Converse,
                json!({"inferenceConfig": 1, "topP": 0}),
                "topP",
            ),
        ] {
            assert_eq!(
                build(endpoint, params),
                Err(BodyError::ParamTaken(name.into()))
            );
        }
    }

    #[test]
    fn what_cannot_be_built_is_refused_with_a_remedy() {
        let path = Endpoint::Path("/v1/rerank".into());
        let error = build_body(&path, PROMPT, &params())
            .expect_err("unknown")
            .to_string();
        assert!(error.contains("--body-template"), "{error}");
        assert_eq!(
            build_body(&Endpoint::Embeddings, PROMPT, &params()),
            Err(BodyError::NoSystem("/v1/embeddings".into()))
        );
        let taken = Map::from_iter([("messages".to_owned(), json!([]))]);
        assert_eq!(
            build_body(&Endpoint::Chat, PROMPT, &taken),
            Err(BodyError::ParamTaken("messages".into()))
        );
    }
}
