//! Token counts out of an answer, whoever wrote it.

use brimful_core::Usage;
use serde_json::value::RawValue;

use super::pick::pick;

const KEYS: [&str; 19] = [
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "prompt_tokens_details",
    "input_tokens",
    "output_tokens",
    "input_tokens_details",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "inputTokens",
    "outputTokens",
    "cacheReadInputTokens",
    "cacheWriteInputTokens",
    "promptTokenCount",
    "toolUsePromptTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "cachedContentTokenCount",
    "prompt_cache_hit_tokens",
];

/// Reads a usage object. Members of an unexpected type count as absent; `None` when neither input
/// nor output is known.
pub(super) fn read_usage(raw: &RawValue) -> Option<Usage> {
    let [
        prompt,
        completion,
        total,
        prompt_details,
        input,
        output,
        input_details,
        cache_read,
        cache_write,
        bedrock_input,
        bedrock_output,
        bedrock_read,
        bedrock_write,
        gemini_input,
        gemini_tool_input,
        gemini_output,
        gemini_thoughts,
        gemini_cached,
        deepseek_cached,
    ] = pick(raw.get(), &KEYS).ok()?;

    let usage = if let (None, None) = (prompt.and_then(count), completion.and_then(count)) {
        if gemini_input.or(gemini_output).is_some() {
            Usage {
                input: sum([gemini_input, gemini_tool_input])?,
                output: sum([gemini_output, gemini_thoughts]).unwrap_or(0),
                cached: gemini_cached.and_then(count).unwrap_or(0),
            }
        } else {
            exclusive_or_responses(
                [
                    input.or(bedrock_input),
                    cache_read.or(bedrock_read),
                    cache_write.or(bedrock_write),
                ],
                output.or(bedrock_output),
                input_details,
            )?
        }
    } else {
        let cached = prompt_details
            .and_then(cached_tokens)
            .or_else(|| deepseek_cached.and_then(count));
        chat(
            prompt.and_then(count),
            completion.and_then(count),
            total.and_then(count),
            cached,
        )
    };
    Some(Usage {
        cached: usage.cached.min(usage.input),
        ..usage
    })
}

/// Chat completions and embeddings. Where the total exceeds the sum (Google's OpenAI-compatible
/// endpoint), the rest is thinking, which is output and billed as such.
fn chat(
    prompt: Option<u64>,
    completion: Option<u64>,
    total: Option<u64>,
    cached: Option<u64>,
) -> Usage {
    let input = prompt.unwrap_or(0);
    let stated = completion.unwrap_or(0);
    let output = match (prompt, total) {
        (Some(input), Some(total)) => stated.max(total.saturating_sub(input)),
        _ => stated,
    };
    Usage {
        input,
        output,
        cached: cached.unwrap_or(0),
    }
}

/// OpenAI's Responses count cached tokens within the input; Anthropic and Bedrock beside it.
fn exclusive_or_responses(
    [input, read, written]: [Option<&RawValue>; 3],
    output: Option<&RawValue>,
    details: Option<&RawValue>,
) -> Option<Usage> {
    let (known_input, known_output) = (input.and_then(count), output.and_then(count));
    if known_input.is_none() && known_output.is_none() {
        return None;
    }
    let output = known_output.unwrap_or(0);
    if let Some(cached) = details.and_then(cached_tokens) {
        return Some(Usage {
            input: known_input.unwrap_or(0),
            output,
            cached,
        });
    }
    Some(Usage {
        input: sum([input, read, written]).unwrap_or(0),
        output,
        cached: read.and_then(count).unwrap_or(0),
    })
}

fn cached_tokens(details: &RawValue) -> Option<u64> {
    let [cached] = pick(details.get(), &["cached_tokens"]).ok()?;
    cached.and_then(count)
}

/// The sum of those that are numbers; `None` when none is.
fn sum<const N: usize>(raws: [Option<&RawValue>; N]) -> Option<u64> {
    raws.into_iter()
        .flatten()
        .filter_map(count)
        .reduce(u64::saturating_add)
}

/// A whole number, also when written as `12.0`.
fn count(raw: &RawValue) -> Option<u64> {
    let text = raw.get();
    text.parse().ok().or_else(|| {
        let number: f64 = text.parse().ok()?;
        // 2⁵³: beyond it a float is no exact count any more.
        (number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number))
            .then_some(number as u64)
    })
}

#[cfg(test)]
mod tests {
    use brimful_core::Usage;
    use serde_json::value::RawValue;

    use super::read_usage;

    fn usage(json: &str) -> Option<Usage> {
        let raw: &RawValue = serde_json::from_str(json).unwrap();
        read_usage(raw)
    }

    #[test]
    fn every_dialect_is_read() {
        for (json, input, output, cached) in [
            // providers.md §1.7, chat
            (
                r#"{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,
                "prompt_tokens_details":{"cached_tokens":16,"audio_tokens":0},
                "completion_tokens_details":{"reasoning_tokens":4}}"#,
                (19),
                10,
                16,
            ),
            // §1.7, responses
            (
                r#"{"input_tokens":36,"input_tokens_details":{"cached_tokens":30},
                "output_tokens":87,"output_tokens_details":{"reasoning_tokens":0},
                "total_tokens":123}"#,
                36,
                87,
                30,
            ),
            // embeddings
            (r#"{"prompt_tokens":8,"total_tokens":8}"#, 8, 0, 0),
            // §4.1, OpenAI-compatible: the completion excludes thinking
            (
                r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":115}"#,
                10,
                105,
                0,
            ),
            // §4.1, native
            (
                r#"{"promptTokenCount":100,"cachedContentTokenCount":40,"candidatesTokenCount":7,
                "thoughtsTokenCount":13,"toolUsePromptTokenCount":2,"totalTokenCount":122}"#,
                102,
                20,
                40,
            ),
            // §3: the total input is the sum of three
            (
                r#"{"input_tokens":5,"cache_creation_input_tokens":20,"cache_read_input_tokens":100,
                "output_tokens":9,"service_tier":"standard"}"#,
                125,
                9,
                100,
            ),
            // §5
            (
                r#"{"inputTokens":5,"outputTokens":6,"totalTokens":11,"cacheReadInputTokens":1,
                "cacheWriteInputTokens":2}"#,
                8,
                6,
                1,
            ),
            // DeepSeek
            (
                r#"{"prompt_tokens":9,"completion_tokens":1,"total_tokens":10,
                "prompt_cache_hit_tokens":8,"prompt_cache_miss_tokens":1}"#,
                9,
                1,
                8,
            ),
        ] {
            assert_eq!(
                usage(json),
                Some(Usage {
                    input,
                    output,
                    cached
                }),
                "{json}"
            );
        }
    }

    #[test]
    fn surprising_members_count_as_absent() {
        for (json, input, output, cached) in [
            (
                r#"{"prompt_tokens":4,"completion_tokens":null,"prompt_tokens_details":[]}"#,
                4,
                0,
                0,
            ),
            (r#"{"prompt_tokens":4.0,"completion_tokens":"x"}"#, 4, 0, 0),
            (
                r#"{"prompt_tokens":-4,"completion_tokens":2,"total_tokens":1e999}"#,
                0,
                2,
                0,
            ),
            (r#"{"prompt_tokens":4,"total_tokens":1}"#, 4, 0, 0),
            (
                r#"{"prompt_tokens":4,"prompt_tokens_details":{"cached_tokens":9}}"#,
                4,
                0,
                4,
            ),
            (r#"{"input_tokens":3,"input_tokens_details":null}"#, 3, 0, 0),
        ] {
            assert_eq!(
                usage(json),
                Some(Usage {
                    input,
                    output,
                    cached
                }),
                "{json}"
            );
        }
        for json in [
            "null",
            "7",
            "[]",
            "{}",
            r#""x""#,
            r#"{"prompt_tokens":"4"}"#,
        ] {
            assert_eq!(usage(json), None, "{json}");
        }
    }
}
