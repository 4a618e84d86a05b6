//! State during a run: loaded at its start, saved every few seconds and at its end.
//!
//! Saving is done by a thread of its own, since a file system may take its time and the driver must
//! not. What cannot be saved is told once; the run goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use brimful_core::Learned;

use super::learned::LearnedState;
use super::{
    LevelState, Other, Presence, StateDir, StateError, Taken, UpstreamKey, UpstreamState, unix_ms,
};

/// What holds for all models, or for those that are not known beforehand.
pub const ALL_MODELS: &str = "*";

/// What a run keeps, and where.
#[derive(Clone, Debug)]
pub struct KeepOptions {
    /// The folder.
    pub folder: StateDir,
    /// By the number of the upstream in the engine.
    pub upstreams: Vec<KeptUpstream>,
    /// The share of every limit that the run takes, in per cent; 100 for all of it. No default.
    pub share_percent: f64,
}

/// An upstream whose state is kept.
#[derive(Clone, Debug)]
pub struct KeptUpstream {
    /// Where to and with which key.
    pub key: UpstreamKey,
    /// The model that all requests ask for; [`ALL_MODELS`] where they name it themselves.
    pub model: String,
    /// The model that what is learnt is kept under: the first that is asked for.
    pub learned_as: String,
}

/// The level of one limit at this moment.
#[derive(Clone, Debug)]
pub(crate) struct Level {
    /// Number of its upstream.
    pub(crate) upstream: usize,
    /// The models that share it, if not all.
    pub(crate) models: Option<String>,
    /// What it counts.
    pub(crate) counts: String,
    pub(crate) window: Duration,
    pub(crate) taken: Vec<brimful_core::Taken>,
}

/// Everything that is saved at one moment.
#[derive(Debug, Default)]
pub(crate) struct Picture {
    pub(crate) levels: Vec<Level>,
    /// Number of the upstream, models of the lane if it has some of its own, what was learnt.
    pub(crate) learned: Vec<(usize, Option<String>, Learned)>,
}

/// State as it was found at the start.
#[derive(Debug)]
pub(crate) struct Keeper {
    folder: StateDir,
    share_percent: f64,
    /// By the number of the upstream in the engine.
    upstreams: Vec<Names>,
    /// One for each key: a provider counts together what several upstreams with it send.
    kept: Vec<Kept>,
    opened: Instant,
    notices: Vec<String>,
}

/// Where the state of an upstream lies.
#[derive(Debug)]
struct Names {
    /// Number of its key.
    kept: usize,
    model: String,
    learned_as: String,
}

impl Names {
    fn model_of<'a>(&'a self, models: Option<&'a str>) -> &'a str {
        models.unwrap_or(&self.model)
    }
}

#[derive(Debug)]
struct Kept {
    key: UpstreamKey,
    presence: Option<Presence>,
    found: UpstreamState,
    /// What of that the engine was given, by model: what this run saves contains it.
    taken_up: BTreeMap<String, Vec<LevelState>>,
    /// Other runs that were told of.
    told: BTreeSet<String>,
    /// Whether a failure was told.
    failed: bool,
}

impl Keeper {
    /// Announces the run and reads what is kept. What goes wrong is a notice.
    pub(crate) fn open(options: KeepOptions) -> Self {
        let mut keeper = Self {
            folder: options.folder,
            share_percent: options.share_percent,
            upstreams: Vec::new(),
            kept: Vec::new(),
            opened: Instant::now(),
            notices: Vec::new(),
        };
        for upstream in options.upstreams {
            let known = keeper.kept.iter();
            let known = known
                .map(|kept| &kept.key)
                .position(|key| *key == upstream.key);
            let kept = known.unwrap_or_else(|| {
                let kept = keeper.kept(upstream.key);
                keeper.kept.push(kept);
                keeper.kept.len() - 1
            });
            keeper.upstreams.push(Names {
                kept,
                model: upstream.model,
                learned_as: upstream.learned_as,
            });
        }
        keeper
    }

    fn kept(&mut self, key: UpstreamKey) -> Kept {
        let found = match self.folder.load(&key) {
            Ok((found, notes)) => {
                self.notices.extend(notes);
                found
            }
            Err(error) => {
                self.notices.push(unusable(&error));
                UpstreamState::new(&key)
            }
        };
        let entered = self.folder.enter(&key, self.share_percent, unix_ms());
        let presence = entered
            .map_err(|error| self.notices.push(unusable(&error)))
            .ok();
        let mut kept = Kept {
            key,
            presence,
            found,
            taken_up: BTreeMap::new(),
            told: BTreeSet::new(),
            failed: false,
        };
        let others = kept.others();
        self.notices.extend(kept.meet(&others, self.share_percent));
        kept
    }

    /// What people should know, once.
    pub(crate) fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    /// What runs before this one have taken from a limit, oldest first.
    pub(crate) fn level(
        &mut self,
        upstream: usize,
        models: Option<&str>,
        counts: &str,
        window: Duration,
    ) -> Vec<brimful_core::Taken> {
        let Some(names) = self.upstreams.get(upstream) else {
            return Vec::new();
        };
        let now = unix_ms();
        let (kept, model) = (&mut self.kept[names.kept], names.model_of(models));
        let window = millis(window);
        let taken = kept.found.level(model, counts, window, now);
        let taken_up = kept.taken_up.entry(model.to_owned()).or_default();
        let found = kept.found.levels_of(model, counts, window);
        taken_up.extend(found.cloned());
        let ago = |taken: &Taken| brimful_core::Taken {
            age: Duration::from_millis(now.saturating_sub(taken.at_unix_ms)),
            units: taken.units,
        };
        taken.iter().map(ago).collect()
    }

    /// What runs before this one have learnt of a lane. `models`: those of the lane, if it has some
    /// of its own.
    pub(crate) fn learned(&self, upstream: usize, models: Option<&str>) -> Option<Learned> {
        let names = self.upstreams.get(upstream)?;
        let model = models.unwrap_or(&names.learned_as);
        let model = self.kept[names.kept].found.models.get(model)?;
        model.learned.as_ref().map(LearnedState::to_core)
    }

    /// Saves from now on.
    pub(crate) fn saver(self) -> Saver {
        // One picture under way and one that waits: a thread that falls behind skips some.
        let (pictures, inbox) = mpsc::sync_channel(1);
        let (tell, notices) = mpsc::channel();
        let mut keeper = self;
        let thread = std::thread::Builder::new()
            .name("brimful-state".to_owned())
            .spawn(move || {
                for picture in inbox {
                    for notice in keeper.save(&picture) {
                        // Nobody hears what is told after the end.
                        let _unheard = tell.send(notice);
                    }
                }
            });
        Saver {
            pictures: Some(pictures),
            notices,
            thread: thread.ok(),
        }
    }

    fn save(&mut self, picture: &(u64, Picture)) -> Vec<String> {
        let (now, picture) = picture;
        let mut notices = Vec::new();
        let (upstreams, since) = (&self.upstreams, self.opened.elapsed());
        for (number, kept) in self.kept.iter_mut().enumerate() {
            let others = kept.others();
            notices.extend(kept.meet(&others, self.share_percent));
            let names = |of: usize| upstreams.get(of).filter(|names| names.kept == number);
            let levels = picture.levels.iter();
            let levels = levels.filter_map(|level| Some((names(level.upstream)?, level)));
            let levels = together(levels, since);
            let learned = picture.learned.iter();
            let learned = learned.filter_map(|(of, models, learned)| {
                let names = names(*of)?;
                Some((models.as_deref().unwrap_or(&names.learned_as), learned))
            });
            let learned: Vec<_> = learned.collect();
            if levels.is_empty() && learned.is_empty() {
                continue;
            }
            let saved = kept.save(&self.folder, &levels, &others, *now, |state| {
                for (model, learned) in learned {
                    if let Some(learned) = LearnedState::of(learned, *now) {
                        state.put_learned(model, learned);
                    }
                }
            });
            match saved {
                Ok(notes) => notices.extend(notes),
                Err(error) if !kept.failed => {
                    kept.failed = true;
                    notices.push(unusable(&error));
                }
                Err(_) => {}
            }
        }
        notices
    }
}

impl Kept {
    /// Other runs with this key. A folder that cannot be read shows none.
    fn others(&self) -> Vec<Other> {
        let presence = self.presence.as_ref();
        let others = presence.and_then(|presence| presence.others().ok());
        others.unwrap_or_default()
    }

    /// A notice, where others are there that nobody was told of and the shares exceed the whole.
    fn meet(&mut self, others: &[Other], share_percent: f64) -> Option<String> {
        let new: Vec<&Other> = others
            .iter()
            .filter(|other| !self.told.contains(&other.run))
            .collect();
        let newest = new.last()?.pid;
        let sum = others.iter().map(|other| other.share_percent).sum::<f64>() + share_percent;
        // Thirds add up to a little more or less than a whole.
        if sum <= 100.01 {
            return None;
        }
        self.told.extend(new.iter().map(|other| other.run.clone()));
        let many = match others.len() {
            1 => format!("another run (process {newest}) uses"),
            count => format!("{count} other runs (one is process {newest}) use"),
        };
        Some(format!(
            "{many} the same key for {}: together they take {sum:.0} % of every limit; give each \
             its part by --share",
            self.key.place
        ))
    }

    fn save(
        &self,
        folder: &StateDir,
        levels: &BTreeMap<&str, Vec<Level>>,
        others: &[Other],
        now: u64,
        more: impl FnOnce(&mut UpstreamState),
    ) -> Result<Vec<String>, StateError> {
        let run = self.presence.as_ref().map_or("", Presence::run);
        folder.update(&self.key, |state| {
            for (model, levels) in levels {
                let ours = levels.iter().map(|level| level_state(level, run, now));
                let taken_up = self.taken_up.get(*model).map(Vec::as_slice);
                let taken_up = taken_up.unwrap_or_default();
                state.put_levels(model, ours.collect(), run, taken_up, others, now);
            }
            more(state);
        })
    }
}

/// Levels under one key, by model. Where several upstreams count the same, each of them was given
/// all that earlier runs have taken, which counts once; what they took `since` adds up.
fn together<'a>(
    levels: impl Iterator<Item = (&'a Names, &'a Level)>,
    since: Duration,
) -> BTreeMap<&'a str, Vec<Level>> {
    let mut together: BTreeMap<&str, Vec<Level>> = BTreeMap::new();
    for (names, level) in levels {
        let model = names.model_of(level.models.as_deref());
        let known = together.entry(model).or_default();
        let same =
            |known: &&mut Level| (&known.counts, known.window) == (&level.counts, level.window);
        match known.iter_mut().find(same) {
            Some(known) => {
                let ours = level.taken.iter().filter(|taken| taken.age <= since);
                known.taken.extend(ours);
            }
            None => known.push(level.clone()),
        }
    }
    together
}

fn level_state(level: &Level, run: &str, now: u64) -> LevelState {
    let taken = level.taken.iter().map(|taken| Taken {
        at_unix_ms: now.saturating_sub(millis(taken.age)),
        units: taken.units,
    });
    LevelState {
        counts: level.counts.clone(),
        window_ms: millis(level.window),
        run: run.to_owned(),
        saved_unix_ms: now,
        taken: taken.collect(),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A failure on one line, with its cause.
fn unusable(error: &StateError) -> String {
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    format!("{error}: {cause}; levels of long windows and what is learnt may not outlive this run")
}

/// Saves what it is given, in a thread of its own.
#[derive(Debug)]
pub(crate) struct Saver {
    /// With the calendar time at which each was taken.
    pictures: Option<SyncSender<(u64, Picture)>>,
    notices: Receiver<String>,
    thread: Option<JoinHandle<()>>,
}

impl Saver {
    /// Saves soon, unless saving has fallen behind: then the next picture has all of this one.
    pub(crate) fn save(&self, picture: Picture) {
        if let Some(pictures) = &self.pictures {
            match pictures.try_send((unix_ms(), picture)) {
                Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
            }
        }
    }

    /// What people should know, once.
    pub(crate) fn take_notices(&self) -> Vec<String> {
        self.notices.try_iter().collect()
    }

    /// Saves the last picture, withdraws the announcement, and returns when that is done.
    pub(crate) fn finish(mut self, picture: Picture) -> Vec<String> {
        if let Some(pictures) = self.pictures.take() {
            // Fails only when the thread is gone.
            let _unsaved = pictures.send((unix_ms(), picture));
        }
        if let Some(thread) = self.thread.take() {
            // A defect there must not cost the summary.
            let _ended = thread.join();
        }
        self.take_notices()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn options(folder: &StateDir, share_percent: f64) -> KeepOptions {
        KeepOptions {
            folder: folder.clone(),
            upstreams: vec![KeptUpstream {
                key: UpstreamKey::new("host", None, None),
                model: "m".to_owned(),
                learned_as: "m".to_owned(),
            }],
            share_percent,
        }
    }

    fn level(models: Option<&str>, units: u64) -> Level {
        Level {
            upstream: 0,
            models: models.map(str::to_owned),
            counts: "requests".to_owned(),
            window: DAY,
            taken: vec![brimful_core::Taken {
                age: Duration::from_secs(60),
                units,
            }],
        }
    }

    fn units(keeper: &mut Keeper, models: Option<&str>) -> u64 {
        let taken = keeper.level(0, models, "requests", DAY);
        assert!(taken.iter().all(|taken| taken.age.as_secs() / 10 == 6));
        taken.iter().map(|taken| taken.units).sum()
    }

    #[test]
    fn what_a_run_saved_is_what_the_next_one_finds_however_often() {
        let home = tempfile::tempdir().unwrap();
        let folder = StateDir::open(home.path()).unwrap();
        for n in 0..4 {
            let mut keeper = Keeper::open(options(&folder, 100.0));
            assert_eq!(keeper.take_notices(), [""; 0]);
            let (all, some) = (units(&mut keeper, None), units(&mut keeper, Some("big*")));
            assert_eq!(
                (all, some),
                (7 * n, 5 * n),
                "nothing is lost and nothing counts twice"
            );
            let levels = vec![level(None, all + 7), level(Some("big*"), some + 5)];
            let saver = keeper.saver();
            saver.save(Picture::default());
            assert_eq!(
                saver.finish(Picture {
                    levels,
                    ..Picture::default()
                }),
                [""; 0]
            );
        }
    }

    #[test]
    fn upstreams_with_one_key_are_one_run_and_their_levels_add_up_once() {
        let home = tempfile::tempdir().unwrap();
        let folder = StateDir::open(home.path()).unwrap();
        let taken = |seconds, units| {
            let age = Duration::from_secs(seconds);
            brimful_core::Taken { age, units }
        };
        let mut all = 0;
        for _ in 0..3 {
            let mut options = options(&folder, 100.0);
            options.upstreams.push(options.upstreams[0].clone());
            let mut keeper = Keeper::open(options);
            let sum = |keeper: &mut Keeper, upstream| -> u64 {
                let taken = keeper.level(upstream, None, "requests", DAY);
                taken.iter().map(|taken| taken.units).sum()
            };
            assert_eq!((sum(&mut keeper, 0), sum(&mut keeper, 1)), (all, all));
            assert_eq!(keeper.take_notices(), [""; 0], "nobody else is there");
            let of = |upstream, units| Level {
                upstream,
                taken: vec![taken(60, all), taken(0, units)],
                ..level(None, 0)
            };
            let levels = vec![of(0, 7), of(1, 5)];
            let notices = keeper.saver().finish(Picture {
                levels,
                ..Picture::default()
            });
            assert_eq!(notices, [""; 0]);
            all += 12;
        }
    }

    #[test]
    fn what_a_run_did_not_take_up_is_left_as_it_is() {
        let home = tempfile::tempdir().unwrap();
        let folder = StateDir::open(home.path()).unwrap();
        let save = |keeper: Keeper, units| {
            let levels = vec![level(None, units)];
            keeper.saver().finish(Picture {
                levels,
                ..Picture::default()
            })
        };
        save(Keeper::open(options(&folder, 100.0)), 30);
        // Its limit came by a retune.
        save(Keeper::open(options(&folder, 100.0)), 4);
        let mut keeper = Keeper::open(options(&folder, 100.0));
        assert_eq!(units(&mut keeper, None), 34);
    }

    #[test]
    fn both_of_two_runs_are_told_once_unless_their_shares_fit() {
        let home = tempfile::tempdir().unwrap();
        let folder = StateDir::open(home.path()).unwrap();
        let mut first = Keeper::open(options(&folder, 60.0));
        assert_eq!(first.take_notices(), [""; 0]);
        let mut second = Keeper::open(options(&folder, 40.0));
        assert_eq!(second.take_notices(), [""; 0], "60 and 40 % fit");
        drop(second);
        let mut third = Keeper::open(options(&folder, 50.0));
        let notices = third.take_notices();
        assert!(
            notices[0].contains("together they take 110 % of every limit"),
            "{notices:?}"
        );
        let picture = || (unix_ms(), Picture::default());
        assert!(first.save(&picture())[0].contains("another run (process"));
        assert_eq!(first.save(&picture()), [""; 0], "told once");
        let fourth = Keeper::open(options(&folder, 100.0));
        assert!(first.save(&picture())[0].contains("2 other runs"));
        drop((third, fourth));
        assert_eq!(first.save(&picture()), [""; 0]);
    }

    #[test]
    fn state_that_cannot_be_saved_is_told_once_and_the_run_goes_on() {
        let home = tempfile::tempdir().unwrap();
        let folder = StateDir::open(&home.path().join("state")).unwrap();
        let mut keeper = Keeper::open(options(&folder, 100.0));
        std::fs::remove_dir_all(folder.path()).unwrap();
        let picture = || {
            let levels = vec![level(None, 1)];
            (
                unix_ms(),
                Picture {
                    levels,
                    ..Picture::default()
                },
            )
        };
        let notices = keeper.save(&picture());
        assert!(
            notices.len() == 1 && notices[0].contains("may not outlive this run"),
            "{notices:?}"
        );
        assert_eq!(keeper.save(&picture()), [""; 0]);
        let broken = Keeper::open(options(&folder, 100.0)).take_notices();
        assert!(broken[0].contains("cannot"), "{broken:?}");
    }
}
