//! Where windows begin when nobody says so.

use std::collections::HashSet;
use std::time::Duration;

use brimful_core::Timestamp;
use brimful_sim::Enforcement;

use super::{SECOND, admits, requests, seeded};

/// Offsets of admissions into the second, of a server that admits one a second and is asked each
/// millisecond.
fn offsets(seed: u64, phase: Option<Duration>, name: &str) -> HashSet<u64> {
    let mut rule = requests(1, SECOND);
    rule.name = name.to_owned();
    let mut server = seeded(seed, |c| {
        c.limits = vec![rule];
        c.enforcement = Enforcement::FixedWindow;
        c.window_phase = phase;
    });
    let admitted = (0..3_000).filter(|&ms| admits(&mut server, Timestamp::from_millis(ms)));
    // The first window is cut off by the start of time.
    admitted.skip(1).map(|ms| ms % 1_000).collect()
}

#[test]
fn windows_begin_at_a_moment_that_the_seed_and_the_name_decide() {
    let all: Vec<_> = (0..20).map(|seed| offsets(seed, None, "a")).collect();
    assert!(all.iter().all(|offsets| offsets.len() == 1));
    let different: HashSet<u64> = all.iter().flatten().copied().collect();
    assert!(different.len() > 15, "{different:?}");
    assert_eq!(offsets(3, None, "a"), all[3]);
    assert_ne!(offsets(3, None, "b"), all[3]);
}

#[test]
fn windows_begin_where_the_configuration_says() {
    let phase = Duration::from_millis(2_345);
    for seed in 0..5 {
        assert_eq!(offsets(seed, Some(phase), "a"), HashSet::from([345]));
    }
}

#[test]
fn a_minutes_limit_judged_per_second_admits_its_share_in_each_second() {
    let mut server = seeded(1, |c| {
        c.rpm = Some(600);
        c.enforcement = Enforcement::FixedWindow;
        c.window_phase = Some(Duration::ZERO);
        c.judged_over = Some(SECOND);
    });
    for second in 0..5 {
        let at = Timestamp::from_secs(second);
        let admitted = (0..30).filter(|_| admits(&mut server, at)).count();
        assert_eq!(admitted, 10, "second {second}");
    }
    assert_eq!(server.stats().throttled.requests_per_minute, 100);
}
