use super::*;
use crate::learned::Learned;
use crate::observation::Reset;

const MINUTE: Duration = Duration::from_secs(60);
const MS: Duration = Duration::from_millis(1);

fn told() -> Told {
    Told::new(UpstreamId(0), ChargeRule::Sum, Settlement::None)
}

/// Where limits are told of, to nobody.
fn no_budget() -> Budget {
    Budget::new(Vec::new()).unwrap()
}

fn reading(limit: u64, remaining: u64) -> Reading {
    let used = limit.saturating_sub(remaining);
    Reading {
        kind: LimitKind::Requests,
        window: None,
        limit: Some(limit),
        remaining: Some(remaining),
        reset: Some(Reset::Full(MINUTE.mul_f64(used as f64 / limit as f64))),
        granularity: 1,
    }
}

fn observation(reading: Reading) -> Observation {
    Observation {
        readings: vec![reading],
        charged_tokens: None,
    }
}

/// One request each 100 ms, answered at once by what `reading` makes of its number.
fn hear(told: &mut Told, from: u64, count: u64, reading: impl Fn(u64) -> Reading) {
    for number in from..from + count {
        let now = Timestamp::from_millis(number * 100);
        let mark = told.sent(now, &Cost::request(), &mut no_budget());
        let observation = observation(reading(number));
        told.observed(now, &mark, &Cost::request(), &observation, false);
    }
}

fn names(events: Vec<Event>) -> Vec<String> {
    let short = |event: Event| match event {
        Event::LimitLearned {
            limit,
            amount,
            window,
            ..
        } => format!("{limit}={amount}/{window:?}"),
        Event::LimitChanged { from, to, .. } => format!("{from}->{to}"),
        Event::HeadersDoubted { doubted, .. } => format!("doubted {doubted}"),
        other => format!("{other:?}"),
    };
    events.into_iter().map(short).collect()
}

#[test]
fn a_limit_that_is_named_is_one_of_the_limits_from_then_on() {
    let mut told = told();
    hear(&mut told, 1, 1, |_| reading(600, 599));
    let events: Vec<Event> = told.events().collect();
    assert_eq!(names(events), ["told-rpm=600/60s"]);
    let now = Timestamp::from_millis(100);
    assert_eq!(told.earliest(now, &Cost::request()).0, now);
    hear(&mut told, 2, 1, |_| reading(600, 0));
    let now = Timestamp::from_millis(200);
    assert!(told.earliest(now, &Cost::request()).0 > now + 1000 * MS);
    let mut budget = no_budget();
    told.register(Timestamp::ZERO, &mut budget);
    assert_eq!(told.places().collect::<Vec<_>>(), [0]);
    assert_eq!(budget.spec(0).burst, Some(600));
}

#[test]
fn requests_of_a_day_are_told_from_requests_of_a_minute() {
    let mut told = told();
    let mut daily = reading(10_000, 9_999);
    daily.reset = Some(Reset::Full(Duration::from_millis(8_640)));
    hear(&mut told, 1, 1, |_| daily);
    let events: Vec<Event> = told.events().collect();
    assert_eq!(names(events), ["told-rpd=10000/86400s"]);
}

#[test]
fn a_changed_limit_is_followed_when_replies_agree_and_one_reply_is_not_enough() {
    let mut told = told();
    hear(&mut told, 1, 5, |_| reading(600, 590));
    hear(&mut told, 6, 1, |_| reading(300, 290));
    hear(&mut told, 7, 1, |_| reading(600, 590));
    hear(&mut told, 8, 2, |_| reading(300, 290));
    let events: Vec<Event> = told.events().collect();
    assert_eq!(names(events), ["told-rpm=600/60s"]);
    hear(&mut told, 10, 1, |_| reading(300, 290));
    hear(&mut told, 11, 9, |_| reading(1_200, 1_100));
    let events: Vec<Event> = told.events().collect();
    assert_eq!(names(events), ["600->300", "300->1200"]);
    assert_eq!(told.learned().limits[0].amount, 1_200);
}

#[test]
fn levels_that_jump_up_and_down_are_doubted_until_they_are_calm() {
    let mut told = told();
    let mut rng = fastrand::Rng::with_seed(1);
    let any: Vec<u64> = (0..100).map(|_| rng.u64(..=600)).collect();
    hear(&mut told, 0, 100, |number| {
        reading(600, any[number as usize])
    });
    let events: Vec<Event> = told.events().collect();
    let doubts = names(events);
    assert!(doubts.contains(&"doubted true".to_owned()), "{doubts:?}");
    // No longer than it takes at an even pace, although the last reply left nothing.
    hear(&mut told, 100, 1, |_| reading(600, 0));
    let now = Timestamp::from_secs(11);
    let wait = told.earliest(now, &Cost::request()).0.since(now);
    assert!(wait < 150 * MS, "{wait:?}");
    hear(&mut told, 120, 100, |_| reading(600, 300));
    let events: Vec<Event> = told.events().collect();
    assert!(names(events).contains(&"doubted false".to_owned()));
}

#[test]
fn the_numbers_of_a_429_set_the_level_and_teach_the_charge() {
    let mut told = told();
    let cost = Cost::tokens(300, 100);
    let now = Timestamp::from_secs(1);
    let mark = told.sent(now, &cost, &mut no_budget());
    told.voided(now, &mark, &cost);
    let numbers = QuotaNumbers {
        kind: Some(LimitKind::TotalTokens),
        window: Some(MINUTE),
        limit: Some(60_000),
        used: Some(59_500),
        requested: Some(800),
        wait: None,
    };
    for _ in 0..3 {
        told.refused(now, &mark, &cost, Some(&numbers), &[]);
    }
    // 500 are there, 800 are needed, and the margin of 1.2 s stays.
    let (at, _) = told.earliest(now, &cost);
    assert!(at >= now + 1_400 * MS && at < now + 4_000 * MS, "{at:?}");
    assert_eq!(told.learned().charges[0].permille, 2_000);
    assert_eq!(told.reserve(&cost, ChargeRule::Sum.of(&cost)).total, 800);
}

#[test]
fn what_was_learnt_is_where_the_next_run_starts() {
    let mut first = told();
    hear(&mut first, 1, 3, |_| reading(600, 590));
    let learned = first.learned();
    let mut second = told();
    second.start_from(&learned);
    // Evenly until the first reply: nobody knows who has used the limit meanwhile.
    let now = Timestamp::from_secs(1);
    second.sent(now, &Cost::request(), &mut no_budget());
    let (at, _) = second.earliest(now, &Cost::request());
    assert!(at > now + 90 * MS && at < now + 110 * MS, "{at:?}");
    hear(&mut second, 11, 3, |_| reading(600, 500));
    assert!(second.events().next().is_none(), "it is known already");
    assert_eq!(second.learned(), learned);
}

#[test]
fn hostile_replies_add_no_more_than_a_bounded_number_of_limits() {
    let mut told = told();
    hear(&mut told, 1, 200, |number| Reading {
        window: Some(Duration::from_secs(number)),
        limit: Some(u64::MAX - number),
        ..reading(600, 3)
    });
    hear(&mut told, 300, 200, |number| Reading {
        window: Some(Duration::from_secs(number)),
        limit: Some(number),
        ..reading(600, 3)
    });
    assert_eq!(told.learned().limits.len(), LIMITS_MAX);
    hear(&mut told, 600, 10, |_| Reading {
        limit: Some(0),
        remaining: Some(u64::MAX),
        granularity: u64::MAX,
        ..reading(600, 3)
    });
}

#[test]
fn a_window_that_is_used_up_is_left_alone_until_it_starts_anew() {
    let mut told = told();
    let reading = Reading {
        reset: Some(Reset::Restart(Duration::from_secs(30))),
        window: Some(MINUTE),
        ..reading(600, 300)
    };
    hear(&mut told, 10, 1, |_| reading);
    let now = Timestamp::from_secs(2);
    assert!(told.earliest(now, &Cost::request()).0 <= now + 200 * MS);
    let reading = Reading {
        remaining: Some(3),
        ..reading
    };
    hear(&mut told, 30, 1, |_| reading);
    let now = Timestamp::from_secs(4);
    let (at, _) = told.earliest(now, &Cost::request());
    assert_eq!(at, Timestamp::from_millis(33_300));
}

#[test]
fn a_reset_that_is_the_end_of_a_window_is_found_out_by_its_numbers() {
    let mut told = told();
    // Windows of a minute, in the words of a bucket: five are used, 50 s are left.
    hear(&mut told, 10, 5, |_| Reading {
        reset: Some(Reset::Full(Duration::from_secs(50))),
        window: Some(MINUTE),
        ..reading(600, 595)
    });
    assert!(told.limits[0].restarts.is_some());
    assert!(told.learned().limits[0].burst.is_none());
}

#[test]
fn numbers_without_a_name_are_those_of_the_limit_of_that_amount() {
    let mut told = told();
    let cost = Cost::tokens(300, 100);
    let numbers = QuotaNumbers {
        limit: Some(60_000),
        used: Some(59_999),
        requested: Some(200),
        ..QuotaNumbers::default()
    };
    let limits = [
        LimitSpec::new("rpm", LimitKind::Requests, 500, MINUTE),
        LimitSpec::new("tpm", LimitKind::TotalTokens, 60_000, MINUTE),
    ];
    let now = Timestamp::from_secs(1);
    let mark = told.sent(now, &cost, &mut no_budget());
    told.voided(now, &mark, &cost);
    told.refused(now, &mark, &cost, Some(&numbers), &limits[..1]);
    assert_eq!(told.learned(), Learned::new());
    for _ in 0..3 {
        told.refused(now, &mark, &cost, Some(&numbers), &limits);
    }
    assert_eq!(told.learned().charges[0].permille, 500);
}

#[test]
fn a_usage_that_no_answer_can_have_stops_nothing() {
    let mut told = Told::new(UpstreamId(0), ChargeRule::Sum, Settlement::Usage);
    let cost = Cost::tokens(100, 100);
    let tokens = |remaining| Reading {
        kind: LimitKind::TotalTokens,
        ..reading(60_000, remaining)
    };
    let now = Timestamp::from_secs(1);
    let mut budget = no_budget();
    let early = told.sent(now, &cost, &mut budget);
    let mark = told.sent(now, &cost, &mut budget);
    let left = observation(tokens(59_600));
    told.observed(now, &mark, &cost, &left, false);
    let usage = Usage {
        input: 100,
        output: 9_000_000_000_000_000_000,
        cached: 0,
    };
    told.ended(now, &cost, &usage);
    told.observed(now, &early, &cost, &left, false);
    let wait = told.earliest(now, &cost).0.since(now);
    assert!(wait <= 2 * MINUTE, "{wait:?}");
}

#[test]
fn limits_whose_different_windows_the_server_names_are_two() {
    let mut told = told();
    for secs in [60, 3_600] {
        hear(&mut told, secs, 1, |_| Reading {
            window: Some(Duration::from_secs(secs)),
            ..reading(600, 590)
        });
    }
    assert_eq!(told.limits.len(), 2);
}

/// Requests that start within a minute, one at a time, by a reply that leaves most.
fn starts_in_a_minute(told: &mut Told, from: Timestamp) -> u64 {
    let mut now = from;
    let mut starts = 0;
    while now < from + MINUTE {
        let (earliest, _) = told.earliest(now, &Cost::request());
        if earliest > now {
            now = earliest;
            continue;
        }
        told.sent(now, &Cost::request(), &mut no_budget());
        starts += 1;
    }
    starts
}

#[test]
fn of_a_limit_that_is_named_no_more_than_the_share_is_used_whatever_it_becomes() {
    let mut told = told();
    told.take_share(250_000);
    hear(&mut told, 0, 5, |number| reading(600, 600 - number));
    let starts = starts_in_a_minute(&mut told, Timestamp::from_secs(10));
    assert!((149..=152).contains(&starts), "{starts} of 600");
    hear(&mut told, 1_000, 5, |number| reading(1200, 2_200 - number));
    let starts = starts_in_a_minute(&mut told, Timestamp::from_secs(200));
    assert!((299..=302).contains(&starts), "{starts} of 1200");
    told.take_share(500_000);
    let starts = starts_in_a_minute(&mut told, Timestamp::from_secs(400));
    assert!((598..=602).contains(&starts), "{starts} of 1200");
}

#[test]
fn what_a_request_did_not_take_is_given_back_to_the_share() {
    let mut told = told();
    told.take_share(500_000);
    hear(&mut told, 0, 5, |number| reading(60, 60 - number));
    let now = Timestamp::from_secs(60);
    let mark = told.sent(now, &Cost::request(), &mut no_budget());
    assert!(told.earliest(now, &Cost::request()).0 > now + Duration::from_secs(1));
    told.voided(now, &mark, &Cost::request());
    assert_eq!(told.earliest(now, &Cost::request()).0, now);
}
