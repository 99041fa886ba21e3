//! What the room can be told.

use std::path::PathBuf;
use std::time::Duration;

/// The embedded store.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The index's file; the segments live in a folder beside it.
    pub path: PathBuf,
    /// How long events are kept.
    pub retention: Duration,
    /// Most bytes on disk; past it, appends are refused.
    pub max_size_bytes: u64,
}
