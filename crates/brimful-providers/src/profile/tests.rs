use std::collections::BTreeSet;

use brimful_core::{ChargeRule, Shape, UsageWeights};
use jiff::civil::Date;

use super::*;
use crate::dialect::Endpoint;
use crate::observe::HeaderGrammar;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

fn profile(name: &str) -> &'static Profile {
    Profile::by_name(name).expect("a known provider")
}

#[test]
fn every_file_is_read_without_an_unknown_or_missing_fact() {
    for (name, text) in embedded::texts() {
        let profile = Profile::parse(name, text);
        assert_eq!(profile.err(), None, "{name}");
    }
    assert_eq!(Profile::all().count(), Profile::names().count());
    assert!(Profile::parse("x", "title = \"X\"").is_err());
    let (_, text) = embedded::texts().next().expect("some");
    assert!(Profile::parse("x", &format!("colour = 1\n{text}")).is_err());
}

/// The names of the sources of all its facts.
fn cited(profile: &Profile) -> Vec<&str> {
    let facts = profile.facts();
    let mut cited: Vec<&str> = facts.iter().map(|(_, _, source, _)| *source).collect();
    cited.extend(profile.limits.iter().map(|limit| limit.source.as_str()));
    cited.extend(profile.tiers.iter().map(|tier| tier.source.as_str()));
    cited.extend(profile.ramps.iter().map(|ramp| ramp.source.as_str()));
    cited.extend(profile.notes.iter().map(|note| note.source.as_str()));
    cited
}

#[test]
fn every_fact_has_a_source_with_a_date_and_every_source_a_fact() {
    for profile in Profile::all() {
        let name = &profile.name;
        let used: BTreeSet<&str> = cited(profile).into_iter().collect();
        let named: BTreeSet<&str> = profile.sources.keys().map(String::as_str).collect();
        assert_eq!(used, named, "{name}");
        for source in profile.sources.values() {
            assert!(source.url.starts_with("https://"), "{name}: {}", source.url);
            let date: Date = source.date.parse().expect("a date");
            assert!(date.year() >= 2022, "{name}: {date}");
        }
    }
}

#[test]
fn every_profile_is_whole() {
    for profile in Profile::all() {
        let name = &profile.name;
        assert!(!profile.charge.is_empty(), "{name} has no way of counting");
        assert!(
            !profile.dialect.endpoints.is_empty(),
            "{name} has no endpoint"
        );
        assert!(
            !profile.login.required || !profile.login.variables.is_empty(),
            "{name}"
        );
        for limit in &profile.limits {
            let is_windowed = limit.window_s > 0;
            assert_eq!(
                is_windowed,
                limit.kind != Kind::Concurrency,
                "{name} {}",
                limit.name
            );
            assert!(!limit.scope.is_empty(), "{name} {}", limit.name);
        }
        for tier in &profile.tiers {
            for (limit, kind, window, amount) in tier.limits.each() {
                let spec = profile.spec(limit, kind, amount, window);
                assert!(amount > 0 && spec.amount == amount, "{name} {limit}");
                assert!(
                    profile.limit(kind, window).is_some(),
                    "{name} has no {limit}"
                );
            }
        }
        if let Some(reset) = &profile.daily_reset {
            assert!(reset.hour < 24, "{name}");
        }
    }
}

#[test]
fn endpoints_of_the_profiles_are_ones_that_requests_can_be_built_for() {
    for profile in Profile::all() {
        let first = &profile.dialect.endpoints[0];
        // Native dialects name theirs.
        let native = ["messages", "generate-content", "converse"];
        if !native.contains(&first.as_str()) {
            let endpoint: Endpoint = first.parse().expect("an endpoint");
            assert!(endpoint.has_known_body(), "{}: {first}", profile.name);
        }
    }
}

#[test]
fn openai_is_a_bucket_of_a_whole_minute_charged_by_the_larger_part() {
    let openai = profile("openai");
    let spec = openai.spec("rpm", LimitKind::Requests, 500, MINUTE);
    assert_eq!((spec.shape, spec.burst), (Shape::TokenBucket, Some(500)));
    assert_eq!(openai.charge().reserve(), ChargeRule::Max);
    let rules: Vec<ChargeRule> = openai.charges().map(Charging::reserve).collect();
    assert_eq!(rules, [ChargeRule::Max, ChargeRule::Sum, ChargeRule::Input]);
    assert_eq!(openai.replies.headers, HeaderGrammar::Openai);
}

#[test]
fn a_limit_that_no_profile_knows_is_paced() {
    let spec = profile("openai").spec("rps", LimitKind::Requests, 5, Duration::from_secs(1));
    assert_eq!((spec.shape, spec.burst), (Shape::Paced, None));
    let azure = profile("azure").spec("tpm", LimitKind::TotalTokens, 60_000, MINUTE);
    assert_eq!((azure.shape, azure.burst), (Shape::Fixed, None));
}

#[test]
fn bedrocks_burndown_and_free_cache_reads_can_be_said() {
    let weights: Vec<UsageWeights> = profile("bedrock")
        .charges()
        .map(Charging::weights)
        .collect();
    let output: Vec<u32> = weights
        .iter()
        .map(|weights| weights.output_percent)
        .collect();
    assert_eq!(output, [100, 500, 1_000, 1_500]);
    assert!(weights.iter().all(|weights| weights.cached_percent == 0));
    let claude = profile("bedrock").charge_for("us.anthropic.claude-sonnet-4-5-v1:0");
    assert_eq!(claude.output_percent, 500);
    assert_eq!(
        profile("bedrock")
            .charge_for("amazon.nova-pro-v1:0")
            .output_percent,
        100
    );
    assert_eq!(profile("anthropic").charge().cached_percent, 0);
    let haiku = profile("anthropic").charge_for("claude-3-5-haiku-20241022");
    assert_eq!(haiku.cached_percent, 100);
}

#[test]
fn a_tier_is_found_by_the_entry_that_says_most_of_the_model() {
    let deepseek = profile("deepseek");
    let amount = |model| {
        deepseek
            .tier("default", model)
            .and_then(|tier| tier.limits.concurrency)
    };
    assert_eq!(amount("deepseek-v4-pro"), Some(500));
    assert_eq!(amount("deepseek-v4-flash"), Some(2_500));
    assert!(deepseek.tier("gold", "deepseek-v4-pro").is_none());
    let openai = profile("openai");
    let mini = openai.tier("Tier-1", "gpt-4o-mini").expect("a tier");
    let limits: Vec<_> = mini.limits.each().collect();
    assert_eq!(
        limits,
        [
            ("rpm", LimitKind::Requests, MINUTE, 500),
            ("rpd", LimitKind::Requests, DAY, 10_000),
            ("tpm", LimitKind::TotalTokens, MINUTE, 200_000),
        ]
    );
    assert!(openai.tier("tier-1", "o3").is_none());
    assert_eq!(
        profile("anthropic").tier_names(),
        ["start", "scale", "tier-1", "tier-4"]
    );
}

#[test]
fn a_base_url_finds_its_provider_by_the_host() {
    for (url, name) in [
        ("https://api.openai.com/v1", "openai"),
        ("https://API.openai.com", "openai"),
        ("https://api.groq.com/openai/v1", "groq"),
        ("https://api.openai.com.evil.example/v1", "generic"),
        ("http://localhost:8000/v1", "generic"),
        ("https://eu-west-1.example/v1", "generic"),
    ] {
        assert_eq!(Profile::of_base_url(url).name, name, "{url}");
    }
}

#[test]
fn braces_of_an_address_are_filled_from_the_environment_or_named() {
    let bedrock = &profile("bedrock").address;
    let url = bedrock.fill(|name| (name == "AWS_DEFAULT_REGION").then(|| "eu-west-1".to_owned()));
    assert_eq!(
        url,
        Ok(Some(
            "https://bedrock-runtime.eu-west-1.amazonaws.com".to_owned()
        ))
    );
    let missing = bedrock.fill(|_| None);
    assert_eq!(
        missing,
        Err(vec![
            "AWS_REGION".to_owned(),
            "AWS_DEFAULT_REGION".to_owned()
        ])
    );
    assert_eq!(profile("generic").address.fill(|_| None), Ok(None));
}

#[test]
fn servers_that_never_refuse_for_speed_have_slots() {
    for name in ["vllm", "sglang", "llama-cpp", "ollama", "tgi"] {
        assert!(!profile(name).replies.refuses, "{name}");
        let slots = profile(name).limit(LimitKind::Concurrency, Duration::ZERO);
        assert_eq!(
            slots.map(|limit| limit.shape),
            Some(ServerShape::Slots),
            "{name}"
        );
    }
}
