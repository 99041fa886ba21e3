//! The `team_url` of a task, whose place a callback URL of the gateway's took.

use jiff::Timestamp;

/// Most of them that are kept; each is a subscriber.
pub const MAX_TEAM_URLS: usize = 256;
/// Most of one app's: one that names a new address for each task must not take the room of all others.
pub const MAX_TEAM_URLS_EACH: usize = 64;

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

/// How many are too many for `app` to name another beside those that are `known`; `None`: there is room for it.
pub fn too_many(known: &[TeamUrl], app: &str) -> Option<String> {
    if known.iter().filter(|known| known.app == app).count() >= MAX_TEAM_URLS_EACH {
        return Some(format!("{MAX_TEAM_URLS_EACH} team_urls of app {app} are kept"));
    }
    (known.len() >= MAX_TEAM_URLS).then(|| format!("{MAX_TEAM_URLS} team_urls are kept"))
}
