//! What the room can be told.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use crate::net::{EgressSettings, ListenSettings, Networks, Origin};
use crate::xinyao::{Credential, TargetSet};

/// The proxy, whole.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its listener.
    pub listen: ListenSettings,
    /// Where requests go.
    pub upstream: UpstreamSettings,
    /// How they get there.
    pub egress: EgressSettings,
    /// Keys and secrets by name.
    pub credentials: BTreeMap<String, Credential>,
    /// What is to take the place of some of them, once it is proven.
    pub next_credentials: BTreeMap<String, NextCredential>,
    /// Who may call; the first that matches address and token wins.
    pub apps: Vec<AppSettings>,
    /// What holds for all apps.
    pub limits: LimitSettings,
    /// The folder where uploads wait while they are checked.
    pub spool: PathBuf,
}

/// A credential that is to take over.
#[derive(Debug, Clone)]
pub struct NextCredential {
    /// The credential.
    pub credential: Credential,
    /// Tenant that the call which proves it asks for (§11).
    pub app_id: Option<String>,
}

/// Where requests go.
#[derive(Debug, Clone)]
pub struct UpstreamSettings {
    /// The SaaS's API.
    pub base_url: Origin,
    /// Where `GET /coeus/…` goes.
    pub recordings_url: Origin,
    /// Further path prefixes to let through.
    pub extra_paths: Vec<String>,
    /// To the answer's head, all attempts together.
    pub response_timeout: Duration,
    /// Most requests under way.
    pub max_in_flight: usize,
}

/// Who may call, and what.
#[derive(Debug, Clone)]
pub struct AppSettings {
    /// `[a-z0-9-]`.
    pub name: String,
    /// Where it calls from.
    pub networks: Networks,
    /// What it must show beside its address.
    pub token: Option<SecretString>,
    /// Which credential signs for it; a key of [`Settings::credentials`].
    pub credential: String,
    /// Tenants it may act for; empty: any.
    pub app_ids: Vec<String>,
    /// What it may call.
    pub endpoints: TargetSet,
    /// All that apply must admit.
    pub rate_limits: Vec<RateLimit>,
    /// Most requests under way, answers being streamed included.
    pub max_in_flight: usize,
    /// How long an outnum of the same task and the same numbers is refused; zero: not at all.
    pub outnum_duplicate_window: Duration,
    /// What is done about requests that the SaaS would refuse.
    pub checks: Checks,
    /// Its share of [`LimitSettings::global`] beside the others' weights, when that is short; at least 1.
    pub weight: u32,
    /// Who goes first then; none: as each of its requests has it.
    pub priority: Option<Priority>,
}

/// Who goes first when there is not enough for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Somebody waits for the answer.
    Interactive,
    /// It can wait.
    Batch,
}

impl Priority {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Interactive, Self::Batch];

    /// Its name, in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Batch => "batch",
        }
    }
}

/// What is done about requests that are not as the document asks for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checks {
    /// Nothing; nobody looks.
    Off,
    /// They are forwarded, counted and logged, and the answer tells.
    Report,
    /// They are refused.
    Enforce,
}

/// A rate limit of one app.
#[derive(Debug, Clone)]
pub struct RateLimit {
    /// Sustained rate and burst.
    pub rate: Rate,
    /// Which requests it counts.
    pub endpoints: TargetSet,
    /// How long a request may be delayed before it is refused.
    pub max_wait: Duration,
}

/// So many in so long, with a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many; at least 1.
    pub count: u32,
    /// In how long: a second, a minute or an hour.
    pub per: Duration,
    /// How many at once; at least 1.
    pub burst: u32,
}

impl Rate {
    /// From one to the next, on average; never zero.
    pub fn period(self) -> Duration {
        (self.per / self.count.max(1)).max(Duration::from_nanos(1))
    }
}

/// What all apps together may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GlobalRate {
    /// Sustained rate and burst.
    pub rate: Rate,
    /// How long a request may wait for its turn.
    pub max_wait: Duration,
}

/// Where limits are shared with the other replicas.
#[derive(Debug, Clone)]
pub struct SharedLimitSettings {
    /// Which Redis.
    pub url: RedisUrl,
    /// How long a request waits for it at most.
    pub timeout: Duration,
    /// What each process has of a limit while Redis can't be asked: above 0, at most 1.
    pub fallback_share: f64,
}

/// A Redis.
#[derive(Debug, Clone)]
pub struct RedisUrl {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// A name or an address; IPv6 without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Who asks; none: the default user.
    pub user: Option<String>,
    /// With which password, if any.
    pub password: Option<SecretString>,
    /// Which of its databases.
    pub database: u32,
}

impl fmt::Display for RedisUrl {
    /// Without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "rediss" } else { "redis" };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{}{close}:{}/{}", self.host, self.port, self.database)
    }
}

/// What holds for all apps.
#[derive(Debug, Clone)]
pub struct LimitSettings {
    /// All apps together.
    pub global: GlobalRate,
    /// Where limits are shared; none: each process keeps its own.
    pub shared: Option<SharedLimitSettings>,
    /// Largest body, bytes.
    pub max_body_bytes: u64,
    /// Longest pause between two parts of a body.
    pub body_idle_timeout: Duration,
}
