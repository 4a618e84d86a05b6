//! The page `docs/providers.md`, which a test holds to the profiles.

use std::fmt::Write;

use super::{Charging, Evidence, Profile, ProfileLimit, Ramp, Rule, Settle, Tier};

const HEAD: &str = "\
# Providers

What Brimful takes for granted of each provider, and where it read it. The amounts move most often:
what you give on the command line comes before everything here, and what a server says of itself
before what a page says of it.

`brimful limits` lists all providers, `brimful limits PROVIDER` prints what stands here of one
(`--json` for programs). `brimful probe --provider PROVIDER --model MODEL` sends the smallest request
twice, or your own (`--body`), and shows what the server says of its limits beside what is known of
them: amounts, what is left, windows as far as the numbers tell them, what the second request took
and what it should have taken by each way of counting, the difference of the clocks, the versions of
HTTP and TLS. It pays for these two requests. It never shows a key, and ends with 0 when they were
answered, 1 when the key or the wallet is the reason or nobody answers, 2 for wrong usage and 3 when
the request failed.

This page is made from the files in `crates/brimful-providers/profiles` by
`brimful limits --markdown`; a test fails where the two differ.

*Documented* facts are the provider's own words or source code, *deduced* ones follow from the
arithmetic of real replies, *reported* ones are the words of others, and *assumed* ones are cautious
guesses. A way of counting that is not the first of its list is one that some source names: the run
goes by the first and finds out by the headers and refusals that it sees.
";

/// The whole page.
#[must_use]
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    // Writing to a string cannot fail.
    let _ = overview(&mut page);
    for profile in Profile::all() {
        let _ = section(&mut page, profile);
    }
    page
}

fn overview(page: &mut String) -> std::fmt::Result {
    page.push_str("\n| `--provider` | limits | charged | headers |\n|--|--|--|--|\n");
    for profile in Profile::all() {
        let limits: Vec<&str> = profile.limits.iter().map(|l| l.name.as_str()).collect();
        let limits = if limits.is_empty() {
            "as given".to_owned()
        } else {
            limits.join(", ")
        };
        writeln!(
            page,
            "| [`{name}`](#{anchor}) | {limits} | {charge} | {headers} |",
            name = profile.name,
            anchor = anchor(&profile.title),
            charge = profile.charge().words(),
            headers = profile.replies.headers,
        )?;
    }
    Ok(())
}

fn anchor(title: &str) -> String {
    title
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-')
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

fn section(page: &mut String, profile: &Profile) -> std::fmt::Result {
    writeln!(page, "\n## {}\n", profile.title)?;
    for (what, text, source, evidence) in profile.facts() {
        let cited = cited(profile, source, evidence);
        writeln!(page, "- {what}: {text} {cited}")?;
    }
    let rows = profile.limits.iter().map(|limit| {
        let cited = cited(profile, &limit.source, limit.evidence);
        let (window, shape) = (limit.window_words(), limit.shape_words());
        let (name, kind, scope) = (&limit.name, limit.kind.as_str(), limit.scope_words());
        format!("| {name} | {kind} | {window} | {scope} | {shape} | {cited} |\n")
    });
    let head =
        "| limit | counts | window | for each | enforced as | source |\n|--|--|--|--|--|--|\n";
    table(page, head, rows);
    let rows = profile.tiers.iter().map(|tier| {
        let cited = cited(profile, &tier.source, tier.evidence);
        let models = tier.models.join("`, `");
        format!(
            "| {} | `{models}` | {} | {cited} |\n",
            tier.name,
            tier.words()
        )
    });
    table(
        page,
        "| tier | models | amounts | source |\n|--|--|--|--|\n",
        rows,
    );
    writeln!(page)?;
    for ramp in &profile.ramps {
        let cited = cited(profile, &ramp.source, ramp.evidence);
        writeln!(page, "- growth: {} {cited}", ramp.words())?;
    }
    for note in &profile.notes {
        let cited = cited(profile, &note.source, note.evidence);
        writeln!(page, "- {} {cited}", note.text)?;
    }
    Ok(())
}

fn table(page: &mut String, head: &str, rows: impl Iterator<Item = String>) {
    let rows: String = rows.collect();
    if !rows.is_empty() {
        page.push('\n');
        page.push_str(head);
        page.push_str(&rows);
    }
}

fn cited(profile: &Profile, source: &str, evidence: Evidence) -> String {
    match profile.sources.get(source) {
        Some(found) => format!("([{}, {}]({}))", evidence.as_str(), found.date, found.url),
        None => format!("({})", evidence.as_str()),
    }
}

impl Profile {
    /// Its single facts for tables: what, the words, the name of the source, how well founded.
    #[must_use]
    pub fn facts(&self) -> Vec<(&'static str, String, &str, Evidence)> {
        let mut facts = Vec::new();
        let address = &self.address;
        let url = address.base_url.as_deref().unwrap_or("what you give");
        let url = match &address.variable {
            Some(variable) => format!("{url}, or `{variable}`"),
            None => url.to_owned(),
        };
        facts.push(("address", url, address.source.as_str(), address.evidence));
        let login = &self.login;
        let keys = login.variables.join("` or `");
        let need = if login.required {
            ""
        } else {
            ", where one is set"
        };
        let key = match login.auth.header() {
            _ if login.variables.is_empty() => "none".to_owned(),
            Some(header) => format!("`{keys}` in the header `{header}`{need}"),
            None => format!("`{keys}`; requests are signed{need}"),
        };
        facts.push(("key", key, &login.source, login.evidence));
        let dialect = &self.dialect;
        let mut spoken = format!("`{}`", dialect.endpoints.join("`, `"));
        for (name, value) in &dialect.headers {
            spoken += &format!("; with `{name}: {value}`");
        }
        if let Some(version) = &dialect.api_version {
            spoken += &format!("; `api-version={version}`");
        }
        if let Some(batch) = &dialect.batch {
            spoken += &format!("; batch files as `{batch}`");
        }
        facts.push(("endpoints", spoken, &dialect.source, dialect.evidence));
        let replies = &self.replies;
        let mut says = format!("headers `{}`", replies.headers);
        says += match replies.failed_requests_count {
            Some(true) => "; failed requests count",
            Some(false) => "; failed requests do not count",
            None => "",
        };
        if !replies.refuses {
            says += "; nothing is refused for speed, so the number in flight is searched";
        }
        facts.push(("replies", says, &replies.source, replies.evidence));
        for charge in &self.charge {
            facts.push(("charge", charge.words(), &charge.source, charge.evidence));
        }
        let count = format!("{}: {}", self.count.rule.as_str(), self.count.why);
        facts.push(("count", count, &self.count.source, self.count.evidence));
        if let Some(reset) = &self.daily_reset {
            let at = format!("{:02}:00, {}", reset.hour, reset.zone);
            facts.push(("days begin", at, &reset.source, reset.evidence));
        }
        facts
    }
}

impl Charging {
    /// The words for tables.
    #[must_use]
    pub fn words(&self) -> String {
        let mut words = match self.rule {
            Rule::Max => "the larger of input and max_tokens",
            Rule::Sum => "input and max_tokens",
            Rule::Input => "input",
            Rule::Produced => "input, and output as it is produced",
        }
        .to_owned();
        if self.settle == Settle::Usage {
            words += ", then usage";
        }
        match self.cached_percent {
            0 => words += ", cached input free",
            100 => {}
            part => words += &format!(", {part} % of cached input"),
        }
        if self.output_percent != 100 {
            words += &format!(", output × {}", f64::from(self.output_percent) / 100.0);
        }
        if !self.models.is_empty() {
            words += &format!(" (`{}`)", self.models.join("`, `"));
        }
        words
    }
}

impl ProfileLimit {
    /// `60 s`, or nothing for concurrency.
    #[must_use]
    pub fn window_words(&self) -> String {
        match self.window_s {
            0 => String::new(),
            86_400 => "a day".to_owned(),
            3_600 => "an hour".to_owned(),
            60 => "a minute".to_owned(),
            1 => "a second".to_owned(),
            secs => format!("{secs} s"),
        }
    }

    /// Whose requests it counts together.
    #[must_use]
    pub fn scope_words(&self) -> String {
        let words: Vec<&str> = self.scope.iter().map(|scope| scope.as_str()).collect();
        words.join(", ")
    }

    /// How it is enforced.
    #[must_use]
    pub fn shape_words(&self) -> String {
        let mut words = self.shape.as_str().to_owned();
        if self.full_burst {
            words += ", all at once";
        }
        if !self.parts_s.is_empty() {
            let parts: Vec<String> = self.parts_s.iter().map(u64::to_string).collect();
            words += &format!(", perhaps in {} s", parts.join(" or "));
        }
        words
    }
}

impl Tier {
    /// `rpm 500, tpm 30000`.
    #[must_use]
    pub fn words(&self) -> String {
        let each = self.limits.each();
        let words: Vec<String> = each
            .map(|(name, _, _, amount)| format!("{name} {}", grouped(amount)))
            .collect();
        words.join(", ")
    }
}

impl Ramp {
    /// How fast use may grow.
    #[must_use]
    pub fn words(&self) -> String {
        let mut words = self.kind.as_str().to_owned();
        if self.above_per_min > 0 {
            words += &format!(" above {} a minute", grouped(self.above_per_min));
        }
        match (self.growth_percent, self.period_s) {
            (Some(growth), Some(secs)) => {
                words += &format!(": at most {growth} % in {} minutes", secs / 60);
            }
            _ => words += ": no sharp increase",
        }
        words
    }
}

/// `1,000,000`
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
