//! Lanes: who waits holds up nobody who takes nothing from under it.

use super::*;

const A: Lane = Lane(0);
const B: Lane = Lane(1);

#[test]
fn a_lane_that_waits_for_its_model_holds_up_no_other() {
    let limits = vec![
        minutely("a rpm", 6).lanes([A]),
        minutely("b rpm", 6_000).lanes([B]),
    ];
    let mut rig = Rig::new(EngineConfig::new(limits), answers_after(MS));
    for request in 0..5 {
        rig.submit(request, Cost::request().lane(A));
    }
    for request in 5..55 {
        rig.submit(request, Cost::request().lane(B));
    }
    rig.run_until(rig.now + SECOND);
    let of_b = rig.starts().into_iter().filter(|(_, a)| a.request.0 >= 5);
    assert_eq!(of_b.count(), 50);
    assert_eq!(rig.starts().len(), 51);
    rig.run();
}

#[test]
fn a_pool_of_several_models_is_taken_in_the_order_of_age() {
    let limits = vec![minutely("pool", 60).lanes([A, B])];
    let mut rig = Rig::new(EngineConfig::new(limits), answers_after(MS));
    for request in 0..20 {
        rig.submit(
            request,
            Cost::request().lane(Lane(u16::from(request % 3 == 0))),
        );
    }
    rig.run();
    let order: Vec<u32> = rig.starts().iter().map(|(_, a)| a.request.0).collect();
    assert_eq!(order, (0..20).collect::<Vec<u32>>());
}

#[test]
fn small_requests_of_another_lane_do_not_starve_a_large_one() {
    let tpm = LimitSpec::new("tpm", LimitKind::TotalTokens, 60_000, MINUTE).burst(60_000);
    let mut rig = Rig::new(EngineConfig::new(vec![tpm]), answers_after(MS));
    // Empties the bucket.
    rig.submit(0, Cost::tokens(59_000, 0).lane(B));
    rig.submit(1, Cost::tokens(30_000, 0).lane(A));
    for request in 2..600 {
        rig.submit(request, Cost::tokens(500, 0).lane(B));
    }
    rig.run();
    let starts = rig.starts();
    let large = starts.iter().position(|(_, a)| a.request.0 == 1).unwrap();
    // What refills in half a minute is saved for it.
    let waited = starts[large].0.since(Timestamp::from_secs(1));
    assert!(waited < 31 * SECOND, "{waited:?}");
    let before = starts[..large].iter().filter(|(_, a)| a.request.0 > 1);
    assert_eq!(before.count(), 0);
}

#[test]
fn what_the_older_one_does_not_lose_by_may_be_taken_past_it() {
    // A waits a minute for its model; the key's own limit has room for B until then.
    let limits = vec![minutely("key", 600), minutely("a rpm", 1).lanes([A])];
    let mut rig = Rig::new(EngineConfig::new(limits), answers_after(MS));
    rig.submit(0, Cost::request().lane(A));
    rig.submit(1, Cost::request().lane(A));
    for request in 2..500 {
        rig.submit(request, Cost::request().lane(B));
    }
    rig.run();
    let starts = rig.starts();
    let second = starts.iter().find(|(_, a)| a.request.0 == 1).unwrap();
    let waited = second.0.since(starts[0].0);
    assert!(waited < 61 * SECOND, "{waited:?}");
    let past = starts.iter().filter(|(at, _)| *at < second.0).count();
    assert!(past > 490, "{past}");
}

#[test]
fn who_waits_for_a_place_leaves_the_pace_to_others() {
    let limits = vec![minutely("key", 6_000), {
        let mut places = LimitSpec::concurrency(1).lanes([A]);
        places.name = "a places".to_owned();
        places
    }];
    let mut rig = Rig::new(EngineConfig::new(limits), answers_after(10 * SECOND));
    rig.submit(0, Cost::request().lane(A));
    rig.submit(1, Cost::request().lane(A));
    for request in 2..202 {
        rig.submit(request, Cost::request().lane(B));
    }
    rig.run_until(rig.now + 3 * SECOND);
    assert_eq!(rig.starts().len(), 201);
    rig.run();
    let second = rig.starts().into_iter().find(|(_, a)| a.request.0 == 1);
    let waited = second.unwrap().0.since(Timestamp::from_secs(1));
    assert_eq!(
        waited,
        10 * SECOND,
        "its place is taken the moment that it is free"
    );
}

#[test]
fn upstreams_that_serve_some_lanes_get_only_those() {
    let mut configs = vec![upstream("a", 600), upstream("b", 600)];
    configs[0].serves = Some(vec![A]);
    configs[1].serves = Some(vec![A, B]);
    let mut rig = Rig::new(EngineConfig::with(configs), |_, _, _| {
        (MS, AttemptResult::Answered(None))
    });
    for request in 0..40 {
        rig.submit(
            request,
            Cost::request().lane(Lane(u16::from(request % 2 == 1))),
        );
    }
    rig.submit(40, Cost::request().lane(Lane(7)));
    assert_eq!(rig.outcome(40), Some(&Outcome::NoUpstream));
    rig.run();
    assert!(
        went(&rig)
            .iter()
            .all(|(request, to)| request % 2 == 0 || *to == 1)
    );
    assert!(count(&rig, 0) > 10);
}

#[test]
fn a_lane_whose_only_upstream_is_out_ends_and_the_others_go_on() {
    let mut configs = vec![upstream("a", 600), upstream("b", 600)];
    configs[0].serves = Some(vec![A]);
    configs[1].serves = Some(vec![B]);
    let mut rig = Rig::new(EngineConfig::with(configs), |_, _, to| match to.0 {
        0 => (MS, out(Class::Exhausted, None)),
        _ => (MS, AttemptResult::Answered(None)),
    });
    for request in 0..20 {
        rig.submit(
            request,
            Cost::request().lane(Lane(u16::from(request % 2 == 1))),
        );
    }
    rig.run();
    assert_eq!(rig.engine.stopped(), None);
    for request in 0..20 {
        let expected = match request % 2 {
            0 => Outcome::NoUpstream,
            _ => Outcome::Answered,
        };
        assert_eq!(rig.outcome(request), Some(&expected), "request {request}");
    }
}
