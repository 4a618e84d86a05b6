//! One limit against a log of everything that it ever granted.

use super::*;

/// Something that happens to a limit.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Time passes: a fraction of the window, twice over.
    Wait(u16),
    /// A request of a fraction of the amount asks; if refused, it comes back at the promised
    /// instant, or later by a fraction of the window.
    Ask { size: u16, patient: bool, late: u16 },
    /// One of the open reservations ends having used this fraction of twice what it reserved.
    Settle { which: usize, used: u16 },
    /// One of the open reservations was never sent.
    Refund { which: usize },
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let late = || prop_oneof![4 => Just(0_u16), 1 => 0_u16..2_000, 1 => any::<u16>()];
    let size = || prop_oneof![3 => Just(0_u16), 3 => 0_u16..3_000, 2 => any::<u16>()];
    let step = prop_oneof![
        2 => any::<u16>().prop_map(Step::Wait),
        1 => (0_u16..100).prop_map(Step::Wait),
        8 => (size(), any::<bool>(), late())
            .prop_map(|(size, patient, late)| Step::Ask { size, patient, late }),
        2 => (any::<usize>(), any::<u16>()).prop_map(|(which, used)| Step::Settle { which, used }),
        1 => any::<usize>().prop_map(|which| Step::Refund { which }),
    ];
    proptest::collection::vec(step, 1..120)
}

/// A grant as the log remembers it.
struct Grant {
    at: Timestamp,
    /// What counts of it: its reservation, or less once it was settled.
    net: u64,
    /// What it used beyond its reservation, and since when that is known.
    beyond: Option<(Timestamp, u64)>,
    open: Option<Reservation>,
}

/// A limit, a clock and the log.
struct Bench {
    budget: Budget,
    window: Duration,
    /// Largest request that the limit admits.
    most: u64,
    now: Timestamp,
    log: Vec<Grant>,
}

impl Bench {
    fn new(spec: &LimitSpec) -> Self {
        Self {
            budget: Budget::new(vec![spec.clone()]).expect("the limit is valid"),
            window: spec.window,
            most: match spec.shape {
                Shape::TokenBucket => spec.burst.unwrap_or(spec.amount),
                _ => spec.amount,
            },
            now: Timestamp::from_secs(1),
            log: Vec::new(),
        }
    }

    /// Does one step; `granted` sees the bench right after each grant.
    fn step(&mut self, step: &Step, granted: impl Fn(&Self)) {
        match *step {
            Step::Wait(time) => self.now = self.now + 2 * part_of(self.window, time),
            Step::Ask {
                size,
                patient,
                late,
            } => {
                let size = 1 + part(self.most - 1, size);
                let refusal = match self.budget.reserve(self.now, tokens(size)) {
                    Ok(reservation) => {
                        self.note(size, reservation);
                        return granted(self);
                    }
                    Err(refusal) => refusal,
                };
                let Decision::WaitUntil(at) = refusal.decision else {
                    panic!("{refusal:?} of {size}, which fits")
                };
                // The end of time is no instant to come back at.
                if patient && at != Timestamp::NEVER {
                    self.now = at + part_of(self.window, late);
                    let reservation = self.budget.reserve(self.now, tokens(size));
                    self.note(size, reservation.expect("the promise is kept"));
                    granted(self);
                }
            }
            Step::Settle { which, used } => {
                if let Some((index, reservation)) = self.pick(which) {
                    let reserved = reservation.charge().total;
                    let used = part(2 * reserved + 1, used);
                    let actual = Some(tokens(used));
                    self.budget.settle(self.now, reservation, actual);
                    let grant = &mut self.log[index];
                    grant.net = used.min(reserved);
                    grant.beyond = (used > reserved).then(|| (self.now, used - reserved));
                }
            }
            Step::Refund { which } => {
                if let Some((index, reservation)) = self.pick(which) {
                    self.budget.refund(self.now, reservation);
                    self.log[index].net = 0;
                }
            }
        }
    }

    fn note(&mut self, units: u64, reservation: Reservation) {
        self.log.push(Grant {
            at: self.now,
            net: units,
            beyond: None,
            open: Some(reservation),
        });
    }

    fn pick(&mut self, which: usize) -> Option<(usize, Reservation)> {
        let open: Vec<usize> = (0..self.log.len())
            .filter(|&index| self.log[index].open.is_some())
            .collect();
        let index = *open.get(which.checked_rem(open.len())?)?;
        Some((index, self.log[index].open.take()?))
    }

    /// Whether `size` has a reason to wait at `now`, nothing having been settled or refunded.
    fn is_due(&self, spec: &LimitSpec, now: Timestamp, size: u64) -> bool {
        let sent = |from: Timestamp| {
            let since = self.log.iter().filter(|grant| grant.at >= from);
            since.map(|grant| u128::from(grant.net)).sum::<u128>()
        };
        let (amount, window) = (u128::from(spec.amount), spec.window.as_nanos());
        let jitter = spec.jitter.expect("the test gives it").as_nanos();
        let stretch = window + jitter + 1;
        // The rate that each shape keeps to at least, and what may start at once beyond it.
        let (num, den, burst) = match (spec.shape, spec.edge, spec.burst) {
            (Shape::Paced, ..) => (amount * 991, (window * 1000).max(stretch * 994), 0),
            (Shape::TokenBucket, _, None) => (amount, window, 0),
            (Shape::TokenBucket, _, Some(burst)) => {
                let safe = (u128::from(burst) * window).saturating_sub(amount * jitter);
                let safe = safe.max(window);
                (amount, window, safe)
            }
            (_, Some(_), _) => (amount, window - jitter, 0),
            (_, None, _) => (amount, stretch + stretch / 4000, 0),
        };
        // Only a declared bucket must hold the request that asks.
        let asked = match (spec.shape, spec.burst) {
            (Shape::TokenBucket, Some(_)) => u128::from(size) * window,
            _ => 0,
        };
        let paced = self.log.iter().any(|first| {
            let since = u128::from(now.as_nanos() - first.at.as_nanos());
            sent(first.at) * den + asked > burst + num * since
        });
        let counts = spec.edge.map_or(stretch + stretch / 4000, |edge| {
            // The window of `now`, and the end of the one before, which may be admitted in it.
            let edge = edge.as_nanos() % nanos(spec.window);
            let since = (u128::from(now.as_nanos()) + window - u128::from(edge)) % window;
            since + jitter
        });
        let counts = Duration::from_nanos(u64::try_from(counts).expect("62 days fit"));
        let full = sent(now - counts) + u128::from(size) > amount;
        match spec.shape {
            Shape::TokenBucket => paced,
            _ => full || paced && spec.window < 3600 * SECOND,
        }
    }

    /// What a server counts in the stretch of this length that ends now, debt included.
    fn counted(&self, stretch: Duration) -> u128 {
        let recent = |at: Timestamp| self.now.since(at) < stretch;
        let of_grant = |grant: &Grant| {
            let net = if recent(grant.at) { grant.net } else { 0 };
            let debt = grant.beyond.filter(|&(at, _)| recent(at));
            u128::from(net) + u128::from(debt.map_or(0, |(_, units)| units))
        };
        self.log.iter().map(of_grant).sum()
    }
}

proptest! {
    #![proptest_config(cases(400))]

    /// At each start, what counts in the window that it closes, debt included, is within the
    /// amount; and at the end, in every window, at most what exceeded reservations is beyond it.
    #[test]
    fn the_amount_is_never_exceeded_in_any_window(
        amount in amounts(),
        window in windows(),
        shape in 0..3,
        burst in proptest::option::of(amounts()),
        jitter in proptest::option::of(any::<u16>()),
        steps in steps(),
    ) {
        let mut spec = LimitSpec::new("tpm", LimitKind::TotalTokens, amount, window);
        if shape > 0 {
            spec = spec.shape(if shape == 1 { Shape::Sliding } else { Shape::Fixed });
            spec.burst = burst;
        }
        let jitter = jitter.map(|jitter| part_of(window, jitter));
        if let Some(jitter) = jitter {
            spec = spec.jitter(jitter);
        }
        // What is declared holds with both ends of the stretch.
        let ends = Duration::from_nanos(u64::from(shape > 0));
        let stretch = window + jitter.unwrap_or_else(|| default_jitter(&spec)) + ends;
        let mut bench = Bench::new(&spec);
        for step in &steps {
            bench.step(step, |bench| {
                let counted = bench.counted(stretch);
                assert!(counted <= u128::from(amount), "{counted} at {:?}", bench.now);
            });
        }
        for opening in &bench.log {
            let within = |at: Timestamp| at >= opening.at && at.since(opening.at) < stretch;
            let grants = bench.log.iter().filter(|grant| within(grant.at));
            let sum: u128 = grants.map(|grant| u128::from(grant.net)).sum();
            prop_assert!(sum <= u128::from(amount), "{} from {:?}", sum, opening.at);
        }
    }

    /// Without a declared burst: 50 ms of the rate and one request, on top of the rate.
    #[test]
    fn a_bucket_of_unknown_size_gets_the_rate_and_one_request_beyond_catching_up(
        amount in amounts(),
        window in windows(),
        steps in steps(),
    ) {
        let spec = LimitSpec::new("tpm", LimitKind::TotalTokens, amount, window)
            .shape(Shape::TokenBucket);
        let log = sends(&spec, &steps);
        let catch_up = 50_000_000;
        for_each_interval(&log, |elapsed, sum, largest| {
            let allowed = u128::from(amount) * u128::from(elapsed + catch_up)
                + u128::from(largest) * window.as_nanos();
            assert!(sum * window.as_nanos() <= allowed, "{sum} in {elapsed} ns");
        });
    }

    /// A refusal is always due: what was sent since some start exceeds the rate, or what still
    /// counts leaves no room, each to within the resolution of pace and count.
    #[test]
    fn nothing_waits_while_it_fits(
        amount in amounts(),
        window in windows(),
        shape in shapes(),
        jitter in any::<u16>(),
        steps in steps(),
    ) {
        let jitter = part_of(window, jitter);
        let spec = shape
            .apply(LimitSpec::new("tpm", LimitKind::TotalTokens, amount, window))
            .jitter(jitter);
        let mut bench = Bench::new(&spec);
        for step in &steps {
            let Step::Ask { size, .. } = *step else {
                if let Step::Wait(_) = step {
                    bench.step(step, |_| {});
                }
                continue;
            };
            let size = 1 + part(bench.most - 1, size);
            match bench.budget.reserve(bench.now, tokens(size)) {
                Ok(reservation) => bench.note(size, reservation),
                Err(refusal) => {
                    let Decision::WaitUntil(at) = refusal.decision else {
                        panic!("{refusal:?} of {size}, which fits")
                    };
                    for instant in [bench.now, at - Duration::from_nanos(1)] {
                        assert!(bench.is_due(&spec, instant, size), "{size} at {instant:?}");
                    }
                }
            }
        }
    }

    /// With one: B − ρJ on top of the rate, or a single larger request.
    #[test]
    fn a_declared_burst_is_not_exceeded_in_any_interval(
        amount in amounts(),
        window in windows(),
        burst in amounts(),
        jitter in proptest::option::of(any::<u16>()),
        steps in steps(),
    ) {
        let mut spec = LimitSpec::new("tpm", LimitKind::TotalTokens, amount, window).burst(burst);
        let mut given = Duration::from_millis(300);
        if let Some(jitter) = jitter {
            given = part_of(window, jitter);
            spec = spec.jitter(given);
        }
        let log = sends(&spec, &steps);
        // Scaled by the window: a unit is `window` wide, a nanosecond of the rate `amount`.
        let unit = window.as_nanos();
        let safe = (u128::from(burst) * unit)
            .saturating_sub(u128::from(amount) * given.as_nanos())
            .max(unit);
        for_each_interval(&log, |elapsed, sum, largest| {
            let cap = safe.max(u128::from(largest) * unit);
            let allowed = cap + u128::from(amount) * u128::from(elapsed);
            assert!(sum * unit <= allowed, "{sum} in {elapsed} ns");
        });
    }

    /// A server with this very bucket refuses nothing, however the way to it delays each request
    /// within the jitter.
    #[test]
    fn a_server_with_the_declared_bucket_refuses_nothing_within_the_jitter(
        amount in amounts(),
        window in windows(),
        burst in amounts(),
        jitter in any::<u16>(),
        seed in any::<u64>(),
        steps in steps(),
    ) {
        // Jitter that eats up the whole burst leaves nothing that could be safe.
        let most = u128::from(burst - 1) * window.as_nanos() / u128::from(amount);
        let most = u64::try_from(most.min(window.as_nanos())).expect("no longer than the window");
        let jitter = part(most, jitter);
        let spec = LimitSpec::new("tpm", LimitKind::TotalTokens, amount, window)
            .burst(burst)
            .jitter(Duration::from_nanos(jitter));
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut arrivals: Vec<(u64, u64)> = sends(&spec, &steps)
            .iter()
            .map(|&(at, units)| {
                let delay = if rng.bool() { rng.u64(0..=jitter) } else { jitter * u64::from(rng.bool()) };
                (at.as_nanos() + delay, units)
            })
            .collect();
        arrivals.sort_unstable();
        let unit = i128::from(nanos(window));
        let full = i128::from(burst) * unit;
        let (mut level, mut last) = (full, 0);
        for (at, units) in arrivals {
            level = full.min(level + i128::from(at - last) * i128::from(amount));
            last = at;
            level -= i128::from(units) * unit;
            prop_assert!(level >= 0, "refused {} at {} ns", units, at);
        }
    }
}

/// What was sent, and when; nothing is settled or refunded. What is sent centuries later is left
/// out: a server's clock would not show it.
pub(super) fn sends(spec: &LimitSpec, steps: &[Step]) -> Vec<(Timestamp, u64)> {
    let mut bench = Bench::new(spec);
    for step in steps {
        if matches!(step, Step::Wait(_) | Step::Ask { .. }) {
            bench.step(step, |_| {});
        }
    }
    let sent = bench.log.iter().map(|grant| (grant.at, grant.net));
    sent.take_while(|(at, _)| at.as_nanos() < u64::MAX / 2)
        .collect()
}

/// As `LimitSpec::jitter` says.
fn default_jitter(spec: &LimitSpec) -> Duration {
    let share = spec.window / 200;
    if spec.shape == Shape::Paced {
        return share;
    }
    let ms = Duration::from_millis;
    share.clamp(ms(50), ms(300)).min(spec.window / 20)
}

/// Calls `check` with the length of each closed interval, its sum and its largest request.
fn for_each_interval(log: &[(Timestamp, u64)], check: impl Fn(u64, u128, u64)) {
    for (index, &(begin, _)) in log.iter().enumerate() {
        let (mut sum, mut largest) = (0, 0);
        for &(end, units) in &log[index..] {
            sum += u128::from(units);
            largest = largest.max(units);
            check(end.as_nanos() - begin.as_nanos(), sum, largest);
        }
    }
}
