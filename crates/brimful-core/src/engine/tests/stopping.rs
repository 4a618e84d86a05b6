//! Cancelling one request and stopping all.

use super::*;

#[test]
fn a_wrong_key_stops_the_run_and_leaves_its_request_unanswered() {
    let wrong_key = Failure {
        scope: Scope::Upstream,
        ..Failure::new(Class::Fatal)
    };
    let mut rig = Rig::new(rpm(6_000), move |_, attempt: AttemptId, _| {
        match attempt.request.0 {
            2 => (5 * MS, AttemptResult::Failed(wrong_key.clone())),
            _ => (100 * MS, AttemptResult::Answered(None)),
        }
    });
    submit_all(&mut rig, 10);
    rig.run();
    assert_eq!(
        rig.engine.stopped(),
        Some(&StopReason::Upstream(Class::Fatal))
    );
    // What was in flight is still answered; the rest may be sent by another run.
    for (request, expected) in [
        (0, Outcome::Answered),
        (1, Outcome::Answered),
        (2, Outcome::Abandoned),
        (3, Outcome::Abandoned),
        (9, Outcome::Abandoned),
    ] {
        assert_eq!(rig.outcome(request), Some(&expected), "request {request}");
    }
    assert_eq!(rig.starts().len(), 3);
}

#[test]
fn an_empty_wallet_stops_the_run_but_a_spent_request_quota_does_not() {
    for (scope, stops) in [(Scope::Upstream, true), (Scope::Request, false)] {
        let failure = Failure {
            scope,
            ..Failure::new(Class::Exhausted)
        };
        let mut rig = Rig::new(rpm(6_000), move |_, attempt: AttemptId, _| {
            match attempt.request.0 {
                0 => (MS, AttemptResult::Failed(failure.clone())),
                _ => (MS, AttemptResult::Answered(None)),
            }
        });
        submit_all(&mut rig, 2);
        rig.run();
        assert_eq!(rig.engine.stopped().is_some(), stops);
        assert_eq!(rig.outcome(1) == Some(&Outcome::Answered), !stops);
    }
}

#[test]
fn a_stop_abandons_what_waits_and_awaits_what_is_in_flight() {
    let limits = vec![LimitSpec::concurrency(2)];
    let mut rig = Rig::new(
        EngineConfig::new(limits),
        |_, attempt: AttemptId, _| match attempt.request.0 {
            0 => (SECOND, AttemptResult::Answered(None)),
            _ => (SECOND, failed(Class::Transient)),
        },
    );
    submit_all(&mut rig, 5);
    rig.input(Input::Stop);
    assert_eq!(rig.engine.status(rig.now).in_flight, 2);
    let abandoned: Vec<u32> = rig
        .trace
        .iter()
        .filter_map(|(_, output)| match output {
            Output::Finish { request, .. } => Some(request.0),
            _ => None,
        })
        .collect();
    assert_eq!(abandoned, [2, 3, 4], "in their order");
    rig.submit(7, Cost::request());
    assert_eq!(rig.outcome(7), Some(&Outcome::Abandoned));
    rig.run();
    assert_eq!(rig.outcome(0), Some(&Outcome::Answered));
    // It would have been tried again: it is not a dead letter.
    assert_eq!(rig.outcome(1), Some(&Outcome::Abandoned));
    assert_eq!(rig.engine.poll_timeout(), None);
}

#[test]
fn a_stop_in_a_cooldown_or_a_backoff_leaves_nothing_to_wait_for() {
    for result in [throttled(Some(MINUTE)), failed(Class::Transient)] {
        let mut rig = Rig::new(rpm(60), move |_, _, _| (MS, result.clone()));
        submit_all(&mut rig, 3);
        rig.run_until(rig.now + 2 * MS);
        assert!(rig.engine.poll_timeout().is_some());
        rig.input(Input::Stop);
        assert_eq!(rig.engine.poll_timeout(), None);
        rig.run();
        assert_eq!(rig.outcome(0), Some(&Outcome::Abandoned));
    }
}

#[test]
fn a_wrong_key_found_while_stopping_is_the_graver_reason() {
    let wrong_key = Failure {
        scope: Scope::Upstream,
        ..Failure::new(Class::Fatal)
    };
    let mut rig = Rig::new(rpm(60), move |_, _, _| {
        (MS, AttemptResult::Failed(wrong_key.clone()))
    });
    submit_all(&mut rig, 2);
    rig.input(Input::Stop);
    rig.run();
    assert_eq!(
        rig.engine.stopped(),
        Some(&StopReason::Upstream(Class::Fatal))
    );
    rig.input(Input::Stop);
    assert_eq!(
        rig.engine.stopped(),
        Some(&StopReason::Upstream(Class::Fatal))
    );
}

#[test]
fn a_queued_request_is_cancelled_wherever_it_waits() {
    let mut rig = Rig::new(rpm(60), |_, attempt: AttemptId, _| {
        match attempt.request.0 {
            0 => (MS, throttled(Some(MINUTE))),
            _ => (MS, AttemptResult::Answered(None)),
        }
    });
    submit_all(&mut rig, 3);
    rig.run_until(rig.now + SECOND);
    // 0 waits for the cooldown, 2 is fresh.
    rig.input(Input::Cancel(RequestId(0)));
    rig.input(Input::Cancel(RequestId(2)));
    rig.input(Input::Cancel(RequestId(2)));
    rig.input(Input::Cancel(RequestId(99)));
    rig.run();
    assert_eq!(rig.outcome(0), Some(&Outcome::Abandoned));
    assert_eq!(rig.outcome(1), Some(&Outcome::Answered));
    assert_eq!(rig.outcome(2), Some(&Outcome::Abandoned));

    let mut rig = Rig::new(rpm(60), |_, _, _| (MS, failed(Class::Transient)));
    submit_all(&mut rig, 1);
    rig.run_until(rig.now + 2 * MS);
    assert_eq!(rig.engine.status(rig.now).backing_off, 1);
    rig.input(Input::Cancel(RequestId(0)));
    rig.run();
    assert_eq!(rig.starts().len(), 1);
}

#[test]
fn a_request_in_flight_is_aborted_once_and_its_place_is_free_again() {
    let limits = vec![LimitSpec::concurrency(1)];
    let mut rig = Rig::new(EngineConfig::new(limits), answers_after(SECOND));
    submit_all(&mut rig, 2);
    rig.input(Input::Cancel(RequestId(0)));
    rig.input(Input::Cancel(RequestId(0)));
    let aborts = rig
        .trace
        .iter()
        .filter(|(_, output)| matches!(output, Output::Abort { .. }));
    assert_eq!(aborts.count(), 1);
    assert_eq!(rig.starts().len(), 2);
    rig.run();
    assert_eq!(rig.outcome(0), Some(&Outcome::Abandoned));
    assert_eq!(rig.outcome(1), Some(&Outcome::Answered));
}

#[test]
fn an_answer_that_outruns_its_abort_is_kept() {
    let mut engine = Engine::new(rpm(60)).unwrap();
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
    let result = AttemptResult::Answered(None);
    engine.handle_input(now, Input::Finished { attempt, result });
    let outcome = Outcome::Answered;
    assert_eq!(
        engine.poll_output(),
        Some(Output::Finish { request, outcome })
    );
}
