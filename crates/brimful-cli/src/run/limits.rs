//! Limits and retry, from flags to the engine.

mod concurrency;
mod published;
mod several;

use std::sync::Arc;
use std::time::Duration;

use brimful::limits::{LimitNote, Source, counts};
use brimful::models::{ModelGroup, ModelLanes};
use brimful::source::UnitExpression;
use brimful_core::{
    Budget, CUSTOM_KINDS, ChargeRule, Cost, Decision, EngineConfig, Lane, Learning, LimitKind,
    LimitSpec, Ramp, RetryPolicy, Settlement, Shape, Timestamp, UpstreamConfig,
};

use brimful_providers::observe::HeaderGrammar;
use brimful_providers::profile::{Charging, Profile};

use super::custom::{Counts, CustomLimit};
use super::{provider, usage};
use crate::args::{Charge, LimitArgs, LimitShape, RunArgs, Settle, Switch};
use crate::units::{Burst, Share};

pub(super) use concurrency::concurrency;
pub(super) use several::several;

/// Told where nothing limits a run but what it learns.
const NO_LIMIT: &str = "no limit is given: it is learnt while the run goes on (--learn off: none)";
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Everything that limits a run.
#[derive(Debug)]
pub(super) struct Limits {
    pub(super) engine: EngineConfig,
    /// What else there is to know of each limit of the engine, in their order.
    pub(super) notes: Vec<LimitNote>,
    /// The lanes of models, by the limits that only some of them share.
    pub(super) lanes: Arc<ModelLanes>,
    /// What custom kinds count.
    pub(super) units: Vec<UnitExpression>,
    /// How replies name limits, where that is listened to; by the engine's upstreams.
    pub(super) headers: Vec<Option<HeaderGrammar>>,
    /// For people.
    pub(super) told: Vec<String>,
}

/// A limit before shares, shapes and lanes.
struct Declared {
    name: String,
    kind: LimitKind,
    amount: u64,
    window: Duration,
    shape: Option<LimitShape>,
    models: Option<ModelGroup>,
    note: LimitNote,
}

/// `model`: that of the requests, where it is known.
pub(super) fn limits(
    args: &RunArgs,
    model: Option<&str>,
    concurrency: u64,
) -> anyhow::Result<Limits> {
    let flags = &args.limits;
    let profile = provider::whose_limits(args);
    let mut told = Vec::new();
    let mut units = Vec::new();
    let declared = declare(flags, profile, model, &mut units, &mut told)?;
    let groups = declared.iter().filter_map(|limit| limit.models.clone());
    let lanes = ModelLanes::new(groups).map_err(|error| usage(format!("--limit: {error}")))?;
    let mut specs = Vec::new();
    let mut notes = Vec::new();
    for limit in declared {
        specs.push(spec(flags, profile, &limit, &lanes, &mut told));
        notes.push(limit.note);
    }
    let share = flags.share.unwrap_or(Share::WHOLE);
    specs.push(LimitSpec::concurrency(share.of(concurrency)));
    notes.push(LimitNote::new(
        counts(LimitKind::Concurrency),
        Duration::ZERO,
        Source::Given,
    ));
    let mut engine = engine(args, &profile.charge_for(model.unwrap_or_default()), specs);
    let headers = learn(&mut engine.upstreams[0], flags, profile);
    if flags.learn == Switch::On && !is_rated(&engine.upstreams[0].limits) {
        told.push(NO_LIMIT.into());
    }
    // Which is where values out of range are found.
    engine.check().map_err(|error| usage(error.to_string()))?;
    Ok(Limits {
        engine,
        notes,
        lanes: Arc::new(lanes),
        units,
        headers: vec![headers],
        told,
    })
}

/// Says what is found out about an upstream of which the flags declare so much, and how its replies
/// name limits, where they are listened to.
fn learn(
    upstream: &mut UpstreamConfig,
    flags: &LimitArgs,
    profile: &Profile,
) -> Option<HeaderGrammar> {
    let is_rated = is_rated(&upstream.limits);
    upstream.learning = match flags.learn {
        Switch::Off => Learning::Off,
        Switch::On if profile.replies.refuses || is_rated => Learning::Limits,
        // It never says no: what helps is to ask for no more than it can do.
        Switch::On if flags.concurrency == "auto" => Learning::Concurrency,
        Switch::On => Learning::Off,
    };
    let grammar = profile.replies.headers;
    let headers = (flags.learn == Switch::On).then_some(grammar);
    // Only a reply can tell what is allowed.
    let names = headers.is_some_and(|grammar| grammar != HeaderGrammar::None);
    upstream.first_alone = names && !is_rated;
    headers
}

fn is_rated(limits: &[LimitSpec]) -> bool {
    limits
        .iter()
        .any(|spec| spec.kind != LimitKind::Concurrency)
}

/// What the flags declare, and what the provider publishes for the tier that they name.
fn declare(
    flags: &LimitArgs,
    profile: &Profile,
    model: Option<&str>,
    units: &mut Vec<UnitExpression>,
    told: &mut Vec<String>,
) -> anyhow::Result<Vec<Declared>> {
    let mut declared = flagged(flags);
    declared.extend(published::limits(flags, profile, model, &declared, told)?);
    for limit in &flags.limit {
        declared.push(described(limit, flags, units)?);
    }
    contradictions(flags, &declared)?;
    published::days(flags, profile, &mut declared);
    Ok(declared)
}

fn engine(args: &RunArgs, charging: &Charging, specs: Vec<LimitSpec>) -> EngineConfig {
    let mut config = EngineConfig::new(specs);
    config.retry = RetryPolicy::new();
    config.retry.base_backoff = args.retry.base_backoff;
    config.retry.max_backoff = args.retry.max_backoff;
    config.retry.max_attempts = args.retry.max_attempts;
    config.retry.max_request_time = args.retry.max_request_time;
    config.upstreams[0].charge_rule = match args.limits.charge {
        Some(Charge::Max) => ChargeRule::Max,
        Some(Charge::Sum) => ChargeRule::Sum,
        Some(Charge::Input) => ChargeRule::Input,
        None => charging.reserve(),
    };
    config.upstreams[0].settlement = match args.limits.settle {
        Some(Settle::None) => Settlement::None,
        Some(Settle::Usage) => Settlement::Usage,
        None => charging.settlement(),
    };
    config.upstreams[0].usage_weights = charging.weights();
    config.upstreams[0].share_millionths = args.limits.share.unwrap_or(Share::WHOLE).millionths();
    config.seed = args.watch.seed;
    config
}

impl Limits {
    /// Why a request of this cost can never start, where it cannot.
    pub(super) fn never(&self, cost: &Cost) -> Option<String> {
        let upstreams = self.engine.upstreams.iter();
        let mut never = "no upstream serves its model".to_owned();
        for upstream in upstreams {
            let serves = upstream.serves.as_ref();
            if serves.is_some_and(|lanes| !lanes.contains(&cost.lane)) {
                continue;
            }
            let limits = upstream.limits.iter().chain(&self.engine.shared);
            let limits = limits.filter(|spec| spec.counts(cost.lane)).cloned();
            let budget = Budget::new(limits.collect()).ok()?;
            match budget.decide(Timestamp::ZERO, &upstream.charge_rule.of(cost)) {
                Decision::Never(found) => never = found.to_string(),
                _ => return None,
            }
        }
        Some(never)
    }
}

/// Limits that have flags of their own.
fn flagged(flags: &LimitArgs) -> Vec<Declared> {
    use LimitKind::{InputTokens, OutputTokens, Requests, TotalTokens};
    let flagged = [
        ("rps", Requests, flags.rps, SECOND),
        ("rpm", Requests, flags.rpm, MINUTE),
        ("rph", Requests, flags.rph, HOUR),
        ("rpd", Requests, flags.rpd, DAY),
        ("tpm", TotalTokens, flags.tpm, MINUTE),
        ("itpm", InputTokens, flags.itpm, MINUTE),
        ("otpm", OutputTokens, flags.otpm, MINUTE),
        ("tph", TotalTokens, flags.tph, HOUR),
        ("tpd", TotalTokens, flags.tpd, DAY),
    ];
    let given = flagged
        .into_iter()
        .filter_map(|(name, kind, amount, window)| {
            let mut note = LimitNote::new(counts(kind), window, Source::Given);
            note.daily = flags.daily_reset.clone().filter(|_| window == DAY);
            Some(Declared {
                name: name.to_owned(),
                kind,
                amount: amount?,
                window,
                shape: None,
                models: None,
                note,
            })
        });
    given.collect()
}

/// A limit that `--limit` describes. What it counts, if it is an expression, goes to `units`.
fn described(
    limit: &CustomLimit,
    flags: &LimitArgs,
    units: &mut Vec<UnitExpression>,
) -> anyhow::Result<Declared> {
    let kind = match &limit.counts {
        Counts::Requests => LimitKind::Requests,
        Counts::Tokens => LimitKind::TotalTokens,
        Counts::InputTokens => LimitKind::InputTokens,
        Counts::OutputTokens => LimitKind::OutputTokens,
        Counts::InFlight => LimitKind::Concurrency,
        Counts::Expression(expression) => custom_kind(&limit.name, expression, units)?,
    };
    let counts = match kind {
        // Under its own name: what an expression counts may change.
        LimitKind::Custom(_) => format!("custom:{}", limit.name),
        kind => counts(kind).to_owned(),
    };
    let mut note = LimitNote::new(counts, limit.window, Source::Given);
    let of_a_day = flags.daily_reset.clone().filter(|_| limit.window == DAY);
    note.daily = limit.reset.clone().or(of_a_day);
    note.models = limit.models.as_ref().map(ToString::to_string);
    Ok(Declared {
        name: limit.name.clone(),
        kind,
        amount: limit.amount,
        window: limit.window,
        shape: limit.shape,
        models: limit.models.clone(),
        note,
    })
}

/// The kind that counts `expression`: two limits on the same share one.
fn custom_kind(
    name: &str,
    expression: &str,
    units: &mut Vec<UnitExpression>,
) -> anyhow::Result<LimitKind> {
    let known = units.iter().position(|unit| unit.expression == expression);
    let number = known.unwrap_or(units.len());
    if number == CUSTOM_KINDS {
        return Err(usage(format!(
            "--limit {name}: no more than {CUSTOM_KINDS} different expressions can be counted"
        )));
    }
    if known.is_none() {
        units.push(UnitExpression {
            name: name.to_owned(),
            expression: expression.to_owned(),
        });
    }
    Ok(LimitKind::Custom(u8::try_from(number).unwrap_or(u8::MAX)))
}

/// Refuses flags that contradict each other or have no effect.
fn contradictions(flags: &LimitArgs, declared: &[Declared]) -> anyhow::Result<()> {
    let mut names: Vec<&str> = declared.iter().map(|limit| limit.name.as_str()).collect();
    names.push("concurrency");
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(usage(format!(
            "two limits are called `{}`: give the one of --limit another name",
            twice[0]
        )));
    }
    if flags.burst.is_some()
        && flags
            .limit_shape
            .is_none_or(|shape| shape == LimitShape::Paced)
    {
        return Err(usage(
            "--burst says what a server takes at once that is known: add --limit-shape token-bucket, \
             sliding or fixed",
        ));
    }
    let is_rate = |limit: &&Declared| limit.kind != LimitKind::Concurrency;
    let rates = declared.iter().filter(is_rate).count();
    let paced = |limit: &&Declared| is_rate(limit) && limit.window < HOUR;
    let paced = declared.iter().filter(paced).count();
    let daily = declared
        .iter()
        .filter(|limit| limit.note.daily.is_some())
        .count();
    for (flag, given, limits, needs) in [
        (
            "--limit-shape",
            flags.limit_shape.is_some(),
            rates,
            "a rate",
        ),
        ("--jitter", flags.jitter.is_some(), rates, "a rate"),
        (
            "--burst",
            flags.burst.is_some(),
            paced,
            "a rate of less than an hour",
        ),
        (
            "--ramp",
            flags.ramp.is_some(),
            paced,
            "a rate of less than an hour",
        ),
        (
            "--daily-reset",
            flags.daily_reset.is_some(),
            daily,
            "a limit of a day",
        ),
    ] {
        if given && limits == 0 {
            return Err(usage(format!(
                "{flag} has no effect without {needs}, such as {}",
                if flag == "--daily-reset" {
                    "--rpd"
                } else {
                    "--rpm"
                }
            )));
        }
    }
    Ok(())
}

fn spec(
    flags: &LimitArgs,
    profile: &Profile,
    limit: &Declared,
    lanes: &ModelLanes,
    told: &mut Vec<String>,
) -> LimitSpec {
    let share = flags.share.unwrap_or(Share::WHOLE);
    let amount = share.of(limit.amount);
    if !share.is_exact(limit.amount) {
        told.push(format!(
            "--share {} % of {} {} is rounded to {amount}",
            share.percent(),
            limit.name,
            limit.amount
        ));
    }
    let mut spec = LimitSpec::new(&limit.name, limit.kind, amount, limit.window);
    if let Some(group) = &limit.models {
        spec.lanes = Some(lanes.lanes_of(group).into_iter().map(Lane).collect());
    }
    if limit.kind == LimitKind::Concurrency {
        return spec;
    }
    spec.shape = match limit.shape.or(flags.limit_shape) {
        // Long windows are counted, so that nothing is risked by what is known of them.
        None if limit.window >= HOUR => return profile_shape(profile, spec, limit, flags.jitter),
        None | Some(LimitShape::Paced) => Shape::Paced,
        Some(LimitShape::TokenBucket) => Shape::TokenBucket,
        Some(LimitShape::Sliding) => Shape::Sliding,
        Some(LimitShape::Fixed) => Shape::Fixed,
    };
    spec.burst = burst(flags.burst, share, &spec);
    spec.jitter = flags.jitter;
    if let Some(ramp) = flags.ramp.filter(|_| limit.window < HOUR) {
        let start = u128::from(amount) * u128::from(ramp.from_percent) / 100;
        let mut grown = Ramp::new(u64::try_from(start).unwrap_or(u64::MAX).max(1));
        grown.percent = ramp.percent;
        grown.period = ramp.period;
        spec.ramp = Some(grown);
    }
    spec
}

/// A limit of a long window, enforced as the profile says.
fn profile_shape(
    profile: &Profile,
    mut spec: LimitSpec,
    limit: &Declared,
    jitter: Option<Duration>,
) -> LimitSpec {
    if limit.models.is_none()
        && let Some(known) = profile.limit(limit.kind, limit.window)
    {
        spec = known.enforce(spec);
    }
    spec.jitter = jitter;
    spec
}

fn burst(declared: Option<Burst>, share: Share, spec: &LimitSpec) -> Option<u64> {
    if spec.shape == Shape::Paced {
        return None;
    }
    match declared? {
        Burst::Requests(count) => (spec.kind == LimitKind::Requests).then(|| share.of(count)),
        // The amount is the share already.
        Burst::Time(time) => {
            let units = u128::from(spec.amount) * time.as_nanos() / spec.window.as_nanos();
            Some(u64::try_from(units).unwrap_or(u64::MAX).max(1))
        }
    }
}

#[cfg(test)]
mod tests;
