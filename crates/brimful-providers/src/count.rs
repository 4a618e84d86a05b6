//! How many tokens a text has: by the tokenizer of its model, or by its characters.
//!
//! The tokenizers of OpenAI are public and built in; the vocabulary of one is unpacked when a model
//! of its family is first met, which takes a tenth of a second. All other models are counted by
//! characters.

use std::fmt;

use tiktoken::CoreBpe;

use crate::dialect::{Estimate, Json, estimate_by, model_of};
use crate::profile::CountRule;

/// Characters per token. A rule of thumb for English: half of all documents come out within 9 %,
/// one in ten is off by more than 28 %.
const CHARACTERS_PER_TOKEN: u64 = 4;

/// Counts the tokens of texts for one family of models.
pub trait CountTokens: fmt::Debug + Send + Sync {
    /// Quarters of a token in `text`: in them an estimate by characters adds up without rounding.
    fn quarters(&self, text: &str) -> u64;

    /// What a chat has beside its texts.
    fn chat(&self) -> ChatTokens;

    /// Whether only the number of characters matters, so that no text has to be put together.
    fn is_by_characters(&self) -> bool {
        false
    }

    /// Tokens in `text`, rounded up.
    fn tokens(&self, text: &str) -> u64 {
        self.quarters(text).div_ceil(CHARACTERS_PER_TOKEN)
    }
}

/// Tokens of a chat that stand in no text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChatTokens {
    /// Around each message, beside its role and texts.
    pub message: u64,
    /// For a name, beside the name itself.
    pub name: u64,
    /// With which the answer begins.
    pub reply: u64,
}

impl ChatTokens {
    /// Of OpenAI's chat models.
    /// <https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken>
    pub const OPENAI: Self = Self {
        message: 3,
        name: 1,
        reply: 3,
    };
}

/// Four characters are a token.
#[derive(Clone, Copy, Debug)]
pub struct Chars;

impl CountTokens for Chars {
    fn quarters(&self, text: &str) -> u64 {
        text.chars().count() as u64
    }

    fn chat(&self) -> ChatTokens {
        ChatTokens::default()
    }

    fn is_by_characters(&self) -> bool {
        true
    }
}

/// The tokenizer of a family of models.
#[derive(Clone, Copy)]
pub struct Exact {
    name: &'static str,
    encoding: &'static CoreBpe,
}

impl fmt::Debug for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Exact").field(&self.name).finish()
    }
}

impl Exact {
    /// The tokenizer of a model; `None` when it is not one of OpenAI's, or not a known one. Names
    /// of hosts that serve them, such as `openai/gpt-oss-120b`, are understood.
    #[must_use]
    pub fn of_model(model: &str) -> Option<Self> {
        let model = model
            .strip_prefix("openai/")
            .or_else(|| model.strip_prefix("openai."))
            .unwrap_or(model);
        let name = tiktoken::model_to_encoding(model)?;
        // Of other vocabularies none is built in.
        let encoding = tiktoken::get_encoding(name)?;
        Some(Self { name, encoding })
    }

    /// The name of its vocabulary, such as `o200k_base`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl CountTokens for Exact {
    fn quarters(&self, text: &str) -> u64 {
        (self.encoding.count(text) as u64).saturating_mul(CHARACTERS_PER_TOKEN)
    }

    fn chat(&self) -> ChatTokens {
        ChatTokens::OPENAI
    }
}

/// Estimates a body by `rule`: exactly where it says so and the tokenizer of the model that the
/// request names is public, else by characters.
#[must_use]
pub fn estimate_for(rule: CountRule, path: &str, body: &Json<'_>) -> Estimate {
    let exact = match rule {
        CountRule::Exact => model_of(path, body).and_then(|model| Exact::of_model(&model)),
        CountRule::Chars => None,
    };
    match exact {
        Some(exact) => estimate_by(&exact, path, body),
        None => estimate_by(&Chars, path, body),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn families_of_openai_have_their_vocabulary_and_others_none() {
        for (model, name) in [
            ("gpt-4o-mini", Some("o200k_base")),
            ("gpt-4.1", Some("o200k_base")),
            ("gpt-5-mini-2025-08-07", Some("o200k_base")),
            ("o3", Some("o200k_base")),
            ("ft:gpt-4o:org::id", Some("o200k_base")),
            ("openai/gpt-oss-120b", Some("o200k_harmony")),
            ("gpt-4-turbo", Some("cl100k_base")),
            ("gpt-3.5-turbo", Some("cl100k_base")),
            ("text-embedding-3-small", Some("cl100k_base")),
            ("claude-sonnet-5", None),
            ("llama-3.3-70b-versatile", None),
            ("deepseek-chat", None),
            ("", None),
        ] {
            let found = Exact::of_model(model);
            assert_eq!(found.map(|exact| exact.name()), name, "{model}");
        }
    }

    /// The example of OpenAI's cookbook.
    #[test]
    fn the_counts_are_those_of_openais_own_tokenizer() {
        for (model, text, tokens) in [
            ("gpt-4", "antidisestablishmentarianism", 6),
            ("gpt-4", "2 + 2 = 4", 7),
            ("gpt-4", "お誕生日おめでとう", 9),
            ("gpt-4o", "お誕生日おめでとう", 8),
            ("gpt-4o", "tiktoken is great!", 6),
            ("gpt-4o", "", 0),
        ] {
            let exact = Exact::of_model(model).expect(model);
            assert_eq!(exact.tokens(text), tokens, "{model}: {text}");
        }
        assert_eq!(Chars.tokens("abcde"), 2);
    }

    #[test]
    fn the_rule_and_the_model_decide_how_a_request_is_counted() {
        let count = |rule, model: &str| {
            let body = json!({"model": model, "prompt": "antidisestablishmentarianism"});
            estimate_for(rule, "/v1/completions", &Json::from(&body)).input_tokens
        };
        assert_eq!(count(CountRule::Exact, "gpt-4"), 6);
        assert_eq!(count(CountRule::Exact, "claude-sonnet-5"), 7);
        assert_eq!(count(CountRule::Chars, "gpt-4"), 7);
    }
}
