//! Replies as the providers send them, and what each one means. The first member of a row names
//! the provider and the case.

use std::time::Duration;

use brimful_core::Class::{Exhausted, Fatal, Invalid, Overloaded, Throttled, Transient};
use brimful_core::Scope::{Request, Upstream};
use brimful_core::{Class, LimitKind, Scope, Usage};
use brimful_providers::reply::{Outcome, ReplyFailure, read_reply};
use http::{HeaderMap, HeaderName, HeaderValue};

/// 2025-02-11T10:00:00Z
const NOW: i64 = 1_739_268_000_000;
const MINUTE: Duration = Duration::from_secs(60);

type Headers = &'static [(&'static str, &'static str)];

struct Case(
    &'static str,
    u16,
    Headers,
    &'static str,
    Class,
    Scope,
    &'static str,
    Option<f64>,
);

fn headers(pairs: Headers) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect()
}

fn failure(status: u16, pairs: Headers, body: &str) -> ReplyFailure {
    match read_reply(status, &headers(pairs), body.as_bytes(), NOW).outcome {
        Outcome::Failure(failure) => failure,
        Outcome::Answer { .. } => panic!("an answer: {body}"),
    }
}

fn usage(body: &str) -> Option<Usage> {
    match read_reply(200, &HeaderMap::new(), body.as_bytes(), NOW).outcome {
        Outcome::Answer { usage } => usage,
        Outcome::Failure(failure) => panic!("{failure:?}: {body}"),
    }
}

fn check(cases: &[Case]) {
    for Case(name, status, pairs, body, class, scope, code, wait_secs) in cases {
        let got = failure(*status, pairs, body);
        assert_eq!(
            (got.failure.class, got.failure.scope),
            (*class, *scope),
            "{name}: {got:?}"
        );
        assert_eq!(got.code, *code, "{name}");
        assert_eq!(
            got.failure.retry_after,
            wait_secs.map(Duration::from_secs_f64),
            "{name}"
        );
        assert!(!got.message.is_empty(), "{name}");
    }
}

#[rustfmt::skip]
#[test]
fn openai() {
    check(&[
        // providers.md §1.3, §1.5
        Case("full limit, wait in the text", 429,
            &[("x-ratelimit-limit-tokens", "10000"), ("x-ratelimit-remaining-tokens", "1446"), ("x-ratelimit-reset-tokens", "51.324s")],
            r#"{"error":{"message":"Rate limit reached for gpt-4 in organization org-x on tokens per min (TPM): Limit 10000, Used 8554, Requested 3082. Please try again in 9.816s. Visit https://platform.openai.com/account/rate-limits to learn more.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#,
            Throttled, Request, "rate_limit_exceeded", Some(9.816)),
        Case("full limit, wait in the headers", 429, &[("retry-after", "10"), ("retry-after-ms", "9816"), ("x-should-retry", "true")],
            r#"{"error":{"message":"Rate limit reached","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#,
            Throttled, Request, "rate_limit_exceeded", Some(9.816)),
        Case("daily limit that drains all day", 429, &[],
            r#"{"error":{"message":"Rate limit reached for gpt-4 on requests per day (RPD): Limit 200, Used 200, Requested 1. Please try again in 7m12s.","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#,
            Throttled, Request, "rate_limit_exceeded", Some(432.0)),
        Case("larger than the limit", 429, &[("retry-after", "1")],
            r#"{"error":{"message":"Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Requested 31538. The input or output tokens must be reduced in order to run successfully.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#,
            Fatal, Request, "request_too_large", None),
        Case("larger than the limit, said by numbers only", 429, &[],
            r#"{"error":{"message":"Rate limit reached on tokens per min: Limit 30000, Used 0, Requested 31538. Please try again in 3.076s.","type":"tokens","code":"rate_limit_exceeded"}}"#,
            Fatal, Request, "request_too_large", None),
        Case("ramp too steep", 429, &[], r#"{"error":{"message":"Slow down","type":"rate_limit_error","param":null,"code":"slow_down"}}"#,
            Overloaded, Request, "slow_down", None),
        Case("old billing", 429, &[("x-should-retry", "false")],
            r#"{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
            Exhausted, Upstream, "insufficient_quota", None),
        Case("balance", 429, &[], r#"{"error":{"message":"No credit left.","type":"insufficient_quota","param":null,"code":"credit_balance_exhausted"}}"#,
            Exhausted, Upstream, "credit_balance_exhausted", None),
        Case("organization's spend limit", 429, &[], r#"{"error":{"message":"m","type":null,"code":"organization_spend_limit_exceeded"}}"#,
            Exhausted, Upstream, "organization_spend_limit_exceeded", None),
        Case("project's spend limit", 429, &[], r#"{"error":{"message":"m","type":"insufficient_quota","code":"project_spend_limit_exceeded"}}"#,
            Exhausted, Upstream, "project_spend_limit_exceeded", None),
        Case("usage limit", 429, &[], r#"{"error":{"message":"m","code":"organization_usage_limit_exceeded"}}"#,
            Exhausted, Upstream, "organization_usage_limit_exceeded", None),
        Case("a spend limit still unknown", 429, &[], r#"{"error":{"message":"m","code":"team_spend_limit_hit"}}"#,
            Exhausted, Upstream, "team_spend_limit_hit", None),
        Case("flex without capacity", 429, &[], r#"{"error":{"message":"Resource Unavailable","type":"rate_limit_error","param":null,"code":null}}"#,
            Overloaded, Request, "rate_limit_error", None),
        Case("overload", 503, &[], r#"{"error":{"message":"The server is overloaded","type":"service_unavailable_error","param":null,"code":"server_is_overloaded"}}"#,
            Overloaded, Request, "server_is_overloaded", None),
        Case("context", 400, &[], r#"{"error":{"message":"This model's maximum context length is 8192 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
            Fatal, Request, "context_length_exceeded", None),
        Case("content policy", 400, &[], r#"{"error":{"message":"Rejected","type":"invalid_request_error","param":null,"code":"content_policy_violation"}}"#,
            Fatal, Request, "content_policy_violation", None),
        Case("wrong key", 401, &[], r#"{"error":{"message":"Incorrect API key provided","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
            Fatal, Upstream, "invalid_api_key", None),
        Case("wrong country", 403, &[], r#"{"error":{"message":"Country not supported","type":"request_forbidden","param":null,"code":"unsupported_country_region_territory"}}"#,
            Fatal, Upstream, "unsupported_country_region_territory", None),
        Case("no permission", 403, &[], r#"{"error":{"message":"Project has no access to model","type":"invalid_request_error","param":null,"code":null}}"#,
            Fatal, Request, "invalid_request_error", None),
        Case("unknown model", 404, &[], r#"{"error":{"message":"The model `gpt-9` does not exist","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#,
            Fatal, Request, "model_not_found", None),
        Case("request timeout", 408, &[], r#"{"error":{"message":"timeout"}}"#, Transient, Request, "http_408", None),
        Case("conflict", 409, &[], r#"{"error":{"message":"conflict"}}"#, Transient, Request, "http_409", None),
        Case("server error", 500, &[("retry-after", "3")], r#"{"error":{"message":"The server had an error","type":"server_error","param":null,"code":null}}"#,
            Transient, Request, "server_error", Some(3.0)),
        Case("server error, not to be repeated", 500, &[("x-should-retry", "false")], r#"{"error":{"message":"m","type":"server_error"}}"#,
            Fatal, Request, "server_error", None),
        Case("doubtful 4xx, to be repeated", 418, &[("x-should-retry", "true")], r#"{"error":{"message":"m"}}"#,
            Transient, Request, "http_418", None),
        Case("advice does not overrule a known code", 400, &[("x-should-retry", "true")], r#"{"error":{"message":"m","code":"context_length_exceeded"}}"#,
            Fatal, Request, "context_length_exceeded", None),
        Case("advice does not overrule a limit", 429, &[("x-should-retry", "false")], r#"{"error":{"message":"m","code":"rate_limit_exceeded"}}"#,
            Throttled, Request, "rate_limit_exceeded", None),
        // Responses
        Case("failed response under 200", 200, &[],
            r#"{"id":"resp_1","object":"response","status":"failed","error":{"code":"server_error","message":"The model failed."},"usage":null}"#,
            Transient, Request, "server_error", None),
        Case("failed response without a reason", 200, &[], r#"{"object":"response","status":"failed","error":null}"#,
            Transient, Request, "failed", None),
        Case("throttled response under 200", 200, &[],
            r#"{"object":"response","status":"failed","error":{"code":"rate_limit_exceeded","message":"Please try again in 2s."}}"#,
            Throttled, Request, "rate_limit_exceeded", Some(2.0)),
        Case("bad prompt under 200", 200, &[], r#"{"object":"response","status":"failed","error":{"code":"invalid_prompt","message":"m"}}"#,
            Fatal, Request, "invalid_prompt", None),
    ]);
}

#[rustfmt::skip]
#[test]
fn azure() {
    check(&[
        // providers.md §2
        Case("own limit", 429, &[("retry-after", "26"), ("retry-after-ms", "25500")],
            r#"{"error":{"code":"429","message":"Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-02-01 have exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry after 26 seconds."}}"#,
            Throttled, Request, "http_429", Some(25.5)),
        Case("wait in the text only", 429, &[("x-ratelimit-remaining-tokens", "-1")],
            r#"{"error":{"code":"429","message":"Rate limit is exceeded. Try again in 26 seconds."}}"#,
            Throttled, Request, "http_429", Some(26.0)),
        Case("restarting minute", 429, &[("x-ratelimit-remaining-tokens", "0"), ("x-rate-limit-reset-tokens", "55")],
            r#"{"error":{"code":"429","message":"Too fast."}}"#, Throttled, Request, "http_429", Some(55.0)),
        Case("a day is a quota", 429, &[],
            r#"{"error":{"code":"429","message":"Requests have exceeded call rate limit of your current OpenAI S0 pricing tier. Please retry after 86400 seconds."}}"#,
            Exhausted, Upstream, "http_429", Some(86_400.0)),
        Case("high demand", 429, &[], r#"{"error":{"code":"too_many_requests","message":"System is experiencing high demand. Please try again later."}}"#,
            Overloaded, Request, "too_many_requests", None),
        Case("content filter", 400, &[],
            r#"{"error":{"code":"content_filter","param":"prompt","status":400,"type":null,"message":"The response was filtered","innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":{"hate":{"filtered":false,"severity":"safe"}}}}}"#,
            Fatal, Request, "content_filter", None),
        Case("API management", 429, &[], r#"{"statusCode":429,"message":"Rate limit is exceeded. Try again in 5 seconds."}"#,
            Throttled, Request, "http_429", Some(5.0)),
    ]);
}

#[rustfmt::skip]
#[test]
fn anthropic() {
    check(&[
        // providers.md §3
        Case("rate", 429, &[("retry-after", "12"), ("anthropic-ratelimit-input-tokens-reset", "2025-02-11T10:00:55Z")],
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed the rate limit for your organization (uuid) of 20,000 input tokens per minute."},"request_id":"req_1"}"#,
            Throttled, Request, "rate_limit_error", Some(12.0)),
        Case("enforced spend limit", 429, &[],
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"Spend limit.","details":{"error_code":"enforced_spend_limit_reached"}},"request_id":"req_1"}"#,
            Exhausted, Upstream, "enforced_spend_limit_reached", None),
        Case("own spend limit", 400, &[],
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"You have reached your specified API usage limits. You will regain access on 2025-03-01 at 00:00 UTC."}}"#,
            Exhausted, Upstream, "invalid_request_error", None),
        Case("empty wallet", 400, &[],
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API."}}"#,
            Exhausted, Upstream, "invalid_request_error", None),
        Case("bad request", 400, &[("x-should-retry", "true")], r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000 maximum"}}"#,
            Fatal, Request, "invalid_request_error", None),
        Case("key", 401, &[], r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#,
            Fatal, Upstream, "authentication_error", None),
        Case("billing", 402, &[], r#"{"type":"error","error":{"type":"billing_error","message":"m"}}"#, Exhausted, Upstream, "billing_error", None),
        Case("permission", 403, &[], r#"{"type":"error","error":{"type":"permission_error","message":"m"}}"#, Fatal, Request, "permission_error", None),
        Case("model", 404, &[], r#"{"type":"error","error":{"type":"not_found_error","message":"model: x"}}"#, Fatal, Request, "not_found_error", None),
        Case("conflict", 409, &[], r#"{"type":"error","error":{"type":"conflict_error","message":"m"}}"#, Fatal, Request, "conflict_error", None),
        Case("size", 413, &[], r#"{"type":"error","error":{"type":"request_too_large","message":"m"}}"#, Fatal, Request, "request_too_large", None),
        Case("api", 500, &[], r#"{"type":"error","error":{"type":"api_error","message":"m"}}"#, Transient, Request, "api_error", None),
        Case("timeout", 504, &[], r#"{"type":"error","error":{"type":"timeout_error","message":"m"}}"#, Transient, Request, "timeout_error", None),
        Case("overload", 529, &[("x-should-retry", "true")], r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, Overloaded, Request, "overloaded_error", None),
        Case("error event after 200", 200, &[("content-type", "text/event-stream; charset=utf-8")],
            "event: message_start\ndata: {\"type\":\"message_start\"}\n\nevent: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n",
            Overloaded, Request, "overloaded_error", None),
        Case("event stream without error", 200, &[("content-type", "text/event-stream")], "data: {\"x\":1}\n\ndata: [DONE]\n\n",
            Fatal, Request, "event_stream", None),
        Case("Bedrock's binary events", 200, &[("content-type", "application/vnd.amazon.eventstream")], "\0\0\0",
            Fatal, Request, "event_stream", None),
    ]);
}

#[rustfmt::skip]
#[test]
fn google() {
    check(&[
        // providers.md §4.1
        Case("minute", 429, &[],
            r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"You exceeded your current quota, please check your plan and billing details.","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaMetric":"generativelanguage.googleapis.com/generate_content_free_tier_input_token_count","quotaId":"GenerateContentInputTokensPerModelPerMinute-FreeTier","quotaDimensions":{"model":"gemini-2.5-pro","location":"global"},"quotaValue":"250000"}]},{"@type":"type.googleapis.com/google.rpc.Help"},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"57.238747106s"}]}}"#,
            Throttled, Request, "RESOURCE_EXHAUSTED", Some(57.238747106)),
        Case("minute, wrapped by the OpenAI-compatible endpoint", 429, &[],
            r#"[{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"m","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"26s"}]}}]"#,
            Throttled, Request, "RESOURCE_EXHAUSTED", Some(26.0)),
        // 02:00 in California: 22 hours to midnight, whatever retryDelay says.
        Case("day", 429, &[],
            r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"m","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"GenerateContentInputTokensPerModelPerMinute-FreeTier","quotaValue":"250000"},{"quotaId":"GenerateRequestsPerDayPerProjectPerModel-FreeTier","quotaValue":"250"}]},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"26s"}]}}"#,
            Exhausted, Upstream, "GenerateRequestsPerDayPerProjectPerModel-FreeTier", Some(79_200.0)),
        Case("no quota at all", 429, &[],
            r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"m","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"GenerateContentInputTokensPerModelPerMinute-FreeTier","quotaValue":"0"}]},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"26s"}]}}"#,
            Exhausted, Upstream, "GenerateContentInputTokensPerModelPerMinute-FreeTier", None),
        Case("capacity", 429, &[],
            r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"No capacity available","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"MODEL_CAPACITY_EXHAUSTED","domain":"cloudcode-pa.googleapis.com"}]}}"#,
            Overloaded, Request, "MODEL_CAPACITY_EXHAUSTED", None),
        Case("unavailable", 503, &[], r#"{"error":{"code":503,"message":"The model is overloaded. Please try again later.","status":"UNAVAILABLE"}}"#,
            Overloaded, Request, "UNAVAILABLE", None),
        Case("key", 400, &[],
            r#"{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}"#,
            Fatal, Upstream, "API_KEY_INVALID", None),
        Case("bad argument", 400, &[], r#"[{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT"}}]"#,
            Fatal, Request, "INVALID_ARGUMENT", None),
        // §4.2
        Case("shared quota of Vertex", 429, &[],
            r#"{"error":{"code":429,"message":"Resource exhausted. Please try again later. Please refer to https://cloud.google.com/vertex-ai/generative-ai/docs/error-code-429 for more details.","status":"RESOURCE_EXHAUSTED"}}"#,
            Throttled, Request, "RESOURCE_EXHAUSTED", None),
    ]);
}

#[rustfmt::skip]
#[test]
fn bedrock() {
    check(&[
        // providers.md §5
        Case("rate", 429, &[("x-amzn-errortype", "ThrottlingException:http://internal.amazon.com/coral/")],
            r#"{"message":"Too many tokens, please wait before trying again."}"#,
            Throttled, Request, "ThrottlingException", None),
        Case("rate, named in the body", 400, &[], r#"{"__type":"com.amazon.coral.availability#ThrottlingException","message":"Too many requests, please wait before trying again."}"#,
            Throttled, Request, "ThrottlingException", None),
        Case("day", 429, &[("x-amzn-errortype", "ThrottlingException")], r#"{"message":"Too many tokens per day, please wait before trying again."}"#,
            Exhausted, Upstream, "ThrottlingException", None),
        Case("cold model", 429, &[("x-amzn-errortype", "ModelNotReadyException")], r#"{"message":"m"}"#, Overloaded, Request, "ModelNotReadyException", None),
        Case("quota", 400, &[("x-amzn-errortype", "ServiceQuotaExceededException")], r#"{"message":"m"}"#, Fatal, Request, "ServiceQuotaExceededException", None),
        Case("timeout", 408, &[("x-amzn-errortype", "ModelTimeoutException")], r#"{"message":"m"}"#, Transient, Request, "ModelTimeoutException", None),
        Case("model", 424, &[("x-amzn-errortype", "ModelErrorException")], r#"{"message":"m","originalStatusCode":500}"#, Transient, Request, "ModelErrorException", None),
        Case("invalid", 400, &[("x-amzn-errortype", "ValidationException")], r#"{"message":"Input is too long"}"#, Fatal, Request, "ValidationException", None),
        Case("denied", 403, &[("x-amzn-errortype", "AccessDeniedException")], r#"{"message":"m"}"#, Fatal, Request, "AccessDeniedException", None),
        Case("wrong key", 403, &[("x-amzn-errortype", "UnrecognizedClientException")], r#"{"message":"The security token included in the request is invalid."}"#, Fatal, Upstream, "UnrecognizedClientException", None),
        Case("unavailable", 503, &[("x-amzn-errortype", "ServiceUnavailableException")], "", Overloaded, Request, "ServiceUnavailableException", None),
    ]);
}

#[rustfmt::skip]
#[test]
fn other_providers() {
    check(&[
        // providers.md §6
        Case("Mistral", 429, &[],
            r#"{"object":"error","message":"Rate limit exceeded","type":"rate_limited","param":null,"code":"1300","raw_status_code":429}"#,
            Throttled, Request, "rate_limited", None),
        Case("Mistral under 200", 200, &[],
            r#"{"object":"error","message":"Rate limit exceeded","type":"rate_limited","param":null,"code":"1300","raw_status_code":429}"#,
            Throttled, Request, "rate_limited", None),
        Case("Mistral, validation", 422, &[], r#"{"detail":[{"loc":["body","messages"],"msg":"field required","type":"missing"}]}"#,
            Fatal, Request, "http_422", None),
        Case("Groq", 429, &[("retry-after", "6"), ("x-ratelimit-reset-tokens", "7.66s"), ("x-ratelimit-reset-requests", "2m59.56s")],
            r#"{"error":{"message":"Rate limit reached for model `llama` in organization `org` on tokens per minute (TPM): Limit 15000, Used 11972, Requested 4351. Please try again in 5.289s.","type":"tokens","code":"rate_limit_exceeded"}}"#,
            Throttled, Request, "rate_limit_exceeded", Some(6.0)),
        Case("Groq, too large", 413, &[], r#"{"error":{"message":"Request too large for model `llama` on tokens per minute (TPM): Limit 6000, Requested 7241, please reduce your message size and try again.","type":"tokens","code":"rate_limit_exceeded"}}"#,
            Fatal, Request, "request_too_large", None),
        Case("Groq, flex", 498, &[], r#"{"error":{"message":"Flex tier capacity exceeded","type":"capacity_exceeded","code":"capacity_exceeded"}}"#,
            Overloaded, Request, "capacity_exceeded", None),
        Case("Cerebras", 429, &[("x-ratelimit-reset-tokens-minute", "33.01")], r#"{"message":"Tokens per minute limit exceeded - too many tokens processed.","type":"too_many_tokens_error","param":"quota","code":"token_quota_exceeded"}"#,
            Throttled, Request, "token_quota_exceeded", None),
        Case("Together, requests", 429, &[("x-ratelimit-reset", "3")], r#"{"error":{"message":"m","type":"rate_limit","error_type":"dynamic_request_limited","code":null}}"#,
            Throttled, Request, "dynamic_request_limited", Some(3.0)),
        Case("Together, tokens", 429, &[], r#"{"error":"slow","error_type":"dynamic_token_limited"}"#, Throttled, Request, "dynamic_token_limited", None),
        Case("Together, theirs", 503, &[], r#"{"error":{"message":"m","type":"service_unavailable"}}"#, Overloaded, Request, "service_unavailable", None),
        Case("Together, spend", 402, &[], r#"{"error":{"message":"m","type":"credit_limit"}}"#, Exhausted, Upstream, "credit_limit", None),
        Case("Together, context", 403, &[], r#"{"error":{"message":"input + max_tokens is more than the context","type":"invalid_request_error"}}"#, Fatal, Request, "invalid_request_error", None),
        Case("Fireworks", 429, &[("x-ratelimit-over-limit", "yes")], r#"{"error":{"object":"error","type":"invalid_request_error","code":"invalid_request_error","message":"Rate limit exceeded, please try again later"}}"#,
            Throttled, Request, "invalid_request_error", None),
        Case("DeepSeek, concurrency", 429, &[], r#"{"error":{"message":"Too many requests","type":"rate_limit_reached","param":null,"code":"rate_limit_reached"}}"#,
            Throttled, Request, "rate_limit_reached", None),
        Case("DeepSeek, balance", 402, &[], "\n\n\n{\"error\":{\"message\":\"Insufficient Balance\",\"type\":\"unknown_error\",\"param\":null,\"code\":\"invalid_request_error\"}}",
            Exhausted, Upstream, "invalid_request_error", None),
        Case("OpenRouter, minute", 429, &[],
            r#"{"error":{"code":429,"message":"Rate limit exceeded: free-models-per-min. ","metadata":{"error_type":"rate_limit_exceeded","headers":{"X-RateLimit-Limit":"20","X-RateLimit-Remaining":"0","X-RateLimit-Reset":"1739268030000"}}},"user_id":"u"}"#,
            Throttled, Request, "rate_limit_exceeded", Some(30.0)),
        Case("OpenRouter, minute, in headers", 429, &[("x-ratelimit-limit", "20"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1739268030000")],
            r#"{"error":{"code":429,"message":"Rate limit exceeded"}}"#, Throttled, Request, "http_429", Some(30.0)),
        Case("OpenRouter, day", 429, &[],
            r#"{"error":{"code":429,"message":"Rate limit exceeded: free-models-per-day. ","metadata":{"headers":{"X-RateLimit-Reset":"1739318400000"}}}}"#,
            Exhausted, Upstream, "http_429", Some(50_400.0)),
        Case("OpenRouter, overload", 503, &[("retry-after", "9")], r#"{"error":{"code":503,"message":"m","metadata":{"error_type":"provider_overloaded"}}}"#,
            Overloaded, Request, "provider_overloaded", Some(9.0)),
        Case("OpenRouter, provider", 502, &[], r#"{"error":{"code":502,"message":"Provider returned error","metadata":{"error_type":"provider_unavailable","raw":"boom"}}}"#,
            Transient, Request, "provider_unavailable", None),
        Case("OpenRouter, context", 400, &[], r#"{"error":{"code":400,"message":"m","metadata":{"error_type":"context_length_exceeded"}}}"#,
            Fatal, Request, "context_length_exceeded", None),
        Case("OpenRouter, payment", 402, &[], r#"{"error":{"code":402,"message":"m","metadata":{"error_type":"payment_required"}}}"#,
            Exhausted, Upstream, "payment_required", None),
        Case("OpenRouter, failure under 200", 200, &[], r#"{"error":{"code":502,"message":"Upstream failed"}}"#, Transient, Request, "http_502", None),
        Case("Cohere, trial month", 429, &[], r#"{"message":"You are using a Trial key, which is limited to 1000 API calls / month."}"#,
            Exhausted, Upstream, "http_429", None),
        // §6, self-hosted
        Case("TGI", 429, &[], r#"{"error":"Model is overloaded","error_type":"overloaded"}"#, Overloaded, Request, "overloaded", None),
        Case("Ollama", 503, &[], r#"{"error":"server busy, please try again.  maximum pending requests exceeded"}"#, Overloaded, Request, "http_503", None),
        Case("SGLang", 503, &[], r#"{"object":"error","message":"The request queue is full.","type":"SERVICE_UNAVAILABLE","param":null,"code":503}"#,
            Overloaded, Request, "SERVICE_UNAVAILABLE", None),
        Case("vLLM, queue", 429, &[], r#"{"object":"error","message":"The request queue is full","type":"TooManyRequests","param":null,"code":429}"#,
            Overloaded, Request, "TooManyRequests", None),
        Case("llama.cpp, loading", 503, &[], r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#, Overloaded, Request, "unavailable_error", None),
        Case("vLLM, context", 400, &[], r#"{"object":"error","message":"maximum context length is 4096","type":"BadRequestError","param":null,"code":400}"#,
            Fatal, Request, "BadRequestError", None),
        // §7, draft of the IETF
        Case("problem document", 429, &[("content-type", "application/problem+json"), ("ratelimit", "\"default\";r=0;t=30")],
            r#"{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Quota exceeded"}"#,
            Throttled, Request, "quota-exceeded", Some(30.0)),
        Case("problem document, capacity", 503, &[("retry-after", "7")],
            r#"{"type":"https://iana.org/assignments/http-problem-types#temporary-reduced-capacity","title":"Reduced capacity","violated-policies":["hourly"]}"#,
            Overloaded, Request, "temporary-reduced-capacity", Some(7.0)),
        Case("problem document, abnormal use", 429, &[],
            r#"{"type":"https://iana.org/assignments/http-problem-types#abnormal-usage-detected","title":"Abnormal use"}"#,
            Throttled, Request, "abnormal-usage-detected", None),
    ]);
}

#[rustfmt::skip]
#[test]
fn bodies_that_are_not_json() {
    check(&[
        // providers.md §7.2 and hostile input
        Case("429 of a proxy", 429, &[("retry-after", "4")], "slow down", Throttled, Request, "http_429", Some(4.0)),
        Case("Cloudflare", 524, &[], "<!DOCTYPE html><html><head><title>524: A timeout occurred</title>", Transient, Request, "http_524", None),
        Case("Cloudflare", 520, &[], "<html></html>", Transient, Request, "http_520", None),
        Case("nginx", 502, &[], "<html><head><TITLE>502 Bad Gateway</TITLE></head></html>", Transient, Request, "http_502", None),
        Case("nginx, size", 413, &[], "<html>", Fatal, Request, "http_413", None),
        Case("control characters", 300, &[], "\0\u{1b}[2J", Fatal, Request, "http_300", None),
        Case("empty", 500, &[], "", Transient, Request, "http_500", None),
        Case("no success, no error", 100, &[], "", Transient, Request, "http_100", None),
        Case("portal", 200, &[("content-type", "text/html")], "<html><title>Log in</title>", Invalid, Request, "not_json", None),
        Case("nothing", 200, &[], "", Invalid, Request, "not_json", None),
        Case("cut", 200, &[("retry-after", "4")], r#"{"choices":[{"message":{"con"#, Invalid, Request, "not_json", None),
        Case("two documents", 200, &[], "{}{}", Invalid, Request, "not_json", None),
        Case("list", 200, &[], "[{}]", Invalid, Request, "not_an_object", None),
        Case("cut list", 200, &[], "[{}", Invalid, Request, "not_json", None),
        Case("number", 200, &[], "7", Invalid, Request, "not_an_object", None),
        Case("redirect", 307, &[("location", "https://example.com/v1/x?key=secret#secret")], "", Fatal, Request, "http_307", None),
    ]);
    let bytes = [b"{\"a\":\"".as_slice(), &[0xff], b"\"}"].concat();
    let Outcome::Failure(got) = read_reply(200, &HeaderMap::new(), &bytes, NOW).outcome else { panic!() };
    assert_eq!((got.failure.class, got.code.as_str()), (Invalid, "not_json"));
}

#[test]
fn a_refusal_says_what_it_knows_of_the_limit_that_refused() {
    let refused = |status, body: &str| failure(status, &[], body).failure.quota;
    let anthropic = r#"{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed the rate limit for your organization (uuid) of 20,000 input tokens per minute."}}"#;
    let numbers = refused(429, anthropic).expect("numbers");
    assert_eq!(
        (numbers.kind, numbers.window, numbers.limit),
        (Some(LimitKind::InputTokens), Some(MINUTE), Some(20_000))
    );
    let google = |id: &str, value: &str| {
        format!(
            r#"{{"error":{{"code":429,"status":"RESOURCE_EXHAUSTED","message":"m","details":[{{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{{"quotaId":"{id}","quotaValue":"{value}"}}]}},{{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"26s"}}]}}}}"#
        )
    };
    let minute = google("GenerateRequestsPerMinutePerProjectPerModel", "15");
    let numbers = refused(429, &minute).expect("numbers");
    assert_eq!(
        (numbers.kind, numbers.window, numbers.limit, numbers.wait),
        (
            Some(LimitKind::Requests),
            Some(MINUTE),
            Some(15),
            Some(Duration::from_secs(26))
        )
    );
    // 02:00 in California.
    let day = google("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "50");
    let numbers = refused(429, &day).expect("numbers");
    assert_eq!(
        (numbers.limit, numbers.window, numbers.wait),
        (
            Some(50),
            Some(Duration::from_secs(86_400)),
            Some(Duration::from_secs(79_200))
        )
    );
    let quoting = r#"{"error":{"message":"you wrote: 20,000 input tokens per minute"}}"#;
    assert_eq!(refused(400, quoting), None);
}

#[test]
fn answers_are_answers_whatever_their_usage() {
    let chat = r#"{"id":"chatcmpl-1","object":"chat.completion","choices":[{"index":0,"message":
        {"role":"assistant","content":"\"error\": {}"},"finish_reason":"stop"}],"usage":"#;
    let with = |usage: &str| format!("\n\n{chat}{usage}}}\n");
    let expected = Usage {
        input: 19,
        output: 10,
        cached: 0,
    };
    assert_eq!(
        usage(&with(
            r#"{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29}"#
        )),
        Some(expected)
    );
    for strange in [
        "null",
        "7",
        "[[[]]]",
        r#""many""#,
        r#"{"prompt_tokens":1e999}"#,
        "{}",
    ] {
        assert_eq!(usage(&with(strange)), None, "{strange}");
    }
}

#[test]
fn empty_errors_are_no_errors() {
    for error in ["null", "false", "\"\"", "{}", "{ }", "[]"] {
        usage(&format!(
            r#"{{"object":"response","status":"completed","error":{error}}}"#
        ));
    }
    usage(r#"{"object":"response","status":"incomplete","error":null}"#);
    usage(r#"{"type":"message","role":"assistant","content":[]}"#);
}

#[test]
fn an_error_without_a_shape_is_still_no_answer() {
    for error in ["true", "[1]", "7", "\"no\"", "{\"message\":\"\\ud800\"}"] {
        let got = failure(200, &[], &format!(r#"{{"error":{error}}}"#));
        assert_eq!(got.failure.class, Transient, "{error}");
        assert!(!got.message.is_empty());
    }
}

#[test]
fn an_error_under_200_without_a_code_gets_one() {
    assert_eq!(
        failure(200, &[], r#"{"type":"error"}"#).code,
        "unnamed_error"
    );
}

#[test]
fn what_openrouter_quotes_is_shown_and_decides_nothing() {
    let got = failure(
        429,
        &[],
        r#"{"error":{"code":429,"message":"Provider returned error","metadata":{"raw":"1000 requests per day"}}}"#,
    );
    assert_eq!(got.failure.class, Throttled);
    assert_eq!(
        got.message,
        "Provider returned error: 1000 requests per day"
    );
}

#[test]
fn a_huge_error_is_classified_by_its_status() {
    let body = format!(
        r#"{{"error":{{"code":"slow_down","x":[{}0]}}}}"#,
        "0,".repeat(100_000)
    );
    assert_eq!(failure(429, &[], &body).failure.class, Throttled);
}

#[test]
fn the_request_id_comes_from_headers_before_the_body() {
    let id = |pairs, body: &str| read_reply(429, &headers(pairs), body.as_bytes(), NOW).request_id;
    let body = r#"{"type":"error","error":{},"request_id":"req_body"}"#;
    assert_eq!(
        id(&[("request-id", "req_a")], body).as_deref(),
        Some("req_a")
    );
    assert_eq!(
        id(&[("request-id", "req_a"), ("x-request-id", "x")], "").as_deref(),
        Some("x")
    );
    assert_eq!(id(&[], body).as_deref(), Some("req_body"));
    assert_eq!(id(&[], r#"{"request_id":7}"#), None);
    assert_eq!(id(&[], r#"{"request_id":"\u001b[2J"}"#), None);
}

#[test]
fn a_redirect_says_where_it_pointed_without_secrets() {
    let got = failure(
        302,
        &[("location", "https://example.com/login?key=secret#secret")],
        "",
    );
    assert_eq!(
        got.message,
        "redirected to https://example.com/login; redirects are never followed"
    );
    const USERS: [Headers; 2] = [
        &[("location", "https://user:secret@example.com/x")],
        &[("location", "//user:secret@example.com")],
    ];
    for location in USERS {
        let got = failure(302, location, "<html>").message;
        assert!(!got.contains("secret"), "{got}");
    }
    assert_eq!(failure(302, &[], "").message, "the body holds no text");
}

#[test]
fn messages_are_one_short_safe_line() {
    let body = format!(
        r#"{{"error":{{"message":"a\u001b[31mb\r\n{}","code":"x\u001b]0;t\u0007\n{}"}}}}"#,
        "m".repeat(9_999),
        "y".repeat(50)
    );
    let got = failure(400, &[], &body);
    assert!(got.message.starts_with("ab mmm"));
    assert_eq!(got.message.chars().count(), 500);
    assert!(got.code.starts_with("x yyy"), "{}", got.code);
    assert_eq!(
        failure(502, &[], "<html><title>502\nBad</title>").message,
        "an HTML page: 502 Bad"
    );
}
