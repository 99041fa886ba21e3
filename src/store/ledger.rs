//! Batches, as the ledger keeps them.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use super::{LedgerKey, Seq};

/// How long a batch is kept after the last that was heard of it.
pub const KEEP_BATCHES: Duration = Duration::from_hours(30 * 24);

/// Where the ledger goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerStart {
    /// The first event that it has not taken in.
    pub next: Seq,
    /// What numbers and calls are digested with.
    pub key: LedgerKey,
}

/// What an outnum was answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// Who sent it.
    pub app: String,
    /// The SaaS's name for the batch.
    pub call_sn: String,
    /// Its task.
    pub task_id: Option<String>,
    /// The app's name for it.
    pub call_sn_name: Option<String>,
    /// Numbers that the app says it sent.
    pub sent: Option<u64>,
    /// Numbers that the SaaS took.
    pub accepted: Option<u64>,
    /// When it was answered.
    pub at: Timestamp,
}

/// What callbacks have told of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BatchEntry {
    /// Whose it is.
    pub app: String,
    /// Which.
    pub call_sn: String,
    /// Its task.
    pub task_id: Option<String>,
    /// The task's name.
    pub task_name: Option<String>,
    /// The app's name for it.
    pub call_sn_name: Option<String>,
    /// Distinct numbers with a call record, by now.
    pub returned: u64,
    /// Calls that were answered.
    pub connected: u64,
    /// Calls by state (§18).
    pub by_state: BTreeMap<i64, u64>,
    /// Numbers by degree (§8).
    pub by_degree: BTreeMap<String, u64>,
    /// When the first call record came of those that are entered.
    pub first_record_at: Option<Timestamp>,
    /// And the last.
    pub last_record_at: Option<Timestamp>,
    /// What is new of calls and numbers, as the ledger writes it down.
    pub part: Bytes,
}

/// A batch in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRecord {
    /// What callbacks have told; without parts.
    pub told: BatchEntry,
    /// When its outnum was answered, if that was seen.
    pub submitted_at: Option<Timestamp>,
    /// Numbers that the app says it sent.
    pub sent: Option<u64>,
    /// Numbers that the SaaS took.
    pub accepted: Option<u64>,
}

impl BatchRecord {
    /// Whether nothing was heard of it since `before`, though numbers have not come back.
    pub fn is_quiet(&self, before: Timestamp) -> bool {
        let last = self.told.last_record_at.max(self.submitted_at);
        let lacks = self.accepted.is_some_and(|accepted| self.told.returned < accepted);
        lacks && last.is_some_and(|last| last < before)
    }
}
