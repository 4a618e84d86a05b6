//! What goes wrong: safety while it lasts, liveness once it heals.

use std::time::Duration;

use brimful_core::{Shape, Timestamp};

use crate::config::{
    Change, ConfigPatch, Enforcement, LevelHeaders, Outage, RetryAfterStyle, ScriptStep,
    ServerConfig,
};
use crate::virtual_run::{Delay, Network, Suspension, VirtualRun, Workload};

use super::{Aim, Goal, MINUTE, MS, Scenario, requests_per, run, server};

const RPM: u64 = 600;
const REQUESTS: u64 = 3_000;
const SECOND: Duration = Duration::from_secs(1);
/// When faults heal.
const HEALED: Duration = Duration::from_secs(120);

/// Faults that last: laws are kept whatever happens, and where nothing is lost for good,
/// everything is answered.
pub(super) fn safety(all: &mut Vec<Scenario>) {
    for (name, failing, change) in faults() {
        all.push(scenario(
            &format!("safety: {name}"),
            change,
            six_tries(failing),
        ));
    }
    let answered = Aim::Goal(Goal::answered());
    for (name, style, aim) in [
        ("right", RetryAfterStyle::Right, answered),
        ("missing", RetryAfterStyle::Missing, answered),
        ("wrong", RetryAfterStyle::Wrong, answered),
        ("unreadable", RetryAfterStyle::Unreadable, answered),
        // A server that asks for a day is taken at its word: the run ends, with 0.6 % answered
        // before.
        (
            "absurd",
            RetryAfterStyle::Absurd,
            Aim::floor(Goal::unanswered(0.996)),
        ),
    ] {
        let change = |run: &mut VirtualRun| {
            run.server.retry_after = style;
            // The client believes in twice the limit.
            run.server.rpm = Some(RPM / 2);
        };
        let name = format!("safety: limit declared twice too high, Retry-After {name}");
        all.push(scenario(&name, change, aim));
    }
    for (name, change) in strangers() {
        all.push(scenario(&format!("safety: {name}"), change, answered));
    }
    for (name, change, aim) in interruptions() {
        all.push(scenario(&format!("safety: {name}"), change, aim));
    }
}

/// The same faults, worse, until they heal: then every request must be answered.
pub(super) fn liveness(all: &mut Vec<Scenario>) {
    for (name, _, change) in faults() {
        let healing = |run: &mut VirtualRun| {
            change(run);
            heal(run);
        };
        let name = format!("liveness: {name}, healed");
        all.push(scenario(&name, healing, Aim::Goal(Goal::answered())));
    }
    for (name, outage) in [
        ("refuses", Outage::Refuse),
        ("hangs", Outage::Hang),
        ("resets", Outage::Reset),
        ("says 503", Outage::Unavailable),
    ] {
        let change = |run: &mut VirtualRun| {
            let mut down = at(30 * SECOND);
            down.patch.outage = Change::Set(outage);
            let mut up = at(HEALED);
            up.patch.outage = Change::Clear;
            run.server.script = vec![down, up];
            patient(run);
        };
        let name = format!("liveness: the server {name} for 90 s");
        all.push(scenario(&name, change, Aim::Goal(Goal::answered())));
    }
    let change = |run: &mut VirtualRun| {
        let from = Timestamp::ZERO + 30 * SECOND;
        run.network.unreachable = Some((from, Timestamp::ZERO + HEALED));
    };
    let name = "liveness: no connection can be made for 90 s";
    all.push(scenario(name, change, Aim::Goal(Goal::answered())));
    let change = |run: &mut VirtualRun| {
        let mut half = at(MINUTE);
        half.patch.rpm = Change::Set(RPM / 2);
        let mut back = at(4 * MINUTE);
        back.patch.rpm = Change::Set(RPM);
        run.server.script = vec![half, back];
    };
    let name = "liveness: the limit is halved for three minutes, untold";
    all.push(scenario(name, change, Aim::Goal(Goal::answered())));
}

type Mutation = fn(&mut VirtualRun);

/// What six tries lead to when each fails with this probability: a request dies when all do. Half
/// as many again for chance; where less than one request of all seeds would die, none may.
fn six_tries(failing: f64) -> Aim {
    let dead = failing.powi(6);
    if dead < 1e-5 {
        return Aim::Goal(Goal::answered());
    }
    Aim::Goal(Goal::unanswered(1.5 * dead))
}

/// Faults of the server and of the way to it, each with the share of tries that fail and count.
fn faults() -> [(&'static str, f64, Mutation); 11] {
    [
        ("half of all are 500", 0.5, |run| {
            run.server.error_share = 0.5
        }),
        ("half of all are 503", 0.5, |run| {
            run.server.overload_share = 0.5
        }),
        ("every tenth hangs", 0.1, |run| run.server.hang_share = 0.1),
        ("three in ten are reset", 0.3, |run| {
            run.server.reset_share = 0.3
        }),
        ("three in ten break off", 0.3, |run| {
            run.server.truncate_share = 0.3
        }),
        ("three in ten are garbage", 0.3, |run| {
            run.server.garbage_share = 0.3
        }),
        ("a bit of everything", 0.5, |run| {
            let server = &mut run.server;
            (server.error_share, server.overload_share) = (0.1, 0.1);
            (server.hang_share, server.reset_share) = (0.05, 0.1);
            (server.truncate_share, server.garbage_share) = (0.1, 0.05);
        }),
        ("failed requests cost nothing", 0.3, |run| {
            run.server.error_share = 0.3;
            run.server.failed_requests_count = false;
        }),
        // What never left uses up no attempts.
        ("every tenth connection fails", 0.0, |run| {
            run.network.unsent_share = 0.1
        }),
        ("every tenth request is lost", 0.1, |run| {
            run.network.request_lost_share = 0.1
        }),
        ("every tenth reply is lost", 0.1, |run| {
            run.network.reply_lost_share = 0.1
        }),
    ]
}

/// Others on the same key, and a server that says strange things.
fn strangers() -> [(&'static str, Mutation); 9] {
    [
        ("foreign tenant at 30 %", |run| {
            run.server.foreign_share = 0.3
        }),
        ("foreign tenant at 80 %", |run| {
            run.server.foreign_share = 0.8
        }),
        ("refused requests count", |run| {
            run.server.rpm = Some(RPM * 9 / 10);
            run.server.refused_requests_count = true;
        }),
        ("headers late", |run| {
            run.server.level_headers = LevelHeaders::Late
        }),
        ("headers rounded", |run| {
            run.server.level_headers = LevelHeaders::Rounded
        }),
        ("headers with the wrong limit", |run| {
            run.server.level_headers = LevelHeaders::WrongLimit;
        }),
        ("headers with the wrong level", |run| {
            run.server.level_headers = LevelHeaders::WrongRemaining;
        }),
        ("spikes of a second on the way", |run| {
            run.network.send = Delay::Spikes {
                median: 40 * MS,
                sigma: 0.5,
                share: 0.01,
                spike: SECOND,
            };
        }),
        ("strict spacing and a limit told too high", |run| {
            run.server.enforcement = Enforcement::Spacing;
            run.server.rpm = Some(RPM * 9 / 10);
        }),
    ]
}

/// What happens to the client itself. Only a caller who cancels loses anything.
fn interruptions() -> [(&'static str, Mutation, Aim); 4] {
    let answered = Aim::Goal(Goal::answered());
    [
        (
            "the process is stopped for 3 s, 40 s and 10 minutes",
            |run| {
                run.client.suspensions = suspensions(true);
            },
            answered,
        ),
        (
            "the machine sleeps for 3 s, 40 s and 10 minutes",
            |run| {
                run.client.suspensions = suspensions(false);
            },
            answered,
        ),
        (
            "every wake-up is up to 200 ms late",
            |run| {
                run.client.wake_late = Delay::Uniform {
                    least: Duration::ZERO,
                    most: 200 * MS,
                };
            },
            answered,
        ),
        // A fifth is cancelled, 13 % before they are answered.
        (
            "every fifth request is cancelled",
            |run| {
                run.client.cancel_share = 0.2;
                run.client.cancel_within = 2 * MINUTE;
                run.server.hang_share = 0.02;
            },
            Aim::floor(Goal::unanswered(0.14)),
        ),
    ]
}

fn suspensions(clock_runs: bool) -> Vec<Suspension> {
    let times = [(20, 3), (60, 40), (150, 600)];
    let suspension = |(at, secs)| Suspension {
        at: Timestamp::from_secs(at),
        length: Duration::from_secs(secs),
        clock_runs,
    };
    times.map(suspension).to_vec()
}

/// All faults are over at [`HEALED`].
fn heal(run: &mut VirtualRun) {
    let mut step = at(HEALED);
    let patch = &mut step.patch;
    for share in [
        &mut patch.error_share,
        &mut patch.overload_share,
        &mut patch.hang_share,
        &mut patch.reset_share,
        &mut patch.truncate_share,
        &mut patch.garbage_share,
    ] {
        *share = Some(0.0);
    }
    run.server.script = vec![step];
    run.network = Network {
        heals_at: Timestamp::ZERO + HEALED,
        ..run.network.clone()
    };
    patient(run);
}

/// Whoever wants everything answered must not count attempts.
const fn patient(run: &mut VirtualRun) {
    run.engine.retry.max_attempts = u32::MAX;
}

fn at(after: Duration) -> ScriptStep {
    ScriptStep {
        after,
        patch: ConfigPatch::default(),
    }
}

fn scenario(name: &str, change: impl FnOnce(&mut VirtualRun), aim: Aim) -> Scenario {
    let server = ServerConfig {
        rpm: Some(RPM),
        ..server()
    };
    let limit = requests_per(RPM, MINUTE).shape(Shape::TokenBucket);
    let workload = Workload::fixed(REQUESTS, 10, 10);
    let mut run = run(vec![limit], server, workload);
    run.client.timeout = MINUTE;
    change(&mut run);
    Scenario {
        name: name.to_owned(),
        run,
        aim,
    }
}
