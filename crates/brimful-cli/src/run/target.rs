//! Where requests go: provider, address, key, headers.

use std::sync::Arc;

use anyhow::Context;
use brimful::redact::{Origin, Redactor, secrets_of_header};
use brimful::transport::{HttpOptions, HttpTransport, MockTransport, Transport};
use brimful_sim::ServerConfig;
use http::header::{AUTHORIZATION, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use super::aws::AwsKey;
use super::provider::{Api, variable};
use super::usage;
use crate::args::{Provider, RunArgs, TargetArgs};
use crate::variable::unset;

/// The in-process simulator's time to the first byte: median, and spread of its logarithm.
const MOCK_LATENCY_MS: f64 = 400.0;
const MOCK_LATENCY_SIGMA: f64 = 0.4;

/// Where requests go, and as whom.
pub(super) struct Aim {
    pub(super) transport: Transport,
    pub(super) redactor: Arc<Redactor>,
    /// As whom, for what is kept of it; `None` for the simulator, which forgets.
    pub(super) identity: Option<Identity>,
}

/// What a provider counts together.
pub(crate) struct Identity {
    /// Host and port of the address.
    pub(crate) place: String,
    /// The key, wherever it stands.
    pub(crate) secret: Option<SecretString>,
    /// Organisation and project, where they are named.
    pub(crate) account: Option<String>,
}

pub(super) fn aim(args: &RunArgs) -> anyhow::Result<Aim> {
    if args.target.provider == Some(Provider::Mock) {
        if args.target.base_url.is_some() {
            return Err(usage(
                "--provider mock has no address; leave --base-url out",
            ));
        }
        let config = mock_config(args);
        let mock = MockTransport::new(config, args.watch.seed, args.target.timeout)
            .context("the simulator")?;
        return Ok(Aim {
            transport: Transport::Mock(Arc::new(mock)),
            redactor: Arc::default(),
            identity: None,
        });
    }
    let (http, redactor, identity) = http(args)?;
    Ok(Aim {
        transport: Transport::Http(http),
        redactor,
        identity: Some(identity),
    })
}

/// The provider's API over HTTP, with the key and the headers that the flags name; what must not be
/// shown of them; and as whom it is asked.
pub(crate) fn http(
    args: &impl AsRef<TargetArgs>,
) -> anyhow::Result<(Arc<HttpTransport>, Arc<Redactor>, Identity)> {
    let target = args.as_ref();
    let mut secrets = Vec::new();
    let mut headers = HeaderMap::new();
    for header in &target.header {
        let (name, mut value, origin) = parse_header(header)?;
        let found = secrets_of_header(&name, &value, origin);
        value.set_sensitive(!found.is_empty());
        secrets.extend(found);
        headers.append(name, value);
    }
    let api = Api::of(args)?;
    api.add_headers(&mut headers)?;
    if let Some(key) = key(args, &api)? {
        let (name, value) = api.key_header(key.expose_secret())?;
        headers.entry(name).or_insert(value);
        secrets.push(key);
    }
    let mut identity = identity(&api.base_url, &headers);
    let mut options = HttpOptions::new(&*api.base_url);
    if api.signs() && !headers.contains_key(AUTHORIZATION) {
        let aws = AwsKey::find()?;
        // What is kept of limits is kept by the account, as far as the key tells it.
        identity.secret = Some(aws.id());
        options.signer = Some(aws.signer()?);
        secrets.extend(aws.secrets());
    }
    options.wire = api.wire();
    options.headers = headers;
    options.timeout = target.timeout;
    options.connect_timeout = target.connect_timeout;
    options.response_max_bytes = usize::try_from(target.response_max_bytes)?;
    options.headers_max_bytes = usize::try_from(target.headers_max_bytes)?;
    let named = api.named(args);
    let http = HttpTransport::new(options).map_err(|error| usage(format!("{named}: {error}")))?;
    if let Some(auth) = http.proxy_authorization() {
        secrets.extend(secrets_of_header(
            &PROXY_AUTHORIZATION,
            auth,
            Origin::Environment,
        ));
    }
    Ok((Arc::new(http), Arc::new(Redactor::new(&secrets)), identity))
}

/// Headers that may hold the key, the most usual first.
const KEY_HEADERS: [&str; 4] = ["authorization", "x-api-key", "api-key", "x-goog-api-key"];
/// Headers that name an account, which a provider counts apart.
const ACCOUNT_HEADERS: [&str; 2] = ["openai-organization", "openai-project"];

fn identity(base_url: &str, headers: &HeaderMap) -> Identity {
    let text = |name: &&str| {
        let value = headers.get(*name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let accounts: Vec<String> = ACCOUNT_HEADERS.iter().filter_map(text).collect();
    let url: Option<http::Uri> = base_url.parse().ok();
    let authority = url.as_ref().and_then(http::Uri::authority);
    // Without what may stand before an `@`.
    let place = authority.map(|found| found.as_str().rsplit('@').next().unwrap_or_default());
    Identity {
        place: place.unwrap_or(base_url).to_ascii_lowercase(),
        // Without the scheme: the key is the same however it is given.
        secret: KEY_HEADERS.iter().find_map(text).map(|value| {
            let key = value.rsplit(' ').next().unwrap_or_default();
            SecretString::from(key)
        }),
        account: (!accounts.is_empty()).then(|| accounts.join("/")),
    }
}

fn key(args: &impl AsRef<TargetArgs>, api: &Api) -> anyhow::Result<Option<SecretString>> {
    let target = args.as_ref();
    let clean = |key: String| SecretString::from(key.trim());
    if let Some(name) = &target.api_key_env {
        let key = variable(name).ok_or_else(|| usage(unset("--api-key-env", name)))?;
        return Ok(Some(clean(key)));
    }
    let key = api
        .key_variables()
        .iter()
        .find_map(|name| variable(name))
        .map(clean);
    let brings_its_own = target.header.iter().any(|header| {
        let name = header.split(':').next();
        name.is_some_and(|name| api.is_key_header(name.trim()))
    });
    if key.is_none() && api.needs_key() && api.is_own() && !brings_its_own {
        let names = api.key_variables().join(" or ");
        return Err(usage(format!(
            "{names} is not set: set it, or name another variable by --api-key-env, or try \
             --provider mock, which needs no key"
        )));
    }
    Ok(key)
}

fn parse_header(text: &str) -> anyhow::Result<(HeaderName, HeaderValue, Origin)> {
    let (name, value) = text
        .split_once(':')
        .ok_or_else(|| usage("--header: write 'Name: value' or 'Name: env:VARIABLE'"))?;
    let name: HeaderName = name.trim().parse().map_err(|_| {
        usage(format!(
            "--header: `{}` is not a header's name",
            name.trim()
        ))
    })?;
    let value = value.trim();
    let Some(variable) = value.strip_prefix("env:") else {
        let value = HeaderValue::from_str(value)
            .map_err(|_| usage(format!("--header {name}: the value is not valid")))?;
        return Ok((name, value, Origin::Typed));
    };
    let value = std::env::var(variable).map_err(|_| {
        usage(format!(
            "--header {name}: the variable {variable} is not set"
        ))
    })?;
    let value = HeaderValue::from_str(value.trim()).map_err(|_| {
        usage(format!(
            "--header {name}: the value of {variable} is not valid"
        ))
    })?;
    Ok((name, value, Origin::Environment))
}

/// A provider that enforces what the client was told, as buckets of one second.
fn mock_config(args: &RunArgs) -> ServerConfig {
    let mut config = ServerConfig::default();
    config.rpm = args.limits.rpm;
    config.rps = args.limits.rps;
    config.tpm = args.limits.tpm;
    config.default_output_tokens = args.limits.default_output_tokens;
    config.latency_ms_median = MOCK_LATENCY_MS;
    config.latency_sigma = MOCK_LATENCY_SIGMA;
    config.output_tokens_median = 40.0;
    config.output_tokens_sigma = 0.5;
    config
}
