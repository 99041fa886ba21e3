//! What the room can be told.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::PostgresUrl;

/// The store.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The index's file of the embedded store; the segments live in a folder beside it.
    pub path: PathBuf,
    /// How long events are kept.
    pub retention: Duration,
    /// Most bytes on disk; past it, appends are refused.
    pub max_size_bytes: u64,
    /// The store that replicas share, if they do; the embedded one is then the local log.
    pub cluster: Option<ClusterSettings>,
}

/// Where the store of a cluster is, and who this is.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// Where PostgreSQL is, and as whom it is asked.
    pub url: PostgresUrl,
    /// What the others know this process by.
    pub replica: Arc<str>,
}
