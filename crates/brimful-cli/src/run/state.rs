//! Where a run's state lies, and as whose.

use std::error::Error as _;
use std::time::Duration;

use brimful::limits::LimitNote;
use brimful::state::{ALL_MODELS, KeepOptions, KeptUpstream, StateDir, UpstreamKey};
use secrecy::ExposeSecret;

use super::say;
use super::target::Identity;
use crate::args::RunArgs;
use crate::units::Share;

/// What a run keeps. `None`: nothing, because that was asked for or does not work, which is told.
pub(super) fn keep(
    args: &RunArgs,
    model: Option<&str>,
    limits: &[LimitNote],
    identities: &[Identity],
) -> Option<KeepOptions> {
    let flags = &args.limits;
    if flags.no_state {
        return None;
    }
    let default = || StateDir::default_path(|name| std::env::var_os(name));
    let Some(path) = flags.state_dir.clone().or_else(default) else {
        // Else nobody would miss it.
        if limits
            .iter()
            .any(|limit| limit.window >= Duration::from_secs(3600))
        {
            let text = "no folder for state is known ($HOME is not set), so the next run begins \
                        with full limits: give --state-dir, or --no-state to say that this is meant";
            say(args.watch.log_format, "warning", text);
        }
        return None;
    };
    let folder = match StateDir::open(&path) {
        Ok(folder) => folder,
        Err(error) => {
            let cause = error.source().map(ToString::to_string).unwrap_or_default();
            let text = format!("{error}: {cause}; going on without state");
            say(args.watch.log_format, "warning", &text);
            return None;
        }
    };
    let said = args.requests.model.as_deref().unwrap_or(ALL_MODELS);
    Some(KeepOptions {
        upstreams: identities
            .iter()
            .map(|who| {
                let secret = who.secret.as_ref();
                let key = secret.map(|secret| folder.fingerprint(secret.expose_secret()));
                KeptUpstream {
                    key: UpstreamKey::new(&who.place, key, who.account.as_deref()),
                    model: said.to_owned(),
                    learned_as: model.unwrap_or(ALL_MODELS).to_owned(),
                }
            })
            .collect(),
        folder,
        share_percent: flags.share.unwrap_or(Share::WHOLE).percent(),
    })
}
