//! What the engine makes of levels that replies name.

use super::*;

/// A reading of 600 requests a minute of which so many are left.
fn left(limit: u64, remaining: u64) -> Observation {
    let used = limit - remaining;
    Observation {
        readings: vec![Reading {
            kind: LimitKind::Requests,
            window: None,
            limit: Some(limit),
            remaining: Some(remaining),
            reset: Some(Reset::Full(MINUTE.mul_f64(used as f64 / limit as f64))),
            granularity: 1,
        }],
        charged_tokens: None,
    }
}

fn submit(engine: &mut Engine, now: Timestamp, request: u32) {
    let request = RequestId(request);
    let cost = Cost::request();
    engine.handle_input(now, Input::Submit { request, cost });
}

/// The attempts that start, and the events.
fn drain(engine: &mut Engine) -> (Vec<AttemptId>, Vec<Event>) {
    let (mut starts, mut events) = (Vec::new(), Vec::new());
    while let Some(output) = engine.poll_output() {
        match output {
            Output::Start { attempt, .. } => starts.push(attempt),
            Output::Event(event) => events.push(event),
            _ => {}
        }
    }
    (starts, events)
}

#[test]
fn the_first_request_goes_alone_and_what_its_reply_allows_follows_at_once() {
    let mut config = EngineConfig::new(Vec::new());
    config.upstreams[0].first_alone = true;
    let mut engine = Engine::new(config).unwrap();
    let now = Timestamp::ZERO;
    for request in 0..1_000 {
        submit(&mut engine, now, request);
    }
    let (starts, _) = drain(&mut engine);
    assert_eq!(starts.len(), 1);
    assert_eq!(engine.poll_timeout(), None);
    let now = Timestamp::from_millis(500);
    let attempt = starts[0];
    let observation = left(600, 599);
    engine.handle_input(
        now,
        Input::Observed {
            attempt,
            observation,
        },
    );
    let (starts, events) = drain(&mut engine);
    assert!(starts.is_empty() && events.is_empty());
    // Unless it turns out to be a refusal at this moment, it was none.
    assert_eq!(engine.poll_timeout(), Some(now));
    engine.handle_input(now, Input::Tick);
    let (starts, events) = drain(&mut engine);
    assert!(starts.is_empty(), "it is not over yet");
    assert!(matches!(
        &events[..],
        [Event::LimitLearned { amount: 600, .. }]
    ));
    let result = AttemptResult::Answered(None);
    engine.handle_input(now, Input::Finished { attempt, result });
    let (starts, _) = drain(&mut engine);
    // All but the margin and what others may take before they are noticed.
    assert!((400..600).contains(&starts.len()), "{}", starts.len());
    let binding = engine.status(now).binding.unwrap();
    assert_eq!(engine.limits()[binding].spec.name, "told-rpm");
    assert!(engine.poll_timeout().is_some());
}

#[test]
fn a_reply_that_names_nothing_lets_all_go() {
    let mut config = EngineConfig::new(Vec::new());
    config.upstreams[0].first_alone = true;
    let mut engine = Engine::new(config).unwrap();
    for request in 0..10 {
        submit(&mut engine, Timestamp::ZERO, request);
    }
    let (starts, _) = drain(&mut engine);
    let (attempt, result) = (starts[0], AttemptResult::Answered(None));
    engine.handle_input(Timestamp::ZERO, Input::Finished { attempt, result });
    assert_eq!(drain(&mut engine).0.len(), 9);
}

#[test]
fn what_the_user_gave_stays_an_upper_bound_whatever_the_server_names() {
    let mut engine = Engine::new(learning_rpm(60)).unwrap();
    for request in 0..5 {
        submit(&mut engine, Timestamp::ZERO, request);
    }
    let (starts, _) = drain(&mut engine);
    let attempt = starts[0];
    let observation = left(60_000, 59_999);
    engine.handle_input(
        Timestamp::ZERO,
        Input::Observed {
            attempt,
            observation,
        },
    );
    let result = AttemptResult::Answered(None);
    engine.handle_input(Timestamp::ZERO, Input::Finished { attempt, result });
    assert!(drain(&mut engine).0.is_empty());
    let next = engine.poll_timeout().unwrap();
    assert!(next > Timestamp::from_secs(1), "{next:?}");
    assert_eq!(engine.limits().len(), 2);
}

#[test]
fn what_was_learnt_comes_out_and_goes_in_again() {
    let mut engine = Engine::new(learning_rpm(60)).unwrap();
    submit(&mut engine, Timestamp::ZERO, 0);
    let (starts, _) = drain(&mut engine);
    let attempt = starts[0];
    let observation = left(600, 599);
    engine.handle_input(
        Timestamp::ZERO,
        Input::Observed {
            attempt,
            observation,
        },
    );
    engine.handle_input(Timestamp::ZERO, Input::Tick);
    let learned = engine.learned(UpstreamId(0), Lane(0));
    assert_eq!(learned.limits[0].amount, 600);
    let mut config = learning_rpm(60);
    config.upstreams[0].learned = vec![(Lane(0), learned)];
    let mut engine = Engine::new(config).unwrap();
    submit(&mut engine, Timestamp::ZERO, 0);
    let learned = engine.learned(UpstreamId(0), Lane(0));
    assert_eq!(learned.limits[0].amount, 600);
}

/// As `rpm`, of an upstream whose limits are learnt.
fn learning_rpm(amount: u64) -> EngineConfig {
    let mut config = rpm(amount);
    config.upstreams[0].learning = Learning::Limits;
    config
}

#[test]
fn with_learning_off_what_a_reply_names_changes_nothing() {
    let mut engine = Engine::new(rpm(60)).unwrap();
    submit(&mut engine, Timestamp::ZERO, 0);
    let (starts, _) = drain(&mut engine);
    let attempt = starts[0];
    let observation = left(600, 0);
    engine.handle_input(
        Timestamp::ZERO,
        Input::Observed {
            attempt,
            observation,
        },
    );
    let result = AttemptResult::Answered(None);
    engine.handle_input(Timestamp::ZERO, Input::Finished { attempt, result });
    assert_eq!(engine.limits().len(), 1);
    assert!(engine.learned(UpstreamId(0), Lane(0)).limits.is_empty());
}
