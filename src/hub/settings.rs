//! What the room can be told.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use crate::net::{ListenSettings, Networks};

/// The hub, whole.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its listener.
    pub listen: ListenSettings,
    /// How the SaaS reaches the callbacks listener, without a slash at the end.
    pub public_url: String,
    /// How subscribers reach the proxy listener, without a slash at the end.
    pub proxy_url: String,
    /// The first signs callback URLs, all verify them.
    pub keys: Vec<SecretString>,
    /// Where callbacks may come from.
    pub networks: Networks,
    /// Largest callback, bytes.
    pub max_body_bytes: u64,
    /// Longest pause in a callback's body.
    pub body_idle_timeout: Duration,
    /// How long an identical body counts as the same callback.
    pub dedup_window: Duration,
    /// Names of the configured apps.
    pub apps: Vec<String>,
    /// Who wants events.
    pub subscribers: Vec<SubscriberSettings>,
    /// What is done about addresses that apps name in their tasks.
    pub team_urls: TeamUrlSettings,
    /// Who answers inbound queries; the first entry whose apps match serves.
    pub inbound_query: Vec<InboundSettings>,
}

/// What is done about addresses that apps name in their tasks.
#[derive(Debug, Clone, Default)]
pub struct TeamUrlSettings {
    /// Whether callback URLs take their place.
    pub rewrite: bool,
    /// Where they may point.
    pub networks: Networks,
    /// Whether one that points elsewhere is left as it is, instead of refused.
    pub pass_outside: bool,
}

/// Which apps something is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Apps {
    /// `"*"`.
    All,
    /// These.
    Named(Vec<String>),
}

impl Apps {
    /// Whether `app` is meant.
    pub fn contains(&self, app: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|name| name == app),
        }
    }
}

/// One subscriber.
#[derive(Debug, Clone)]
pub struct SubscriberSettings {
    /// Its name, unique.
    pub name: String,
    /// Where events are posted, http or https.
    pub url: String,
    /// Whose events it wants.
    pub apps: Apps,
    /// Which kinds: `call_record`, `intent_result`, `inbound_query`, `unknown`.
    pub events: Vec<String>,
    /// Field name to the texts that match; all fields must match.
    pub filter: BTreeMap<String, Vec<String>>,
    /// To the end of its answer.
    pub timeout: Duration,
    /// Most deliveries under way.
    pub max_in_flight: usize,
    /// One at a time, in order of arrival.
    pub ordered: bool,
    /// Where a new subscriber begins; `None`: now.
    pub since: Option<Timestamp>,
    /// Most deliveries a second.
    pub rate_per_second: Option<u32>,
    /// Delays before the second, third … attempt; after the last, a dead letter.
    pub retry: Vec<Duration>,
    /// Standard Webhooks secrets; each signs.
    pub signing_secrets: Vec<SecretString>,
    /// Headers to add.
    pub headers: BTreeMap<String, String>,
    /// Whether bodies are enriched.
    pub enrich: bool,
    /// Whether it was named by an app: then its host's addresses are looked at.
    pub guarded: bool,
}

impl PartialEq for SubscriberSettings {
    fn eq(&self, other: &Self) -> bool {
        // By name, so that a further field is asked about here.
        let Self {
            name,
            url,
            apps,
            events,
            filter,
            timeout,
            max_in_flight,
            ordered,
            since,
            rate_per_second,
            retry,
            signing_secrets,
            headers,
            enrich,
            guarded,
        } = self;
        let secrets = signing_secrets.iter().map(ExposeSecret::expose_secret);
        (name, url, apps, events, filter)
            == (&other.name, &other.url, &other.apps, &other.events, &other.filter)
            && (timeout, max_in_flight, ordered) == (&other.timeout, &other.max_in_flight, &other.ordered)
            && (since, rate_per_second, retry) == (&other.since, &other.rate_per_second, &other.retry)
            && secrets.eq(other.signing_secrets.iter().map(ExposeSecret::expose_secret))
            && (headers, enrich, guarded) == (&other.headers, &other.enrich, &other.guarded)
    }
}

/// Who answers inbound queries of some apps.
#[derive(Debug, Clone)]
pub struct InboundSettings {
    /// Whose queries.
    pub apps: Apps,
    /// In what order responders are asked.
    pub strategy: Strategy,
    /// When the next one is asked beside the last.
    pub hedge_after: Duration,
    /// When the fallback is given.
    pub deadline: Duration,
    /// Name and URL of each.
    pub responders: Vec<Responder>,
    /// What is said when nobody answers in time.
    pub fallback_prompt: String,
    /// Where the caller is transferred then.
    pub fallback_transfer: String,
}

/// In what order responders are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// In order, hedged.
    Priority,
    /// All at once.
    Race,
}

/// An internal service that answers inbound queries.
#[derive(Debug, Clone)]
pub struct Responder {
    /// Its name, for metrics and logs.
    pub name: String,
    /// Where queries are posted.
    pub url: String,
}
