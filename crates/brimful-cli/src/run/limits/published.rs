//! What a provider publishes: the limits of its tiers, and when its days begin.

use brimful::daily::DailyReset;
use brimful::limits::{LimitNote, Source, counts};
use brimful_core::LimitKind;
use brimful_providers::profile::{Profile, ServerShape};

use super::{DAY, Declared};
use crate::args::LimitArgs;
use crate::run::usage;

/// The limits of `--tier` for the model, without those that flags give.
pub(super) fn limits(
    flags: &LimitArgs,
    profile: &Profile,
    model: Option<&str>,
    given: &[Declared],
    told: &mut Vec<String>,
) -> anyhow::Result<Vec<Declared>> {
    let Some(name) = &flags.tier else {
        return Ok(Vec::new());
    };
    let title = &profile.title;
    let known = profile.tier_names();
    if !known.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        let remedy = match known.is_empty() {
            true => "none are published: give the limits by flags".to_owned(),
            false => format!("known are {}", known.join(", ")),
        };
        return Err(usage(format!(
            "--tier {name}: {title} has no such tier; {remedy}"
        )));
    }
    let model = model.ok_or_else(|| {
        usage(
            "--tier: limits are published by model, and the input does not name one: give --model",
        )
    })?;
    let Some(tier) = profile.tier(name, model) else {
        return Err(usage(format!(
            "--tier {name}: nothing is known of `{model}` there; known are {}",
            models(profile, name)
        )));
    };
    let mut taken = Vec::new();
    let mut limits = Vec::new();
    for (name, kind, window, amount) in tier.limits.each() {
        if given.iter().any(|limit| limit.name == name) || kind == LimitKind::Concurrency {
            continue;
        }
        taken.push(format!("{name} {amount}"));
        let mut note = LimitNote::new(counts(kind), window, Source::Published);
        note.daily = flags.daily_reset.clone().filter(|_| window == DAY);
        limits.push(Declared {
            name: name.to_owned(),
            kind,
            amount,
            window,
            shape: None,
            models: None,
            note,
        });
    }
    if let (Some(source), false) = (profile.sources.get(&tier.source), taken.is_empty()) {
        told.push(format!(
            "{title}, {}, {model}: {} ({}, {})",
            tier.name,
            taken.join(", "),
            source.url,
            source.date
        ));
    }
    Ok(limits)
}

/// Requests in flight that `--tier` allows.
pub(super) fn concurrency(
    flags: &LimitArgs,
    profile: &Profile,
    model: Option<&str>,
) -> Option<u64> {
    profile
        .tier(flags.tier.as_deref()?, model?)?
        .limits
        .concurrency
}

/// The models that a tier knows.
fn models(profile: &Profile, name: &str) -> String {
    let tiers = profile.tiers.iter();
    let tiers = tiers.filter(|tier| tier.name.eq_ignore_ascii_case(name));
    let models: Vec<&str> = tiers
        .flat_map(|tier| tier.models.iter().map(String::as_str))
        .collect();
    models.join(", ")
}

/// Lets daily limits begin anew when the provider's do, where that is known and no flag says it.
pub(super) fn days(flags: &LimitArgs, profile: &Profile, declared: &mut [Declared]) {
    let Some(reset) = &profile.daily_reset else {
        return;
    };
    let known: Option<DailyReset> = format!("{:02}:00@{}", reset.hour, reset.zone).parse().ok();
    for limit in declared {
        let published = profile.limit(limit.kind, limit.window);
        let is_fixed = published.is_some_and(|published| published.shape == ServerShape::Fixed);
        let is_open = limit.note.daily.is_none() && limit.shape.or(flags.limit_shape).is_none();
        if is_fixed && is_open && limit.window == DAY {
            limit.note.daily.clone_from(&known);
        }
    }
}
