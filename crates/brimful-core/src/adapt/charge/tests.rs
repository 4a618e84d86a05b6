use super::*;

const MINUTE_UNITS: f64 = 10_000.0;

fn charge(input: u64, output: u64) -> Cost {
    Cost::tokens(input, output)
}

fn reserve(charges: &Charges, cost: &Cost) -> Charge {
    charges.reserve(cost, ChargeRule::Sum.of(cost))
}

#[test]
fn what_a_server_says_outright_is_believed_when_three_agree() {
    let mut charges = Charges::new(ChargeRule::Sum, Settlement::None);
    let request = charge(300, 100);
    assert!(!charges.said(LimitKind::TotalTokens, &request, 800));
    assert!(!charges.said(LimitKind::TotalTokens, &request, 800));
    assert!(!charges.is_learnt());
    assert!(charges.said(LimitKind::TotalTokens, &request, 800));
    assert_eq!(charges.model(LimitKind::TotalTokens).permille, 2_000);
    assert_eq!(reserve(&charges, &request).total, 800);
    assert!(!charges.said(LimitKind::TotalTokens, &request, 800));
}

#[test]
fn a_rule_that_is_exact_beats_one_that_scatters() {
    let mut charges = Charges::new(ChargeRule::Sum, Settlement::None);
    for (input, output) in [(300, 100), (50, 400), (900, 20), (10, 10)] {
        charges.said(
            LimitKind::TotalTokens,
            &charge(input, output),
            input.max(output),
        );
    }
    let model = charges.model(LimitKind::TotalTokens);
    assert_eq!((model.count, model.permille), (Count::Max, 1_000));
}

#[test]
fn absurd_numbers_have_bounded_consequences() {
    let mut charges = Charges::new(ChargeRule::Sum, Settlement::None);
    for _ in 0..3 {
        charges.said(LimitKind::TotalTokens, &charge(1, 0), u64::MAX);
    }
    assert_eq!(charges.model(LimitKind::TotalTokens).permille, 10_000);
    assert_eq!(reserve(&charges, &charge(u64::MAX, 1)).total, u64::MAX);
    charges.said(LimitKind::TotalTokens, &charge(1, 0), 0);
    charges.said(LimitKind::TotalTokens, &Cost::default(), 5);
}

/// Stretches of uneven sending, of which the server takes `factor` by `truth`, and others `others`
/// a second.
fn watch(charges: &mut Charges, truth: Count, factor: f64, others: f64) {
    let (mut drift, mut sent) = (0.0, [0_i64; 4]);
    let mut rng = fastrand::Rng::with_seed(5);
    for second in 0..60 {
        let request = charge(rng.u64(10..900), rng.u64(10..900));
        for (sum, count) in sent.iter_mut().zip(Count::of(LimitKind::TotalTokens)) {
            *sum += count.at_admission(&request) as i64;
        }
        drift += others + factor * truth.at_admission(&request) as f64;
        charges.seen(
            LimitKind::TotalTokens,
            f64::from(second),
            drift,
            MINUTE_UNITS / 60.0,
            |count| {
                let of_kind = Count::of(LimitKind::TotalTokens);
                sent[of_kind.iter().position(|&known| known == count).unwrap()]
            },
        );
    }
}

#[test]
fn levels_that_fall_twice_as_fast_as_sent_show_the_factor_and_not_others() {
    let mut charges = Charges::new(ChargeRule::Sum, Settlement::None);
    watch(&mut charges, Count::Sum, 2.0, 300.0);
    let model = charges.model(LimitKind::TotalTokens);
    assert_eq!(model.count, Count::Sum);
    assert!((1_900..2_100).contains(&model.permille), "{model:?}");
}

#[test]
fn levels_that_fall_evenly_are_others_and_no_factor() {
    let mut charges = Charges::new(ChargeRule::Sum, Settlement::None);
    watch(&mut charges, Count::Sum, 1.0, 900.0);
    assert!(!charges.is_learnt(), "{charges:?}");
}

#[test]
fn the_rule_that_explains_the_levels_is_found() {
    let mut charges = Charges::new(ChargeRule::Sum, Settlement::None);
    watch(&mut charges, Count::Max, 1.0, 100.0);
    let model = charges.model(LimitKind::TotalTokens);
    assert_eq!((model.count, model.permille), (Count::Max, 1_000));
}

#[test]
fn an_answer_is_settled_as_learnt_where_something_was_learnt_and_else_as_declared() {
    let mut charges = Charges::new(ChargeRule::Sum, Settlement::Usage);
    let request = charge(300, 100);
    let usage = Usage {
        input: 280,
        output: 20,
        cached: 0,
    };
    let model = Model {
        count: Count::Sum,
        permille: 2_000,
    };
    charges.set(LimitKind::TotalTokens, model);
    let reserved = reserve(&charges, &request);
    let declared = ChargeRule::Sum.actual(usage);
    let actual = charges.settle(&usage, &reserved, Some(declared));
    assert_eq!((actual.total, actual.input, actual.output), (800, 280, 20));
    let model = Model {
        count: Count::SumSettled,
        permille: 2_000,
    };
    charges.set(LimitKind::TotalTokens, model);
    assert_eq!(charges.settle(&usage, &reserved, Some(declared)).total, 600);
}

#[test]
fn less_than_was_sent_is_nobodys_use() {
    let mut charges = Charges::new(ChargeRule::Sum, Settlement::None);
    assert!(!charges.left_over(LimitKind::TotalTokens, 97.0, 100.0));
    assert!(charges.left_over(LimitKind::TotalTokens, 50.0, 100.0));
    assert_eq!(charges.model(LimitKind::TotalTokens).permille, 500);
    assert!(!charges.left_over(LimitKind::TotalTokens, 50.0, 100.0));
}

#[test]
fn a_limit_that_lacks_less_than_was_sent_shows_that_less_is_taken() {
    let mut charges = Charges::new(ChargeRule::Sum, Settlement::None);
    let request = charge(300, 100);
    for reply in 0..63 {
        // Now and then something else was sent just before.
        let gone = if reply % 3 == 0 { 900 } else { 200 };
        charges.at_most(LimitKind::TotalTokens, &request, gone);
    }
    assert_eq!(charges.model(LimitKind::TotalTokens).permille, 500);
}

#[test]
fn one_request_that_was_estimated_badly_changes_nothing_for_the_others() {
    let mut charges = Charges::new(ChargeRule::Sum, Settlement::None);
    let request = charge(60, 40);
    for units in [1_000, 100, 100, 110, 1_000, 100] {
        charges.said(LimitKind::TotalTokens, &request, units);
        assert!(!charges.is_learnt(), "{charges:?}");
    }
}

#[test]
fn a_factor_of_which_nothing_is_heard_any_more_is_forgotten() {
    let mut charges = Charges::new(ChargeRule::Max, Settlement::None);
    let model = Model {
        count: Count::Sum,
        permille: 10_000,
    };
    charges.set(LimitKind::TotalTokens, model);
    for _ in 1..BELIEVED_FOR {
        assert_eq!(charges.answered().count(), 0);
    }
    let forgotten: Vec<LimitKind> = charges.answered().collect();
    assert_eq!(forgotten, [LimitKind::TotalTokens]);
    let model = charges.model(LimitKind::TotalTokens);
    assert_eq!((model.count, model.permille), (Count::Max, 1_000));
    assert!(!charges.is_learnt());
}
