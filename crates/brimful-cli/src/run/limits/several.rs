//! The limits of several upstreams: each has its own, and what stands in `[run]` they share.

use std::sync::Arc;

use brimful::limits::{LimitNote, Source, counts};
use brimful::models::{ModelGroup, ModelLanes};
use brimful_core::{EngineConfig, Lane, LimitKind, LimitSpec, Role, UpstreamConfig};
use brimful_providers::observe::HeaderGrammar;
use brimful_providers::profile::Profile;

use super::{Declared, Limits, NO_LIMIT, concurrency, declare, engine, is_rated, learn, spec};
use crate::args::{LimitArgs, RunArgs, Switch, UpstreamArgs};
use crate::run::{provider, usage};
use crate::units::Share;

/// As [`super::limits`], for the upstreams of the configuration file. `model`: that of the
/// requests, where it is known.
pub(in crate::run) fn several(args: &RunArgs, model: Option<&str>) -> anyhow::Result<Limits> {
    let (mut told, mut units) = (Vec::new(), Vec::new());
    let generic = Profile::generic();
    let shared = declare(&args.limits, generic, model, &mut units, &mut told)?;
    let mut own = Vec::new();
    for upstream in &args.upstreams {
        let profile = provider::whose_limits(&upstream.run);
        let model = own_name(upstream, model);
        let flags = &upstream.run.limits;
        let declared = declare(flags, profile, model, &mut units, &mut told);
        own.push(declared.map_err(|error| usage(format!("{}: {error}", upstream.table.place)))?);
    }
    let served: Vec<Option<ModelGroup>> = args
        .upstreams
        .iter()
        .map(served)
        .collect::<anyhow::Result<_>>()?;
    let declared = shared.iter().chain(own.iter().flatten());
    let groups = declared.filter_map(|limit| limit.models.clone());
    let groups = groups.chain(served.iter().flatten().cloned());
    let lanes = ModelLanes::new(groups).map_err(|error| usage(format!("--limit: {error}")))?;
    let mut all = Combined {
        lanes,
        notes: Vec::new(),
        told,
    };
    let mut config = engine(args, &generic.charge_for(""), Vec::new());
    config.upstreams.clear();
    config.shared = all.specs(&args.limits, generic, shared);
    if args.limits.concurrency != "auto" {
        config
            .shared
            .push(all.places(&args.limits, concurrency(args, model)?));
    }
    let mut headers = Vec::new();
    let parts = args.upstreams.iter().zip(own).zip(&served);
    for ((upstream, own), served) in parts {
        let (made, grammar) = all.upstream(upstream, own, served.as_ref(), model, &config)?;
        config.upstreams.push(made);
        headers.push(grammar);
    }
    let learns = args
        .upstreams
        .iter()
        .any(|own| own.run.limits.learn == Switch::On);
    let specs = config.upstreams.iter().map(|own| &own.limits);
    if learns && !specs.chain([&config.shared]).any(|specs| is_rated(specs)) {
        all.told.push(NO_LIMIT.into());
    }
    config.check().map_err(|error| usage(error.to_string()))?;
    Ok(Limits {
        engine: config,
        notes: all.notes,
        lanes: Arc::new(all.lanes),
        units,
        headers,
        told: all.told,
    })
}

/// What the parts have in common.
struct Combined {
    lanes: ModelLanes,
    notes: Vec<LimitNote>,
    told: Vec<String>,
}

impl Combined {
    fn specs(
        &mut self,
        flags: &LimitArgs,
        profile: &Profile,
        declared: Vec<Declared>,
    ) -> Vec<LimitSpec> {
        let mut specs = Vec::new();
        for limit in declared {
            specs.push(spec(flags, profile, &limit, &self.lanes, &mut self.told));
            self.notes.push(limit.note);
        }
        specs
    }

    fn places(&mut self, flags: &LimitArgs, amount: u64) -> LimitSpec {
        let counts = counts(LimitKind::Concurrency);
        let note = LimitNote::new(counts, std::time::Duration::ZERO, Source::Given);
        self.notes.push(note);
        LimitSpec::concurrency(flags.share.unwrap_or(Share::WHOLE).of(amount))
    }

    /// An upstream as the engine knows it, and how its replies name limits.
    fn upstream(
        &mut self,
        upstream: &UpstreamArgs,
        declared: Vec<Declared>,
        served: Option<&ModelGroup>,
        model: Option<&str>,
        config: &EngineConfig,
    ) -> anyhow::Result<(UpstreamConfig, Option<HeaderGrammar>)> {
        let (run, table) = (&upstream.run, &upstream.table);
        let profile = provider::whose_limits(run);
        let model = own_name(upstream, model);
        let mut limits = self.specs(&run.limits, profile, declared);
        limits.push(self.places(&run.limits, concurrency(run, model)?));
        let charging = profile.charge_for(model.unwrap_or_default());
        let mut made = engine(run, &charging, limits).upstreams.remove(0);
        made.name = name(upstream, config)?;
        made.shares = config.shared.iter().map(|spec| spec.name.clone()).collect();
        made.weight = table.weight;
        made.role = match table.fallback_after {
            Some(after) => Role::Fallback { after },
            None => Role::Primary,
        };
        made.serves = served.map(|group| {
            let lanes = self.lanes.lanes_of(group).into_iter();
            lanes.map(Lane).collect()
        });
        let headers = learn(&mut made, &run.limits, profile);
        Ok((made, headers))
    }
}

/// The name that was given, else that of the provider or the address, with a number where several
/// have the same.
fn name(upstream: &UpstreamArgs, config: &EngineConfig) -> anyhow::Result<String> {
    let taken = |name: &str| config.upstreams.iter().any(|other| other.name == name);
    if let Some(name) = &upstream.table.name {
        let place = &upstream.table.place;
        if taken(name) {
            return Err(usage(format!("{place}: two upstreams are called `{name}`")));
        }
        return Ok(name.clone());
    }
    let name = provider::name(&upstream.run);
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    let mut candidates = std::iter::once(name.clone()).chain(numbered);
    Ok(candidates.find(|name| !taken(name)).unwrap_or(name))
}

/// What the upstream calls the model.
fn own_name<'a>(upstream: &'a UpstreamArgs, model: Option<&'a str>) -> Option<&'a str> {
    let names = upstream.table.models.as_ref();
    let own = model.and_then(|model| names?.get(model));
    own.map(String::as_str).or(model)
}

/// The models that it serves, if not all.
fn served(upstream: &UpstreamArgs) -> anyhow::Result<Option<ModelGroup>> {
    let Some(models) = &upstream.table.models else {
        return Ok(None);
    };
    let names: Vec<&str> = models.keys().map(String::as_str).collect();
    let place = &upstream.table.place;
    let has_marks = |name: &&str| name.contains(['*', '+']);
    if let Some(name) = names.iter().find(|name| has_marks(name)) {
        return Err(usage(format!(
            "{place}: models: `{name}` is no name of a model"
        )));
    }
    let group: Result<ModelGroup, _> = names.join("+").parse();
    let group = group.map_err(|error| usage(format!("{place}: models: {error}")))?;
    Ok(Some(group))
}
