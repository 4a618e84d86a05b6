//! The ways to the upstreams: one from the flags, or those of the configuration file.

use brimful::upstreams::UpstreamOptions;
use brimful_providers::observe::HeaderGrammar;

use super::target::{self, Identity};
use super::usage;
use crate::args::RunArgs;

/// How each upstream is reached, in the order of the engine's, and as whom; `None` where one of
/// them is the simulator, which forgets.
pub(super) fn ways(
    args: &RunArgs,
    headers: &[Option<HeaderGrammar>],
) -> anyhow::Result<(Vec<UpstreamOptions>, Option<Vec<Identity>>)> {
    let mut ways = Vec::new();
    let mut identities = Vec::new();
    if args.upstreams.is_empty() {
        let aim = target::aim(args)?;
        ways.push(way(aim.transport, aim.redactor));
        identities.push(aim.identity);
    } else {
        no_other_target(args)?;
    }
    for upstream in &args.upstreams {
        let place = &upstream.table.place;
        let aim = target::aim(&upstream.run);
        let aim = aim.map_err(|error| usage(format!("{place}: {error:#}")))?;
        let mut way = way(aim.transport, aim.redactor);
        way.models = upstream
            .table
            .models
            .clone()
            .into_iter()
            .flatten()
            .collect();
        ways.push(way);
        identities.push(aim.identity);
    }
    for (way, headers) in ways.iter_mut().zip(headers) {
        way.headers = *headers;
    }
    Ok((ways, identities.into_iter().collect()))
}

fn way(
    transport: brimful::transport::Transport,
    redactor: std::sync::Arc<brimful::redact::Redactor>,
) -> UpstreamOptions {
    let mut way = UpstreamOptions::new(transport);
    way.redactor = redactor;
    way
}

/// Whoever lists upstreams says there where requests go.
fn no_other_target(args: &RunArgs) -> anyhow::Result<()> {
    let target = &args.target;
    let given = [
        ("--provider", target.provider.is_some()),
        ("--base-url", target.base_url.is_some()),
        ("--api-key-env", target.api_key_env.is_some()),
        ("--header", !target.header.is_empty()),
        ("--tier", args.limits.tier.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(usage(format!(
            "{flag} is of no use beside [[upstream]]: write it in the upstream that it is meant for"
        ))),
        None => Ok(()),
    }
}
