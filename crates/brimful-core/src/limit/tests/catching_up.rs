//! Late drivers: what a wake-up may make up for, and what it gives up.

use super::*;

const MS: Duration = Duration::from_millis(1);

/// A driver that does not run from `from` for `length`: timers fire at its end.
fn stalled(from: Timestamp, length: Duration) -> impl FnMut(Timestamp) -> Timestamp {
    move |at| {
        if at > from && at < from + length {
            from + length
        } else {
            at
        }
    }
}

fn most_at_one_moment(starts: &[Timestamp]) -> usize {
    let mut most = 0;
    for chunk in starts.chunk_by(|a, b| a == b) {
        most = most.max(chunk.len());
    }
    most
}

/// 50 ms of the rate, at least one.
fn allowed_at_once(amount_per_min: u64) -> usize {
    usize::try_from(amount_per_min * 50 / 60_000)
        .unwrap()
        .max(1)
}

fn both_shapes(amount: u64) -> [Limit; 2] {
    [
        requests(amount, MINUTE).paced(),
        requests(amount, MINUTE).bucket(),
    ]
}

#[test]
fn stalls_of_5_and_50_ms_lose_nothing_of_the_rate() {
    for amount in [60, 1_000, 1_800, 2_300, 6_000, 100_000] {
        for stall in [5 * MS, 50 * MS] {
            for fresh in both_shapes(amount) {
                let expected = drive(&mut fresh.clone(), 1, secs(1), MINUTE, on_time);
                // The stall begins at a start in the middle, the worst moment: everything that
                // it hides is due after its beginning.
                let from = expected[expected.len() / 2];
                let wake = stalled(from, stall);
                let starts = drive(&mut fresh.clone(), 1, secs(1), MINUTE, wake);
                let what = format!("{:?} {amount}/min, {stall:?}", fresh.spec.shape);
                assert_eq!(starts.len(), expected.len(), "{what}");
                assert_eq!(starts.last(), expected.last(), "{what}");
                assert!(
                    most_at_one_moment(&starts) <= allowed_at_once(amount),
                    "{what}"
                );
            }
        }
    }
}

#[test]
fn a_stall_of_5_s_is_made_up_for_by_50_ms_and_the_rest_is_given_up() {
    for amount in [60, 1_000, 1_800, 2_300, 6_000, 100_000] {
        for fresh in both_shapes(amount) {
            let expected = drive(&mut fresh.clone(), 1, secs(1), MINUTE, on_time);
            let wake = stalled(expected[expected.len() / 2], Duration::from_secs(5));
            let starts = drive(&mut fresh.clone(), 1, secs(1), MINUTE, wake);
            let what = format!("{:?} {amount}/min", fresh.spec.shape);
            assert!(
                most_at_one_moment(&starts) <= allowed_at_once(amount),
                "{what}"
            );
            let lost = expected.len() - starts.len();
            let missed = usize::try_from(amount * 4_950 / 60_000).unwrap();
            assert!(
                lost.abs_diff(missed) <= missed / 50 + 1,
                "{what}: lost {lost}"
            );
        }
    }
}

#[test]
fn an_idle_hour_earns_no_more_than_a_stall() {
    for mut limit in both_shapes(6_000) {
        drive(&mut limit, 1, secs(1), Duration::from_secs(1), on_time);
        let starts = drive(&mut limit, 1, secs(3600), Duration::from_secs(1), on_time);
        assert!(most_at_one_moment(&starts) <= 5);
        assert!(starts.len() <= 5 + 100, "{}", starts.len());
    }
}

#[test]
fn a_driver_that_is_always_late_by_a_millisecond_costs_nothing() {
    let wake = |at: Timestamp| at + Duration::from_micros(1_100);
    for amount in [60, 6_000, 100_000, 3_000_000] {
        let [mut paced, mut bucket] = both_shapes(amount);
        let starts = drive(&mut paced, 1, secs(1), MINUTE, wake);
        let share = utilisation(&starts, 1, &paced.spec);
        assert!(share >= 99_000, "paced {amount}/min: {share}");
        let starts = drive(&mut bucket, 1, secs(1), MINUTE, wake);
        let share = utilisation(&starts, 1, &bucket.spec);
        assert!(share >= 99_900, "bucket {amount}/min: {share}");
        assert!(most_at_one_moment(&starts) <= allowed_at_once(amount));
    }
}

#[test]
fn timers_late_by_any_amount_up_to_40_ms_cost_nothing() {
    let mut rng = fastrand::Rng::with_seed(11);
    let [mut paced, mut bucket] = both_shapes(6_000);
    let mut late = |at: Timestamp| at + Duration::from_nanos(rng.u64(0..=40_000_000));
    let starts = drive(&mut paced, 1, secs(1), MINUTE, &mut late);
    assert!(utilisation(&starts, 1, &paced.spec) >= 99_000);
    let starts = drive(&mut bucket, 1, secs(1), MINUTE, &mut late);
    assert!(utilisation(&starts, 1, &bucket.spec) >= 99_900);
}

#[test]
fn of_mixed_sizes_only_the_last_reaches_beyond_what_may_start_at_one_moment() {
    // 1,000 tokens a second: 50 may start at one moment, or one request of any size.
    let mut limit = tokens(60_000, MINUTE).bucket();
    assert!(granted(&mut limit, secs(1), 40));
    let mut at_once = 0;
    for size in [1, 30, 10, 10, 10, 10, 10] {
        if granted(&mut limit, secs(10), size) {
            at_once += size;
        }
    }
    assert!(at_once <= 50, "{at_once}");
    assert!(granted(&mut limit, secs(20), 10));
    assert!(granted(&mut limit, secs(20), 900));
    assert!(!granted(&mut limit, secs(20), 1));
}

#[test]
fn a_429_takes_what_waiting_has_earned() {
    for mut limit in both_shapes(6_000) {
        assert!(granted(&mut limit, secs(1), 1));
        limit.drain(secs(2));
        let starts = drive(&mut limit, 1, secs(2), 5 * MS, on_time);
        assert_eq!(starts.len(), 1);
    }
    let mut burst = requests(6_000, MINUTE).burst(100, Duration::ZERO);
    burst.drain(secs(2));
    assert_eq!(burst.earliest(secs(2), 1), Ok(secs(2) + 10 * MS));
    // Debt stays.
    let mut even = tokens(6_000, MINUTE).bucket();
    assert!(granted(&mut even, secs(3), 100));
    even.drain(secs(3));
    assert_eq!(even.earliest(secs(3), 1), Ok(secs(4)));
    assert!(granted(&mut burst, secs(3), 100));
    burst.settle(secs(3), secs(3), 1, 101);
    burst.drain(secs(3));
    assert_eq!(burst.earliest(secs(3), 1), Ok(secs(3) + 1_010 * MS));
}
