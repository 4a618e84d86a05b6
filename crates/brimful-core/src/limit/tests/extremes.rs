//! The ends of every range; debug builds check each addition for overflow.

use super::*;
use crate::limit::window::Window;

const MONTH: Duration = WINDOW_MAX;
const SHAPES: [Shape; 4] = [
    Shape::Paced,
    Shape::TokenBucket,
    Shape::Sliding,
    Shape::Fixed,
];

#[test]
fn one_request_a_minute_and_one_a_month_keep_their_distance() {
    let mut limit = requests(1, MINUTE).paced();
    let starts = drive(&mut limit, 1, secs(0), 10 * MINUTE, on_time);
    assert_eq!(starts.len(), 10);
    for pair in starts.windows(2) {
        let distance = pair[1].since(pair[0]);
        assert!(distance > MINUTE && distance < MINUTE + MINUTE / 50);
    }
    let mut limit = requests(1, MONTH).paced();
    let starts = drive(&mut limit, 1, secs(0), 5 * MONTH, on_time);
    assert_eq!(starts.len(), 5);
    assert!(starts.windows(2).all(|pair| pair[1].since(pair[0]) > MONTH));
    let mut limit = requests(1, MONTH).bucket();
    let starts = drive(&mut limit, 1, secs(0), 5 * MONTH, on_time);
    assert_eq!(starts.len(), 6);
}

#[test]
fn the_ends_of_every_range_neither_panic_nor_overflow() {
    for amount in [1, 2, AMOUNT_MAX - 1, AMOUNT_MAX] {
        for window in [WINDOW_MIN, Duration::from_secs(1), MONTH] {
            for begin in [Timestamp::ZERO, at_year(1), at_year(500), Timestamp::NEVER] {
                for mut limit in every_shape(amount, window) {
                    exercise(&mut limit, begin);
                }
            }
        }
    }
}

#[test]
fn the_largest_amount_in_the_shortest_window_is_used_in_full() {
    let length = Duration::from_millis(100);
    let mut limit = tokens(AMOUNT_MAX, WINDOW_MIN).bucket();
    let starts = drive(&mut limit, AMOUNT_MAX, secs(0), length, on_time);
    assert_eq!(starts.len(), 101);
    let mut limit = tokens(AMOUNT_MAX, WINDOW_MIN).paced();
    let starts = drive(&mut limit, AMOUNT_MAX, secs(0), length, on_time);
    assert_eq!(starts.len(), 100);
}

#[test]
fn usage_that_no_answer_can_have_leaves_a_debt_that_ends() {
    for amount in [1, 60_000, AMOUNT_MAX] {
        for window in [WINDOW_MIN, MINUTE, MONTH] {
            for mut limit in every_shape(amount, window) {
                let what = format!("{amount} per {window:?}, {:?}", limit.spec);
                let units = limit.spec.burst.unwrap_or(amount).min(amount);
                limit.take(secs(1), units);
                for _ in 0..100_000 {
                    limit.settle(secs(2), secs(1), units, u64::MAX);
                }
                let at = limit.earliest(secs(2), 1).unwrap();
                // Not "when something ends": nothing is in flight that could end the wait.
                assert!(at < at_year(1), "{what}: {at:?}");
                assert_eq!(limit.earliest(at, 1), Ok(at), "{what}");
            }
        }
    }
}

#[test]
fn a_clock_that_steps_back_never_frees_anything_early() {
    for mut limit in every_shape(1, MINUTE) {
        let what = format!("{:?}", limit.spec);
        assert!(granted(&mut limit, secs(1000), 1));
        let forward = limit.earliest(secs(1000), 1).unwrap();
        if forward == secs(1000) {
            continue; // A burst with room for more.
        }
        let back = limit.earliest(secs(400), 1).unwrap();
        assert_eq!(back, forward, "{what}");
        assert!(!granted(&mut limit, secs(999), 1), "{what}");
        assert!(granted(&mut limit, forward, 1), "{what}");
        limit.settle(secs(1), secs(1000), 1, 0);
        limit.drain(secs(2));
    }
}

#[test]
fn a_window_remembers_a_bounded_number_of_starts() {
    let mut window = Window::new(u64::MAX / 4, 60_000_000_000);
    let mut rng = fastrand::Rng::with_seed(3);
    let mut now = secs(1);
    for _ in 0..40_000 {
        window.take(now, 1);
        let step = Duration::from_nanos(rng.u64(0..30_000_000));
        now = if rng.u8(0..4) == 0 {
            now - step
        } else {
            now + step
        };
        assert!(window.entries() <= 4_002);
    }
}

#[test]
fn absurd_specifications_are_refused_with_a_reason() {
    let check = |spec: LimitSpec| Limit::new(spec).map(|_| ()).unwrap_err().to_string();
    let text = check(requests(0, MINUTE).0);
    assert_eq!(text, "limit `rpm`: 0 is not between 1 and 1000000000000000");
    let text = check(requests(AMOUNT_MAX + 1, MINUTE).0);
    assert!(text.contains("is not between"));
    for window in [Duration::ZERO, Duration::from_micros(999), Duration::MAX] {
        assert!(check(requests(1, window).0).contains("not between 1 ms and 31 days"));
    }
    assert!(check(requests(1, MINUTE).0.burst(0)).contains("is not between"));
    assert!(check(requests(1, MINUTE).0.burst(u64::MAX)).contains("is not between"));
    let text = check(requests(1, MINUTE).0.burst(5).shape(Shape::Paced));
    assert_eq!(
        text,
        "limit `rpm`: a burst needs the shape `token-bucket`, `sliding` or `fixed`"
    );
    let text = check(requests(1, MINUTE).0.edge(secs(1)).shape(Shape::Sliding));
    assert_eq!(text, "limit `rpm`: an edge needs the shape `fixed`");
    for shape in SHAPES {
        let text = check(requests(1, MINUTE).0.shape(shape).jitter(Duration::MAX));
        assert!(text.contains("is longer than 31 days"), "{text}");
    }
    assert!(Limit::new(LimitSpec::concurrency(0)).is_err());
}

fn every_shape(amount: u64, window: Duration) -> Vec<Limit> {
    let burst = |burst, jitter| tokens(amount, window).burst(burst, jitter);
    vec![
        tokens(amount, window).paced(),
        Limit::new(tokens(amount, window).0.jitter(MONTH)).unwrap(),
        tokens(amount, window).bucket(),
        burst(1, Duration::ZERO),
        burst(1, MONTH),
        burst(AMOUNT_MAX, Duration::ZERO),
        burst(AMOUNT_MAX, MONTH),
        Limit::new(tokens(amount, window).0.burst(amount)).unwrap(),
    ]
    .into_iter()
    .chain(every_window(amount, window))
    .collect()
}

/// `sliding` and `fixed`: bursts, edges and jitters at the ends of their ranges.
fn every_window(amount: u64, window: Duration) -> Vec<Limit> {
    let spec = |shape| tokens(amount, window).0.shape(shape);
    let mut limits = Vec::new();
    for edge in [Timestamp::ZERO, secs(7), at_year(500), Timestamp::NEVER] {
        limits.push(spec(Shape::Fixed).edge(edge));
        limits.push(spec(Shape::Fixed).edge(edge).burst(amount));
        limits.push(spec(Shape::Fixed).edge(edge).jitter(Duration::ZERO));
        let most = window - Duration::from_nanos(1);
        limits.push(spec(Shape::Fixed).edge(edge).jitter(most));
        limits.push(spec(Shape::Fixed).edge(edge).jitter(window));
    }
    for shape in [Shape::Sliding, Shape::Fixed] {
        limits.push(spec(shape));
        limits.push(spec(shape).burst(1));
        limits.push(spec(shape).burst(AMOUNT_MAX).jitter(Duration::ZERO));
        limits.push(spec(shape).jitter(MONTH));
    }
    limits
        .into_iter()
        .map(|spec| Limit::new(spec).unwrap())
        .collect()
}

/// Every operation at and around one instant.
fn exercise(limit: &mut Limit, begin: Timestamp) {
    let most = limit.earliest(begin, u64::MAX).unwrap_err();
    for units in [most, 1, most.div_ceil(2)] {
        for _ in 0..3 {
            let at = limit.earliest(begin, units).unwrap();
            if at != Timestamp::NEVER {
                assert_eq!(limit.earliest(at, units), Ok(at), "{:?}", limit.spec);
            }
            limit.take(at, units);
            limit.settle(at, at, units, 0);
            limit.take(at, units);
            limit.settle(at, at, units, u64::MAX);
            limit.drain(at);
        }
    }
}
