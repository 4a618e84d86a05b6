//! One upstream's file: what is in it, and what is done with one that cannot be read.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::learned::LearnedState;
use super::levels::{self, LevelState, Taken};
use super::present::Other;
use super::{StateError, UpstreamKey, folder};

/// Ending of the names of state files.
pub(super) const ENDING: &str = ".state.json";
/// Version of the format that is written and understood.
const VERSION: u32 = 1;
/// A file larger than this was not written by us.
const BYTES_MAX: u64 = 16 << 20;

/// What is kept of one upstream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpstreamState {
    version: u32,
    /// Which release wrote it last.
    pub written_by: String,
    /// Whose state it is.
    pub upstream: UpstreamKey,
    /// By model, or by the group of models that share a limit; `*` for what holds for all.
    pub models: BTreeMap<String, ModelState>,
}

/// What is kept of one model of an upstream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelState {
    /// When it was last written, in milliseconds since 1970.
    #[serde(default)]
    pub saved_unix_ms: u64,
    /// Levels of windows of an hour and more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<LevelState>,
    /// What was learnt; `None` when that is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned: Option<LearnedState>,
}

impl ModelState {
    /// Whether nothing is kept, so that the entry can go.
    pub(super) const fn is_empty(&self) -> bool {
        self.levels.is_empty() && self.learned.is_none()
    }
}

impl UpstreamState {
    pub(super) fn new(upstream: &UpstreamKey) -> Self {
        Self {
            version: VERSION,
            written_by: env!("CARGO_PKG_VERSION").to_owned(),
            upstream: upstream.clone(),
            models: BTreeMap::new(),
        }
    }

    /// Drops what was learnt; whether there was any.
    pub(super) fn forget_learned(&mut self) -> bool {
        let mut any = false;
        for model in self.models.values_mut() {
            any |= model.learned.take().is_some();
        }
        self.models.retain(|_, model| !model.is_empty());
        any
    }

    /// Keeps what was learnt of a model.
    pub fn put_learned(&mut self, model: &str, learned: LearnedState) {
        let model = self.models.entry(model.to_owned()).or_default();
        model.saved_unix_ms = learned.learned_unix_ms;
        model.learned = Some(learned);
    }

    /// What all runs have taken from the limit of `model` that counts this over this window, oldest
    /// first, by the clock of now.
    #[must_use]
    pub fn level(&self, model: &str, counts: &str, window_ms: u64, now_unix_ms: u64) -> Vec<Taken> {
        let levels = self.models.get(model).map(|model| &model.levels[..]);
        levels::sum(levels.unwrap_or_default(), counts, window_ms, now_unix_ms)
    }

    /// The levels of a limit, by run.
    pub(super) fn levels_of(
        &self,
        model: &str,
        counts: &str,
        window_ms: u64,
    ) -> impl Iterator<Item = &LevelState> {
        let levels = self.models.get(model).map(|model| &model.levels[..]);
        let levels = levels.unwrap_or_default().iter();
        levels.filter(move |level| level.is_of(counts, window_ms))
    }

    /// Puts a run's levels in place of those that it had found, and drops what counts no more.
    ///
    /// What a run saves contains `taken_up`, which earlier runs had saved when it began. Levels of
    /// `others`, which go on besides, stay, and so does what was saved since by runs that have
    /// ended: what those had taken before then counts twice, which errs to the safe side.
    pub fn put_levels(
        &mut self,
        model: &str,
        ours: Vec<LevelState>,
        run: &str,
        taken_up: &[LevelState],
        others: &[Other],
        now_unix_ms: u64,
    ) {
        let others = others.iter().map(|other| other.run.clone()).collect();
        let model = self.models.entry(model.to_owned()).or_default();
        levels::put(&mut model.levels, ours, run, taken_up, &others, now_unix_ms);
        model.saved_unix_ms = now_unix_ms;
    }
}

/// Reads a file. One that is damaged, or of a newer version, is moved out of the way with a note:
/// `None`, as if there were none.
pub(super) fn read(
    path: &Path,
    notes: &mut Vec<String>,
) -> Result<Option<UpstreamState>, StateError> {
    let bytes = match bytes(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StateError::at(path, "read")(error)),
    };
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let version = serde_json::from_slice::<Versioned>(&bytes).map(|found| found.version);
    match version {
        Ok(version) if version > VERSION => {
            set_aside(path, ".newer", "is of a newer version of brimful", notes)?;
            Ok(None)
        }
        _ => match serde_json::from_slice(&bytes) {
            Ok(state) => Ok(Some(state)),
            Err(_) => {
                set_aside(path, ".damaged", "is damaged", notes)?;
                Ok(None)
            }
        },
    }
}

/// No more than the limit: what is cut short there is damaged.
fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let file = folder::private(OpenOptions::new().read(true), path)?;
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn set_aside(
    path: &Path,
    ending: &str,
    what: &str,
    notes: &mut Vec<String>,
) -> Result<(), StateError> {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    let aside = PathBuf::from(name);
    fs::rename(path, &aside).map_err(StateError::at(path, "move away"))?;
    notes.push(format!(
        "the state in `{}` {what}; it is kept as `{}`, and levels and what was learnt begin anew",
        path.display(),
        aside.display()
    ));
    Ok(())
}

pub(super) fn write(path: &Path, state: &UpstreamState) -> Result<(), StateError> {
    let mut state = state.clone();
    state.version = VERSION;
    env!("CARGO_PKG_VERSION").clone_into(&mut state.written_by);
    let mut text = serde_json::to_vec(&state)
        .map_err(io::Error::from)
        .map_err(StateError::at(path, "write"))?;
    text.push(b'\n');
    folder::write(path, &text)
}
