//! What settling and refunding do to a level, and how long debt lasts.

use super::*;

#[test]
fn what_was_not_used_comes_back_to_pace_and_window() {
    let mut limit = tokens(60_000, MINUTE).paced();
    assert!(granted(&mut limit, secs(1), 60_000));
    assert!(limit.earliest(secs(2), 1).unwrap() > secs(60));
    limit.settle(secs(2), secs(1), 60_000, 100);
    assert!(granted(&mut limit, secs(2), 59_900));
    // Together they are the amount: the window is full until the first has left it.
    let next = limit.earliest(secs(2), 101).unwrap();
    assert!(next > secs(61), "{next:?}");
}

#[test]
fn a_refund_leaves_no_more_than_was_there_before() {
    for mut limit in [
        tokens(6_000, MINUTE).paced(),
        tokens(6_000, MINUTE).bucket(),
    ] {
        assert!(granted(&mut limit, secs(1), 6_000));
        limit.settle(secs(1), secs(1), 6_000, 0);
        // Back where it was, not beyond: 50 ms of the rate is the most that can be saved.
        let starts = drive(&mut limit, 1, secs(1), Duration::ZERO, on_time);
        assert!(starts.len() <= 5, "{}", starts.len());
    }
    let mut burst = tokens(6_000, MINUTE).burst(100, Duration::ZERO);
    assert!(granted(&mut burst, secs(1), 100));
    burst.settle(secs(2), secs(1), 100, 0);
    let starts = drive(&mut burst, 1, secs(2), Duration::ZERO, on_time);
    assert_eq!(starts.len(), 100);
}

#[test]
fn a_refund_does_not_open_the_part_of_a_burst_that_jitter_may_need() {
    let mut burst = tokens(6_000, MINUTE).burst(100, Duration::from_millis(300));
    assert!(granted(&mut burst, secs(1), 50));
    // 300 ms later the level is 50, and the 50 that come back make more than the safe part.
    let later = secs(1) + Duration::from_millis(300);
    burst.settle(later, secs(1), 50, 0);
    // The safe part is full; that nothing has been under way for the jitter is not certain.
    assert_eq!(burst.earliest(later, 70), Ok(later));
    assert_eq!(
        burst.earliest(later, 100),
        Ok(later + Duration::from_millis(300))
    );
}

#[test]
fn debt_from_late_settlement_is_paid_before_anything_starts() {
    let mut limit = tokens(60_000, MINUTE).bucket();
    assert!(granted(&mut limit, secs(1), 1_000));
    limit.settle(secs(10), secs(1), 1_000, 21_000);
    // 20,000 beyond the reservation at 1,000 a second, less the 50 ms that waiting had saved.
    assert_eq!(
        limit.earliest(secs(10), 1),
        Ok(secs(10) + Duration::from_millis(19_950))
    );
    let mut burst = tokens(60_000, MINUTE).burst(30_000, Duration::ZERO);
    assert!(granted(&mut burst, secs(1), 30_000));
    burst.settle(secs(1), secs(1), 30_000, 40_000);
    assert_eq!(burst.earliest(secs(1), 5_000), Ok(secs(16)));
}

#[test]
fn debt_counts_in_the_window_from_the_moment_it_is_known() {
    let mut limit = tokens(1_000, DAY).paced();
    assert!(granted(&mut limit, secs(1), 500));
    limit.settle(secs(4000), secs(1), 500, 900);
    assert!(granted(&mut limit, secs(4000), 100));
    // The first 500 leave the window after a day, what exceeded them an hour later.
    let part = limit.earliest(secs(4000), 500).unwrap();
    let rest = limit.earliest(secs(4000), 501).unwrap();
    assert!(part > secs(1) + DAY && part < secs(1) + DAY + DAY / 100);
    assert!(rest > secs(4000) + DAY && rest < secs(4000) + DAY + DAY / 100);
}

#[test]
fn usage_reported_after_its_window_gives_nothing_back_to_it() {
    let mut limit = requests(10, DAY).paced();
    assert!(granted(&mut limit, secs(1), 10));
    let later = limit.earliest(secs(1), 10).unwrap();
    assert!(granted(&mut limit, later, 10));
    limit.settle(later, secs(1), 10, 0);
    assert!(limit.earliest(later, 1).unwrap() > later + DAY);
}

#[test]
fn giving_back_what_a_stepped_clock_had_merged_never_counts_too_little() {
    let mut limit = requests(10, DAY).paced();
    assert!(granted(&mut limit, secs(50_000), 5));
    // The clock stepped back: these five are counted with the newest start.
    assert!(granted(&mut limit, secs(100), 5));
    limit.settle(secs(101), secs(100), 5, 0);
    // Whatever came back, the first five hold their place for their whole window.
    assert!(!granted(&mut limit, secs(50_001), 6));
    let next = limit.earliest(secs(50_001), 6).unwrap();
    assert!(next > secs(50_000) + DAY, "{next:?}");
}

#[test]
fn a_window_made_of_an_even_bucket_counts_what_that_may_have_taken() {
    let mut limit = requests(600, MINUTE).bucket();
    let starts = drive(&mut limit, 1, secs(1), MINUTE, on_time);
    assert!(starts.len() >= 600);
    let spec = LimitSpec::new("rpm", LimitKind::Requests, 600, MINUTE);
    let sliding = spec.shape(Shape::Sliding).burst(600);
    limit.respec(secs(61), sliding).unwrap();
    let after = drive(
        &mut limit,
        1,
        secs(61),
        59 * Duration::from_secs(1),
        on_time,
    );
    // What comes now and what came before share every window.
    let all: Vec<Timestamp> = starts.iter().chain(&after).copied().collect();
    for end in &all {
        let within = all
            .iter()
            .filter(|at| **at <= *end && end.since(**at) < MINUTE);
        assert!(within.count() <= 601, "until {end:?}");
    }
    assert!(after.len() > 560, "{}", after.len());
}

#[test]
fn usage_of_before_a_change_that_comes_late_gives_nothing_back_to_younger_starts() {
    for window in [DAY, 2 * DAY] {
        let mut limit = requests(10, DAY).paced();
        assert!(granted(&mut limit, secs(1), 10));
        let later = limit.earliest(secs(1), 10).unwrap();
        assert!(granted(&mut limit, later, 10));
        let spec = LimitSpec::new("rpd", LimitKind::Requests, 11, window);
        limit.respec(later, spec).unwrap();
        limit.settle(later, secs(1), 10, 0);
        assert!(limit.earliest(later, 2).unwrap() >= later + DAY);
    }
}
