//! What runs on this machine have learnt, and forgetting it.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use brimful::state::{LearnedState, LimitState, StateDir, UpstreamKey};
use brimful_providers::profile::Profile;
use serde_json::json;

use super::LimitsArgs;
use crate::Usage;

/// Prints what was learnt, of one place or all.
pub(super) fn shown(args: &LimitsArgs) -> anyhow::Result<String> {
    let Some(folder) = folder(args)? else {
        return Ok(match args.json {
            true => "[]\n".to_owned(),
            false => "nothing was learnt yet\n".to_owned(),
        });
    };
    let (states, notes) = folder.all()?;
    let mut text = String::new();
    let mut documents = Vec::new();
    for note in notes {
        crate::run::say(crate::args::LogFormat::Text, "warning", &note);
    }
    for state in states {
        if !is_meant(args, &state.upstream) {
            continue;
        }
        for (model, kept) in &state.models {
            let Some(learned) = &kept.learned else {
                continue;
            };
            documents.push(json!({
                "place": state.upstream.place,
                "key": state.upstream.key,
                "account": state.upstream.account,
                "model": model,
                "learned": learned,
            }));
            text.push_str(&one(&state.upstream, model, learned)?);
        }
    }
    if args.json {
        return super::json(&documents);
    }
    if text.is_empty() {
        text.push_str("nothing was learnt yet\n");
    }
    Ok(text)
}

/// Drops what was learnt, of one place or all; levels stay.
pub(super) fn forgotten(args: &LimitsArgs) -> anyhow::Result<String> {
    let Some(folder) = folder(args)? else {
        return Ok("there was nothing to forget\n".to_owned());
    };
    let count = folder.forget(|upstream| is_meant(args, upstream))?;
    Ok(match count {
        0 => "there was nothing to forget\n".to_owned(),
        1 => "forgotten what was learnt with 1 key\n".to_owned(),
        count => format!("forgotten what was learnt with {count} keys\n"),
    })
}

/// The folder; `None` where there is none yet.
fn folder(args: &LimitsArgs) -> anyhow::Result<Option<StateDir>> {
    let default = || StateDir::default_path(|name| std::env::var_os(name));
    let path: Option<PathBuf> = args.state_dir.clone().or_else(default);
    let path = path.ok_or_else(|| {
        Usage("no folder for state is known ($HOME is not set): give --state-dir".to_owned())
    })?;
    if !path.is_dir() {
        return Ok(None);
    }
    Ok(Some(StateDir::open(&path)?))
}

/// Whether a place is the one that was named: a provider, or a host with its port or without.
fn is_meant(args: &LimitsArgs, upstream: &UpstreamKey) -> bool {
    let Some(name) = &args.provider else {
        return true;
    };
    let place = &upstream.place;
    let host = place
        .rsplit_once(':')
        .map_or(place.as_str(), |(host, _)| host);
    let profile = Profile::of_base_url(&format!("https://{place}"));
    [place, host, profile.name.as_str()]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name))
}

fn one(upstream: &UpstreamKey, model: &str, learned: &LearnedState) -> anyhow::Result<String> {
    let mut text = String::new();
    let key = match &upstream.key {
        Some(key) => format!("key {key}"),
        None => "without a key".to_owned(),
    };
    let account = upstream.account.as_deref().map(|name| format!(", {name}"));
    let at = jiff::Timestamp::from_millisecond(learned.learned_unix_ms.try_into()?)?;
    let at = at.strftime("%Y-%m-%d %H:%M UTC");
    writeln!(
        text,
        "{}, {key}{}, {model} ({at}, by version {})",
        upstream.place,
        account.unwrap_or_default(),
        learned.learned_by
    )?;
    for limit in &learned.limits {
        writeln!(text, "  {}", words(limit))?;
    }
    for rate in &learned.rates {
        let judged = rate
            .window_ms
            .map(|ms| format!(", judged over {:?}", Duration::from_millis(ms)));
        let per_min = rate.per_hour / 60;
        let judged = judged.unwrap_or_default();
        writeln!(
            text,
            "  {per_min} {} a minute are let through{judged}",
            rate.counts
        )?;
    }
    for charge in &learned.charges {
        let factor = f64::from(charge.permille) / 1000.0;
        writeln!(
            text,
            "  {} are counted by {}, times {factor}",
            charge.counts, charge.rule
        )?;
    }
    if let Some(places) = learned.places {
        writeln!(text, "  {places} in flight bring the most tokens")?;
    }
    Ok(text)
}

fn words(limit: &LimitState) -> String {
    let window = Duration::from_millis(limit.window_ms);
    let mut words = format!(
        "{} {} in {window:?}, {}",
        limit.amount, limit.counts, limit.shape
    );
    if let Some(burst) = limit.burst {
        words.push_str(&format!(", {burst} at once"));
    }
    if limit.foreign_permille > 0 {
        let percent = f64::from(limit.foreign_permille) / 10.0;
        words.push_str(&format!(", others took {percent} %"));
    }
    words
}
