//! What outlives a run: the levels of long windows, and what was learnt of a provider.
//!
//! One file for each place to send to and key, in a folder of the user's own. A key stands there
//! only as a [`KeyFingerprint`]. State is a help, never a condition: whatever is wrong with it is
//! told in a note, and the run goes on without.

mod file;
mod folder;
mod keeper;
mod learned;
mod levels;
mod present;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

pub use file::{ModelState, UpstreamState};
pub use keeper::{ALL_MODELS, KeepOptions, KeptUpstream};
pub(crate) use keeper::{Keeper, Level, Picture, Saver};
pub use learned::{FactorState, LearnedState, LimitState, RateState};
pub use levels::{LevelState, Taken};
pub use present::{Other, Presence};

use folder::SALT_BYTES;

/// Separates fingerprints of keys from everything else that is hashed.
const KEY_DOMAIN: &[u8] = b"brimful key fingerprint, version 1";
/// Digits of a fingerprint that are kept: enough to tell a person's keys apart.
const FINGERPRINT_DIGITS: usize = 16;
/// Characters of a place or an account that are kept.
const NAME_MAX_CHARS: usize = 200;

/// Why state cannot be used. The run goes on without it.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} `{}`", path.display())]
pub struct StateError {
    /// What was tried.
    pub doing: &'static str,
    /// On which file or folder.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl StateError {
    fn at(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self {
            doing,
            path,
            source,
        }
    }
}

/// Which key, without the key: 64 bits of BLAKE3 over it, keyed by a random salt that never leaves
/// this machine's state folder. Whoever has the fingerprint alone cannot test a list of keys
/// against it, and on another machine the same key has another fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyFingerprint(String);

impl fmt::Display for KeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a provider counts together: requests to one place with one key for one account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamKey {
    /// The provider's name or the host (and port) of its address.
    pub place: String,
    /// The key; `None` where requests bear none.
    pub key: Option<KeyFingerprint>,
    /// Organisation or project, where one is named beside the key. It is no secret.
    pub account: Option<String>,
}

impl UpstreamKey {
    /// `place` and `account` lose control characters and are cut to 200 characters.
    #[must_use]
    pub fn new(place: &str, key: Option<KeyFingerprint>, account: Option<&str>) -> Self {
        let clean = |text: &str| brimful_providers::text::strip_control(text, NAME_MAX_CHARS);
        Self {
            place: clean(place),
            key,
            account: account.map(clean),
        }
    }

    /// Name of its files without an ending: readable, and different for different upstreams.
    fn file_stem(&self) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        let readable: String = self.place.chars().filter(|c| plain(*c)).take(60).collect();
        let mut hasher = blake3::Hasher::new();
        let key = self.key.as_ref().map(|key| key.0.as_str());
        for field in [Some(self.place.as_str()), key, self.account.as_deref()] {
            // Absent and empty differ, and no two lists of fields hash the same bytes.
            let length = field.map_or(u64::MAX, |field| field.len() as u64);
            hasher.update(&length.to_le_bytes());
            hasher.update(field.unwrap_or_default().as_bytes());
        }
        let hash = hasher.finalize().to_hex();
        format!(
            "{}-{}",
            readable.trim_start_matches(['.', '-']),
            &hash[..FINGERPRINT_DIGITS]
        )
    }
}

/// The folder that holds all state of one user on one machine.
#[derive(Clone, Debug)]
pub struct StateDir {
    path: PathBuf,
    salt: [u8; SALT_BYTES],
}

impl StateDir {
    /// Where state lies when nothing else is said: `$BRIMFUL_STATE_DIR`, else
    /// `$XDG_STATE_HOME/brimful`, else `~/.local/state/brimful`. `None`: there is no home either.
    #[must_use]
    pub fn default_path(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        if let Some(path) = set("BRIMFUL_STATE_DIR") {
            return Some(path.into());
        }
        // The specification of XDG has relative paths ignored.
        let absolute = |name| {
            set(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        absolute("XDG_STATE_HOME")
            .or_else(|| Some(absolute("HOME")?.join(".local/state")))
            .map(|base| base.join("brimful"))
    }

    /// Opens the folder, and makes it, readable by its owner only, where it is missing.
    ///
    /// # Errors
    /// The folder cannot be made or used.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        folder::make(path)?;
        let salt = folder::salt(path)?;
        Ok(Self {
            path: path.to_owned(),
            salt,
        })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What a key is called in this folder.
    #[must_use]
    pub fn fingerprint(&self, secret: &str) -> KeyFingerprint {
        let mut hasher = blake3::Hasher::new_keyed(&self.salt);
        hasher.update(KEY_DOMAIN);
        hasher.update(secret.as_bytes());
        let hash = hasher.finalize().to_hex();
        KeyFingerprint(hash[..FINGERPRINT_DIGITS].to_owned())
    }

    /// What is kept of an upstream, empty where nothing is, and what is wrong with its file.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn load(&self, upstream: &UpstreamKey) -> Result<(UpstreamState, Vec<String>), StateError> {
        let path = self.file_of(upstream);
        let mut notes = Vec::new();
        let _held = folder::lock(&self.path)?;
        let state = file::read(&path, &mut notes)?;
        let state = state.filter(|state| state.upstream == *upstream);
        Ok((state.unwrap_or_else(|| UpstreamState::new(upstream)), notes))
    }

    /// Changes what is kept of an upstream; other processes see all of the change or none.
    ///
    /// # Errors
    /// The file cannot be read or written. It is then as it was.
    pub fn update(
        &self,
        upstream: &UpstreamKey,
        change: impl FnOnce(&mut UpstreamState),
    ) -> Result<Vec<String>, StateError> {
        let path = self.file_of(upstream);
        let mut notes = Vec::new();
        let _held = folder::lock(&self.path)?;
        let known = file::read(&path, &mut notes)?.filter(|state| state.upstream == *upstream);
        let mut state = known.unwrap_or_else(|| UpstreamState::new(upstream));
        change(&mut state);
        state.models.retain(|_, model| !model.is_empty());
        file::write(&path, &state)?;
        Ok(notes)
    }

    /// Everything that is kept, by name of the file, and what is wrong with any of it.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn all(&self) -> Result<(Vec<UpstreamState>, Vec<String>), StateError> {
        let _held = folder::lock(&self.path)?;
        let mut notes = Vec::new();
        let mut states = Vec::new();
        for path in folder::files(&self.path, file::ENDING)? {
            states.extend(file::read(&path, &mut notes)?);
        }
        Ok((states, notes))
    }

    /// Drops what was learnt of the places that `which` names. Levels stay: they are no opinion,
    /// and without them a daily limit would be spent twice. Says of how many upstreams.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn forget(&self, which: impl Fn(&UpstreamKey) -> bool) -> Result<usize, StateError> {
        let _held = folder::lock(&self.path)?;
        let mut forgotten = 0;
        for path in folder::files(&self.path, file::ENDING)? {
            let Some(mut state) = file::read(&path, &mut Vec::new())? else {
                continue;
            };
            if which(&state.upstream) && state.forget_learned() {
                forgotten += 1;
                file::write(&path, &state)?;
            }
        }
        Ok(forgotten)
    }

    /// Announces a run, so that other runs with the same key know of it until it is dropped.
    /// `share_percent` is the part of every limit that it takes.
    ///
    /// # Errors
    /// The announcement cannot be written.
    pub fn enter(
        &self,
        upstream: &UpstreamKey,
        share_percent: f64,
        started_unix_ms: u64,
    ) -> Result<Presence, StateError> {
        let stem = upstream.file_stem();
        Presence::announce(&self.path, &stem, share_percent, started_unix_ms)
    }

    fn file_of(&self, upstream: &UpstreamKey) -> PathBuf {
        let name = format!("{}{}", upstream.file_stem(), file::ENDING);
        self.path.join(name)
    }
}

/// The calendar time in milliseconds since 1970, by this machine's clock.
#[must_use]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
