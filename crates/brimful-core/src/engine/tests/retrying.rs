//! What is tried again, when, and how often.

use std::cell::RefCell;
use std::rc::Rc;

use super::*;

#[test]
fn transient_errors_are_tried_six_times_with_growing_waits_and_then_end() {
    let mut rig = Rig::new(rpm(6_000), |_, _, _| {
        (Duration::ZERO, failed(Class::Transient))
    });
    submit_all(&mut rig, 200);
    rig.run();
    for request in 0..200 {
        let Some(Outcome::Dead(failure)) = rig.outcome(request) else {
            panic!("{:?}", rig.outcome(request))
        };
        assert_eq!(failure.class, Class::Transient);
        let attempts = rig
            .starts()
            .into_iter()
            .filter(|(_, a)| a.request.0 == request);
        assert_eq!(attempts.count(), 6);
    }
}

#[test]
fn the_backoff_of_each_attempt_is_spread_over_its_whole_length() {
    let mut rig = Rig::new(EngineConfig::new(Vec::new()), |_, _, _| {
        (Duration::ZERO, failed(Class::Overloaded))
    });
    // Few enough for the retry budget to say nothing.
    submit_all(&mut rig, 15);
    rig.run();
    let mut longest = [Duration::ZERO; 7];
    let mut last = [Timestamp::ZERO; 15];
    for (at, AttemptId { request, number }) in rig.starts() {
        let wait = at.since(last[request.0 as usize]);
        last[request.0 as usize] = at;
        longest[number as usize] = longest[number as usize].max(wait);
    }
    for (number, wait) in longest.iter().enumerate().skip(2) {
        let most = SECOND * (1 << (number - 2));
        assert!(
            *wait <= most && *wait > most / 2,
            "attempt {number}: {wait:?}"
        );
    }
}

#[test]
fn an_invalid_answer_is_tried_again_at_once_and_before_fresh_requests() {
    let mut rig = Rig::new(rpm(6_000), |_, attempt: AttemptId, _| {
        match attempt.number {
            1 => (Duration::ZERO, failed(Class::Invalid)),
            _ => (Duration::ZERO, AttemptResult::Answered(None)),
        }
    });
    submit_all(&mut rig, 3);
    rig.run();
    let order: Vec<(u32, u32)> = rig
        .starts()
        .iter()
        .map(|(_, attempt)| (attempt.request.0, attempt.number))
        .collect();
    assert_eq!(order, [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2)]);
    assert!(rig.now.since(Timestamp::from_secs(1)) < 60 * MS);
}

#[test]
fn a_fatal_error_ends_its_request_only() {
    let mut rig = Rig::new(rpm(6_000), |_, attempt: AttemptId, _| {
        match attempt.request.0 {
            1 => (MS, failed(Class::Fatal)),
            _ => (MS, AttemptResult::Answered(None)),
        }
    });
    submit_all(&mut rig, 3);
    rig.run();
    assert_eq!(
        rig.outcome(1),
        Some(&Outcome::Dead(Failure::new(Class::Fatal)))
    );
    assert_eq!(rig.outcome(2), Some(&Outcome::Answered));
    assert_eq!(rig.starts().len(), 3);
}

#[test]
fn what_was_not_sent_is_given_back_to_every_limit() {
    let limits = vec![
        LimitSpec::new("rpd", LimitKind::Requests, 2, 1440 * MINUTE),
        LimitSpec::new("tpd", LimitKind::TotalTokens, 100, 1440 * MINUTE),
        LimitSpec::concurrency(1),
    ];
    let mut rig = Rig::new(
        EngineConfig::new(limits),
        |_, attempt: AttemptId, _| match attempt.number {
            1..=4 => (MS, AttemptResult::NotSent(Failure::new(Class::Transient))),
            _ => (MS, AttemptResult::Answered(None)),
        },
    );
    rig.submit(0, tokens(50));
    rig.submit(1, tokens(50));
    rig.run();
    // Ten attempts, of which two counted: nobody had to wait for tomorrow.
    assert_eq!(rig.starts().len(), 10);
    assert!(rig.now < Timestamp::from_secs(120));
    assert_eq!(rig.engine.limits()[0].admitted, 2);
    assert_eq!(rig.engine.balance().refunded.total, 400);
}

#[test]
fn a_failure_after_sending_is_not_given_back() {
    let limits = vec![LimitSpec::new("rpd", LimitKind::Requests, 2, 1440 * MINUTE)];
    let mut rig = Rig::new(
        EngineConfig::new(limits),
        |_, attempt: AttemptId, _| match attempt.number {
            1..=2 => (MS, failed(Class::Transient)),
            _ => (MS, AttemptResult::Answered(None)),
        },
    );
    rig.submit(0, tokens(50));
    rig.run();
    assert!(rig.now > Timestamp::from_secs(24 * 3600));
    assert_eq!(rig.outcome(0), Some(&Outcome::Answered));
}

#[test]
fn a_request_is_given_up_when_its_next_attempt_would_be_too_old() {
    let mut config = rpm(6_000);
    config.retry.max_request_time = 10 * SECOND;
    config.retry.max_attempts = 1_000;
    let mut rig = Rig::new(config, |_, _, _| (3 * SECOND, failed(Class::Invalid)));
    submit_all(&mut rig, 1);
    rig.run();
    assert_eq!(start_secs(&rig), [0, 3, 6, 9]);
    assert!(matches!(rig.outcome(0), Some(Outcome::Dead(_))));
}

#[test]
fn waiting_to_start_does_not_make_a_request_older() {
    let mut config = rpm(1);
    config.retry.max_request_time = 10 * SECOND;
    let mut rig = Rig::new(config, |_, attempt: AttemptId, _| match attempt.number {
        1 => (MS, failed(Class::Invalid)),
        _ => (MS, AttemptResult::Answered(None)),
    });
    submit_all(&mut rig, 5);
    rig.run();
    // The last one's first attempt started after minutes, and failed at the age of 1 ms.
    assert_eq!(rig.outcome(4), Some(&Outcome::Answered));
}

#[test]
fn the_retry_budget_bounds_retries_in_a_storm_and_drops_none() {
    // Four of five attempts fail, whichever they are.
    let answers = Rc::new(RefCell::new(Vec::new()));
    let drawn = Rc::clone(&answers);
    let mut rng = fastrand::Rng::with_seed(5);
    let mut config = rpm(60_000);
    config.retry.max_attempts = 1_000;
    let mut rig = Rig::new(config, move |_, _, _| {
        let answers = rng.u8(..5) == 0;
        drawn.borrow_mut().push(answers);
        match answers {
            false => (20 * MS, failed(Class::Overloaded)),
            true => (20 * MS, AttemptResult::Answered(None)),
        }
    });
    let count = 1_000;
    submit_all(&mut rig, count);
    rig.run();
    let (mut answered, mut retries) = (0_u64, 0_u64);
    for ((at, attempt), answers) in rig.starts().iter().zip(answers.borrow().iter()) {
        retries += u64::from(attempt.number > 1);
        answered += u64::from(*answers);
        let allowed = 100 + answered + at.since(Timestamp::from_secs(1)).as_millis() as u64 / 100;
        assert!(
            retries <= allowed + 1,
            "{retries} retries of {allowed} at {at:?}"
        );
    }
    for request in 0..count {
        assert_eq!(rig.outcome(request), Some(&Outcome::Answered));
    }
    assert!(retries > 3_000, "{retries}");
}

#[test]
fn a_failure_rate_within_the_retry_budget_delays_nothing() {
    let mut rig = Rig::new(rpm(60_000), |_, attempt: AttemptId, _| {
        let fails = attempt.number == 1 && attempt.request.0.is_multiple_of(6);
        match fails {
            true => (MS, failed(Class::Invalid)),
            false => (MS, AttemptResult::Answered(None)),
        }
    });
    submit_all(&mut rig, 3_000);
    rig.run();
    // 3,500 attempts at 991 a second.
    let took = rig.now.since(Timestamp::from_secs(1));
    assert!(took < 3_600 * MS, "{took:?}");
}

#[test]
fn a_storm_that_is_over_does_not_slow_the_retries_of_an_hour_later() {
    let mut rig = Rig::new(
        EngineConfig::new(Vec::new()),
        |_, attempt: AttemptId, _| match attempt.number {
            1 => (Duration::ZERO, failed(Class::Invalid)),
            _ => (Duration::ZERO, AttemptResult::Answered(None)),
        },
    );
    submit_all(&mut rig, 2_000);
    rig.run();
    assert!(rig.now > Timestamp::from_secs(100), "the storm was spread");
    rig.now = rig.now + 60 * MINUTE;
    let before = rig.now;
    rig.submit(5_000, Cost::request());
    rig.run();
    assert_eq!(rig.now, before);
}

#[test]
fn an_upstream_that_is_away_pauses_everything_and_costs_no_attempts() {
    // It comes back after a minute: far more tries than a request has attempts.
    let back = Timestamp::from_secs(60);
    let mut config = rpm(60_000);
    config.retry.max_attempts = 2;
    let mut rig = Rig::new(config, move |now, attempt: AttemptId, _| {
        match attempt.request.0 > 0 && now < back {
            true => (MS, AttemptResult::NotSent(Failure::new(Class::Transient))),
            false => (MS, AttemptResult::Answered(None)),
        }
    });
    submit_all(&mut rig, 50);
    rig.run();
    for request in 0..50 {
        assert_eq!(rig.outcome(request), Some(&Outcome::Answered));
    }
    let tries_while_away = rig.starts().iter().filter(|(at, _)| *at < back).count();
    assert!(tries_while_away < 30, "{tries_while_away}");
}

#[test]
fn an_upstream_that_was_never_there_stops_the_run_after_half_a_minute() {
    let not_sent = || AttemptResult::NotSent(Failure::new(Class::Transient));
    let mut rig = Rig::new(rpm(60_000), move |_, _, _| (MS, not_sent()));
    submit_all(&mut rig, 3);
    rig.run();
    assert_eq!(rig.engine.stopped(), Some(&StopReason::Unreachable));
    let took = rig.now.since(Timestamp::from_secs(1));
    assert!(took >= 30_000 * MS && took < 65_000 * MS, "{took:?}");
    for request in 0..3 {
        assert_eq!(rig.outcome(request), Some(&Outcome::Abandoned));
    }
}

#[test]
fn one_connection_that_cannot_be_made_while_others_get_through_pauses_nobody() {
    let mut rig = Rig::new(rpm(60_000), |_, attempt: AttemptId, _| {
        match (attempt.request.0, attempt.number) {
            (5, 1) => (
                100 * MS,
                AttemptResult::NotSent(Failure::new(Class::Transient)),
            ),
            _ => (MS, AttemptResult::Answered(None)),
        }
    });
    submit_all(&mut rig, 500);
    rig.run_until(Timestamp::from_secs(1) + 600 * MS);
    assert_eq!(rig.outcome(499), Some(&Outcome::Answered));
    rig.run();
    assert_eq!(rig.outcome(5), Some(&Outcome::Answered));
}
