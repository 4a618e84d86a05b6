//! What the headers of a reply say of the limits: levels as the server saw them.
//!
//! Every provider has its own names, units and meanings, and none has all. What is here reads them
//! into one form; what follows from them is the engine's to decide.

mod ietf;
mod named;
mod names;
mod window;

use std::fmt;
use std::time::Duration;

use brimful_core::{LimitKind, Observation, Reading};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use self::named::Named;
use crate::duration::server_unix_ms;

/// More limits than any server has. A reply that names more is hostile.
const READINGS_MAX: usize = 16;
/// Amounts beyond the range of a limit are no amounts.
const AMOUNT_MAX: u64 = 1_000_000_000_000_000;
/// The longest window of a limit.
const RESET_MAX: Duration = Duration::from_secs(32 * 24 * 3600);

/// Whose names and meanings the rate-limit headers of a reply have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeaderGrammar {
    /// The server sends no such headers, or none that mean anything.
    None,
    /// `x-ratelimit-*-requests|tokens|project-tokens` (and input and output tokens, as some servers
    /// of this form name them) with Go durations until the level is free.
    /// `requests` may be those of a minute or of a day.
    Openai,
    /// OpenAI's names with plain seconds until the window restarts; -1 and 0 say nothing.
    Azure,
    /// `anthropic-ratelimit-*` with the instant (RFC 3339) at which the level is free.
    Anthropic,
    /// OpenAI's form; `requests` are always those of a day, `tokens` those of a minute.
    Groq,
    /// `x-ratelimit-*-req-minute`, `-tokens-minute` and the cost of this request; the older
    /// `ratelimitbysize-*`.
    Mistral,
    /// `x-ratelimit-*-requests-day`, `-tokens-minute` with seconds.
    Cerebras,
    /// `x-ratelimit-*` and `x-tokenlimit-*`, also with `-dynamic`; windows are not named.
    Together,
    /// `x-ratelimit-*-tokens-prompt|cache-adjusted-prompt|generated`; windows are not named.
    Fireworks,
    /// `x-ratelimit-*` with milliseconds since 1970, on refusals only.
    Openrouter,
    /// `RateLimit` and `RateLimit-Policy` of the IETF draft, or its older separate headers.
    Ietf,
    /// Whichever of these forms is there.
    #[default]
    Generic,
}

impl fmt::Display for HeaderGrammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Openai => "openai",
            Self::Azure => "azure",
            Self::Anthropic => "anthropic",
            Self::Groq => "groq",
            Self::Mistral => "mistral",
            Self::Cerebras => "cerebras",
            Self::Together => "together",
            Self::Fireworks => "fireworks",
            Self::Openrouter => "openrouter",
            Self::Ietf => "ietf",
            Self::Generic => "generic",
        })
    }
}

/// Reads the limits that a reply's headers name. `None` when they name none.
///
/// `now_unix_ms` is the wall clock's reading; it matters only for absolute resets of replies that
/// have no `Date` of their own. Of two readings of the same kind and window (an organisation's and
/// a project's, all of the prompt and its uncached part) the one with the smaller limit is kept:
/// it fills first.
#[must_use]
pub fn observe(
    headers: &HeaderMap,
    grammar: HeaderGrammar,
    now_unix_ms: i64,
) -> Option<Observation> {
    let mut seen = Seen::new(headers, now_unix_ms);
    match grammar {
        HeaderGrammar::None => {}
        HeaderGrammar::Openai => seen.named(&names::OPENAI),
        HeaderGrammar::Azure => seen.named(&names::AZURE),
        HeaderGrammar::Anthropic => seen.anthropic(),
        HeaderGrammar::Groq => seen.named(&names::GROQ),
        HeaderGrammar::Mistral => seen.mistral(),
        HeaderGrammar::Cerebras => seen.named(&names::WITH_WINDOW),
        HeaderGrammar::Together => seen.named(&names::TOGETHER),
        HeaderGrammar::Fireworks => seen.named(&names::FIREWORKS),
        HeaderGrammar::Openrouter => seen.named(&names::OPENROUTER),
        HeaderGrammar::Ietf => ietf::read(&mut seen),
        HeaderGrammar::Generic => seen.any_form(),
    }
    seen.finish()
}

/// What has been read of one reply's headers.
struct Seen<'a> {
    headers: &'a HeaderMap,
    local_unix_ms: i64,
    /// The reply's own `Date`, looked for once an absolute reset needs it.
    server_unix_ms: Option<i64>,
    readings: Vec<Reading>,
    charged_tokens: Option<u64>,
}

impl<'a> Seen<'a> {
    fn new(headers: &'a HeaderMap, local_unix_ms: i64) -> Self {
        Self {
            headers,
            local_unix_ms,
            server_unix_ms: None,
            readings: Vec::new(),
            charged_tokens: None,
        }
    }

    fn named(&mut self, rows: &[Named]) {
        for row in rows {
            if let Some(reading) = row.read(self) {
                self.add(reading);
            }
        }
    }

    /// The `tokens` of Anthropic are the limit that binds: a workspace's, where one is set, else
    /// the sum of the other two, which then says nothing new.
    fn anthropic(&mut self) {
        self.named(&names::ANTHROPIC);
        let limit = |kind| {
            let of_kind = self.readings.iter().find(|reading| reading.kind == kind)?;
            of_kind.limit
        };
        let (input, output) = (
            limit(LimitKind::InputTokens),
            limit(LimitKind::OutputTokens),
        );
        let total = limit(LimitKind::TotalTokens);
        let sum = input.zip(output).map(|(input, output)| input + output);
        let is_implied =
            (input.is_some() || output.is_some()) && [input, output, sum].contains(&total);
        if is_implied {
            self.readings
                .retain(|reading| reading.kind != LimitKind::TotalTokens);
        }
    }

    fn mistral(&mut self) {
        self.named(&names::MISTRAL);
        self.charged_tokens = [&names::MISTRAL_COST, &names::MISTRAL_COST_BY_SIZE]
            .into_iter()
            .find_map(|name| amount(self.text(name)?));
    }

    fn any_form(&mut self) {
        let speaks_of_limits = |name: &HeaderName| {
            let name = name.as_str().as_bytes();
            name.windows(5).any(|part| part == b"limit")
        };
        // Most replies of most servers end here.
        if !self.headers.keys().any(speaks_of_limits) {
            return;
        }
        self.anthropic();
        ietf::read(self);
        self.named(&names::ANY_OPENAI);
        self.mistral();
        self.named(&names::WITH_WINDOW);
        self.named(&names::FIREWORKS);
        self.named(&names::TOGETHER);
    }

    fn text(&self, name: &HeaderName) -> Option<&'a str> {
        self.headers.get(name).and_then(as_text)
    }

    /// The wall clock at which the server wrote its reply.
    fn clock(&mut self) -> i64 {
        let (headers, local) = (self.headers, self.local_unix_ms);
        *self
            .server_unix_ms
            .get_or_insert_with(|| server_unix_ms(headers).unwrap_or(local))
    }

    fn add(&mut self, reading: Reading) {
        // What is not told is no reason to give up what is.
        let rank = |reading: &Reading| {
            (
                reading.limit.unwrap_or(u64::MAX),
                reading.remaining.unwrap_or(u64::MAX),
                reading.reset.is_none(),
            )
        };
        let of_same =
            |other: &Reading| (other.kind, other.window) == (reading.kind, reading.window);
        match self.readings.iter().position(of_same) {
            Some(at) if rank(&reading) < rank(&self.readings[at]) => self.readings[at] = reading,
            Some(_) => {}
            None if self.readings.len() < READINGS_MAX => self.readings.push(reading),
            None => {}
        }
    }

    fn finish(self) -> Option<Observation> {
        let is_empty = self.readings.is_empty() && self.charged_tokens.is_none();
        (!is_empty).then_some(Observation {
            readings: self.readings,
            charged_tokens: self.charged_tokens,
        })
    }
}

fn as_text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok()
}

/// A whole number of units; a fraction is cut off. `None` for -1, nothing, and what is no number.
fn amount(text: &str) -> Option<u64> {
    let text = text.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    whole.parse().ok().filter(|amount| *amount <= AMOUNT_MAX)
}
