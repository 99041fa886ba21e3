//! The replicas that share a store, as they see each other.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ShardId;

/// What a replica tells the others of itself, as JSON. One of another version may tell less, or more.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    /// Its version.
    pub version: String,
    /// Where its proxy listens.
    pub proxy: String,
    /// Where callbacks come in.
    pub callbacks: String,
    /// Where it serves operators.
    pub admin: String,
    /// Where its connections to the SaaS leave from; `any`: the kernel chooses.
    pub source_ips: Vec<String>,
    /// Requests under way.
    pub in_flight: u64,
    /// Events that wait on its host for the shared store.
    pub waiting_events: u64,
}

/// A replica that holds a seat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// What the others know it by.
    pub name: String,
    /// Its fencing epoch.
    pub epoch: i64,
    /// When it took its seat.
    pub started_at: Timestamp,
    /// How long it was not heard of.
    pub silent_for: Duration,
    /// The shards that it writes to and delivers from.
    pub shards: Vec<ShardId>,
    /// Whether it keeps the ledger of batches.
    pub keeps_ledger: bool,
    /// What it told of itself.
    pub about: About,
}
