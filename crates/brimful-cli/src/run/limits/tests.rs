use clap::Parser as _;

use super::*;
use crate::args::{Cli, Command, UpstreamArgs};
use crate::config::UpstreamTable;

fn of(flags: &[&str]) -> anyhow::Result<Limits> {
    let argv = "brimful run in.jsonl -o out.jsonl --provider mock".split_whitespace();
    let cli = Cli::parse_from(argv.chain(flags.iter().copied()));
    let Command::Run(args) = cli.command else {
        panic!("the command is run")
    };
    let model = args.requests.model.clone();
    limits(&args, model.as_deref(), 100)
}

fn of_provider(provider: &str, flags: &str) -> anyhow::Result<Limits> {
    let argv = format!("brimful run in.jsonl -o out.jsonl --provider {provider} {flags}");
    let cli = Cli::parse_from(argv.split_whitespace());
    let Command::Run(args) = cli.command else {
        panic!("the command is run")
    };
    let model = args.requests.model.clone();
    limits(&args, model.as_deref(), 100)
}

#[test]
fn a_tier_gives_the_published_limits_and_flags_win_over_them() {
    let limits = of_provider("openai", "--tier Tier-1 --model gpt-4o-mini --rpm 77").unwrap();
    let found: Vec<(&str, u64, Source)> = limits.engine.upstreams[0]
        .limits
        .iter()
        .zip(&limits.notes)
        .map(|(spec, note)| (spec.name.as_str(), spec.amount, note.source))
        .collect();
    assert_eq!(
        found,
        [
            ("rpm", 77, Source::Given),
            ("rpd", 10_000, Source::Published),
            ("tpm", 200_000, Source::Published),
            ("concurrency", 100, Source::Given),
        ]
    );
    let told = &limits.told[0];
    assert!(
        told.contains("rpd 10000, tpm 200000") && told.contains("https://"),
        "{told}"
    );
    assert!(!told.contains("rpm"), "{told}");
}

#[test]
fn an_unknown_tier_or_model_is_refused_with_what_is_known() {
    for (provider, flags, told) in [
        ("openai", "--tier gold --model gpt-4o", "known are tier-1"),
        (
            "openai",
            "--tier tier-1 --model mistral-large",
            "known are gpt-4o, gpt-4o-mini",
        ),
        ("openai", "--tier tier-1", "give --model"),
        (
            "gemini",
            "--tier free --model gemini-x",
            "none are published",
        ),
    ] {
        let error = of_provider(provider, flags).unwrap_err().to_string();
        assert!(error.contains(told), "{flags}: {error}");
    }
}

#[test]
fn what_a_profile_knows_is_the_default() {
    let limits = of_provider("gemini", "--rpd 50 --rpm 5 --model gemini-x").unwrap();
    let resets: Vec<Option<String>> = limits
        .notes
        .iter()
        .map(|note| note.daily.as_ref().map(ToString::to_string))
        .collect();
    let midnight = Some("00:00@America/Los_Angeles".to_owned());
    assert_eq!(resets, [None, midnight, None]);
    let upstream = &limits.engine.upstreams[0];
    assert_eq!(upstream.charge_rule, ChargeRule::Input);
    assert_eq!(
        upstream.limits[0].shape,
        Shape::Paced,
        "a rate is paced as ever"
    );
    let given = of_provider("gemini", "--rpd 5 --daily-reset 07:00@UTC --charge sum").unwrap();
    let daily = given.notes[0].daily.as_ref().unwrap();
    assert_eq!(daily.to_string(), "07:00@UTC");
    assert_eq!(given.engine.upstreams[0].charge_rule, ChargeRule::Sum);
    let max = of_provider("openai", "--rpm 5").unwrap();
    assert_eq!(max.engine.upstreams[0].charge_rule, ChargeRule::Max);
    let shaped = of_provider("gemini", "--rpd 5 --limit-shape sliding").unwrap();
    assert_eq!(shaped.notes[0].daily, None);
}

fn specs(flags: &str) -> anyhow::Result<Vec<LimitSpec>> {
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let mut specs = of(&flags)?.engine.upstreams[0].limits.clone();
    let concurrency = specs.pop().unwrap();
    assert_eq!(concurrency.kind, LimitKind::Concurrency);
    Ok(specs)
}

#[test]
fn every_shape_reaches_the_core_with_its_burst_and_jitter() {
    for (name, shape) in [
        ("token-bucket", Shape::TokenBucket),
        ("sliding", Shape::Sliding),
        ("fixed", Shape::Fixed),
    ] {
        let flags = format!("--rpm 600 --tpm 6000 --limit-shape {name} --jitter 20ms");
        for spec in specs(&flags).unwrap() {
            assert_eq!((spec.shape, spec.burst), (shape, None), "{name}");
            assert_eq!(spec.jitter, Some(Duration::from_millis(20)));
        }
        let bursts = |flags: &str| -> Vec<Option<u64>> {
            let specs = specs(flags).unwrap();
            specs.iter().map(|spec| spec.burst).collect()
        };
        assert_eq!(bursts(&format!("{flags} --burst 5")), [Some(5), None]);
        assert_eq!(
            bursts(&format!("{flags} --burst 1s")),
            [Some(10), Some(100)]
        );
        assert_eq!(
            bursts(&format!("{flags} --burst 1s --share 50%")),
            [Some(5), Some(50)],
            "a share of the burst, too"
        );
    }
    assert_eq!(specs("--rpm 600").unwrap()[0].shape, Shape::Paced);
}

#[test]
fn every_flag_is_a_limit_of_its_kind_and_window() {
    let flags = "--rps 1 --rpm 2 --rph 3 --rpd 4 --tpm 5 --itpm 6 --otpm 7 --tph 8 --tpd 9";
    let found: Vec<_> = specs(flags)
        .unwrap()
        .into_iter()
        .map(|spec| (spec.name, spec.kind, spec.amount, spec.window.as_secs()))
        .collect();
    use LimitKind::{InputTokens, OutputTokens, Requests, TotalTokens};
    let expected = [
        ("rps", Requests, 1, 1),
        ("rpm", Requests, 2, 60),
        ("rph", Requests, 3, 3600),
        ("rpd", Requests, 4, 86_400),
        ("tpm", TotalTokens, 5, 60),
        ("itpm", InputTokens, 6, 60),
        ("otpm", OutputTokens, 7, 60),
        ("tph", TotalTokens, 8, 3600),
        ("tpd", TotalTokens, 9, 86_400),
    ];
    assert_eq!(
        found,
        expected.map(|(name, kind, amount, window)| (name.to_owned(), kind, amount, window))
    );
}

#[test]
fn a_share_takes_part_of_every_limit_and_says_where_it_rounds() {
    let flags = [
        "--rpm",
        "10",
        "--tpm",
        "1000",
        "--share",
        "33%",
        "--limit",
        "images=1/1m,of=n",
    ];
    let limits = of(&flags).unwrap();
    let amounts: Vec<u64> = limits.engine.upstreams[0]
        .limits
        .iter()
        .map(|spec| spec.amount)
        .collect();
    assert_eq!(amounts, [3, 330, 1, 33]);
    assert_eq!(
        limits.told,
        [
            "--share 33 % of rpm 10 is rounded to 3",
            "--share 33 % of images 1 is rounded to 1"
        ]
    );
    assert!(
        of(&["--rpm", "10", "--share", "50%"])
            .unwrap()
            .told
            .is_empty()
    );
}

#[test]
fn limits_of_one_expression_share_a_kind_and_those_of_one_group_their_lanes() {
    let flags = [
        "--limit",
        "images=50/1m,of=body.n,models=gpt-image*",
        "--limit",
        "images-day=500/24h,of=body.n,reset=00:00@UTC",
        "--limit",
        "pages=9/1m,of=pages,models=gpt-image*",
        "--limit",
        "slots=4,of=in_flight,models=o3",
    ];
    let limits = of(&flags).unwrap();
    let [images, day, pages, slots, _] = &limits.engine.upstreams[0].limits[..] else {
        panic!("{limits:?}")
    };
    assert_eq!(
        (images.kind, day.kind),
        (LimitKind::Custom(0), LimitKind::Custom(0))
    );
    assert_eq!(pages.kind, LimitKind::Custom(1));
    assert_eq!(limits.units.len(), 2);
    assert_eq!(images.lanes, pages.lanes);
    assert_eq!((&day.lanes, slots.amount), (&None, 4));
    let lane = Lane(limits.lanes.lane_of(Some("gpt-image-1")));
    assert!(images.counts(lane) && day.counts(lane) && !slots.counts(lane));
    assert!(slots.counts(Lane(limits.lanes.lane_of(Some("o3")))));
    let resets: Vec<bool> = limits
        .notes
        .iter()
        .map(|note| note.daily.is_some())
        .collect();
    assert_eq!(resets, [false, true, false, false, false]);
    let five: Vec<String> = (0..5)
        .map(|n| format!("--limit=l{n}=1/1m,of=c{n}"))
        .collect();
    let five: Vec<&str> = five.iter().map(String::as_str).collect();
    assert!(
        of(&five)
            .unwrap_err()
            .to_string()
            .contains("no more than 4")
    );
}

#[test]
fn a_daily_reset_is_for_limits_of_a_day_alone() {
    let reset = [
        "--daily-reset",
        "00:00@America/Los_Angeles",
        "--rpm",
        "5",
        "--rpd",
        "9",
    ];
    let limits = of(&reset).unwrap();
    let resets: Vec<bool> = limits
        .notes
        .iter()
        .map(|note| note.daily.is_some())
        .collect();
    assert_eq!(resets, [false, true, false]);
}

#[test]
fn a_ramp_begins_with_a_part_of_each_rate() {
    let specs = specs("--rpm 1000 --rpd 5000 --ramp +50%/15m,from=20%").unwrap();
    let ramp = specs[0].ramp.unwrap();
    assert_eq!((ramp.start, ramp.percent), (200, 50));
    assert_eq!(ramp.period, Duration::from_secs(900));
    assert_eq!(specs[1].ramp, None, "nobody grows into a day");
}

#[test]
fn flags_that_contradict_each_other_or_have_no_effect_are_refused() {
    for (flags, told) in [
        ("--rpm 600 --burst 5", "add --limit-shape"),
        (
            "--rpm 600 --burst 5 --limit-shape paced",
            "add --limit-shape",
        ),
        ("--jitter 5ms", "--jitter has no effect without a rate"),
        (
            "--limit-shape fixed",
            "--limit-shape has no effect without a rate",
        ),
        ("--ramp +50%/15m --rpd 5", "--ramp has no effect"),
        (
            "--limit-shape fixed --rpd 5 --burst 5",
            "--burst has no effect",
        ),
        (
            "--daily-reset 00:00@UTC --rpm 5",
            "a limit of a day, such as --rpd",
        ),
        ("--rpm 5 --limit rpm=5/1m", "two limits are called `rpm`"),
        ("--limit a=5/1m --limit a=6/1h", "two limits are called `a`"),
        (
            "--limit concurrency=5/1m",
            "two limits are called `concurrency`",
        ),
    ] {
        let error = specs(flags).unwrap_err().to_string();
        assert!(error.contains(told), "{flags}: {error}");
    }
}

#[test]
fn several_upstreams_learn_as_one_does() {
    let of = |provider: &str, flags: &str| {
        let argv = format!("brimful run in.jsonl -o out.jsonl --provider {provider} {flags}");
        let cli = Cli::parse_from(argv.split_whitespace());
        let Command::Run(own) = cli.command else {
            panic!("the command is run")
        };
        own
    };
    for (provider, flags) in [
        ("openai", ""),
        ("openai", "--rpm 60"),
        ("openai", "--learn off"),
        ("openai", "--limit slots=4,of=in_flight"),
        ("vllm", "--base-url http://127.0.0.1:9/v1"),
        ("vllm", "--base-url http://127.0.0.1:9/v1 --rpm 60"),
        ("openai", "--rpm 600 --share 12.5%"),
    ] {
        let own = of(provider, flags);
        let alone = limits(&own, None, concurrency(&own, None).unwrap()).unwrap();
        let mut both = of("openai", "");
        both.upstreams = ["one", "two"]
            .map(|name| UpstreamArgs {
                table: UpstreamTable {
                    place: "brimful.toml:1".to_owned(),
                    name: Some(name.to_owned()),
                    weight: 1,
                    fallback_after: None,
                    models: None,
                    flags: Vec::new(),
                },
                run: *of(provider, flags),
            })
            .into();
        let both = several(&both, None).unwrap();
        for upstream in &both.engine.upstreams {
            let alone = &alone.engine.upstreams[0];
            assert_eq!(upstream.learning, alone.learning, "{provider} {flags}");
            assert_eq!(
                upstream.first_alone, alone.first_alone,
                "{provider} {flags}"
            );
            assert_eq!(upstream.share_millionths, alone.share_millionths);
            assert_eq!(upstream.limits, alone.limits, "{provider} {flags}");
        }
        assert_eq!(both.headers, [alone.headers[0]; 2]);
        let is_told = |limits: &Limits| limits.told.iter().any(|text| text == NO_LIMIT);
        assert_eq!(is_told(&both), is_told(&alone), "{provider} {flags}");
    }
}
