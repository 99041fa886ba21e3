//! The `team_url` of a task, whose place a callback URL of the gateway's took.

use jiff::Timestamp;

/// Most of them that are kept; each is a subscriber.
pub const MAX_TEAM_URLS: usize = 256;

/// An app's own callback address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TeamUrl {
    /// Whose it is.
    pub app: String,
    /// As the app wrote it.
    pub url: String,
    /// When it was named first: what comes from then on is for it.
    pub since: Timestamp,
}
