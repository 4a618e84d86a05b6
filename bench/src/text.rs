//! What is done with every request and reply beside the engine: tokens counted before it is sent,
//! levels read out of the headers of its answer. On one thread.

use std::hint::black_box;

use anyhow::{Context as _, Result};
use brimful_providers::count::{Chars, CountTokens, Exact};
use brimful_providers::observe::{HeaderGrammar, observe};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::bench::Bench;
use crate::core::timed;
use crate::figure::{Better, Figure};

const COUNT: &str = "text: tokens counted";
const HEADERS: &str = "text: levels in headers";

/// English prose and Rust, as they are in this repository.
const PROSE: &str = include_str!("../../docs/run.md");
const SOURCE: &str = include_str!("../../crates/brimful-core/src/engine.rs");

/// Times over the texts in one measurement, and replies: some hundredths of a second.
const COUNTS: u32 = 20;
const REPLIES: u32 = 100_000;

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    if ![COUNT, HEADERS].iter().any(|name| bench.wants(name)) {
        return Ok(());
    }
    let exact = Exact::of_model("gpt-4o").context("its tokenizer is built in")?;
    let (named, plain) = (openai(), without());
    let (mut exactly, mut by_chars) = (Vec::new(), Vec::new());
    let (mut known, mut any, mut nothing) = (Vec::new(), Vec::new(), Vec::new());
    bench.rounds("text", || {
        exactly.push(mtok_per_s(&exact)?);
        by_chars.push(mtok_per_s(&Chars)?);
        known.push(reply_ns(&named, HeaderGrammar::Openai)?);
        any.push(reply_ns(&named, HeaderGrammar::Generic)?);
        nothing.push(reply_ns(&plain, HeaderGrammar::Generic)?);
        Ok(())
    })?;
    bench.report.section("Texts, one thread");
    let fast = |measure, samples| Figure::new(COUNT, measure, "Mtok/s", Better::Higher, samples);
    let short = |measure, samples| Figure::new(HEADERS, measure, "ns", Better::Lower, samples);
    for figure in [
        fast("exactly, o200k", exactly),
        fast("by characters", by_chars),
        short("OpenAI's, six of them", known),
        short("the same in any form", any),
        short("none there", nothing),
    ] {
        bench.report.add(figure);
    }
    Ok(())
}

fn mtok_per_s(counter: &dyn CountTokens) -> Result<f64> {
    let texts = [PROSE, SOURCE];
    let tokens: u64 = texts.iter().map(|text| counter.tokens(text)).sum();
    let ns = timed(COUNTS, |_| {
        for text in texts {
            black_box(counter.tokens(black_box(text)));
        }
    })?;
    Ok(tokens as f64 * 1_000.0 / ns)
}

fn reply_ns(headers: &HeaderMap, grammar: HeaderGrammar) -> Result<f64> {
    timed(REPLIES, |_| {
        black_box(observe(black_box(headers), grammar, 0));
    })
}

fn without() -> HeaderMap {
    map(&[
        ("content-type", "application/json"),
        ("date", "Tue, 11 Feb 2025 10:00:00 GMT"),
        ("x-request-id", "req_0123456789abcdef"),
        ("server", "cloudflare"),
        ("openai-processing-ms", "812"),
        ("openai-version", "2020-10-01"),
        ("strict-transport-security", "max-age=31536000"),
        ("content-length", "812"),
    ])
}

fn openai() -> HeaderMap {
    let mut headers = without();
    headers.extend(map(&[
        ("x-ratelimit-limit-requests", "5000"),
        ("x-ratelimit-limit-tokens", "160000"),
        ("x-ratelimit-remaining-requests", "4999"),
        ("x-ratelimit-remaining-tokens", "159976"),
        ("x-ratelimit-reset-requests", "12ms"),
        ("x-ratelimit-reset-tokens", "9ms"),
    ]));
    headers
}

fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect()
}
