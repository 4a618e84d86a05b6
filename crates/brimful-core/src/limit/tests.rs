//! Each shape against its formula, in virtual time.

mod catching_up;
mod extremes;
mod settling;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

#[test]
fn a_bucket_of_unknown_capacity_starts_exactly_at_the_rate() {
    let mut limit = requests(600, MINUTE).bucket();
    let starts = drive(&mut limit, 1, Timestamp::ZERO, MINUTE, on_time);
    for (index, start) in starts.iter().enumerate() {
        assert_eq!(*start, Timestamp::from_millis(100 * index as u64));
    }
    assert_eq!(starts.len(), 601);
}

#[test]
fn paced_starts_exactly_at_99_1_per_cent_of_the_rate_for_ten_minutes() {
    for amount in [1, 2, 7, 600, 6_000] {
        let mut limit = requests(amount, MINUTE).paced();
        let starts = drive(&mut limit, 1, Timestamp::ZERO, 10 * MINUTE, on_time);
        for (index, start) in starts.iter().enumerate() {
            let nanos = index as u128 * MINUTE.as_nanos() * 1000 / (u128::from(amount) * 991);
            // A start may be later by what rounding up to whole nanoseconds adds, never earlier.
            let late = u128::from(start.as_nanos()) - nanos;
            assert!(late <= 1, "{amount}/min, start {index}: {late} ns late");
        }
        assert_eq!(starts.len() as u64, amount * 9910 / 1000 + 1);
    }
}

#[test]
fn a_rate_that_does_not_divide_the_window_does_not_drift() {
    let mut limit = requests(7, MINUTE).bucket();
    let starts = drive(&mut limit, 1, Timestamp::ZERO, DAY, on_time);
    assert_eq!(starts.len(), 7 * 24 * 60 + 1);
    assert_eq!(starts.last(), Some(&Timestamp::from_secs(24 * 3600)));
}

#[test]
fn one_request_starts_at_once_and_the_rest_at_pace_whenever_the_run_begins() {
    for begin in [Timestamp::ZERO, Timestamp::from_secs(2), at_year(3)] {
        for mut limit in [
            requests(60_000, MINUTE).paced(),
            requests(60_000, MINUTE).bucket(),
        ] {
            let starts = drive(&mut limit, 1, begin, Duration::from_millis(10), on_time);
            let at_once = starts.iter().filter(|&&start| start == begin).count();
            assert_eq!(at_once, 1, "{:?} from {begin:?}", limit.spec.shape);
            assert!((10..=11).contains(&starts.len()), "{}", starts.len());
        }
    }
}

#[test]
fn large_requests_are_paid_for_after_they_start() {
    let mut limit = tokens(60_000, MINUTE).bucket();
    assert!(granted(&mut limit, Timestamp::ZERO, 30_000));
    assert_eq!(limit.earliest(Timestamp::ZERO, 1), Ok(secs(30)));
    assert!(granted(&mut limit, secs(30), 1));
}

#[test]
fn what_exceeds_the_amount_can_never_start() {
    assert_eq!(tokens(100, MINUTE).paced().earliest(secs(1), 101), Err(100));
    assert_eq!(
        tokens(100, MINUTE).bucket().earliest(secs(1), 101),
        Err(100)
    );
    let burst = tokens(100, MINUTE).burst(40, Duration::ZERO);
    assert_eq!(burst.earliest(secs(1), 41), Err(40));
    assert_eq!(burst.earliest(secs(1), 40), Ok(secs(1)));
    let concurrency = Limit::new(LimitSpec::concurrency(5)).unwrap();
    assert_eq!(concurrency.earliest(secs(1), 6), Err(5));
}

#[test]
fn nothing_is_needed_of_a_limit_that_does_not_count_it() {
    let mut limit = tokens(10, MINUTE).paced();
    assert!(granted(&mut limit, secs(1), 10));
    assert_eq!(limit.earliest(secs(1), 0), Ok(secs(1)));
}

#[test]
fn a_declared_burst_starts_with_what_jitter_leaves_of_it() {
    // 100 a second, bucket of 100, 300 ms of jitter: 30 may come at the wrong moment.
    let mut limit = requests(6_000, MINUTE).burst(100, Duration::from_millis(300));
    let starts = drive(&mut limit, 1, secs(5), Duration::from_secs(1), on_time);
    let at_once = starts.iter().filter(|&&start| start == secs(5)).count();
    assert_eq!(at_once, 70);
    assert_eq!(starts.len(), 70 + 100);
    assert_eq!(starts[70], secs(5) + Duration::from_millis(10));
}

#[test]
fn a_burst_that_jitter_eats_up_leaves_one_unit() {
    let mut limit = requests(6_000, MINUTE).burst(20, Duration::from_millis(300));
    let starts = drive(&mut limit, 1, secs(5), Duration::from_secs(1), on_time);
    assert_eq!(starts.len(), 101);
    assert_eq!(starts[1], secs(5) + Duration::from_millis(10));
}

#[test]
fn a_request_beyond_the_safe_part_of_a_burst_waits_until_the_server_is_certainly_full() {
    // Safe part 70 of 100. After 70 the level is full again in 0.7 s, the server's own bucket
    // only when everything has certainly arrived: 0.3 s later.
    let mut limit = tokens(6_000, MINUTE).burst(100, Duration::from_millis(300));
    assert!(granted(&mut limit, secs(5), 70));
    assert_eq!(
        limit.earliest(secs(5), 70),
        Ok(secs(5) + Duration::from_millis(700))
    );
    assert_eq!(limit.earliest(secs(5), 100), Ok(secs(6)));
    assert!(granted(&mut limit, secs(6), 100));
    // And from then on as if only the safe part had been there: no second credit for the wait.
    assert_eq!(
        limit.earliest(secs(6), 1),
        Ok(secs(6) + Duration::from_millis(310))
    );
}

#[test]
fn a_paced_limit_by_the_day_is_counted_and_not_spaced() {
    let mut limit = requests(10_000, DAY).paced();
    let starts = drive(&mut limit, 1, secs(7), 2 * DAY, on_time);
    assert_eq!(
        starts.iter().filter(|&&start| start == secs(7)).count(),
        10_000
    );
    let second = starts[10_000];
    assert!(second >= secs(7) + DAY + DAY / 200, "{second:?}");
    assert!(second <= secs(7) + DAY + DAY / 100, "{second:?}");
}

#[test]
fn a_start_counts_until_it_is_a_window_ago_and_starts_close_together_count_as_the_last() {
    let mut limit = Limit::new(requests(3, DAY).0.jitter(Duration::ZERO)).unwrap();
    assert!(granted(&mut limit, secs(10), 1));
    // A 4,000th of a day is 21.6 s.
    assert!(granted(&mut limit, secs(31), 1));
    assert!(granted(&mut limit, secs(32), 1));
    assert_eq!(limit.earliest(secs(40), 1), Ok(secs(31) + DAY));
    assert_eq!(limit.earliest(secs(40), 2), Ok(secs(31) + DAY));
    assert_eq!(limit.earliest(secs(40), 3), Ok(secs(32) + DAY));
    let too_early = secs(31) + DAY - Duration::from_nanos(1);
    assert!(!granted(&mut limit, too_early, 1));
    assert!(granted(&mut limit, secs(31) + DAY, 2));
}

#[test]
fn paced_never_exceeds_the_amount_in_a_window_plus_jitter_even_for_mixed_sizes() {
    let mut limit = tokens(1_000, Duration::from_secs(10)).paced();
    let mut log = Vec::new();
    let mut now = secs(3);
    let sizes = [1000, 1, 1, 500, 499, 3, 700, 250, 50, 999, 2, 998, 333];
    for &size in sizes.iter().cycle().take(500) {
        now = limit.earliest(now, size).unwrap();
        limit.take(now, size);
        log.push((now, size));
    }
    let stretch = Duration::from_millis(10_050);
    for &(end, _) in &log {
        let within = log
            .iter()
            .filter(|&&(at, _)| at <= end && end.since(at) < stretch);
        let sum: u64 = within.map(|&(_, size)| size).sum();
        assert!(sum <= 1_000, "{sum} in the stretch that ends at {end:?}");
    }
}

#[test]
fn paced_with_large_jitter_slows_down_rather_than_pausing_at_the_end_of_each_window() {
    let second = Duration::from_secs(1);
    for jitter_ms in [5, 50, 300, 1_000] {
        let jitter = Duration::from_millis(jitter_ms);
        let mut limit = Limit::new(requests(100, second).0.jitter(jitter)).unwrap();
        let starts = drive(&mut limit, 1, secs(1), MINUTE, on_time);
        let mean = starts[starts.len() - 1].since(starts[0]) / (starts.len() as u32 - 1);
        let longest = starts.windows(2).map(|pair| pair[1].since(pair[0])).max();
        assert!(
            longest <= Some(mean + mean / 50),
            "{jitter:?}: {longest:?} of {mean:?}"
        );
        // What N / (W + J) allows, less the resolution of the count and of the pace.
        let best = 60_000 * 100 / (1_000 + jitter_ms);
        let got = starts.len() as u64;
        assert!(got * 1_000 >= best * 994, "{jitter:?}: {got} of {best}");
    }
}

#[test]
fn concurrency_waits_for_no_instant_but_for_a_release() {
    let mut limit = Limit::new(LimitSpec::concurrency(2)).unwrap();
    assert!(granted(&mut limit, secs(1), 1));
    assert!(granted(&mut limit, secs(1), 1));
    assert_eq!(limit.earliest(at_year(9), 1), Ok(Timestamp::NEVER));
    limit.release(&Charge::request());
    assert!(granted(&mut limit, secs(1), 1));
}

/// A limit under construction.
struct Rule(LimitSpec);

fn requests(amount: u64, window: Duration) -> Rule {
    Rule(LimitSpec::new("rpm", LimitKind::Requests, amount, window))
}

fn tokens(amount: u64, window: Duration) -> Rule {
    Rule(LimitSpec::new(
        "tpm",
        LimitKind::TotalTokens,
        amount,
        window,
    ))
}

impl Rule {
    fn paced(self) -> Limit {
        Limit::new(self.0).unwrap()
    }

    fn bucket(self) -> Limit {
        Limit::new(self.0.shape(Shape::TokenBucket)).unwrap()
    }

    fn burst(self, burst: u64, jitter: Duration) -> Limit {
        Limit::new(self.0.burst(burst).jitter(jitter)).unwrap()
    }
}

fn secs(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn at_year(year: u64) -> Timestamp {
    secs(year * 365 * 24 * 3600)
}

fn granted(limit: &mut Limit, now: Timestamp, units: u64) -> bool {
    let go = limit.earliest(now, units) == Ok(now);
    if go {
        limit.take(now, units);
    }
    go
}

fn on_time(at: Timestamp) -> Timestamp {
    at
}

/// Starts as much as the limit allows from `begin` for `length`; `wake` says when a timer set for
/// an instant really fires. Returns every start.
fn drive(
    limit: &mut Limit,
    units: u64,
    begin: Timestamp,
    length: Duration,
    mut wake: impl FnMut(Timestamp) -> Timestamp,
) -> Vec<Timestamp> {
    let mut starts = Vec::new();
    let mut now = begin;
    while now <= begin + length {
        let at = limit.earliest(now, units).expect("the size fits");
        if at == now {
            limit.take(now, units);
            starts.push(now);
        } else {
            assert!(at > now, "a promise lies in the future");
            now = wake(at);
        }
    }
    starts
}

/// Share of the rate used from the first start to the last, in thousandths of a per cent.
fn utilisation(starts: &[Timestamp], units: u64, spec: &LimitSpec) -> u128 {
    let elapsed = starts[starts.len() - 1].since(starts[0]).as_nanos();
    let used = (starts.len() as u128 - 1) * u128::from(units);
    used * spec.window.as_nanos() * 100_000 / (u128::from(spec.amount) * elapsed)
}
