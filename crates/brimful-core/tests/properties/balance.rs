//! A budget of several limits: promises, refusals, and what is outstanding.

use super::*;

/// Limits of all kinds and shapes, none of which refuses a small request for ever.
fn budgets() -> impl Strategy<Value = Vec<LimitSpec>> {
    let kind = prop_oneof![
        Just(LimitKind::Requests),
        Just(LimitKind::TotalTokens),
        Just(LimitKind::InputTokens),
        Just(LimitKind::OutputTokens),
    ];
    let limit = (kind, amounts(), windows(), shapes()).prop_map(|(kind, amount, window, shape)| {
        shape.apply(LimitSpec::new("limit", kind, amount, window))
    });
    let concurrency = (1_u64..8).prop_map(LimitSpec::concurrency);
    let limit = prop_oneof![5 => limit, 1 => concurrency];
    proptest::collection::vec(limit, 0..5)
}

/// Time in nanoseconds on every scale that matters.
fn times() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        1_u64..1_000_000,
        1_000_000_u64..1_000_000_000,
        1_000_000_000_u64..100_000_000_000,
        1_u64..31 * 86_400_000_000_000,
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    /// The clock steps back.
    Back(u64),
    Reserve(Charge),
    /// An open reservation ends: settled as reserved, by usage, or refunded.
    End {
        which: usize,
        how: u8,
        usage: Usage,
    },
    Drain,
    Resume,
}

fn charges() -> impl Strategy<Value = Charge> {
    let units = || prop_oneof![3 => 0_u64..5, 2 => 0_u64..1_000, 1 => any::<u64>()];
    let rule = prop_oneof![
        Just(ChargeRule::Max),
        Just(ChargeRule::Sum),
        Just(ChargeRule::Input)
    ];
    (units(), units(), rule).prop_map(|(input, output, rule)| rule.charge(input, output))
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let usage = || prop_oneof![4 => 0_u64..2_000, 1 => any::<u64>()];
    let usage = (usage(), usage()).prop_map(|(input, output)| Usage {
        input,
        output,
        cached: 0,
    });
    let step = prop_oneof![
        30 => times().prop_map(Step::Wait),
        2 => any::<u64>().prop_map(Step::Wait),
        3 => times().prop_map(Step::Back),
        60 => charges().prop_map(Step::Reserve),
        40 => (any::<usize>(), 0_u8..3, usage)
            .prop_map(|(which, how, usage)| Step::End { which, how, usage }),
        5 => Just(Step::Drain),
        5 => Just(Step::Resume),
    ];
    proptest::collection::vec(step, 1..80)
}

struct Bench {
    budget: Budget,
    now: Timestamp,
    open: Vec<Reservation>,
}

impl Bench {
    fn new(limits: Vec<LimitSpec>) -> Self {
        Self {
            budget: Budget::new(limits).expect("the limits are valid"),
            now: Timestamp::from_secs(5),
            open: Vec::new(),
        }
    }

    fn step(&mut self, step: &Step, refused: impl FnOnce(&Self, &Charge, &Refusal)) {
        match step {
            // No driver's clock comes to the end of time itself.
            Step::Wait(time) => {
                let end = Timestamp::NEVER - Duration::from_nanos(1);
                self.now = end.min(self.now + Duration::from_nanos(*time));
            }
            Step::Back(time) => self.now = self.now - Duration::from_nanos(*time),
            Step::Reserve(charge) => match self.budget.reserve(self.now, *charge) {
                Ok(reservation) => self.open.push(reservation),
                Err(refusal) => refused(self, charge, &refusal),
            },
            Step::End { which, how, usage } => {
                if let Some(index) = which.checked_rem(self.open.len()) {
                    let reservation = self.open.swap_remove(index);
                    self.end(reservation, *how, *usage);
                }
            }
            Step::Drain => self.budget.drain(self.now),
            Step::Resume => self.budget.resume(self.now),
        }
    }

    fn end(&mut self, reservation: Reservation, how: u8, usage: Usage) {
        match how {
            0 => self.budget.settle(self.now, reservation, None),
            1 => {
                let actual = ChargeRule::Sum.actual(usage);
                self.budget.settle(self.now, reservation, Some(actual));
            }
            _ => self.budget.refund(self.now, reservation),
        }
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn the_promised_instant_is_exact(
        limits in budgets(),
        steps in steps(),
        earlier in any::<u16>(),
    ) {
        let mut bench = Bench::new(limits);
        for step in &steps {
            bench.step(step, |bench, charge, refusal| {
                let Decision::WaitUntil(at) = refusal.decision else { return };
                assert!(at > bench.now);
                let too_early = [
                    bench.now,
                    bench.now + Duration::from_nanos(part(at.as_nanos() - bench.now.as_nanos(), earlier)),
                    at - Duration::from_nanos(1),
                ];
                for instant in too_early {
                    let decision = bench.budget.decide(instant, charge);
                    assert_eq!(decision, Decision::WaitUntil(at), "asked at {instant:?}");
                    assert!(bench.budget.clone().reserve(instant, *charge).is_err());
                }
                if at != Timestamp::NEVER {
                    assert_eq!(bench.budget.decide(at, charge), Decision::Go);
                    assert!(bench.budget.clone().reserve(at, *charge).is_ok());
                }
            });
        }
    }

    /// Asking later, or for more, is never answered by an earlier start.
    #[test]
    fn who_asks_later_or_for_more_starts_no_earlier(
        limits in budgets(),
        steps in steps(),
        (later, less) in (times(), any::<[u16; 4]>()),
    ) {
        let mut bench = Bench::new(limits);
        for step in &steps {
            bench.step(step, |_, _, _| {});
            let Step::Reserve(more) = step else { continue };
            let less = Charge {
                requests: part(more.requests, less[0]),
                input: part(more.input, less[1]),
                output: part(more.output, less[2]),
                total: part(more.total, less[3]),
                ..*more
            };
            let later = bench.now + Duration::from_nanos(later);
            let first = start(&bench.budget, bench.now, &less);
            prop_assert!(first <= start(&bench.budget, bench.now, more));
            prop_assert!(first <= start(&bench.budget, later, &less));
        }
    }

    #[test]
    fn a_refusal_changes_no_level(limits in budgets(), steps in steps()) {
        let mut bench = Bench::new(limits);
        for step in &steps {
            let before = format!("{:?}", bench.budget);
            bench.step(step, |bench, charge, refusal| {
                assert_eq!(format!("{:?}", bench.budget), before);
                assert_eq!(bench.budget.decide(bench.now, charge), refusal.decision);
            });
        }
    }

    #[test]
    fn what_can_never_start_is_refused_for_ever_and_everything_else_can_start(
        limits in budgets(),
        steps in steps(),
    ) {
        let empty = Budget::new(limits.clone()).expect("the limits are valid");
        let mut bench = Bench::new(limits);
        for step in &steps {
            bench.step(step, |bench, charge, refusal| {
                let never = matches!(empty.decide(Timestamp::ZERO, charge), Decision::Never(_));
                assert_eq!(matches!(refusal.decision, Decision::Never(_)), never);
                assert!(refusal.limit < bench.budget.status().len());
            });
        }
    }

    #[test]
    fn reservations_balance_to_zero_under_every_order_of_ends(
        limits in budgets(),
        steps in steps(),
        ends in proptest::collection::vec((any::<usize>(), 0_u8..3, 0_u64..1_000), 80),
    ) {
        let mut bench = Bench::new(limits);
        for step in &steps {
            bench.step(step, |_, _, _| {});
            let held = bench.open.iter().map(|open| u128::from(open.charge().total)).sum();
            prop_assert_eq!(bench.budget.balance().outstanding().total, held);
        }
        for (which, how, tokens) in ends {
            let usage = Usage { input: tokens, output: tokens, cached: 0 };
            bench.step(&Step::End { which, how, usage }, |_, _, _| {});
        }
        prop_assert!(bench.open.is_empty());
        prop_assert_eq!(bench.budget.balance().outstanding(), Sums::default());
    }
}

/// When `charge` starts if it asks at `now` and nothing else happens; what never does comes last.
fn start(budget: &Budget, now: Timestamp, charge: &Charge) -> (bool, Timestamp) {
    match budget.decide(now, charge) {
        Decision::Go => (false, now),
        Decision::WaitUntil(at) => (false, at),
        Decision::Never(_) => (true, Timestamp::NEVER),
    }
}
