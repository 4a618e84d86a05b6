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
use crate::args::{Provider, RunArgs};
use crate::variable::unset;

/// The in-process simulator's time to the first byte: median, and spread of its logarithm.
const MOCK_LATENCY_MS: f64 = 400.0;
const MOCK_LATENCY_SIGMA: f64 = 0.4;

pub(super) fn transport(args: &RunArgs) -> anyhow::Result<(Transport, Arc<Redactor>)> {
    if args.target.provider == Some(Provider::Mock) {
        if args.target.base_url.is_some() {
            return Err(usage(
                "--provider mock has no address; leave --base-url out",
            ));
        }
        let config = mock_config(args);
        let mock = MockTransport::new(config, args.watch.seed, args.target.timeout)
            .context("the simulator")?;
        return Ok((Transport::Mock(Arc::new(mock)), Arc::default()));
    }
    let mut secrets = Vec::new();
    let mut headers = HeaderMap::new();
    for header in &args.target.header {
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
    let mut options = HttpOptions::new(&*api.base_url);
    if api.signs() && !headers.contains_key(AUTHORIZATION) {
        let aws = AwsKey::find()?;
        options.signer = Some(aws.signer()?);
        secrets.extend(aws.secrets());
    }
    options.wire = api.wire();
    options.headers = headers;
    options.timeout = args.target.timeout;
    options.connect_timeout = args.target.connect_timeout;
    options.response_max_bytes = usize::try_from(args.target.response_max_bytes)?;
    options.headers_max_bytes = usize::try_from(args.target.headers_max_bytes)?;
    let named = api.named(args);
    let http = HttpTransport::new(options).map_err(|error| usage(format!("{named}: {error}")))?;
    if let Some(auth) = http.proxy_authorization() {
        secrets.extend(secrets_of_header(
            &PROXY_AUTHORIZATION,
            auth,
            Origin::Environment,
        ));
    }
    Ok((
        Transport::Http(Arc::new(http)),
        Arc::new(Redactor::new(&secrets)),
    ))
}

/// Whether requests go to OpenAI itself, so that its way of charging is known.
pub(super) fn is_openai(args: &RunArgs) -> bool {
    match args.target.provider {
        Some(provider) => provider == Provider::Known("openai"),
        None => Api::of(args).is_ok_and(|api| api.is_own()),
    }
}

fn key(args: &RunArgs, api: &Api) -> anyhow::Result<Option<SecretString>> {
    let clean = |key: String| SecretString::from(key.trim());
    if let Some(name) = &args.target.api_key_env {
        let key = variable(name).ok_or_else(|| usage(unset("--api-key-env", name)))?;
        return Ok(Some(clean(key)));
    }
    let key = api
        .key_variables()
        .iter()
        .find_map(|name| variable(name))
        .map(clean);
    let brings_its_own = args.target.header.iter().any(|header| {
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
