//! The mirror against a bucket of the plainest kind, whose replies come late and out of order.

use proptest::prelude::*;

use super::*;
use crate::charge::Cost;

const MINUTE: Duration = Duration::from_secs(60);
const PLAIN: Model = Model {
    count: Count::Requests,
    permille: 1000,
};

/// A bucket, in floats: it shares nothing with what it checks.
struct Server {
    amount: f64,
    level: f64,
    at_s: f64,
}

impl Server {
    fn advance(&mut self, now_s: f64) {
        let gained = (now_s - self.at_s).max(0.0) * self.amount / 60.0;
        self.level = (self.level + gained).min(self.amount);
        self.at_s = self.at_s.max(now_s);
    }

    /// What is left after admitting one, unless it is refused.
    fn admit(&mut self, now_s: f64) -> Option<i64> {
        self.advance(now_s);
        (self.level >= 1.0).then(|| {
            self.level -= 1.0;
            self.level.floor() as i64
        })
    }
}

/// A reply on its way to the mirror.
struct Late {
    at: Timestamp,
    mark: Mark,
    seen: Seen,
}

struct Rig {
    mirror: Mirror,
    own: Own,
    server: Server,
    /// Sends on their way to the server.
    sent: Vec<(Timestamp, Mark)>,
    replies: Vec<Late>,
    refused: u32,
    rng: fastrand::Rng,
    lag: Duration,
}

impl Rig {
    fn new(amount: u64, level: f64, lag: Duration, seed: u64) -> Self {
        let server = Server {
            amount: amount as f64,
            level,
            at_s: 0.0,
        };
        Self {
            mirror: Mirror::new(Timestamp::ZERO, LimitKind::Requests, amount, MINUTE),
            own: Own::default(),
            server,
            sent: Vec::new(),
            replies: Vec::new(),
            refused: 0,
            rng: fastrand::Rng::with_seed(seed),
            lag,
        }
    }

    fn send(&mut self, now: Timestamp) {
        let mark = self.own.sent(now, &Cost::request());
        self.mirror.take(now, 1);
        let delay = JITTER.mul_f64(self.rng.f64());
        self.sent.push((now + delay, mark));
    }

    /// What arrives at the server and at the mirror until then.
    fn until(&mut self, now: Timestamp) {
        self.sent.sort_by_key(|(at, _)| *at);
        while let Some(&(at, mark)) = self.sent.first().filter(|(at, _)| *at <= now) {
            self.sent.remove(0);
            let Some(left) = self.server.admit(at.as_nanos() as f64 / 1e9) else {
                self.refused += 1;
                continue;
            };
            let late = self.lag.mul_f64(0.5 + self.rng.f64());
            let seen = Seen {
                least: (left > 0).then_some(left),
                most: left + 1,
            };
            self.replies.push(Late {
                at: at + late,
                mark,
                seen,
            });
        }
        self.replies.sort_by_key(|late| late.at);
        while self.replies.first().is_some_and(|late| late.at <= now) {
            let late = self.replies.remove(0);
            let reply = Reply {
                mark: &late.mark,
                units: 1,
                refused: false,
                seen: late.seen,
                own: &self.own,
                model: PLAIN,
                size: 1.0,
            };
            self.mirror.observe(late.at.max(now), &reply);
            self.own.forget_before(self.mirror.oldest());
        }
    }

    /// The first request alone, then as much as the mirror allows.
    fn saturate(&mut self, secs: u64) {
        let mut sent_first = false;
        for tick in 0..secs * 100 {
            let now = Timestamp::from_millis(tick * 10);
            self.until(now);
            if !self.mirror.is_anchored() {
                if !sent_first {
                    self.send(now);
                }
                sent_first = true;
                continue;
            }
            while self.mirror.earliest(now, 1) <= now {
                self.send(now);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// With nobody else nothing is refused, and hardly anything of the rate is given away.
    #[test]
    fn alone_nothing_is_refused_and_the_rate_is_used(
        amount in 60u64..1_200,
        part in 0.05f64..1.0,
        lag_ms in 50u64..20_000,
        seed in 0u64..1_000,
    ) {
        let level = (amount as f64 * part).max(1.0);
        let lag = Duration::from_millis(lag_ms);
        let mut rig = Rig::new(amount, level, lag, seed);
        rig.saturate(120);
        prop_assert_eq!(rig.refused, 0);
        // The first goes alone; what may be others' is kept until they were watched.
        let time_s = 120.0 - 1.5 * lag.as_secs_f64();
        let rate = amount as f64 / 60.0;
        let sent = rig.own.taken(Count::Requests) as f64;
        prop_assert!(sent > 0.9 * rate * time_s - 0.5 * amount as f64, "{sent}");
        prop_assert!(sent < level + rate * 120.0 + 1.0, "{sent}");
    }

    /// Whatever replies say, the level stays within what the bucket holds, and something may
    /// start within the time in which a twentieth of the rate fills it.
    #[test]
    fn garbage_has_bounded_consequences(
        replies in prop::collection::vec((0u64..5_000, any::<i64>(), any::<bool>()), 1..200),
    ) {
        let mut mirror = Mirror::new(Timestamp::ZERO, LimitKind::Requests, 600, MINUTE);
        let mut own = Own::default();
        let mut now = Timestamp::ZERO;
        for (gap_ms, left, refused) in replies {
            now = now + Duration::from_millis(gap_ms);
            let mark = own.sent(now, &Cost::request());
            mirror.take(now, 1);
            let left = left.rem_euclid(1_000_000_000_000_000);
            let reply = Reply {
                mark: &mark,
                units: u64::from(!refused),
                refused,
                seen: Seen { least: (left % 3 > 0).then_some(left - 1), most: left + 1 },
                own: &own,
                model: PLAIN,
                size: 1.0,
            };
            mirror.observe(now, &reply);
            prop_assert!(mirror.left(now) <= 600);
            let wait = mirror.earliest(now, 1).since(now);
            prop_assert!(wait <= 25 * MINUTE + 20 * MINUTE, "{wait:?}");
        }
    }
}

#[test]
fn what_others_take_is_noticed_and_left_to_them() {
    let mut rig = Rig::new(600, 600.0, Duration::from_secs(2), 1);
    for half in 0..240 {
        // Others take 4 a second.
        let until = Timestamp::from_millis(half * 500);
        rig.server.advance(half as f64 * 0.5);
        rig.server.level -= 2.0;
        let from = half * 50;
        for tick in from..from + 50 {
            let now = Timestamp::from_millis(tick * 10).max(until);
            rig.until(now);
            if tick == 0 {
                rig.send(now);
            }
            while rig.mirror.is_anchored() && rig.mirror.earliest(now, 1) <= now {
                rig.send(now);
            }
        }
    }
    let foreign = rig.mirror.foreign_per_s();
    assert!((3.0..5.0).contains(&foreign), "{foreign}");
    assert_eq!(rig.refused, 0);
    assert!(rig.server.level > 0.0);
}

#[test]
fn a_refusal_is_what_shows_the_level_when_answers_are_late() {
    let mut rig = Rig::new(600, 600.0, Duration::from_secs(30), 1);
    let mark = rig.own.sent(Timestamp::ZERO, &Cost::request());
    rig.own.voided(&mark, &Cost::request());
    let reply = Reply {
        mark: &mark,
        units: 0,
        refused: true,
        seen: Seen {
            least: None,
            most: 1,
        },
        own: &rig.own,
        model: PLAIN,
        size: 1.0,
    };
    rig.mirror.observe(Timestamp::from_millis(50), &reply);
    assert!(rig.mirror.left(Timestamp::from_millis(50)) <= 1);
    assert!(rig.mirror.earliest(Timestamp::from_millis(50), 1) > Timestamp::from_secs(1));
}

#[test]
fn what_is_lost_before_any_reply_takes_no_more_than_bounded_memory() {
    let mut mirror = Mirror::new(Timestamp::ZERO, LimitKind::Requests, 600, MINUTE);
    for tick in 0..100_000 {
        mirror.take(Timestamp::from_millis(60_000 + tick * 200), 1);
    }
    assert!(mirror.lost.len() <= LOST_MAX, "{}", mirror.lost.len());
    let now = Timestamp::from_secs(30_000);
    mirror.advance(now);
    assert_eq!(mirror.lost_at(now), mirror.level.lost());
}
