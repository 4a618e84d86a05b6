//! The files of facts, a part of the program; each is parsed when it is first asked for.

use std::sync::OnceLock;

use super::Profile;

struct Embedded {
    name: &'static str,
    text: &'static str,
    parsed: OnceLock<Option<Profile>>,
}

macro_rules! embedded {
    ($($name:literal: $path:literal),+ $(,)?) => {
        [$(Embedded {
            name: $name,
            text: include_str!($path),
            parsed: OnceLock::new(),
        }),+]
    };
}

static PROFILES: [Embedded; 20] = embedded![
    "anthropic": "../../profiles/anthropic.toml",
    "azure": "../../profiles/azure.toml",
    "bedrock": "../../profiles/bedrock.toml",
    "cerebras": "../../profiles/cerebras.toml",
    "cohere": "../../profiles/cohere.toml",
    "deepseek": "../../profiles/deepseek.toml",
    "fireworks": "../../profiles/fireworks.toml",
    "gemini": "../../profiles/gemini.toml",
    "groq": "../../profiles/groq.toml",
    "llama-cpp": "../../profiles/llama-cpp.toml",
    "mistral": "../../profiles/mistral.toml",
    "ollama": "../../profiles/ollama.toml",
    "openai": "../../profiles/openai.toml",
    "openrouter": "../../profiles/openrouter.toml",
    "sglang": "../../profiles/sglang.toml",
    "tgi": "../../profiles/tgi.toml",
    "together": "../../profiles/together.toml",
    "vertex": "../../profiles/vertex.toml",
    "vllm": "../../profiles/vllm.toml",
    "generic": "../../profiles/generic.toml",
];

impl Embedded {
    fn profile(&'static self) -> Option<&'static Profile> {
        let parse = || Profile::parse(self.name, self.text).ok();
        self.parsed.get_or_init(parse).as_ref()
    }
}

pub(super) fn by_name(name: &str) -> Option<&'static Profile> {
    PROFILES
        .iter()
        .find(|embedded| embedded.name == name)
        .and_then(Embedded::profile)
}

pub(super) fn all() -> impl Iterator<Item = &'static Profile> {
    PROFILES.iter().filter_map(Embedded::profile)
}

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    PROFILES.iter().map(|embedded| embedded.name)
}

#[cfg(test)]
pub(super) fn texts() -> impl Iterator<Item = (&'static str, &'static str)> {
    PROFILES
        .iter()
        .map(|embedded| (embedded.name, embedded.text))
}
