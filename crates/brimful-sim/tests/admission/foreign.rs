//! Tenants who share the limits.

use brimful_core::Timestamp;
use brimful_sim::{Enforcement, LimitStats, Server};

use super::{MINUTE, SECOND, admits, ask, seeded, server};

fn limit(server: &Server, name: &str) -> LimitStats {
    let limits = server.stats().limits;
    limits.into_iter().find(|limit| limit.name == name).unwrap()
}

#[test]
fn foreign_tenants_ask_for_their_share_of_each_limit() {
    let mut server = server(|c| {
        c.rpm = Some(6_000);
        c.tpm = Some(600_000);
        c.burst = MINUTE;
        c.foreign_share = 0.3;
        c.foreign_tokens = Some(100);
    });
    assert!(admits(&mut server, Timestamp::from_secs(1_000)));
    // 1,000 s at 30 requests/s, and at 30 × 100 tokens/s: 30,000 arrivals each, σ = 173.
    for name in ["rpm", "tpm"] {
        let limit = limit(&server, name);
        let arrived = limit.foreign_admitted + limit.foreign_refused;
        assert!(arrived.abs_diff(30_000) < 900, "{name}: {arrived}");
        assert_eq!(limit.foreign_refused, 0, "{name}");
    }
    assert_eq!(
        limit(&server, "rpm").foreign_taken,
        limit(&server, "rpm").foreign_admitted
    );
    assert_eq!(
        limit(&server, "tpm").foreign_taken,
        limit(&server, "tpm").foreign_admitted * 100
    );
    assert_eq!(server.stats().requests_admitted, 1);
}

#[test]
fn a_foreign_request_is_as_large_as_the_average_one_of_ours() {
    let mut server = server(|c| {
        c.tpm = Some(600_000);
        c.burst = MINUTE;
        c.foreign_share = 0.5;
    });
    for _ in 0..2 {
        drop(ask(&mut server, Timestamp::ZERO, 40, 10));
        drop(ask(&mut server, Timestamp::ZERO, 100, 50));
    }
    assert!(admits(&mut server, Timestamp::from_secs(600)));
    let limit = limit(&server, "tpm");
    // The first arrival was drawn before ours came, and is the only one of another size.
    let mean = limit.foreign_taken as f64 / limit.foreign_admitted as f64;
    assert!((99.0..=101.0).contains(&mean), "{mean}");
    let arrived = limit.foreign_admitted + limit.foreign_refused;
    assert!(arrived.abs_diff(30_000) < 900, "{arrived}");
}

#[test]
fn what_they_take_is_not_there_for_us_and_all_together_stay_within_the_limit() {
    let mut server = server(|c| {
        c.rps = Some(100);
        c.enforcement = Enforcement::FixedWindow;
        c.window_phase = Some(SECOND / 2);
        c.foreign_share = 0.3;
    });
    for tick in 0..100_000 {
        admits(&mut server, Timestamp::from_millis(tick));
    }
    let limit = limit(&server, "rps");
    let all = limit.taken + limit.foreign_taken;
    assert!(all <= 100 * 101, "{all}");
    // Asking all the time, we leave them only what comes before the window is used up.
    assert!(limit.foreign_refused > 0 && limit.foreign_admitted > 0);
    let together = limit.utilisation_with_foreign.unwrap();
    // 101 windows in less than 100 s, the first of which is left out in part.
    assert!((0.99..=1.02).contains(&together), "{together}");
    assert!(limit.utilisation.unwrap() < 0.99);
}

#[test]
fn they_come_alike_for_the_same_seed_however_often_the_server_is_asked() {
    let foreign = |seed, every_ms: u64| {
        let mut server = seeded(seed, |c| {
            c.rpm = Some(60_000);
            c.foreign_share = 0.4;
        });
        for tick in 0..=10_000 / every_ms {
            server.accepts_connections(Timestamp::from_millis(tick * every_ms));
        }
        limit(&server, "rpm").foreign_admitted
    };
    assert_eq!(foreign(1, 1), foreign(1, 10_000));
    assert_ne!(foreign(1, 1), foreign(2, 1));
}

#[test]
fn the_end_of_time_does_not_keep_them_busy() {
    let mut server = server(|c| {
        c.rps = Some(u64::MAX);
        c.foreign_share = 1.0;
    });
    assert!(admits(&mut server, Timestamp::from_nanos(u64::MAX - 1)));
    assert!(admits(&mut server, Timestamp::NEVER));
    let limit = limit(&server, "rps");
    assert!(
        limit.foreign_admitted < 1_000_000,
        "{}",
        limit.foreign_admitted
    );
}
