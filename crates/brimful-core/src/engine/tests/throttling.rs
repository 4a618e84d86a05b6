//! 429 for speed: the whole upstream pauses, the requests are not to blame.

use super::*;

#[test]
fn a_429_pauses_everything_until_retry_after_and_uses_up_no_attempt() {
    let mut rig = Rig::new(rpm(6_000), |_, attempt: AttemptId, _| {
        match (attempt.request.0, attempt.number) {
            (0, 1..=20) => (10 * MS, throttled(Some(7 * SECOND))),
            _ => (10 * MS, AttemptResult::Answered(None)),
        }
    });
    submit_all(&mut rig, 5);
    rig.run();
    // 20 throttled attempts are more than the 6 that may fail.
    assert_eq!(rig.outcome(0), Some(&Outcome::Answered));
    let starts = rig.starts();
    let of_first = starts.iter().filter(|(_, attempt)| attempt.request.0 == 0);
    assert_eq!(of_first.count(), 21);
    let second = starts.iter().find(|(_, attempt)| attempt.number == 2);
    let paused = second.unwrap().0.since(starts[0].0);
    assert_eq!(paused, 7 * SECOND + 10 * MS);
    let during = starts.iter().filter(|(at, _)| {
        let since = at.since(starts[0].0);
        since > 10 * MS && since < paused
    });
    assert_eq!(during.count(), 0);
}

#[test]
fn several_429_of_one_volley_are_one_episode() {
    // No limit is known: all 50 go out together and come back refused, one after another.
    let mut rig = Rig::new(
        EngineConfig::new(Vec::new()),
        |_, attempt: AttemptId, _| match attempt.number {
            1 => (10 * MS + attempt.request.0 * MS, throttled(None)),
            _ => (10 * MS, AttemptResult::Answered(None)),
        },
    );
    submit_all(&mut rig, 50);
    rig.run();
    // One episode: 1 s after the last refusal, not 2⁵⁰ s.
    let last_refusal = Timestamp::from_secs(1) + 59 * MS;
    for (at, attempt) in rig.starts() {
        if attempt.number == 2 {
            assert_eq!(at, last_refusal + SECOND);
        }
    }
}

#[test]
fn without_retry_after_the_cooldown_doubles_up_to_a_minute() {
    let mut config = rpm(6_000);
    config.retry.max_throttled_time = 60 * MINUTE;
    let mut rig = Rig::new(config, |_, attempt: AttemptId, _| match attempt.number {
        1..=9 => (Duration::ZERO, throttled(None)),
        _ => (Duration::ZERO, AttemptResult::Answered(None)),
    });
    submit_all(&mut rig, 1);
    rig.run();
    let starts = start_secs(&rig);
    let waits: Vec<u64> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
}

#[test]
fn an_answer_resets_the_cooldown_to_its_first_length() {
    let mut rig = Rig::new(rpm(6_000), |_, attempt: AttemptId, _| {
        match attempt.number {
            1..=4 => (Duration::ZERO, throttled(None)),
            _ => (Duration::ZERO, AttemptResult::Answered(None)),
        }
    });
    submit_all(&mut rig, 1);
    rig.run();
    rig.submit(1, Cost::request());
    rig.run();
    let waits: Vec<u64> = start_secs(&rig)
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .collect();
    assert_eq!(waits, [1, 2, 4, 8, 0, 1, 2, 4, 8]);
}

#[test]
fn a_longer_retry_after_extends_the_cooldown_and_a_shorter_one_does_not_cut_it() {
    let mut rig = Rig::new(EngineConfig::new(Vec::new()), |_, attempt: AttemptId, _| {
        let wait = [5, 20, 1][attempt.request.0 as usize];
        match attempt.number {
            1 => (attempt.request.0 * MS, throttled(Some(wait * SECOND))),
            _ => (MS, AttemptResult::Answered(None)),
        }
    });
    submit_all(&mut rig, 3);
    rig.run();
    for (at, attempt) in rig.starts() {
        if attempt.number == 2 {
            assert_eq!(at, Timestamp::from_secs(21) + MS);
        }
    }
}

#[test]
fn retry_after_zero_says_nothing_and_never_makes_a_busy_loop() {
    let mut config = EngineConfig::new(Vec::new());
    config.retry.max_request_time = MINUTE;
    let mut rig = Rig::new(config, |_, _, _| {
        (Duration::ZERO, throttled(Some(Duration::ZERO)))
    });
    submit_all(&mut rig, 1);
    rig.run();
    assert!(rig.starts().len() <= 7, "{}", rig.starts().len());
    assert!(matches!(rig.outcome(0), Some(Outcome::Dead(_))));
}

#[test]
fn attempts_that_were_throttled_leave_all_six_for_real_failures() {
    let mut rig = Rig::new(rpm(6_000), |_, attempt: AttemptId, _| {
        match attempt.number {
            1..=10 => (MS, throttled(Some(MS))),
            _ => (MS, failed(Class::Invalid)),
        }
    });
    submit_all(&mut rig, 1);
    rig.run();
    assert_eq!(rig.starts().len(), 10 + 6);
}

#[test]
fn a_429_empties_the_burst_that_a_declared_bucket_still_had() {
    let limit = LimitSpec::new("rpm", LimitKind::Requests, 600, MINUTE)
        .burst(100)
        .jitter(Duration::ZERO);
    let mut rig = Rig::new(
        EngineConfig::new(vec![limit]),
        |_, attempt: AttemptId, _| match attempt.number {
            1 => (MS, throttled(Some(SECOND))),
            _ => (MS, AttemptResult::Answered(None)),
        },
    );
    rig.submit(0, Cost::request());
    rig.run_until(rig.now + 10 * MS);
    for request in 1..60 {
        rig.submit(request, Cost::request());
    }
    rig.run_until(Timestamp::from_secs(2) + MS);
    // What the second of cooldown earned, and not the 99 that seemed to be left.
    assert_eq!(rig.starts().len(), 1 + 10);
    rig.run();
}

#[test]
fn nothing_but_429_for_15_minutes_stops_the_run() {
    let mut rig = Rig::new(rpm(60), |_, _, _| (10 * MS, throttled(None)));
    submit_all(&mut rig, 3);
    rig.run();
    assert_eq!(rig.engine.stopped(), Some(&StopReason::OnlyThrottled));
    let minutes = rig.now.as_nanos() / 60_000_000_000;
    assert!((15..=16).contains(&minutes), "{minutes}");
    for request in 0..3 {
        assert_eq!(rig.outcome(request), Some(&Outcome::Abandoned));
    }
}

#[test]
fn time_that_the_provider_asked_to_wait_does_not_count_towards_the_15_minutes() {
    let ten_minutes = 10 * MINUTE;
    let mut rig = Rig::new(rpm(60), move |_, attempt: AttemptId, _| {
        match attempt.number {
            1..=50 => (10 * MS, throttled(Some(ten_minutes))),
            _ => (10 * MS, AttemptResult::Answered(None)),
        }
    });
    submit_all(&mut rig, 1);
    rig.run();
    assert_eq!(rig.engine.stopped(), None);
    assert_eq!(rig.outcome(0), Some(&Outcome::Answered));
    assert!(rig.now.since(Timestamp::ZERO) > 8 * 60 * MINUTE);
}

#[test]
fn but_answering_late_with_a_short_retry_after_does() {
    let mut rig = Rig::new(rpm(60), |_, _, _| {
        (50 * SECOND, throttled(Some(10 * SECOND)))
    });
    submit_all(&mut rig, 1);
    rig.run();
    assert_eq!(rig.engine.stopped(), Some(&StopReason::OnlyThrottled));
    // Of each minute 50 s count, the first refusal not.
    let minutes = rig.now.as_nanos() / 60_000_000_000;
    assert!((18..=19).contains(&minutes), "{minutes}");
}

#[test]
fn one_answer_in_between_starts_the_15_minutes_anew() {
    let mut rig = Rig::new(rpm(60), |now: Timestamp, attempt: AttemptId, _| {
        let answers = attempt.request.0 == 0 && now > Timestamp::from_secs(14 * 60);
        let refuses = now < Timestamp::from_secs(28 * 60);
        match answers || !refuses {
            true => (10 * MS, AttemptResult::Answered(None)),
            false => (10 * MS, throttled(None)),
        }
    });
    submit_all(&mut rig, 2);
    rig.run();
    assert_eq!(rig.engine.stopped(), None);
}

#[test]
fn an_hour_with_nothing_to_send_is_not_an_hour_of_429() {
    let mut rig = Rig::new(rpm(60), |_, _, _| (10 * MS, throttled(None)));
    for hour in 0..5 {
        rig.submit(hour, Cost::request());
        rig.run_until(rig.now + 5 * SECOND);
        rig.input(Input::Cancel(RequestId(hour)));
        rig.run_until(rig.now + 60 * MINUTE);
        assert_eq!(rig.engine.stopped(), None);
    }
}

#[test]
fn failures_before_sending_are_no_answers_and_do_not_restart_the_15_minutes() {
    let mut rig = Rig::new(rpm(6_000), |_, attempt: AttemptId, _| {
        match attempt.request.0 {
            0 => (100 * MS, throttled(None)),
            _ => (
                10 * MS,
                AttemptResult::NotSent(Failure::new(Class::Transient)),
            ),
        }
    });
    rig.submit(0, Cost::request());
    for minute in 0..30 {
        rig.run_until(Timestamp::from_secs(minute * 60 + 30));
        let request = 1 + u32::try_from(minute).unwrap();
        if rig.engine.stopped().is_none() {
            rig.submit(request, Cost::request());
        }
    }
    assert_eq!(rig.engine.stopped(), Some(&StopReason::OnlyThrottled));
    rig.run();
}

#[test]
fn a_429_for_an_attempt_that_was_given_up_still_pauses_the_upstream() {
    let mut engine = Engine::new(rpm(6_000)).unwrap();
    let now = Timestamp::from_secs(1);
    let request = RequestId(0);
    engine.handle_input(
        now,
        Input::Submit {
            request,
            cost: Cost::request(),
        },
    );
    let Some(Output::Start { attempt, .. }) = engine.poll_output() else {
        panic!()
    };
    engine.handle_input(now, Input::Cancel(request));
    assert_eq!(engine.poll_output(), Some(Output::Abort { attempt }));
    // The answer was faster than the abort.
    let result = throttled(Some(30 * SECOND));
    engine.handle_input(now, Input::Finished { attempt, result });
    assert_eq!(engine.status(now).cooldown_until, Some(now + 30 * SECOND));
    while let Some(output) = engine.poll_output() {
        if let Output::Finish { outcome, .. } = output {
            assert_eq!(outcome, Outcome::Abandoned);
        }
    }
}

#[test]
fn retry_after_of_any_length_neither_panics_nor_outlasts_the_request() {
    for class in [Class::Throttled, Class::Overloaded, Class::Transient] {
        for wait in [
            Duration::MAX,
            Duration::from_secs(u64::MAX),
            Duration::from_nanos(1),
        ] {
            let failure = Failure {
                retry_after: Some(wait),
                ..Failure::new(class)
            };
            let mut rig = Rig::new(rpm(6_000), move |_, attempt: AttemptId, _| {
                match attempt.number {
                    1 => (MS, AttemptResult::Failed(failure.clone())),
                    _ => (MS, AttemptResult::Answered(None)),
                }
            });
            submit_all(&mut rig, 2);
            rig.run();
            // It pauses the upstream for a day at most: others are still answered.
            assert!(rig.outcome(1).is_some());
            assert!(rig.now < Timestamp::from_secs(25 * 3600), "{:?}", rig.now);
            match wait == Duration::from_nanos(1) {
                true => assert_eq!(rig.outcome(0), Some(&Outcome::Answered)),
                false => assert!(matches!(rig.outcome(0), Some(Outcome::Dead(_)))),
            }
        }
    }
}
