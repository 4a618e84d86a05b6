//! `brimful probe`: asks the real server once or twice, and shows what it says of its limits beside
//! what the profile says of them.

mod found;
mod shown;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use brimful::redact::Redactor;
use brimful::transport::{HttpTransport, Outgoing, Protocol, Transport};
use brimful_core::{Observation, Scope, Usage as Tokens};
use brimful_providers::count::estimate_for;
use brimful_providers::dialect::{Endpoint, Estimate, Json, Prompt, build_body, check_path};
use brimful_providers::duration::server_unix_ms;
use brimful_providers::observe::{HeaderGrammar, observe};
use brimful_providers::profile::Profile;
use brimful_providers::reply::{Outcome, ReplyFailure, read_reply};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::Usage;
use crate::args::{Provider, TargetArgs};
use crate::exit::Exit;
use crate::pages::print;
use crate::run::provider::{Api, default_endpoint};
use crate::run::target;

/// Output tokens that the smallest request may produce: the least that OpenAI's Responses take.
const OUTPUT_TOKENS: u64 = 16;

const EXAMPLES: &str = "\
Examples:
  brimful probe --provider groq --model llama-3.1-8b-instant
  brimful probe --provider anthropic --model claude-haiku-4-5 --json
  brimful probe --base-url http://127.0.0.1:8080/v1 --model demo

It sends two requests, the smallest there are, and pays for them. Exit codes: 0
answered; 1 the key is refused, no money is left or nobody answers; 2 wrong
usage; 3 the request failed.";

/// Ask the real server what it says of its limits
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ProbeArgs {
    /// Model to ask
    #[arg(short, long)]
    pub(crate) model: Option<String>,
    /// Endpoint to ask, as with `brimful run`. Default: what --provider has, else chat
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) endpoint: Option<String>,
    /// Body to send in the place of the smallest one: a JSON document, or its file
    #[arg(long, value_name = "JSON|FILE")]
    pub(crate) body: Option<String>,
    /// Send one request instead of two; what a request is charged is not seen then
    #[arg(long)]
    pub(crate) once: bool,
    /// As one JSON document
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten, next_help_heading = "Where to")]
    pub(crate) target: TargetArgs,
}

impl AsRef<TargetArgs> for ProbeArgs {
    fn as_ref(&self) -> &TargetArgs {
        &self.target
    }
}

/// One request and what came of it.
#[derive(Debug)]
struct Exchange {
    /// From the begin of the probe to sending.
    sent: Duration,
    took: Duration,
    protocol: Protocol,
    status: u16,
    request_id: Option<String>,
    outcome: Result<Option<Tokens>, ReplyFailure>,
    seen: Option<Observation>,
    /// The server's clock less this machine's, in milliseconds; exact to a second.
    clock_ahead_ms: Option<i64>,
}

/// Everything that a probe found.
#[derive(Debug)]
struct Probe {
    profile: &'static Profile,
    base_url: String,
    path: String,
    grammar: HeaderGrammar,
    estimate: Estimate,
    exchanges: Vec<Exchange>,
}

pub(crate) async fn probe(args: &ProbeArgs) -> anyhow::Result<Exit> {
    if args.target.provider == Some(Provider::Mock) {
        return Err(refused(
            "the simulator inside this program has no headers to show: start `brimful mock` and \
             give its address by --base-url",
        ));
    }
    let api = Api::of(args)?;
    let profile = match args.target.provider {
        Some(_) => api.profile(),
        None => Profile::of_base_url(&api.base_url),
    };
    let (path, body) = request(args, profile)?;
    let (http, redactor, _) = target::http(args)?;
    let mut probe = Probe {
        profile,
        base_url: api.base_url,
        estimate: estimate(profile, &path, &body)?,
        // What a profile knows of no headers, any form may still tell.
        grammar: match profile.replies.headers {
            HeaderGrammar::None => HeaderGrammar::Generic,
            grammar => grammar,
        },
        path,
        exchanges: Vec::new(),
    };
    let begun = Instant::now();
    for _ in 0..if args.once { 1 } else { 2 } {
        let exchange = probe.ask(&http, &redactor, &body, begun).await?;
        let failed = exchange.outcome.is_err();
        probe.exchanges.push(exchange);
        if failed {
            break;
        }
    }
    let text = if args.json {
        let mut text = serde_json::to_string_pretty(&shown::document(&probe))?;
        text.push('\n');
        text
    } else {
        shown::text(&probe)?
    };
    // What a server says of itself may hold what it was told.
    print(redactor.text(&text).as_bytes())?;
    Ok(probe.exit())
}

fn refused(text: impl Into<String>) -> anyhow::Error {
    Usage(text.into()).into()
}

/// Path and body of the request: the user's own, or the smallest that the endpoint takes.
fn request(args: &ProbeArgs, profile: &Profile) -> anyhow::Result<(String, String)> {
    let endpoint: Endpoint = match &args.endpoint {
        Some(endpoint) => endpoint.parse().map_err(|e| refused(format!("{e}")))?,
        None => default_endpoint(args),
    };
    let model = args.model.as_deref();
    let path = endpoint.path_for(model, false);
    let path = path.map_err(|error| refused(format!("{error}")))?;
    if let Endpoint::Path(path) = &endpoint {
        check_path(path).map_err(|error| refused(format!("--endpoint: {error}")))?;
    }
    let body = match &args.body {
        Some(text) if text.trim_start().starts_with('{') => text.clone(),
        Some(file) => std::fs::read_to_string(file)
            .map_err(|error| refused(format!("cannot read `{file}`: {error}")))?,
        None => {
            let model = model.ok_or_else(|| refused("give --model, or a whole --body"))?;
            smallest(&endpoint, profile, model)?
        }
    };
    Ok((path, body))
}

fn smallest(endpoint: &Endpoint, profile: &Profile, model: &str) -> anyhow::Result<String> {
    let prompt = Prompt {
        model: Some(model).filter(|_| !endpoint.names_model()),
        system: None,
        prompt: "Hi",
    };
    let mut body = build_body(endpoint, prompt, &Map::new())
        .map_err(|error| refused(format!("{error}; or give --body")))?;
    // OpenAI's newer models refuse `max_tokens`, and others know nothing else.
    let is_openai = ["openai", "azure"].contains(&profile.name.as_str());
    let (name, value) = match endpoint {
        Endpoint::Embeddings => return Ok(body.to_string()),
        Endpoint::Responses => ("max_output_tokens", json!(OUTPUT_TOKENS)),
        Endpoint::GenerateContent => (
            "generationConfig",
            json!({"maxOutputTokens": OUTPUT_TOKENS}),
        ),
        Endpoint::Converse => ("inferenceConfig", json!({"maxTokens": OUTPUT_TOKENS})),
        Endpoint::Chat if is_openai => ("max_completion_tokens", json!(OUTPUT_TOKENS)),
        _ => ("max_tokens", json!(OUTPUT_TOKENS)),
    };
    if let Value::Object(members) = &mut body {
        members.insert(name.to_owned(), value);
    }
    Ok(body.to_string())
}

fn estimate(profile: &Profile, path: &str, body: &str) -> anyhow::Result<Estimate> {
    let json = Json::parse(body).map_err(|error| refused(format!("--body: {error}")))?;
    Ok(estimate_for(profile.count.rule, path, &json))
}

impl Probe {
    async fn ask(
        &self,
        http: &Arc<HttpTransport>,
        redactor: &Redactor,
        body: &str,
        begun: Instant,
    ) -> anyhow::Result<Exchange> {
        let outgoing = Outgoing::post(self.path.as_str(), body.to_owned());
        let transport = Transport::Http(Arc::clone(http));
        let sent = begun.elapsed();
        let response = transport.send(&outgoing, &|_| {}).await;
        let response = response
            .map_err(|error| anyhow::anyhow!(redactor.text(&error.to_string())))
            .with_context(|| format!("{} does not answer", self.base_url))?;
        let took = response
            .first_byte
            .duration_since(begun)
            .saturating_sub(sent);
        let now_unix_ms = unix_ms(response.first_byte);
        let reply = read_reply(
            response.status,
            &response.headers,
            &redactor.body(response.body),
            now_unix_ms,
        );
        Ok(Exchange {
            sent,
            took,
            protocol: response.protocol,
            status: response.status,
            request_id: reply.request_id,
            outcome: match reply.outcome {
                Outcome::Answer { usage } => Ok(usage),
                Outcome::Failure(failure) => Err(failure),
            },
            seen: observe(&response.headers, self.grammar, now_unix_ms),
            clock_ahead_ms: server_unix_ms(&response.headers).map(|server| {
                // A date is cut to its second: half of one is left out on average.
                server + 500 - now_unix_ms
            }),
        })
    }

    fn exit(&self) -> Exit {
        match self.exchanges.last().map(|last| &last.outcome) {
            Some(Err(failure)) if failure.failure.scope == Scope::Upstream => Exit::Fatal,
            Some(Err(_)) => Exit::DeadLetters,
            _ => Exit::Complete,
        }
    }
}

/// The wall clock at an instant of the near past.
fn unix_ms(at: Instant) -> i64 {
    let then = SystemTime::now().checked_sub(at.elapsed());
    let since = then.and_then(|then| then.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}
