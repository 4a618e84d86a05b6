//! Several upstreams: where a request goes, and what one's trouble means for the others.

use super::*;

#[test]
fn upstreams_of_unequal_limits_are_all_filled() {
    let config = EngineConfig::with(vec![
        upstream("a", 600),
        upstream("b", 300),
        upstream("c", 60),
    ]);
    let mut rig = Rig::new(config, |_, _, _| (SECOND, AttemptResult::Answered(None)));
    submit_all(&mut rig, 2_000);
    rig.run_until(rig.now + MINUTE);
    for (upstream, rpm) in [(0, 600), (1, 300), (2, 60)] {
        let started = count(&rig, upstream);
        // One at the start, and 99.1 % of the rate.
        assert!(started * 100 >= rpm * 99, "{started} of {rpm}");
        assert!(started <= rpm + 1, "{started} of {rpm}");
    }
    rig.input(Input::Stop);
    rig.run();
}

#[test]
fn a_request_goes_where_it_can_start_first() {
    let config = EngineConfig::with(vec![upstream("slow", 6), upstream("fast", 600)]);
    let mut rig = Rig::new(config, |_, _, _| (MS, AttemptResult::Answered(None)));
    submit_all(&mut rig, 3);
    rig.run();
    // Both have one to give at once; the third waits 0.1 s for the fast one, not 10 s.
    assert_eq!(count(&rig, 1), 2);
    assert!(rig.now < Timestamp::from_secs(2));
}

#[test]
fn of_several_that_could_start_it_each_gets_its_weight_and_turns_are_spread() {
    let mut configs = vec![
        UpstreamConfig::new("a", Vec::new()),
        UpstreamConfig::new("b", Vec::new()),
        UpstreamConfig::new("c", Vec::new()),
    ];
    configs[0].weight = 5;
    let mut rig = Rig::new(EngineConfig::with(configs), |_, _, _| {
        (MS, AttemptResult::Answered(None))
    });
    submit_all(&mut rig, 14);
    rig.run();
    let to: Vec<u16> = went(&rig).iter().map(|(_, to)| *to).collect();
    // The order that nginx documents for weights of 5, 1 and 1.
    assert_eq!(to, [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn a_fallback_is_left_alone_while_the_wait_for_the_primary_is_short() {
    let config = EngineConfig::with(vec![
        upstream("primary", 60),
        fallback("fallback", 6_000, 5 * SECOND),
    ]);
    let mut rig = Rig::new(config, |_, _, _| (MS, AttemptResult::Answered(None)));
    submit_all(&mut rig, 30);
    rig.run();
    assert_eq!(count(&rig, 1), 0);
}

#[test]
fn a_fallback_is_used_at_once_when_the_wait_will_exceed_its_threshold() {
    let config = EngineConfig::with(vec![
        upstream("primary", 6),
        fallback("fallback", 6_000, 5 * SECOND),
    ]);
    let mut rig = Rig::new(config, |_, _, _| (MS, AttemptResult::Answered(None)));
    submit_all(&mut rig, 30);
    rig.run();
    // One in ten seconds would come from the primary.
    assert_eq!(count(&rig, 0), 1);
    assert_eq!(count(&rig, 1), 29);
    assert!(rig.now < Timestamp::from_secs(2), "{:?}", rig.now);
}

#[test]
fn a_wait_that_nobody_can_foresee_counts_from_when_the_request_is_next() {
    let mut configs = vec![
        UpstreamConfig::new("primary", vec![LimitSpec::concurrency(1)]),
        fallback("fallback", 6_000, 5 * SECOND),
    ];
    configs[1].limits.clear();
    let mut rig = Rig::new(EngineConfig::with(configs), |_, _, _| {
        (MINUTE, AttemptResult::Answered(None))
    });
    submit_all(&mut rig, 3);
    rig.run();
    let starts = rig.starts();
    let after: Vec<u64> = starts
        .iter()
        .map(|(at, _)| at.since(starts[0].0).as_secs())
        .collect();
    assert_eq!(after, [0, 5, 10]);
    assert_eq!(went(&rig), [(0, 0), (1, 1), (2, 1)]);
}

#[test]
fn a_fallback_takes_everything_when_no_primary_is_of_use() {
    let config = EngineConfig::with(vec![
        upstream("primary", 600),
        fallback("fallback", 600, 60 * MINUTE),
    ]);
    let mut rig = Rig::new(config, |_, _, to| match to.0 {
        0 => (MS, out(Class::Fatal, None)),
        _ => (MS, AttemptResult::Answered(None)),
    });
    submit_all(&mut rig, 20);
    rig.run();
    assert_eq!(count(&rig, 0), 1);
    for request in 0..20 {
        assert_eq!(rig.outcome(request), Some(&Outcome::Answered));
    }
}

#[test]
fn a_wrong_key_takes_out_its_own_upstream_and_costs_the_request_nothing() {
    for class in [Class::Fatal, Class::Exhausted] {
        let mut config = EngineConfig::with(vec![upstream("a", 600), upstream("b", 600)]);
        config.retry.max_attempts = 1;
        let mut rig = Rig::new(config, move |_, _, to| match to.0 {
            0 => (MS, out(class, None)),
            _ => (MS, AttemptResult::Answered(None)),
        });
        submit_all(&mut rig, 20);
        rig.run();
        assert_eq!(rig.engine.stopped(), None);
        assert_eq!(count(&rig, 0), 1);
        let states = rig.engine.upstreams(rig.now);
        assert_eq!(states[0].state, UpstreamState::Out(class));
        assert_eq!(states[1].state, UpstreamState::Ready);
        for request in 0..20 {
            assert_eq!(rig.outcome(request), Some(&Outcome::Answered));
        }
    }
}

#[test]
fn the_run_stops_when_the_last_upstream_is_out_and_says_what_that_one_said() {
    let config = EngineConfig::with(vec![upstream("a", 600), upstream("b", 600)]);
    let mut rig = Rig::new(config, |_, _, to| match to.0 {
        0 => (MS, out(Class::Fatal, None)),
        _ => (SECOND, out(Class::Exhausted, None)),
    });
    submit_all(&mut rig, 20);
    rig.run();
    let last = StopReason::Upstream(Class::Exhausted);
    assert_eq!(rig.engine.stopped(), Some(&last));
    for request in 0..20 {
        assert_eq!(rig.outcome(request), Some(&Outcome::Abandoned));
    }
}

#[test]
fn a_daily_quota_that_is_used_up_parks_its_upstream_until_the_reset() {
    let reset = 8 * 60 * MINUTE;
    let config = EngineConfig::with(vec![upstream("a", 600), upstream("b", 6)]);
    let begin = Timestamp::from_secs(1);
    let mut rig = Rig::new(config, move |now: Timestamp, _, to| match to.0 {
        0 if now < begin + reset => {
            let left = (begin + reset).since(now);
            (Duration::ZERO, out(Class::Exhausted, Some(left)))
        }
        _ => (MS, AttemptResult::Answered(None)),
    });
    submit_all(&mut rig, 5_000);
    rig.run_until(begin + 2 * MINUTE);
    let parked = rig.engine.upstreams(rig.now)[0].state;
    assert_eq!(parked, UpstreamState::Paused(begin + reset));
    assert_eq!(count(&rig, 0), 1);
    rig.run();
    assert_eq!(rig.engine.stopped(), None);
    let first = rig.trace.iter().filter(|(at, output)| {
        let begins = *at >= begin + reset && *at < begin + reset + SECOND;
        begins && matches!(output, Output::Start { upstream, .. } if upstream.0 == 0)
    });
    assert!(first.count() > 5, "it is used again when its quota resets");
}

#[test]
fn a_reset_that_brings_nothing_takes_the_upstream_out() {
    let config = EngineConfig::with(vec![upstream("a", 600), upstream("b", 60)]);
    let mut rig = Rig::new(config, |_, _, to| match to.0 {
        0 => (MS, out(Class::Exhausted, Some(20 * SECOND))),
        _ => (MS, AttemptResult::Answered(None)),
    });
    submit_all(&mut rig, 100);
    rig.run();
    assert_eq!(count(&rig, 0), 2, "one before the reset, one after");
    let state = rig.engine.upstreams(rig.now)[0].state;
    assert_eq!(state, UpstreamState::Out(Class::Exhausted));
}

#[test]
fn the_only_upstream_is_not_waited_for_overnight() {
    let mut rig = Rig::new(rpm(600), |_, _, _| {
        (MS, out(Class::Exhausted, Some(60 * MINUTE)))
    });
    submit_all(&mut rig, 3);
    rig.run();
    let reason = StopReason::Upstream(Class::Exhausted);
    assert_eq!(rig.engine.stopped(), Some(&reason));
    assert!(rig.now < Timestamp::from_secs(2));
}

#[test]
fn a_429_pauses_its_own_upstream_and_the_request_goes_to_another() {
    let config = EngineConfig::with(vec![upstream("a", 600), upstream("b", 600)]);
    let mut rig = Rig::new(config, |_, attempt: AttemptId, to| match to.0 {
        0 if attempt.number == 1 => (MS, throttled(Some(MINUTE))),
        _ => (MS, AttemptResult::Answered(None)),
    });
    submit_all(&mut rig, 50);
    rig.run();
    assert_eq!(count(&rig, 0), 1);
    assert!(rig.now < Timestamp::from_secs(10));
    assert_eq!(rig.engine.status(rig.now).cooldown_until, None);
}

#[test]
fn a_failed_attempt_prefers_another_upstream() {
    let config = EngineConfig::with(vec![
        UpstreamConfig::new("a", Vec::new()),
        UpstreamConfig::new("b", Vec::new()),
    ]);
    let mut rig = Rig::new(config, |_, attempt: AttemptId, _| match attempt.number {
        1 => (MS, failed(Class::Overloaded)),
        _ => (MS, AttemptResult::Answered(None)),
    });
    submit_all(&mut rig, 4);
    rig.run();
    let went = went(&rig);
    for request in 0..4 {
        let to: Vec<u16> = went
            .iter()
            .filter(|(of, _)| *of == request)
            .map(|(_, to)| *to)
            .collect();
        assert_eq!(to.len(), 2);
        assert_ne!(to[0], to[1], "request {request}");
    }
}

#[test]
fn failures_in_a_row_make_an_upstream_ill_and_it_returns_by_and_by() {
    let config = EngineConfig::with(vec![upstream("a", 60_000), upstream("b", 60_000)]);
    let back = Timestamp::from_secs(20);
    let mut rig = Rig::new(config, move |now: Timestamp, _, to| match to.0 {
        0 if now < back => (5 * MS, failed(Class::Overloaded)),
        _ => (100 * MS, AttemptResult::Answered(None)),
    });
    submit_all(&mut rig, 100_000);
    rig.run_until(back);
    let while_ill = count(&rig, 0);
    // Five in a row and what was under way, then single ones after 1, 2, 4 and 8 s.
    assert!((9..=40).contains(&while_ill), "{while_ill}");
    rig.run_until(back + 30 * SECOND);
    let ill: Vec<Timestamp> = rig
        .trace
        .iter()
        .filter_map(|(at, output)| match output {
            Output::Event(Event::UpstreamIll { .. }) => Some(*at),
            _ => None,
        })
        .collect();
    assert!((4..=6).contains(&ill.len()), "{ill:?}");
    let well = rig.trace.iter().find_map(|(at, output)| match output {
        Output::Event(Event::UpstreamWell { upstream }) => Some((*at, upstream.0)),
        _ => None,
    });
    let (well, which) = well.expect("it is well again");
    assert_eq!(which, 0);
    let returning: Vec<Timestamp> = rig
        .trace
        .iter()
        .filter(|(at, output)| {
            let to_it = matches!(output, Output::Start { upstream, .. } if upstream.0 == 0);
            to_it && *at >= back && *at < well
        })
        .map(|(at, _)| *at)
        .collect();
    let first = returning[0];
    let at_once = returning.iter().filter(|at| at.since(first) < 100 * MS);
    assert_eq!(at_once.count(), 1, "one alone shows whether it is back");
    rig.input(Input::Stop);
    rig.run();
}

#[test]
fn waiting_for_a_limit_makes_no_upstream_ill() {
    let mut configs = vec![upstream("a", 1), upstream("b", 1)];
    for config in &mut configs {
        config.limits.push(LimitSpec::concurrency(1));
    }
    let mut rig = Rig::new(EngineConfig::with(configs), |_, _, _| {
        (20 * SECOND, AttemptResult::Answered(None))
    });
    submit_all(&mut rig, 20);
    rig.run();
    let ill = |(_, output): &&(Timestamp, Output)| {
        matches!(output, Output::Event(Event::UpstreamIll { .. }))
    };
    assert_eq!(rig.trace.iter().filter(ill).count(), 0);
    for status in rig.engine.upstreams(rig.now) {
        assert_eq!(status.state, UpstreamState::Ready);
    }
}

#[test]
fn throttling_makes_no_upstream_ill() {
    let config = EngineConfig::with(vec![upstream("a", 6_000), upstream("b", 6_000)]);
    let mut rig = Rig::new(config, |_, attempt: AttemptId, _| match attempt.number {
        1 => (MS, throttled(Some(10 * MS))),
        _ => (MS, AttemptResult::Answered(None)),
    });
    submit_all(&mut rig, 100);
    rig.run();
    for status in rig.engine.upstreams(rig.now) {
        assert_eq!(status.state, UpstreamState::Ready);
    }
}

#[test]
fn when_all_upstreams_are_ill_they_are_used_as_if_none_were() {
    let config = EngineConfig::with(vec![upstream("a", 60_000), upstream("b", 60_000)]);
    let back = Timestamp::from_secs(8);
    let mut rig = Rig::new(config, move |now: Timestamp, _, _| match now < back {
        true => (MS, failed(Class::Overloaded)),
        false => (MS, AttemptResult::Answered(None)),
    });
    submit_all(&mut rig, 10);
    rig.run();
    for request in 0..10 {
        assert_eq!(rig.outcome(request), Some(&Outcome::Answered));
    }
}

#[test]
fn an_upstream_that_cannot_be_reached_does_not_stop_the_others() {
    let config = EngineConfig::with(vec![upstream("a", 6_000), upstream("b", 600)]);
    let mut rig = Rig::new(config, |_, _, to| match to.0 {
        0 => (MS, AttemptResult::NotSent(Failure::new(Class::Transient))),
        _ => (MS, AttemptResult::Answered(None)),
    });
    submit_all(&mut rig, 20_000);
    rig.run();
    assert_eq!(rig.engine.stopped(), None);
    assert!(count(&rig, 0) < 100, "{}", count(&rig, 0));
    let answered = rig.trace.iter().filter(|(_, output)| is_answer(output));
    assert_eq!(answered.count(), 20_000);
}

#[test]
fn keys_of_one_organisation_share_what_it_has_and_keep_their_own() {
    let mut configs = vec![upstream("a", 400), upstream("b", 400)];
    for config in &mut configs {
        config.shares.push("organisation".to_owned());
    }
    let mut config = EngineConfig::with(configs);
    config.shared.push(minutely("organisation", 600));
    let mut rig = Rig::new(config, |_, _, _| (MS, AttemptResult::Answered(None)));
    submit_all(&mut rig, 2_000);
    rig.run_until(rig.now + MINUTE);
    let started = rig.starts().len();
    assert!((594..=601).contains(&started), "{started}");
    assert!(count(&rig, 0) <= 401 && count(&rig, 1) <= 401);
    let limits = rig.engine.limits();
    let shared = limits.iter().find(|limit| limit.upstream.is_none());
    assert_eq!(shared.unwrap().admitted, started as u64);
    rig.input(Input::Stop);
    rig.run();
}

#[test]
fn each_upstream_charges_by_its_own_rule() {
    let tpm = |name: &str, rule| {
        let limit = LimitSpec::new("tpm", LimitKind::TotalTokens, 1_000, MINUTE);
        let mut config = UpstreamConfig::new(name, vec![limit]);
        config.charge_rule = rule;
        config
    };
    let config = EngineConfig::with(vec![
        tpm("sum", ChargeRule::Sum),
        tpm("input", ChargeRule::Input),
    ]);
    let mut rig = Rig::new(config, |_, _, _| (MS, AttemptResult::Answered(None)));
    // 1,100 by the sum, which never fits; 600 by the input.
    rig.submit(0, Cost::tokens(600, 500));
    rig.submit(1, Cost::tokens(1_100, 500));
    rig.run();
    assert_eq!(went(&rig), [(0, 1)]);
    assert_eq!(rig.engine.limits()[1].admitted, 600);
    let Some(Outcome::NeverFits(never)) = rig.outcome(1) else {
        panic!("{:?}", rig.outcome(1))
    };
    assert_eq!((never.limit.as_str(), never.most), ("tpm", 1_000));
}

#[test]
fn units_of_the_drivers_own_are_limited_like_any_other() {
    let images = LimitSpec::new("images", LimitKind::Custom(2), 50, MINUTE).burst(50);
    let mut rig = Rig::new(EngineConfig::new(vec![images]), answers_after(MS));
    let cost = |images| {
        let mut cost = Cost::request();
        cost.custom[2] = images;
        cost
    };
    rig.submit(0, cost(51));
    assert!(matches!(rig.outcome(0), Some(Outcome::NeverFits(_))));
    rig.submit(1, cost(40));
    rig.submit(2, cost(40));
    rig.run_until(rig.now + SECOND);
    assert_eq!(rig.starts().len(), 1);
    assert_eq!(rig.engine.balance().reserved.custom, [0, 0, 40, 0]);
    rig.run();
    assert!(rig.now.since(Timestamp::from_secs(1)) > 30 * SECOND);
}

#[test]
fn when_all_upstreams_have_used_up_their_quotas_the_run_hears_of_it_at_once() {
    let config = EngineConfig::with(vec![upstream("a", 600), upstream("b", 600)]);
    let mut rig = Rig::new(config, |_, _, to| {
        let takes = [MS, SECOND][to.index()];
        (takes, out(Class::Exhausted, Some(12 * 60 * MINUTE)))
    });
    submit_all(&mut rig, 20);
    rig.run();
    let reason = StopReason::Upstream(Class::Exhausted);
    assert_eq!(rig.engine.stopped(), Some(&reason));
    assert!(rig.now < Timestamp::from_secs(10), "{:?}", rig.now);
}
