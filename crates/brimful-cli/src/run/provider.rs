//! How a provider is reached: address, key, headers, endpoint, all out of its profile.

use brimful_providers::dialect::{Endpoint, Wire};
use brimful_providers::profile::{Auth, CountRule, DialectName, Profile};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::usage;
use crate::args::{Provider, RunArgs, TargetArgs};

/// Says which `api-version` Azure shall answer by, in the SDK's own words.
const AZURE_API_VERSION: &str = "OPENAI_API_VERSION";
/// Holds a key of Bedrock's own that is sent and signs nothing.
const BEDROCK_TOKEN: &str = "AWS_BEARER_TOKEN_BEDROCK";

/// A provider's API as this run uses it.
#[derive(Debug)]
pub(crate) struct Api {
    profile: &'static Profile,
    pub(crate) base_url: String,
}

/// The profile that the flags name. An API without a name speaks as OpenAI does.
fn profile(args: &impl AsRef<TargetArgs>) -> &'static Profile {
    match args.as_ref().provider {
        Some(Provider::Known(name)) => Profile::by_name(name),
        Some(Provider::Mock) | None => Profile::by_name("openai"),
    }
    .unwrap_or_else(Profile::generic)
}

impl Api {
    /// Finds the address: what was typed, else what the environment says, else the provider's own.
    pub(crate) fn of(args: &impl AsRef<TargetArgs>) -> anyhow::Result<Self> {
        let profile = profile(args);
        let address = &profile.address;
        let given = args.as_ref().base_url.clone();
        let found = given.or_else(|| address.variable.as_deref().and_then(variable));
        let base_url = match found {
            Some(found) => Some(found),
            None => address.fill(variable).map_err(|missing| {
                let mut names = missing;
                names.extend(address.variable.clone());
                let names = names.join(" or ");
                usage(format!(
                    "{names} is not set: set it, or give the address by --base-url"
                ))
            })?,
        };
        let base_url = base_url.ok_or_else(|| {
            let name = &profile.name;
            usage(format!(
                "--provider {name} has no address of its own: give it by --base-url"
            ))
        })?;
        Ok(Self { profile, base_url })
    }

    /// What is known of it.
    pub(crate) const fn profile(&self) -> &'static Profile {
        self.profile
    }

    /// What named the address, for errors.
    pub(super) fn named(&self, args: &impl AsRef<TargetArgs>) -> &str {
        match &args.as_ref().base_url {
            Some(_) => "--base-url",
            None => self
                .profile
                .address
                .variable
                .as_deref()
                .unwrap_or("the address"),
        }
    }

    /// Whether requests go to the provider itself and not to something that speaks like it.
    pub(super) fn is_own(&self) -> bool {
        let own = self.profile.address.fill(variable);
        own.is_ok_and(|own| own.as_deref() == Some(self.base_url.as_str()))
    }

    /// The variables that may hold a key to be sent, the first that is set.
    pub(super) fn key_variables(&self) -> Vec<&str> {
        match self.profile.login.auth {
            Auth::Sigv4 => vec![BEDROCK_TOKEN],
            _ => self
                .profile
                .login
                .variables
                .iter()
                .map(String::as_str)
                .collect(),
        }
    }

    /// Whether the provider answers nothing without a key that is sent.
    pub(super) fn needs_key(&self) -> bool {
        self.profile.login.required && !self.signs()
    }

    /// Whether requests are signed, unless they have a key.
    pub(super) fn signs(&self) -> bool {
        self.profile.login.auth == Auth::Sigv4
    }

    /// Adds what every request has beside the key.
    pub(super) fn add_headers(&self, headers: &mut HeaderMap) -> anyhow::Result<()> {
        for (name, value) in &self.profile.dialect.headers {
            let name: HeaderName = name.parse()?;
            headers.entry(name).or_insert(HeaderValue::from_str(value)?);
        }
        Ok(())
    }

    /// Name and value of the header that holds the key.
    pub(super) fn key_header(&self, key: &str) -> anyhow::Result<(HeaderName, HeaderValue)> {
        let auth = match self.profile.login.auth.header() {
            Some(_) => self.profile.login.auth,
            None => Auth::Bearer,
        };
        let mut value = HeaderValue::from_str(&auth.value(key))
            .map_err(|_| usage("the key has characters that a header cannot hold"))?;
        value.set_sensitive(true);
        let name = auth.header().unwrap_or("authorization").parse()?;
        Ok((name, value))
    }

    /// Whether a header of this name brings the key along.
    pub(super) fn is_key_header(&self, name: &str) -> bool {
        let own = self.profile.login.auth.header().unwrap_or("authorization");
        [own, "authorization"]
            .iter()
            .any(|own| name.eq_ignore_ascii_case(own))
    }

    /// How requests are changed when they are sent.
    pub(super) fn wire(&self) -> Wire {
        let dialect = &self.profile.dialect;
        let mut wire = Wire::default();
        wire.asks_for_usage = dialect.stream_usage_option;
        // Below `/openai/v1` Azure speaks as OpenAI does.
        let has_deployments = !self.base_url.trim_end_matches('/').ends_with("/openai/v1");
        if dialect.name == DialectName::Azure && has_deployments {
            wire.azure_api_version =
                variable(AZURE_API_VERSION).or_else(|| dialect.api_version.clone());
        }
        wire
    }
}

/// A short name for where requests go: the provider's, else the host.
pub(super) fn name(args: &RunArgs) -> String {
    match args.target.provider {
        Some(Provider::Known(name)) => name.to_owned(),
        Some(Provider::Mock) => "mock".to_owned(),
        None => {
            let url = Api::of(args).ok().and_then(|api| api.base_url.parse().ok());
            let host = url.as_ref().and_then(http::Uri::host);
            host.unwrap_or("upstream").to_owned()
        }
    }
}

/// Whose limits hold: those of the provider that is named, else of whoever is at the address. What
/// only speaks as another provider does has limits of its own.
pub(super) fn whose_limits(args: &RunArgs) -> &'static Profile {
    let found = match args.target.provider {
        Some(Provider::Known(name)) => Profile::by_name(name),
        Some(Provider::Mock) => None,
        None => Api::of(args)
            .ok()
            .map(|api| Profile::of_base_url(&api.base_url)),
    };
    found.unwrap_or_else(Profile::generic)
}

/// Where requests of rows go when no flag says it.
pub(crate) fn default_endpoint(args: &impl AsRef<TargetArgs>) -> Endpoint {
    let first = profile(args).dialect.endpoints.first();
    first.and_then(|name| name.parse().ok()).unwrap_or_default()
}

/// How input tokens are counted when no flag says it.
pub(super) fn count(args: &impl AsRef<TargetArgs>) -> CountRule {
    let named = args.as_ref().provider.is_some();
    match Api::of(args) {
        Ok(api) if !named => Profile::of_base_url(&api.base_url).count.rule,
        _ => profile(args).count.rule,
    }
}

/// A variable that is set to something.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name)
        .ok()
        .filter(|value| !value.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_s_endpoints_and_headers_can_be_used() {
        for profile in Profile::all() {
            for endpoint in &profile.dialect.endpoints {
                let parsed = endpoint.parse::<Endpoint>();
                assert!(parsed.is_ok(), "{}: {endpoint}", profile.name);
            }
            let base_url = "http://localhost".to_owned();
            let api = Api { profile, base_url };
            assert!(
                api.add_headers(&mut HeaderMap::new()).is_ok(),
                "{}",
                profile.name
            );
            assert!(api.key_header("key").is_ok(), "{}", profile.name);
        }
    }
}
