//! A live engine is told of other limits and upstreams.

use super::*;

#[test]
fn a_raised_limit_is_used_at_once_and_what_was_sent_stays_counted() {
    let mut rig = Rig::new(rpm(60), answers_after(MS));
    submit_all(&mut rig, 3_000);
    rig.run_until(rig.now + MINUTE);
    let before = rig.starts().len();
    assert!((59..=60).contains(&before), "{before}");
    rig.input(Input::Reconfigure(Box::new(rpm(600))));
    rig.run_until(rig.now + MINUTE);
    let after = rig.starts().len() - before;
    assert!((590..=600).contains(&after), "{after}");
    rig.input(Input::Stop);
    rig.run();
}

#[test]
fn a_lowered_limit_waits_for_what_the_window_already_holds() {
    let daily = |amount| {
        EngineConfig::new(vec![LimitSpec::new(
            "rpd",
            LimitKind::Requests,
            amount,
            1440 * MINUTE,
        )])
    };
    let mut rig = Rig::new(daily(100), answers_after(MS));
    submit_all(&mut rig, 60);
    rig.run_until(rig.now + SECOND);
    assert_eq!(rig.starts().len(), 60);
    rig.input(Input::Reconfigure(Box::new(daily(50))));
    rig.submit(100, Cost::request());
    rig.run_until(rig.now + 1000 * MINUTE);
    assert_eq!(rig.starts().len(), 60, "60 of 50 are used for today");
    rig.input(Input::Reconfigure(Box::new(daily(70))));
    for request in 101..200 {
        rig.submit(request, Cost::request());
    }
    rig.run_until(rig.now + SECOND);
    assert_eq!(rig.starts().len(), 70, "of which 60 were sent before");
    rig.input(Input::Stop);
    rig.run();
}

#[test]
fn a_window_made_of_a_bucket_counts_what_the_bucket_lacked() {
    let limit = minutely("rpm", 600);
    let bucket = EngineConfig::new(vec![limit.clone().burst(600).jitter(Duration::ZERO)]);
    let mut rig = Rig::new(bucket, answers_after(MS));
    submit_all(&mut rig, 2_000);
    let burst = rig.starts().len();
    assert_eq!(burst, 600);
    rig.input(Input::Reconfigure(Box::new(EngineConfig::new(vec![
        limit.shape(Shape::Sliding).burst(600),
    ]))));
    rig.run_until(rig.now + 59 * SECOND);
    assert_eq!(rig.starts().len(), burst);
    rig.run_until(rig.now + 3 * SECOND);
    assert!(rig.starts().len() > burst);
    rig.input(Input::Stop);
    rig.run();
}

#[test]
fn places_in_flight_are_counted_on_when_there_are_fewer_of_them() {
    let places = |amount| EngineConfig::new(vec![LimitSpec::concurrency(amount)]);
    let mut rig = Rig::new(places(10), answers_after(10 * SECOND));
    submit_all(&mut rig, 10);
    rig.run_until(rig.now + SECOND);
    for request in 10..40 {
        rig.submit(request, Cost::request());
    }
    rig.input(Input::Reconfigure(Box::new(places(4))));
    rig.run_until(rig.now + 9 * SECOND);
    assert_eq!(rig.starts().len(), 14, "ten ended, four may be in flight");
    rig.input(Input::Reconfigure(Box::new(places(20))));
    assert_eq!(rig.engine.status(rig.now).in_flight, 20);
    rig.run();
}

#[test]
fn an_upstream_can_join_and_leave_a_run() {
    let both = || EngineConfig::with(vec![upstream("a", 600), upstream("b", 600)]);
    let only = |name| EngineConfig::with(vec![upstream(name, 600)]);
    let mut rig = Rig::new(only("a"), |_, _, _| {
        (5 * SECOND, AttemptResult::Answered(None))
    });
    submit_all(&mut rig, 3_000);
    rig.run_until(rig.now + 10 * SECOND);
    rig.input(Input::Reconfigure(Box::new(both())));
    rig.run_until(rig.now + 10 * SECOND);
    let joined = count(&rig, 1);
    assert!((98..=101).contains(&joined), "{joined}");
    let of_a = count(&rig, 0);
    rig.input(Input::Reconfigure(Box::new(only("b"))));
    rig.run_until(rig.now + 10 * SECOND);
    assert_eq!(
        count(&rig, 0),
        of_a,
        "nothing more goes to the one that left"
    );
    assert_eq!(
        rig.engine.upstreams(rig.now)[0].state,
        UpstreamState::Retired
    );
    assert!(rig.engine.limits()[0].retired);
    // Its attempts in flight have ended like any other, and it may come back as itself.
    rig.input(Input::Reconfigure(Box::new(both())));
    rig.run_until(rig.now + 10 * SECOND);
    assert!(count(&rig, 0) > of_a + 90);
    assert_eq!(rig.engine.upstreams(rig.now).len(), 2);
    assert_eq!(rig.engine.limits().len(), 2);
    rig.input(Input::Stop);
    rig.run();
}

#[test]
fn who_comes_back_has_still_sent_what_it_sent() {
    let daily = |name: &str| {
        let rpd = LimitSpec::new("rpd", LimitKind::Requests, 10, 1440 * MINUTE);
        UpstreamConfig::new(name, vec![rpd])
    };
    let mut rig = Rig::new(EngineConfig::with(vec![daily("a")]), |_, _, _| {
        (MS, AttemptResult::Answered(None))
    });
    submit_all(&mut rig, 30);
    rig.run_until(rig.now + MINUTE);
    assert_eq!(rig.starts().len(), 10);
    let tell = |names: &[&str]| {
        let configs = names.iter().map(|name| daily(name)).collect();
        Input::Reconfigure(Box::new(EngineConfig::with(configs)))
    };
    rig.input(tell(&["b"]));
    rig.run_until(rig.now + MINUTE);
    rig.input(tell(&["a", "b"]));
    rig.run_until(rig.now + MINUTE);
    assert_eq!((count(&rig, 0), count(&rig, 1)), (10, 10));
    rig.input(Input::Stop);
    rig.run();
}

#[test]
fn a_key_that_was_out_is_tried_again_when_somebody_has_been_at_it() {
    let config = || EngineConfig::with(vec![upstream("a", 600), upstream("b", 600)]);
    let mut paid = false;
    let mut rig = Rig::new(config(), move |_, _, to| match to.0 {
        0 if !paid => {
            paid = true;
            (MS, out(Class::Exhausted, None))
        }
        _ => (MS, AttemptResult::Answered(None)),
    });
    submit_all(&mut rig, 600);
    rig.run_until(rig.now + 10 * SECOND);
    assert_eq!(count(&rig, 0), 1);
    rig.input(Input::Reconfigure(Box::new(config())));
    rig.run();
    assert!(count(&rig, 0) > 200);
}

#[test]
fn a_configuration_that_is_not_valid_changes_nothing() {
    let mut rig = Rig::new(rpm(60), answers_after(MS));
    submit_all(&mut rig, 30);
    let mut twice = upstream("a", 60);
    twice.limits.push(minutely("rpm", 30));
    let refused = [
        EngineConfig::with(Vec::new()),
        EngineConfig::with(vec![upstream("a", 6), upstream("a", 7)]),
        EngineConfig::with(vec![twice]),
        EngineConfig::new(vec![minutely("rpm", 0)]),
    ];
    for config in refused {
        let before = format!("{:?}", rig.engine.limits());
        rig.input(Input::Reconfigure(Box::new(config)));
        let Some((_, Output::Event(Event::Reconfigured { refused: Some(_) }))) = rig.trace.last()
        else {
            panic!("{:?}", rig.trace.last())
        };
        assert_eq!(format!("{:?}", rig.engine.limits()), before);
    }
    rig.run();
    assert_eq!(rig.starts().len(), 30);
}

#[test]
fn what_fits_no_limit_any_more_ends_and_what_is_in_flight_is_settled() {
    let tpm = |amount| {
        EngineConfig::new(vec![LimitSpec::new(
            "tpm",
            LimitKind::TotalTokens,
            amount,
            MINUTE,
        )])
    };
    let mut rig = Rig::new(tpm(10_000), answers_after(5 * SECOND));
    rig.submit(0, tokens(9_000));
    rig.submit(1, tokens(9_000));
    rig.run_until(rig.now + SECOND);
    rig.input(Input::Reconfigure(Box::new(tpm(5_000))));
    assert!(matches!(rig.outcome(1), Some(Outcome::NeverFits(_))));
    rig.run();
    assert_eq!(rig.outcome(0), Some(&Outcome::Answered));
}

#[test]
fn a_limit_is_grown_into_and_an_idle_hour_earns_no_leap() {
    let ramp = Ramp::new(600);
    let config = EngineConfig::new(vec![minutely("rpm", 6_000).ramp(ramp)]);
    let mut rig = Rig::new(config, answers_after(MS));
    submit_all(&mut rig, 60_000);
    let minute = |rig: &mut Rig<_>| {
        let before = rig.starts().len();
        rig.run_until(rig.now + MINUTE);
        rig.starts().len() - before
    };
    let first = minute(&mut rig);
    assert!((590..=600).contains(&first), "{first}");
    rig.run_until(rig.now + 14 * MINUTE);
    let second = minute(&mut rig);
    assert!((880..=960).contains(&second), "{second}");
    rig.run_until(rig.now + 29 * MINUTE);
    let third = minute(&mut rig);
    // 600 × 1.5³
    assert!((1_950..=2_200).contains(&third), "{third}");
    for request in 0..60_000 {
        rig.input(Input::Cancel(RequestId(request)));
    }
    rig.run_until(rig.now + 120 * MINUTE);
    for request in 100_000..110_000 {
        rig.submit(request, Cost::request());
    }
    let fourth = minute(&mut rig);
    assert!(fourth <= 2_200, "{fourth}");
    rig.input(Input::Stop);
    rig.run();
}

#[test]
fn a_request_larger_than_the_beginning_of_a_ramp_waits_for_it() {
    let tpm = LimitSpec::new("tpm", LimitKind::TotalTokens, 10_000, MINUTE);
    let config = EngineConfig::new(vec![tpm.ramp(Ramp::new(8_000))]);
    let mut rig = Rig::new(config, answers_after(MS));
    for request in 0..100 {
        rig.submit(request, tokens(4_000));
    }
    rig.submit(100, tokens(9_500));
    rig.submit(101, tokens(10_001));
    assert!(matches!(rig.outcome(101), Some(Outcome::NeverFits(_))));
    rig.run();
    assert_eq!(rig.outcome(100), Some(&Outcome::Answered));
}

#[test]
fn a_daily_level_outlives_the_run_that_counted_it() {
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let config = || {
        EngineConfig::new(vec![
            LimitSpec::new("rpd", LimitKind::Requests, 100, hours(24)),
            minutely("rpm", 6_000),
        ])
    };
    let mut first = Rig::new(config(), answers_after(MS));
    submit_all(&mut first, 60);
    first.run();
    let level = first.engine.level(first.now + hours(20), 0);
    let sum: u64 = level.iter().map(|taken| taken.units).sum();
    assert_eq!(sum, 60);
    assert!(level.iter().all(|taken| taken.age > hours(19)));
    // Another process, with an origin of time of its own.
    let mut second = Rig::new(config(), answers_after(MS));
    second.engine.restore_level(second.now, 0, &level);
    submit_all(&mut second, 100);
    second.run_until(second.now + hours(3));
    assert_eq!(second.starts().len(), 40);
    second.run_until(second.now + hours(2));
    assert_eq!(
        second.starts().len(),
        100,
        "what was sent 24 hours ago counts no more"
    );
    second.input(Input::Stop);
    second.run();
}

#[test]
fn a_day_with_a_known_reset_begins_anew_there_and_keeps_its_level_until_then() {
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let config = |edge| {
        EngineConfig::new(vec![
            LimitSpec::new("rpd", LimitKind::Requests, 100, hours(24)).edge(edge),
        ])
    };
    // The reset comes six hours after the start.
    let mut first = Rig::new(config(Timestamp::ZERO + hours(6)), answers_after(MS));
    submit_all(&mut first, 150);
    first.run_until(first.now + hours(5));
    assert_eq!(first.starts().len(), 100);
    first.run_until(first.now + hours(2));
    assert_eq!(first.starts().len(), 150);
    let level = first.engine.level(first.now, 0);
    assert_eq!(level.iter().map(|taken| taken.units).sum::<u64>(), 50);
    // Ten hours before the next reset.
    let later = hours(7);
    let aged: Vec<Taken> = level
        .iter()
        .map(|taken| Taken {
            age: taken.age + later,
            ..*taken
        })
        .collect();
    let mut second = Rig::new(config(Timestamp::ZERO + hours(10)), answers_after(MS));
    second.engine.restore_level(second.now, 0, &aged);
    submit_all(&mut second, 150);
    second.run_until(second.now + hours(9));
    assert_eq!(second.starts().len(), 50);
    second.run_until(second.now + hours(2));
    assert_eq!(second.starts().len(), 150);
    second.run();
}

#[test]
fn the_first_request_of_a_run_may_be_larger_than_the_beginning_of_a_ramp() {
    let tpm = || LimitSpec::new("tpm", LimitKind::TotalTokens, 100_000, MINUTE);
    for limit in [
        tpm().ramp(Ramp::new(10_000)),
        tpm().burst(50_000).ramp(Ramp::new(10_000)),
    ] {
        for small in [0, 3] {
            let config = EngineConfig::new(vec![limit.clone()]);
            let mut rig = Rig::new(config, answers_after(MS));
            for request in 0..small {
                rig.submit(request, tokens(100));
            }
            rig.submit(small, tokens(15_000));
            rig.run_until(rig.now + 60 * MINUTE);
            assert_eq!(rig.outcome(small), Some(&Outcome::Answered), "{limit:?}");
            // No sooner than the ramp has grown by half, in steps of a tenth of its period.
            let start = rig.starts().last().unwrap().0;
            assert!(start >= Timestamp::from_secs(15 * 60), "{start:?}");
        }
    }
}
