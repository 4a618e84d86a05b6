use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

const DAY_MS: u64 = 24 * 3600 * 1000;
const NOW: u64 = 1_000 * DAY_MS;

fn state() -> (tempfile::TempDir, StateDir) {
    let home = tempfile::tempdir().unwrap();
    let state = StateDir::open(&home.path().join("deep/brimful")).unwrap();
    (home, state)
}

fn level(run: &str, units: u64) -> LevelState {
    LevelState {
        counts: "requests".to_owned(),
        window_ms: DAY_MS,
        run: run.to_owned(),
        saved_unix_ms: NOW,
        taken: vec![Taken {
            at_unix_ms: NOW,
            units,
        }],
    }
}

fn save(state: &StateDir, upstream: &UpstreamKey, units: u64) -> Vec<String> {
    let put = |kept: &mut UpstreamState| {
        kept.put_levels("m", vec![level("run", units)], "run", &[], &[], NOW);
    };
    state.update(upstream, put).unwrap()
}

fn taken(state: &StateDir, upstream: &UpstreamKey) -> u64 {
    let (kept, _) = state.load(upstream).unwrap();
    let level = kept.level("m", "requests", DAY_MS, NOW);
    level.iter().map(|taken| taken.units).sum()
}

/// All files, with their permissions.
fn files(state: &StateDir) -> Vec<(String, u32)> {
    let entries = fs::read_dir(state.path()).unwrap();
    let mut files: Vec<_> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode();
            (entry.file_name().into_string().unwrap(), mode & 0o777)
        })
        .collect();
    files.sort();
    files
}

#[test]
fn the_folder_is_where_the_first_of_three_variables_says() {
    let at = |set: &[(&str, &str)]| {
        let found = StateDir::default_path(|name| {
            let value = set.iter().find(|(known, _)| *known == name)?.1;
            Some(value.into())
        });
        found.map(|path| path.to_str().unwrap().to_owned())
    };
    let home = ("HOME", "/h");
    let xdg = ("XDG_STATE_HOME", "/x");
    assert_eq!(
        at(&[home, xdg, ("BRIMFUL_STATE_DIR", "here")]).unwrap(),
        "here"
    );
    assert_eq!(at(&[home, xdg]).unwrap(), "/x/brimful");
    assert_eq!(at(&[home]).unwrap(), "/h/.local/state/brimful");
    assert_eq!(
        at(&[home, ("XDG_STATE_HOME", "x"), ("BRIMFUL_STATE_DIR", "")]).unwrap(),
        "/h/.local/state/brimful"
    );
    assert_eq!(at(&[]), None);
}

#[test]
fn nobody_else_may_read_anything_of_it() {
    let (_home, state) = state();
    let upstream = UpstreamKey::new("host", Some(state.fingerprint("key")), None);
    save(&state, &upstream, 1);
    let presence = state.enter(&upstream, 100.0, NOW).unwrap();
    let folder = fs::metadata(state.path()).unwrap().permissions().mode();
    assert_eq!(folder & 0o777, 0o700);
    let files = files(&state);
    assert_eq!(files.len(), 4, "{files:?}");
    assert!(files.iter().all(|(_, mode)| *mode == 0o600), "{files:?}");
    drop(presence);
}

#[test]
fn a_key_is_told_from_others_and_found_nowhere() {
    let (_home, state) = state();
    let (secret, other) = ("sk-live-0123456789abcdef", "sk-live-0123456789abcdeg");
    let fingerprint = state.fingerprint(secret);
    assert_eq!(
        fingerprint,
        StateDir::open(state.path()).unwrap().fingerprint(secret)
    );
    assert_ne!(fingerprint, state.fingerprint(other));
    assert_eq!(fingerprint.to_string().len(), 16);
    let upstream = UpstreamKey::new("host", Some(fingerprint.clone()), None);
    save(&state, &upstream, 1);
    for (name, _) in files(&state) {
        let contents = fs::read(state.path().join(&name)).unwrap();
        let text = String::from_utf8_lossy(&contents);
        assert!(
            !name.contains("sk-live") && !text.contains("sk-live"),
            "{name}"
        );
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let elsewhere = StateDir::open(elsewhere.path()).unwrap();
    assert_ne!(
        fingerprint,
        elsewhere.fingerprint(secret),
        "the salt differs"
    );
}

#[test]
fn what_was_saved_is_there_again_for_the_same_upstream_only() {
    let (_home, state) = state();
    let upstream = UpstreamKey::new("host:1", Some(state.fingerprint("key")), Some("org-1"));
    save(&state, &upstream, 7);
    assert_eq!(taken(&state, &upstream), 7);
    let keyless = UpstreamKey::new("host:1", None, Some("org-1"));
    let account = UpstreamKey::new("host:1", upstream.key.clone(), None);
    let elsewhere = UpstreamKey::new("host:2", upstream.key.clone(), Some("org-1"));
    for other in [keyless, account, elsewhere] {
        assert_eq!(taken(&state, &other), 0, "{other:?}");
        assert_ne!(other.file_stem(), upstream.file_stem());
    }
    assert_eq!(state.all().unwrap().0[0].upstream, upstream);
}

#[test]
fn a_place_cannot_name_a_file_outside_of_the_folder() {
    let (_home, state) = state();
    for place in [
        "../../evil",
        "/etc/passwd",
        "a/b",
        "..",
        "",
        ".\u{1b}[2J\n",
        &"x".repeat(5000),
    ] {
        let upstream = UpstreamKey::new(place, None, None);
        save(&state, &upstream, 3);
        assert_eq!(taken(&state, &upstream), 3, "{place:?}");
    }
    let files = files(&state);
    assert_eq!(files.len(), 2 + 7, "{files:?}");
}

#[test]
fn a_file_that_is_damaged_or_newer_is_set_aside_with_a_note() {
    let (_home, state) = state();
    let upstream = UpstreamKey::new("host", None, None);
    save(&state, &upstream, 1);
    let path = state.file_of(&upstream);
    let good = fs::read_to_string(&path).unwrap();
    let half = &good[..good.len() / 2];
    let newer = good.replacen("\"version\":1", "\"version\":2,\"new\":[]", 1);
    assert_ne!(good, newer);
    for (contents, ending, told) in [
        (half, "damaged", "is damaged"),
        ("", "damaged", "is damaged"),
        ("[1]", "damaged", "is damaged"),
        ("{\"version\":1}", "damaged", "is damaged"),
        (&newer, "newer", "newer version"),
    ] {
        fs::write(&path, contents).unwrap();
        let (kept, notes) = state.load(&upstream).unwrap();
        assert_eq!(kept, UpstreamState::new(&upstream));
        assert!(
            notes.len() == 1 && notes[0].contains(told),
            "{contents}: {notes:?}"
        );
        let aside = format!("{}.{ending}", path.display());
        assert_eq!(fs::read_to_string(&aside).unwrap(), contents);
        assert!(state.load(&upstream).unwrap().1.is_empty(), "told once");
        assert!(save(&state, &upstream, 2).is_empty());
        assert_eq!(taken(&state, &upstream), 2, "and the next run keeps state");
    }
}

#[test]
fn a_salt_that_was_cut_short_is_made_anew() {
    let (_home, state) = state();
    fs::write(state.path().join("salt"), "short").unwrap();
    let again = StateDir::open(state.path()).unwrap();
    assert_ne!(again.salt, state.salt);
    assert_eq!(StateDir::open(state.path()).unwrap().salt, again.salt);
}

#[test]
fn a_leftover_of_a_write_that_was_killed_is_no_obstacle() {
    let (_home, state) = state();
    let upstream = UpstreamKey::new("host", None, None);
    let mut leftover = state.file_of(&upstream).into_os_string();
    leftover.push(".new");
    fs::write(&leftover, "half a fi").unwrap();
    save(&state, &upstream, 4);
    assert_eq!(taken(&state, &upstream), 4);
    assert!(!Path::new(&leftover).exists());
}

#[test]
fn a_symbolic_link_in_place_of_a_file_is_not_followed() {
    let (home, state) = state();
    let upstream = UpstreamKey::new("host", None, None);
    let target = home.path().join("target");
    fs::write(&target, "precious").unwrap();
    std::os::unix::fs::symlink(&target, state.file_of(&upstream)).unwrap();
    assert!(state.load(&upstream).is_err());
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
}

#[test]
fn threads_that_change_one_file_lose_nothing_of_each_other() {
    let (_home, state) = state();
    let upstream = UpstreamKey::new("host", None, None);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (state, upstream) = (&state, &upstream);
            scope.spawn(move || {
                for n in 0..10 {
                    let run = format!("{thread}-{n}");
                    let put = |kept: &mut UpstreamState| {
                        kept.put_levels(&run, vec![level(&run, 1)], &run, &[], &[], NOW);
                    };
                    state.update(upstream, put).unwrap();
                }
            });
        }
    });
    assert_eq!(state.load(&upstream).unwrap().0.models.len(), 40);
}

#[test]
fn runs_with_one_key_know_of_each_other_until_they_end() {
    let (_home, state) = state();
    let upstream = UpstreamKey::new("host", Some(state.fingerprint("key")), None);
    let other_key = UpstreamKey::new("host", Some(state.fingerprint("other")), None);
    let first = state.enter(&upstream, 100.0, NOW).unwrap();
    let elsewhere = state.enter(&other_key, 100.0, NOW).unwrap();
    assert_eq!(first.others().unwrap(), []);
    let second = state.enter(&upstream, 50.0, NOW + 5).unwrap();
    let seen = first.others().unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].pid, std::process::id());
    assert!((seen[0].share_percent - 50.0).abs() < 1e-9);
    assert_eq!(seen[0].run, second.run());
    assert_eq!(second.others().unwrap()[0].run, first.run());
    drop(first);
    assert_eq!(second.others().unwrap(), []);
    assert_eq!(elsewhere.others().unwrap(), []);
}

#[test]
fn what_a_killed_run_left_behind_is_no_run() {
    let (_home, state) = state();
    let upstream = UpstreamKey::new("host", None, None);
    let stem = upstream.file_stem();
    let leftover = state.path().join(format!("{stem}.1.0.run.json"));
    fs::write(&leftover, "{\"run\":\"x\",\"pid\":1}").unwrap();
    let presence = state.enter(&upstream, 100.0, NOW).unwrap();
    assert_eq!(presence.others().unwrap(), []);
    assert!(!leftover.exists());
}
