//! `RateLimit` and `RateLimit-Policy` of the IETF draft, and the forms that it had before.
//!
//! Today: `RateLimit-Policy: "burst";q=100;w=60` and `RateLimit: "burst";r=50;t=30`. Before:
//! `RateLimit: limit=100, remaining=50, reset=30` with `RateLimit-Policy: 100;w=60`; and before
//! that `RateLimit-Limit: 100, 100;w=60`, `RateLimit-Remaining: 50`, `RateLimit-Reset: 30`.

use std::time::Duration;

use brimful_core::{LimitKind, Reading, Reset};
use http::{HeaderMap, HeaderName};
use sfv::{BareItem, Dictionary, List, ListEntry, Parameters, Parser};

use super::{AMOUNT_MAX, READINGS_MAX, RESET_MAX, Seen, amount, as_text};
use crate::duration::parse_wait;

static LEVELS: HeaderName = HeaderName::from_static("ratelimit");
static POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
static LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
static REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
static RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// A longer list is not taken apart: none is this long in good faith.
const LIST_BYTES_MAX: usize = 4 * 1024;

/// One limit as a policy declares it.
struct Policy {
    /// Empty in the older forms, which have none.
    name: String,
    /// `None` for a unit that is not counted here.
    kind: Option<LimitKind>,
    quota: u64,
    window: Option<Duration>,
}

pub(super) fn read(seen: &mut Seen<'_>) {
    let headers = seen.headers;
    let policies: Vec<Policy> = list(headers, &POLICY)
        .iter()
        .filter_map(policy)
        .take(READINGS_MAX)
        .collect();
    let mut is_told = vec![false; policies.len()];
    for reading in levels(headers, &policies, &mut is_told) {
        seen.add(reading);
    }
    if let Some(reading) = separate(headers, &policies) {
        seen.add(reading);
        return;
    }
    // A limit is worth knowing even where its level is not told.
    for (policy, _) in policies.iter().zip(is_told).filter(|(_, told)| !told) {
        if let Some(kind) = policy.kind {
            seen.add(reading(kind, Some(policy), None, None));
        }
    }
}

fn reading(
    kind: LimitKind,
    policy: Option<&Policy>,
    remaining: Option<u64>,
    reset: Option<Duration>,
) -> Reading {
    let limit = policy.map(|policy| policy.quota);
    Reading {
        kind,
        window: policy.and_then(|policy| policy.window),
        limit,
        remaining: remaining.map(|left| left.min(limit.unwrap_or(AMOUNT_MAX))),
        reset: reset
            .filter(|wait| !wait.is_zero() && *wait <= RESET_MAX)
            .map(Reset::Restart),
        granularity: 1,
    }
}

/// The readings of `RateLimit`, today's form or the dictionary before it.
fn levels(headers: &HeaderMap, policies: &[Policy], is_told: &mut [bool]) -> Vec<Reading> {
    let mut readings = Vec::new();
    for (name, parameters) in list(headers, &LEVELS).iter().filter_map(named) {
        let Some(remaining) = parameters.get("r").and_then(whole) else {
            continue;
        };
        let at = policies.iter().position(|policy| policy.name == name);
        let policy = at.map(|at| &policies[at]);
        if let Some(at) = at {
            is_told[at] = true;
        }
        // A level without its policy counts requests, the default unit of the draft.
        let kind = policy.map_or(Some(LimitKind::Requests), |policy| policy.kind);
        let reset = parameters.get("t").and_then(whole).map(Duration::from_secs);
        readings.extend(kind.map(|kind| reading(kind, policy, Some(remaining), reset)));
    }
    if readings.is_empty()
        && let Some(reading) = dictionary(headers, policies)
    {
        is_told.fill(true);
        readings.push(reading);
    }
    readings.truncate(READINGS_MAX);
    readings
}

/// `limit=100, remaining=50, reset=30`
fn dictionary(headers: &HeaderMap, policies: &[Policy]) -> Option<Reading> {
    let text = joined(headers, &LEVELS)?;
    let members: Dictionary = Parser::new(&text).parse().ok()?;
    let member = |name: &str| match members.get(name)? {
        ListEntry::Item(item) => whole(&item.bare_item),
        ListEntry::InnerList(_) => None,
    };
    let reset = member("reset").map(Duration::from_secs);
    binding(member("limit"), member("remaining"), reset, policies)
}

/// `RateLimit-Limit`, `-Remaining` and `-Reset`.
fn separate(headers: &HeaderMap, policies: &[Policy]) -> Option<Reading> {
    let text = |name| headers.get(name).and_then(as_text);
    let remaining = text(&REMAINING).and_then(amount);
    let list = text(&LIMIT);
    let limit = list.and_then(|text| amount(text.split([',', ';']).next()?));
    let reset = text(&RESET).and_then(|text| parse_wait(text, 0));
    let inline: Vec<Policy> = list
        .filter(|text| text.contains(';') && text.len() <= LIST_BYTES_MAX)
        .and_then(|text| Parser::new(text).parse::<List>().ok())
        .iter()
        .flatten()
        .filter_map(policy)
        .collect();
    let policies = if inline.is_empty() { policies } else { &inline };
    binding(limit, remaining, reset, policies)
}

/// The older forms give the level of the limit that binds; of the policies it is the one of the
/// same quota.
fn binding(
    limit: Option<u64>,
    remaining: Option<u64>,
    reset: Option<Duration>,
    policies: &[Policy],
) -> Option<Reading> {
    let limit = limit.filter(|limit| (1..=AMOUNT_MAX).contains(limit));
    if limit.is_none() && remaining.is_none() {
        return None;
    }
    let of_quota = |policy: &&Policy| Some(policy.quota) == limit;
    let only = match policies {
        [only] if limit.is_none() => Some(only),
        _ => None,
    };
    let policy = policies.iter().rfind(of_quota).or(only);
    let kind = policy.map_or(Some(LimitKind::Requests), |policy| policy.kind)?;
    let mut reading = reading(kind, policy, remaining, reset);
    reading.limit = limit.or(reading.limit);
    Some(reading)
}

fn policy(entry: &ListEntry) -> Option<Policy> {
    let ListEntry::Item(item) = entry else {
        return None;
    };
    let window = item.params.get("w").and_then(whole);
    let (name, quota) = match &item.bare_item {
        // The older form: the quota itself is the item.
        BareItem::Integer(_) => (String::new(), whole(&item.bare_item)?),
        _ => {
            let (name, parameters) = named(entry)?;
            (name.to_owned(), parameters.get("q").and_then(whole)?)
        }
    };
    let kind = match item.params.get("qu") {
        None => Some(LimitKind::Requests),
        Some(unit) => kind(text(unit)?),
    };
    (1..=AMOUNT_MAX).contains(&quota).then(|| Policy {
        name,
        kind,
        quota,
        window: window
            .map(Duration::from_secs)
            .filter(|window| !window.is_zero() && *window <= RESET_MAX)
            .filter(|_| kind != Some(LimitKind::Concurrency)),
    })
}

/// The registered units of the draft, and the ones that gateways for LLMs use besides.
fn kind(unit: &str) -> Option<LimitKind> {
    match unit {
        "requests" => Some(LimitKind::Requests),
        "concurrent-requests" => Some(LimitKind::Concurrency),
        "tokens" => Some(LimitKind::TotalTokens),
        "input-tokens" => Some(LimitKind::InputTokens),
        "output-tokens" => Some(LimitKind::OutputTokens),
        _ => None,
    }
}

fn named(entry: &ListEntry) -> Option<(&str, &Parameters)> {
    match entry {
        ListEntry::Item(item) => Some((text(&item.bare_item)?, &item.params)),
        ListEntry::InnerList(_) => None,
    }
}

fn text(item: &BareItem) -> Option<&str> {
    let string = item.as_string().map(|text| text.as_str());
    string.or_else(|| item.as_token().map(|token| token.as_str()))
}

fn whole(item: &BareItem) -> Option<u64> {
    u64::try_from(i64::from(item.as_integer()?)).ok()
}

fn list(headers: &HeaderMap, name: &HeaderName) -> List {
    joined(headers, name)
        .and_then(|text| Parser::new(&text).parse().ok())
        .unwrap_or_default()
}

/// All lines of a header as one list.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut lines = headers.get_all(name).iter().filter_map(as_text);
    let mut all = lines.next()?.to_owned();
    for line in lines {
        if all.len() > LIST_BYTES_MAX {
            break;
        }
        all.push(',');
        all.push_str(line);
    }
    (all.len() <= LIST_BYTES_MAX).then_some(all)
}
