//! Keys of AWS, from where its own SDKs take them.

use std::path::PathBuf;

use brimful::transport::Signer;
use secrecy::{ExposeSecret, SecretString};

use super::provider::variable;
use super::usage;

const SERVICE: &str = "bedrock";

/// A key of AWS.
#[derive(Debug)]
pub(super) struct AwsKey {
    id: String,
    secret: SecretString,
    session_token: Option<SecretString>,
}

impl AwsKey {
    /// From the environment, else from the shared credentials file.
    pub(super) fn find() -> anyhow::Result<Self> {
        if let (Some(id), Some(secret)) = (
            variable("AWS_ACCESS_KEY_ID"),
            variable("AWS_SECRET_ACCESS_KEY"),
        ) {
            let session_token = variable("AWS_SESSION_TOKEN").map(clean);
            return Ok(Self {
                id: id.trim().to_owned(),
                secret: clean(secret),
                session_token,
            });
        }
        let profile = variable("AWS_PROFILE").unwrap_or_else(|| "default".to_owned());
        let text = credentials_file().and_then(|path| std::fs::read_to_string(path).ok());
        let found = text.and_then(|text| Self::in_file(&text, profile.trim()));
        found.ok_or_else(|| {
            usage(
                "no key of AWS: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or \
                 AWS_BEARER_TOKEN_BEDROCK, or name by AWS_PROFILE a profile of the shared \
                 credentials file that has a key",
            )
        })
    }

    /// The key of a profile in the text of a credentials file.
    fn in_file(text: &str, profile: &str) -> Option<Self> {
        let (mut id, mut secret, mut session_token) = (None, None, None);
        let mut is_wanted = false;
        for line in text.lines().map(str::trim) {
            if let Some(name) = line
                .strip_prefix('[')
                .and_then(|line| line.strip_suffix(']'))
            {
                is_wanted = name.trim() == profile;
                continue;
            }
            let Some((name, value)) = line.split_once('=').filter(|_| is_wanted) else {
                continue;
            };
            let value = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
            match name.trim().to_ascii_lowercase().as_str() {
                "aws_access_key_id" => id = value,
                "aws_secret_access_key" => secret = value,
                "aws_session_token" => session_token = value,
                _ => {}
            }
        }
        Some(Self {
            id: id?,
            secret: clean(secret?),
            session_token: session_token.map(clean),
        })
    }

    /// Its name, which tells one account's requests from another's.
    pub(super) fn id(&self) -> SecretString {
        SecretString::from(self.id.as_str())
    }

    /// What must not be written anywhere.
    pub(super) fn secrets(&self) -> impl Iterator<Item = SecretString> {
        let copies = [Some(&self.secret), self.session_token.as_ref()];
        let copies = copies
            .into_iter()
            .flatten()
            .map(|secret| SecretString::from(secret.expose_secret()));
        copies.chain([self.id()])
    }

    /// Signs with this key.
    pub(super) fn signer(&self) -> anyhow::Result<Signer> {
        let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
        let region =
            region.ok_or_else(|| usage("AWS_REGION is not set: it is a part of each signature"))?;
        let token = self.session_token.as_ref();
        Ok(Signer::new(
            &self.id,
            &self.secret,
            token,
            region.trim(),
            SERVICE,
        ))
    }
}

fn clean(text: String) -> SecretString {
    SecretString::from(text.trim())
}

fn credentials_file() -> Option<PathBuf> {
    if let Some(path) = variable("AWS_SHARED_CREDENTIALS_FILE") {
        return Some(PathBuf::from(path));
    }
    variable("HOME").map(|home| PathBuf::from(home).join(".aws").join("credentials"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# comment\n[default]\naws_access_key_id = ID1\n\
        aws_secret_access_key=a=b\n\n[ work ]\nAWS_ACCESS_KEY_ID=ID2\r\n\
        aws_secret_access_key = S2\r\naws_session_token = T2\n[empty]\naws_access_key_id =\n";

    fn key(profile: &str) -> Option<(String, Vec<String>)> {
        let key = AwsKey::in_file(FILE, profile)?;
        let secrets = key
            .secrets()
            .map(|secret| secret.expose_secret().to_owned());
        Some((key.id.clone(), secrets.collect()))
    }

    #[test]
    fn a_profile_s_key_is_found_in_the_credentials_file() {
        let texts = |texts: &[&str]| {
            texts
                .iter()
                .map(|&text| text.to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            key("default"),
            Some(("ID1".to_owned(), texts(&["a=b", "ID1"])))
        );
        assert_eq!(
            key("work"),
            Some(("ID2".to_owned(), texts(&["S2", "T2", "ID2"])))
        );
        assert_eq!(key("empty"), None);
        assert_eq!(key("other"), None);
    }

    #[test]
    fn a_key_shows_no_secret() {
        let shown = format!("{:?}", AwsKey::in_file(FILE, "work"));
        assert!(!shown.contains("S2") && !shown.contains("T2"), "{shown}");
    }
}
