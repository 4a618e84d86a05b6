//! What goes wrong: safety while it lasts, liveness once it heals.

use std::time::Duration;

use brimful_core::{Shape, Timestamp};

use crate::config::{
    Change, ConfigPatch, Enforcement, LevelHeaders, Outage, RetryAfterStyle, ScriptStep,
    ServerConfig,
};
use crate::virtual_run::{Delay, Network, Suspension, VirtualRun, Workload};

use super::{Goal, MINUTE, MS, Scenario, requests_per, run, server};

const RPM: u64 = 600;
const REQUESTS: u64 = 3_000;
const SECOND: Duration = Duration::from_secs(1);
/// When faults heal.
const HEALED: Duration = Duration::from_secs(120);

/// Faults that last: laws are kept whatever happens, and where nothing is lost for good,
/// everything is answered.
pub(super) fn safety(all: &mut Vec<Scenario>) {
    for (name, change) in faults() {
        all.push(scenario(&format!("safety: {name}"), change, Goal::none()));
    }
    let answered = Goal::answered();
    for (name, style, goal) in [
        ("right", RetryAfterStyle::Right, answered),
        ("missing", RetryAfterStyle::Missing, answered),
        ("wrong", RetryAfterStyle::Wrong, answered),
        ("unreadable", RetryAfterStyle::Unreadable, answered),
        // A server that asks for a day is taken at its word: the run ends.
        ("absurd", RetryAfterStyle::Absurd, Goal::none()),
    ] {
        let change = |run: &mut VirtualRun| {
            run.server.retry_after = style;
            // The client believes in twice the limit.
            run.server.rpm = Some(RPM / 2);
        };
        let name = format!("safety: limit declared twice too high, Retry-After {name}");
        all.push(scenario(&name, change, goal));
    }
    for (name, change) in strangers() {
        all.push(scenario(&format!("safety: {name}"), change, answered));
    }
    for (name, change) in interruptions() {
        all.push(scenario(&format!("safety: {name}"), change, Goal::none()));
    }
}

/// The same faults, worse, until they heal: then every request must be answered.
pub(super) fn liveness(all: &mut Vec<Scenario>) {
    for (name, change) in faults() {
        let healing = |run: &mut VirtualRun| {
            change(run);
            heal(run);
        };
        let name = format!("liveness: {name}, healed");
        all.push(scenario(&name, healing, Goal::answered()));
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
        all.push(scenario(&name, change, Goal::answered()));
    }
    let change = |run: &mut VirtualRun| {
        let from = Timestamp::ZERO + 30 * SECOND;
        run.network.unreachable = Some((from, Timestamp::ZERO + HEALED));
    };
    let name = "liveness: no connection can be made for 90 s";
    all.push(scenario(name, change, Goal::answered()));
    let change = |run: &mut VirtualRun| {
        let mut half = at(MINUTE);
        half.patch.rpm = Change::Set(RPM / 2);
        let mut back = at(4 * MINUTE);
        back.patch.rpm = Change::Set(RPM);
        run.server.script = vec![half, back];
    };
    let name = "liveness: the limit is halved for three minutes, untold";
    all.push(scenario(name, change, Goal::answered()));
}

type Mutation = fn(&mut VirtualRun);

/// Faults of the server and of the way to it.
fn faults() -> [(&'static str, Mutation); 11] {
    [
        ("half of all are 500", |run| run.server.error_share = 0.5),
        ("half of all are 503", |run| run.server.overload_share = 0.5),
        ("every tenth hangs", |run| run.server.hang_share = 0.1),
        ("three in ten are reset", |run| run.server.reset_share = 0.3),
        ("three in ten break off", |run| {
            run.server.truncate_share = 0.3
        }),
        ("three in ten are garbage", |run| {
            run.server.garbage_share = 0.3
        }),
        ("a bit of everything", |run| {
            let server = &mut run.server;
            (server.error_share, server.overload_share) = (0.1, 0.1);
            (server.hang_share, server.reset_share) = (0.05, 0.1);
            (server.truncate_share, server.garbage_share) = (0.1, 0.05);
        }),
        ("failed requests cost nothing", |run| {
            run.server.error_share = 0.3;
            run.server.failed_requests_count = false;
        }),
        ("every tenth connection fails", |run| {
            run.network.unsent_share = 0.1
        }),
        ("every tenth request is lost", |run| {
            run.network.request_lost_share = 0.1
        }),
        ("every tenth reply is lost", |run| {
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

/// What happens to the client itself.
fn interruptions() -> [(&'static str, Mutation); 4] {
    [
        (
            "the process is stopped for 3 s, 40 s and 10 minutes",
            |run| {
                run.client.suspensions = suspensions(true);
            },
        ),
        ("the machine sleeps for 3 s, 40 s and 10 minutes", |run| {
            run.client.suspensions = suspensions(false);
        }),
        ("every wake-up is up to 200 ms late", |run| {
            run.client.wake_late = Delay::Uniform {
                least: Duration::ZERO,
                most: 200 * MS,
            };
        }),
        ("every fifth request is cancelled", |run| {
            run.client.cancel_share = 0.2;
            run.client.cancel_within = 2 * MINUTE;
            run.server.hang_share = 0.02;
        }),
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

fn scenario(name: &str, change: impl FnOnce(&mut VirtualRun), goal: Goal) -> Scenario {
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
        goal,
    }
}
