use std::collections::BTreeMap;

use super::*;
use crate::charge::ChargeRule;
use crate::learned::LearnedRate;
use crate::limit::LimitKind;
use crate::outcome::Usage;

const MINUTE: Duration = Duration::from_secs(60);
/// How finely the little world of these tests passes time.
const TICK_MS: u64 = 5;

/// A server that says nothing: it refuses or answers.
trait Server {
    fn admits(&mut self, now: Timestamp, charge: &Charge) -> bool;
}

/// A bucket, or with `window` a count that begins anew; of tokens or requests.
struct Limited {
    per_s: f64,
    burst: f64,
    level: f64,
    at: Timestamp,
    window: Option<Duration>,
    of_tokens: bool,
}

impl Limited {
    fn bucket(per_s: f64, burst_s: f64) -> Self {
        Self {
            per_s,
            burst: per_s * burst_s,
            level: per_s * burst_s,
            at: Timestamp::ZERO,
            window: None,
            of_tokens: false,
        }
    }

    fn windows(per_s: f64, window: Duration) -> Self {
        Self {
            window: Some(window),
            ..Self::bucket(per_s, window.as_secs_f64())
        }
    }
}

impl Server for Limited {
    fn admits(&mut self, now: Timestamp, charge: &Charge) -> bool {
        match self.window {
            Some(window) => {
                let number = |at: Timestamp| at.as_nanos() / window.as_nanos() as u64;
                if number(now) > number(self.at) {
                    self.level = self.burst;
                }
            }
            None => {
                let earned = now.since(self.at).as_secs_f64() * self.per_s;
                self.level = (self.level + earned).min(self.burst);
            }
        }
        self.at = now;
        let units = if self.of_tokens { charge.total } else { 1 } as f64;
        let fits = self.level >= units;
        if fits {
            self.level -= units;
        }
        fits
    }
}

/// What came of a stretch.
#[derive(Debug, Default)]
struct Came {
    admitted: u64,
    refused: u64,
}

/// A client that always has something to send.
struct World<S> {
    found: Found,
    /// What holds what was declared; in the engine the budget does.
    declared: Option<Pacer>,
    server: S,
    now: Timestamp,
    rng: fastrand::Rng,
    /// What ends when: the attempt, its charge, whether it was admitted.
    ends: BTreeMap<(Timestamp, u64), (Sent, Charge, bool)>,
    serial: u64,
    sizes: bool,
}

impl<S: Server> World<S> {
    fn new(server: S, declared: &[LimitSpec], learned: Option<&Learned>) -> Self {
        let now = Timestamp::from_millis(12_345);
        Self {
            found: Found::new(now, Learning::Limits, declared, learned),
            declared: declared.first().map(|spec| {
                let per_s = spec.amount as f64 / spec.window.as_secs_f64();
                Pacer::new(per_s * 0.991, 0)
            }),
            server,
            now,
            rng: fastrand::Rng::with_seed(7),
            ends: BTreeMap::new(),
            serial: 0,
            sizes: false,
        }
    }

    fn run(&mut self, time: Duration) -> Came {
        self.run_wanting(time, u64::MAX)
    }

    /// Wants to send no more than so many requests at each tick.
    fn run_wanting(&mut self, time: Duration, most: u64) -> Came {
        let mut came = Came::default();
        let end = self.now + time;
        while self.now < end {
            while let Some(entry) = self.ends.first_entry()
                && entry.key().0 <= self.now
            {
                let (sent, charge, admitted) = entry.remove();
                let result = if admitted {
                    AttemptResult::Answered(None)
                } else {
                    AttemptResult::Failed(Failure::new(Class::Throttled))
                };
                let _ = self.found.ended(self.now, &sent, &charge, &result);
            }
            self.found.advance(self.now);
            let mut wanted = 0;
            while wanted < most && self.earliest() <= self.now {
                wanted += 1;
                if let Some(declared) = &mut self.declared {
                    declared.take(self.now, 1);
                }
                let tokens = if self.sizes {
                    self.rng.u64(1..=2_000)
                } else {
                    10
                };
                let charge = ChargeRule::Sum.charge(tokens, 0);
                let sent = self.found.sent(self.now, &charge);
                let admitted = self.server.admits(self.now, &charge);
                let takes = Duration::from_millis(if admitted { 200 } else { 50 });
                self.serial += 1;
                let key = (self.now + takes, self.serial);
                self.ends.insert(key, (sent, charge, admitted));
                came.admitted += u64::from(admitted);
                came.refused += u64::from(!admitted);
            }
            self.now = self.now + Duration::from_millis(TICK_MS);
        }
        came
    }

    fn earliest(&self) -> Timestamp {
        let declared = self.declared.as_ref().map(Pacer::earliest);
        self.found
            .earliest(self.now)
            .max(declared.unwrap_or(self.now))
    }

    fn learned(&self) -> Learned {
        let mut learned = Learned::new();
        self.found.add_to(&mut learned);
        learned
    }
}

fn rpm(amount: u64) -> LimitSpec {
    LimitSpec::new("rpm", LimitKind::Requests, amount, MINUTE)
}

#[test]
fn the_rate_of_a_bucket_is_found_held_and_kept_for_the_next_run() {
    for burst_s in [1.0, 60.0] {
        let mut world = World::new(Limited::bucket(50.0, burst_s), &[], None);
        world.run(3 * MINUTE);
        let came = world.run(10 * MINUTE);
        assert!(came.admitted > 30_000 * 97 / 100, "{burst_s}: {came:?}");
        assert!(came.refused < 60, "{burst_s}: {came:?}");
        let rate = world.learned().rates[0];
        assert_eq!(rate.kind, LimitKind::Requests);
        assert!(rate.per_hour.abs_diff(180_000) < 9_000, "{rate:?}");
        let learned = world.learned();
        let server = Limited::bucket(50.0, 1.0);
        let came = World::new(server, &[], Some(&learned)).run(MINUTE);
        assert!(came.admitted > 3_000 * 95 / 100, "{came:?}");
        assert!(came.refused < 9, "{came:?}");
    }
}

#[test]
fn of_a_rate_that_was_found_the_share_is_sent_and_the_whole_is_remembered() {
    let mut world = World::new(Limited::bucket(50.0, 1.0), &[], None);
    world.found.take_share(400_000);
    world.run(5 * MINUTE);
    let came = world.run(10 * MINUTE);
    let whole = 30_000;
    // Looks above what is held are at the whole rate.
    assert!(came.admitted < whole * 46 / 100, "{came:?}");
    assert!(came.admitted > whole * 37 / 100, "{came:?}");
    let rate = world.learned().rates[0];
    assert!(rate.per_hour.abs_diff(180_000) < 9_000, "{rate:?}");
}

#[test]
fn windows_of_a_minute_are_found_by_their_edges() {
    let mut world = World::new(Limited::windows(20.0, MINUTE), &[], None);
    world.run(5 * MINUTE);
    let came = world.run(20 * MINUTE);
    assert!(came.admitted > 24_000 * 96 / 100, "{came:?}");
    assert!(came.refused < 48, "{came:?}");
}

#[test]
fn a_limit_on_tokens_is_told_from_one_on_requests() {
    let server = Limited {
        of_tokens: true,
        ..Limited::bucket(50_000.0, 2.0)
    };
    let mut world = World::new(server, &[], None);
    world.sizes = true;
    world.run(5 * MINUTE);
    assert_eq!(world.learned().rates[0].kind, LimitKind::TotalTokens);
    let came = world.run(5 * MINUTE);
    assert!(came.refused * 500 < came.admitted, "{came:?}");
}

#[test]
fn a_declared_limit_that_is_judged_by_the_second_is_kept_so_and_remembered() {
    // 99.1 % of the rate, but what a pause missed is made up for within a second now and then.
    let server = Limited::windows(97.0, Duration::from_secs(1));
    let mut world = World::new(server, &[rpm(6_000)], None);
    let came = world.run(MINUTE);
    assert!(came.refused > 0, "{came:?}");
    let came = world.run(5 * MINUTE);
    assert_eq!(came.refused, 0, "{came:?}");
    assert!(came.admitted > 30_000 * 94 / 100, "{came:?}");
    let learned = world.learned();
    assert_eq!(learned.rates[0].window, Some(Duration::from_secs(1)));
    let server = Limited::windows(97.0, Duration::from_secs(1));
    let came = World::new(server, &[rpm(6_000)], Some(&learned)).run(5 * MINUTE);
    assert_eq!(came.refused, 0, "{came:?}");
}

#[test]
fn a_declared_limit_that_is_half_as_much_is_searched_and_never_exceeded() {
    let mut world = World::new(Limited::bucket(50.0, 1.0), &[rpm(6_000)], None);
    world.run(MINUTE);
    let came = world.run(5 * MINUTE);
    assert!(came.admitted > 15_000 * 96 / 100, "{came:?}");
    assert!(came.refused < 30, "{came:?}");
    world.server.per_s = 1_000.0;
    let came = world.run(20 * MINUTE);
    assert!(came.admitted <= 120_000, "{came:?}");
    assert!(came.admitted > 100_000, "{came:?}");
}

#[test]
fn a_server_that_refuses_everything_is_asked_every_other_second() {
    let mut world = World::new(Limited::bucket(50.0, 1.0), &[], None);
    world.run(2 * MINUTE);
    world.server.per_s = 0.0;
    world.run(MINUTE);
    let came = world.run(10 * MINUTE);
    assert_eq!(came.admitted, 0);
    assert!((200..=300).contains(&came.refused), "{came:?}");
}

#[test]
fn what_nobody_wants_to_send_teaches_nothing() {
    let mut world = World::new(Limited::bucket(1e9, 1.0), &[], None);
    world.run_wanting(10 * Duration::from_secs(1), 1);
    let before = world.found.rate().unwrap();
    // A request every tick is 200 a second; that is all there is.
    world.run_wanting(10 * MINUTE, 1);
    let after = world.found.rate().unwrap();
    assert!(before <= 256.0 && after <= 800.0, "{before} {after}");
}

#[test]
fn a_limit_that_doubles_is_noticed() {
    let mut world = World::new(Limited::bucket(50.0, 1.0), &[], None);
    world.run(5 * MINUTE);
    (world.server.per_s, world.server.burst) = (100.0, 100.0);
    world.run(8 * MINUTE);
    let came = world.run(5 * MINUTE);
    assert!(came.admitted > 30_000 * 95 / 100, "{came:?}");
}

/// As many at once as `best`; beyond, all take longer in proportion.
fn tokens_per_s(places: u64, best: u64) -> f64 {
    places.min(best) as f64
}

/// Lets `places` search against a server that is as fast as it can be up to `best`.
fn search(places: &mut Places, now: &mut Timestamp, ends: usize, best: u64) {
    let mut tally = Tally::default();
    let mut flying: BTreeMap<(Timestamp, u64), (Sent, u64)> = BTreeMap::new();
    let mut rng = fastrand::Rng::with_seed(3);
    for serial in 0..ends as u64 {
        while places.has_place() {
            let sent = tally.sent(*now, &Charge::request());
            places.sent();
            let in_flight = sent.in_flight;
            let tokens = rng.u64(50..400);
            let slow = in_flight as f64 / tokens_per_s(in_flight, best);
            let takes = Duration::from_secs_f64(tokens as f64 * 0.02 * slow);
            flying.insert((*now + takes, serial * 10_000 + in_flight), (sent, tokens));
        }
        let ((at, _), (sent, tokens)) = flying.pop_first().unwrap();
        *now = at;
        tally.admitted();
        let usage = Usage {
            output: tokens,
            ..Usage::default()
        };
        places.ended(at, &sent, Some(Some(usage)));
    }
}

#[test]
fn as_many_places_are_found_as_bring_the_most_tokens_and_no_more() {
    for best in [4, 11, 48, 200] {
        let mut places = Places::new();
        let mut now = Timestamp::ZERO;
        search(&mut places, &mut now, 8_000, best);
        let found = places.found().unwrap();
        assert!(found * 100 >= best * 95, "{found} of {best}");
        assert!(found <= best + best / 3 + 1, "{found} of {best}");
    }
}

#[test]
fn a_server_with_fixed_places_shows_them_by_refusing() {
    let mut places = Places::known(40);
    let mut tally = Tally::default();
    let mut sent = Sent::default();
    for _ in 0..33 {
        sent = tally.sent(Timestamp::from_secs(1), &Charge::request());
        places.sent();
    }
    places.refused(Timestamp::from_secs(2), &sent);
    assert_eq!(places.found(), Some(32));
    // Others of the same volley say nothing new.
    places.refused(Timestamp::from_secs(2), &sent);
    assert_eq!(places.found(), Some(32));
}

#[test]
fn a_window_that_was_learnt_under_a_large_limit_does_not_stop_a_small_one() {
    let rate = LearnedRate {
        window: Some(Duration::from_secs(1)),
        ..LearnedRate::new(LimitKind::Requests, 340_000)
    };
    for (rate, amount) in [
        (rate, 60),
        (
            LearnedRate {
                per_hour: 0,
                ..rate
            },
            6_000,
        ),
    ] {
        let mut learned = Learned::new();
        learned.rates.push(rate);
        let server = Limited::bucket(amount as f64 / 60.0, 1.0);
        let mut world = World::new(server, &[rpm(amount)], Some(&learned));
        let came = world.run(10 * MINUTE);
        assert!(came.admitted >= amount * 8, "{amount}: {came:?}");
    }
}

#[test]
fn every_limit_that_is_refused_by_name_is_sent_at_its_own_stricter_rate() {
    let tpm = LimitSpec::new("tpm", LimitKind::TotalTokens, 60_000, MINUTE);
    let mut now = Timestamp::from_secs(1);
    let mut found = Found::new(now, Learning::Limits, &[rpm(6_000), tpm], None);
    let charge = ChargeRule::Sum.charge(1_000, 0);
    for kind in [LimitKind::Requests, LimitKind::TotalTokens] {
        let sent = found.sent(now, &charge);
        let mut failure = Failure::new(Class::Throttled);
        failure.quota = Some(crate::observation::QuotaNumbers {
            kind: Some(kind),
            ..Default::default()
        });
        found.ended(now, &sent, &charge, &AttemptResult::Failed(failure));
        now = now + Duration::from_secs(1);
        let probe = found.sent(now, &charge);
        found.ended(now, &probe, &charge, &AttemptResult::Answered(None));
        now = now + Duration::from_secs(10);
        found.advance(now);
    }
    found.sent(now, &charge);
    // A thousand tokens at 99.1 % of a thousand a second.
    let next = found.earliest(now).since(now);
    assert!(next > Duration::from_secs(1), "{next:?}");
}

#[test]
fn prompts_that_become_longer_do_not_cost_places() {
    let mut places = Places::new();
    let mut now = Timestamp::ZERO;
    for first_byte_ms in [50, 500] {
        let mut tally = Tally::default();
        for _ in 0..300 {
            let mut sent = Vec::new();
            while places.has_place() {
                sent.push(tally.sent(now, &Charge::request()));
                places.sent();
            }
            let after = Duration::from_millis(first_byte_ms);
            // Up to 32 at once are served side by side.
            let slow = (sent.len() as u32).div_ceil(32);
            now = now + Duration::from_secs(5) * slow;
            for sent in &sent {
                places.first_byte(sent, after * slow);
                let usage = Usage {
                    output: 100,
                    ..Usage::default()
                };
                places.ended(now, sent, Some(Some(usage)));
                tally.admitted();
            }
        }
        let found = places.found().unwrap();
        assert!((24..=40).contains(&found), "{first_byte_ms} ms: {found}");
    }
}

#[test]
fn usage_that_no_answer_can_have_does_not_stop_the_search_for_places() {
    let mut places = Places::known(1);
    let mut tally = Tally::default();
    for _ in 0..3 {
        let sent = tally.sent(Timestamp::from_secs(1), &Charge::request());
        places.sent();
        let usage = Usage {
            output: u64::MAX,
            ..Usage::default()
        };
        places.ended(Timestamp::from_secs(2), &sent, Some(Some(usage)));
    }
    assert!(places.has_place());
}

#[test]
fn a_change_that_does_not_concern_rates_keeps_what_was_found_and_another_forgets_what_is_under_way()
{
    let day = LimitSpec::new("rpd", LimitKind::Requests, 10_000, 1_440 * MINUTE);
    let mut config = crate::UpstreamConfig::new("a", vec![rpm(6_000), day]);
    config.learning = Learning::Limits;
    let mut found = FoundByLane::new(&config);
    let lane = crate::Lane(0);
    let (now, charge) = (Timestamp::from_secs(1), Charge::request());
    let refused = AttemptResult::Failed(Failure::new(Class::Throttled));
    let sent = found.sent(now, lane, &charge);
    let other = found.sent(now, lane, &charge);
    found.ended(now, lane, (&sent, &charge), &refused);
    assert!(found.earliest(now, lane) > now);
    config.limits[1] = config.limits[1].clone().edge(Timestamp::from_secs(9));
    found.reconfigure(&config);
    assert!(found.earliest(now, lane) > now, "the pause goes on");
    config.limits[0].amount = 600;
    found.reconfigure(&config);
    found.sent(now, lane, &charge);
    let wait = found.ended(now, lane, (&other, &charge), &refused);
    assert_eq!(wait, None);
    assert_eq!(found.earliest(now, lane), now);
}
