//! One delivery under way.

use std::sync::Arc;

use crate::hub::delivery_state::Standing;
use crate::store::Event;

/// What is known of a delivery while it is tried.
#[derive(Debug, Clone)]
pub struct Job {
    pub(super) event: Arc<Event>,
    /// Attempts made before.
    pub(super) attempts: u32,
    pub(super) standing: Standing,
    pub(super) origin: Origin,
}

/// Where a delivery was taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// From a lane: it has no row.
    Lane,
    /// From the retry set.
    Row,
}

impl Job {
    pub(super) fn is_probe(&self) -> bool {
        matches!(self.standing, Standing::Probe { .. })
    }
}
