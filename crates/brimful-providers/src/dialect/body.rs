//! Bodies from prompts.

use serde_json::{Map, Value, json};

use super::{Endpoint, Shape};

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
    if let Some(model) = prompt.model {
        body.insert("model".into(), model.into());
    }
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
    }
    for (name, value) in params {
        if body.contains_key(name) {
            return Err(BodyError::ParamTaken(name.clone()));
        }
        body.insert(name.clone(), value.clone());
    }
    Ok(Value::Object(body))
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
