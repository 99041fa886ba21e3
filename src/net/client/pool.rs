//! Connections that wait for the next request.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::net::Origin;

/// How long an unused connection is kept: less than most servers do.
pub const IDLE: Duration = Duration::from_secs(15);
/// Most unused connections to one server.
const MOST_EACH: usize = 64;
/// Most servers that connections are kept to.
const MOST_SERVERS: usize = 256;

/// A connection; it ends with this.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) sender: SendRequest<Full<Bytes>>,
    task: AbortHandle,
    since: Instant,
}

impl Kept {
    pub(super) fn new(sender: SendRequest<Full<Bytes>>, task: AbortHandle) -> Self {
        Self { sender, task, since: Instant::now() }
    }

    fn is_usable(&self) -> bool {
        !self.sender.is_closed() && self.since.elapsed() < IDLE
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The connections to each server, the last used on top.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<HashMap<Origin, Vec<Kept>>>);

impl Pool {
    /// A connection that can be used, as far as can be seen.
    pub(super) fn take(&self, origin: &Origin) -> Option<Kept> {
        let mut servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = servers.get_mut(origin)?;
        kept.retain(Kept::is_usable);
        kept.pop_if(|kept| kept.sender.is_ready())
    }

    /// Keeps a connection whose last answer was read to its end.
    pub(super) fn keep(&self, origin: &Origin, mut connection: Kept) {
        connection.since = Instant::now();
        let mut servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for kept in servers.values_mut() {
            kept.retain(Kept::is_usable);
        }
        servers.retain(|_, kept| !kept.is_empty());
        if servers.len() >= MOST_SERVERS && !servers.contains_key(origin) {
            return;
        }
        let kept = servers.entry(origin.clone()).or_default();
        if kept.len() < MOST_EACH {
            kept.push(connection);
        }
    }
}
