//! Limits and behaviour that change while the server runs.

use std::time::Duration;

use brimful_core::Timestamp;
use brimful_sim::{
    Action, Change, ConfigError, ConfigPatch, Ending, Enforcement, Outage, ScriptStep, Server,
    ServerConfig,
};

use super::{MINUTE, SECOND, admits, ask, requests, server, status};

fn patch(change: impl FnOnce(&mut ConfigPatch)) -> ConfigPatch {
    let mut patch = ConfigPatch::default();
    change(&mut patch);
    patch
}

fn step(secs: u64, change: impl FnOnce(&mut ConfigPatch)) -> ScriptStep {
    ScriptStep {
        after: Duration::from_secs(secs),
        patch: patch(change),
    }
}

/// How many small requests are admitted at once.
fn room(server: &mut Server, at: Timestamp) -> u64 {
    (0..1_000).take_while(|_| admits(server, at)).count() as u64
}

#[test]
fn a_bucket_stays_as_full_as_it_was_in_proportion() {
    let mut server = server(|c| {
        c.rpm = Some(100);
        c.burst = MINUTE;
    });
    for _ in 0..50 {
        assert!(admits(&mut server, Timestamp::ZERO));
    }
    let larger = patch(|p| p.rpm = Change::Set(400));
    server.apply(Timestamp::ZERO, &larger).unwrap();
    assert_eq!(room(&mut server, Timestamp::ZERO), 200);
    let smaller = patch(|p| p.burst = Some(Duration::from_secs(15)));
    server.apply(Timestamp::from_secs(30), &smaller).unwrap();
    assert_eq!(room(&mut server, Timestamp::from_secs(30)), 50);
}

#[test]
fn a_debt_takes_the_same_time_to_pay_off() {
    let mut server = server(|c| {
        c.tpm = Some(600);
        c.burst = SECOND;
    });
    drop(ask(&mut server, Timestamp::ZERO, 0, 310));
    let slower = patch(|p| p.tpm = Change::Set(60));
    server.apply(Timestamp::ZERO, &slower).unwrap();
    // 300 of the 310 tokens are owed: 30 s. The bucket holds one token then, which takes 1 s more.
    assert!(!admits(
        &mut server,
        Timestamp::from_nanos(31 * 1_000_000_000 - 1)
    ));
    assert!(admits(&mut server, Timestamp::from_secs(31)));
}

#[test]
fn counts_and_lists_stay_as_they_are() {
    for enforcement in [
        Enforcement::FixedWindow,
        Enforcement::SlidingLog,
        Enforcement::SlidingCounter,
    ] {
        let mut server = server(|c| {
            c.rpm = Some(10);
            c.enforcement = enforcement;
            c.window_phase = Some(Duration::ZERO);
        });
        for _ in 0..5 {
            assert!(admits(&mut server, Timestamp::ZERO));
        }
        let now = Timestamp::from_secs(1);
        server
            .apply(now, &patch(|p| p.rpm = Change::Set(7)))
            .unwrap();
        assert_eq!(room(&mut server, now), 2, "{enforcement:?}");
        server
            .apply(now, &patch(|p| p.rpm = Change::Set(3)))
            .unwrap();
        assert_eq!(room(&mut server, now), 0, "{enforcement:?}");
        assert_eq!(
            room(&mut server, Timestamp::from_secs(121)),
            3,
            "{enforcement:?}"
        );
    }
}

#[test]
fn another_way_of_judging_starts_fresh_and_so_does_a_new_limit() {
    let mut server = server(|c| c.rpm = Some(600));
    assert_eq!(room(&mut server, Timestamp::ZERO), 10);
    let fixed = patch(|p| p.enforcement = Some(Enforcement::FixedWindow));
    server.apply(Timestamp::ZERO, &fixed).unwrap();
    assert_eq!(room(&mut server, Timestamp::ZERO), 600);
    let other = patch(|p| {
        p.rpm = Change::Clear;
        p.limits = Some(vec![requests(3, SECOND)]);
    });
    server.apply(Timestamp::ZERO, &other).unwrap();
    assert_eq!(room(&mut server, Timestamp::ZERO), 3);
    // The refusals of the limit that is gone are still known.
    let stats = server.stats();
    assert_eq!(
        (stats.throttled.requests_per_minute, stats.throttled.other),
        (2, 1)
    );
    assert_eq!(stats.limits.len(), 1);
}

#[test]
fn what_a_change_does_not_mention_keeps_its_level() {
    let mut server = server(|c| {
        c.tpm = Some(600);
        c.rpm = Some(600);
        c.enforcement = Enforcement::TokenBucket;
    });
    drop(ask(&mut server, Timestamp::ZERO, 0, 500));
    assert_eq!(room(&mut server, Timestamp::ZERO), 0);
    let faults = patch(|p| p.error_share = Some(1.0));
    server.apply(Timestamp::ZERO, &faults).unwrap();
    assert!(!admits(&mut server, Timestamp::from_secs(49)));
    assert_eq!(
        status(&ask(&mut server, Timestamp::from_secs(50), 1, 1)),
        500
    );
}

#[test]
fn a_change_that_cannot_be_served_changes_nothing() {
    let mut server = server(|c| c.rpm = Some(600));
    let before = server.config().clone();
    let wrong = patch(|p| {
        p.rpm = Change::Set(60);
        p.error_share = Some(2.0);
    });
    let refused = server.apply(Timestamp::ZERO, &wrong);
    assert!(matches!(refused, Err(ConfigError::ShareOutOfRange { .. })));
    assert_eq!(*server.config(), before);
    assert_eq!(room(&mut server, Timestamp::ZERO), 10);
}

#[test]
fn the_script_is_carried_out_at_its_times_in_any_order() {
    let mut server = server(|c| {
        c.script = vec![
            step(20, |p| p.error_share = Some(0.0)),
            step(10, |p| p.error_share = Some(1.0)),
            step(30, |p| p.rps = Change::Set(1)),
        ];
    });
    let mut at = |ms| {
        let reply = ask(&mut server, Timestamp::from_millis(ms), 1, 1);
        let status = status(&reply);
        server.finished(Timestamp::from_millis(ms), reply.ticket, Ending::Sent);
        status
    };
    let asked = [
        9_999, 10_000, 19_999, 20_000, 29_999, 29_999, 30_000, 30_000,
    ];
    let statuses = asked.map(&mut at);
    assert_eq!(statuses, [200, 500, 500, 200, 200, 200, 200, 429]);
    assert_eq!(server.stats().script_steps, 3);
}

#[test]
fn a_script_that_cannot_be_followed_is_refused_before_it_starts() {
    let mut config = ServerConfig::default();
    config.script = vec![
        step(10, |p| p.error_share = Some(0.6)),
        step(20, |p| p.reset_share = Some(0.6)),
    ];
    let refused = Server::new(config, 1);
    assert!(
        matches!(&refused, Err(ConfigError::ScriptStep { after, .. }) if after.as_secs() == 20),
        "{refused:?}"
    );
}

#[test]
fn a_step_that_other_changes_have_made_impossible_is_left_out_and_counted() {
    let mut server = server(|c| c.script = vec![step(10, |p| p.error_share = Some(0.6))]);
    let resets = patch(|p| p.reset_share = Some(0.6));
    server.apply(Timestamp::ZERO, &resets).unwrap();
    server.accepts_connections(Timestamp::from_secs(11));
    let stats = server.stats();
    assert_eq!((stats.script_steps, stats.script_steps_refused), (0, 1));
    assert!(server.config().error_share == 0.0);
}

#[test]
fn an_outage_serves_nobody_and_charges_nothing() {
    let mut server = server(|c| {
        c.rpm = Some(60);
        c.script = vec![
            step(10, |p| p.outage = Change::Set(Outage::Refuse)),
            step(20, |p| p.outage = Change::Set(Outage::Hang)),
            step(30, |p| p.outage = Change::Set(Outage::Reset)),
            step(40, |p| p.outage = Change::Set(Outage::Unavailable)),
            step(50, |p| p.outage = Change::Clear),
        ];
    });
    let mut at = |secs| {
        let now = Timestamp::from_secs(secs);
        let accepts = server.accepts_connections(now);
        let reply = ask(&mut server, now, 1, 1);
        server.finished(now, reply.ticket, Ending::Sent);
        (accepts, reply.action)
    };
    assert!(matches!(at(5), (true, Action::Respond { status, .. }) if status == 200));
    assert!(matches!(at(15), (false, Action::Reset)));
    assert!(matches!(at(25), (true, Action::Hang)));
    assert!(matches!(at(35), (true, Action::Reset)));
    assert!(matches!(at(45), (true, Action::Respond { status, .. }) if status == 503));
    assert!(matches!(at(50), (true, Action::Respond { status, .. }) if status == 200));
    let stats = server.stats();
    assert_eq!(
        (stats.outage, stats.requests_admitted, stats.answered),
        (4, 2, 2)
    );
    assert_eq!(stats.in_flight, 0);
}

#[test]
fn a_saturated_server_is_slower_in_proportion_to_what_is_in_flight() {
    let mut server = server(|c| {
        c.latency_ms_median = 100.0;
        c.latency_ms_per_token = 10.0;
        c.output_tokens_median = 5.0;
        c.saturation_in_flight = Some(2);
    });
    let delays = [(); 6].map(|()| ask(&mut server, Timestamp::ZERO, 1, 10).delay);
    let expected = [150, 150, 225, 300, 375, 450].map(Duration::from_millis);
    assert_eq!(delays, expected);
}

#[test]
fn arrival_delays_are_drawn_as_configured_and_disturb_nothing_else() {
    let set = |c: &mut ServerConfig| {
        c.arrival_delay_ms_median = 40.0;
        c.arrival_delay_sigma = 0.5;
        c.arrival_delay_max = Some(Duration::from_millis(100));
        c.latency_ms_median = 10.0;
        c.latency_sigma = 0.5;
    };
    let (mut server, mut other) = (server(set), server(set));
    let mut delays: Vec<Duration> = (0..10_001)
        .map(|_| server.arrival_delay(Timestamp::ZERO))
        .collect();
    delays.sort_unstable();
    let median = delays[5_000].as_secs_f64() * 1_000.0;
    assert!((median - 40.0).abs() < 1.0, "{median}");
    assert_eq!(delays[10_000], Duration::from_millis(100));
    assert!(delays[9_000] < Duration::from_millis(100));
    let after = ask(&mut server, Timestamp::ZERO, 1, 1).delay;
    assert_eq!(after, ask(&mut other, Timestamp::ZERO, 1, 1).delay);
}
