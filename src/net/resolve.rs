//! Names followed through DNS: the addresses of a host, kept fresh in the background.
//!
//! A [`Name`] is looked up at once and again whenever its TTL ends; readers take what is known
//! without waiting. While DNS fails the last good answer stays.

mod lookup;
mod watch;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;

use self::lookup::{Lookup, System};
use self::watch::Shared;

/// Why a name has no addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The look-up failed.
    #[error("cannot resolve {host}: {reason}")]
    Failed {
        /// The name.
        host: String,
        /// What DNS had to say.
        reason: Arc<str>,
    },
    /// There was neither an answer nor a failure in time.
    #[error("no answer from DNS for {host} within {within:?}")]
    Timeout {
        /// The name.
        host: String,
        /// How long was waited.
        within: Duration,
    },
}

/// One host name that is watched for as long as this lives.
pub struct Name {
    host: String,
    port: u16,
    shared: Arc<Shared>,
    task: Option<AbortHandle>,
}

impl Name {
    /// Starts to watch `host` on the current tokio runtime, which must outlive the `Name`: when it ends,
    /// the addresses stay as they are. An IP literal is its own answer, and needs no runtime.
    pub fn watch(host: &str, port: u16) -> Arc<Name> {
        Self::watch_by(host, port, System)
    }

    fn watch_by(host: &str, port: u16, lookup: impl Lookup) -> Arc<Name> {
        let shared = Arc::new(Shared::new());
        let task = match literal(host) {
            Some(address) => {
                shared.answered(Arc::from([SocketAddr::new(address, port)]));
                None
            }
            None => {
                let following = watch::follow(Arc::clone(&shared), host.to_owned(), port, lookup);
                Some(tokio::spawn(following).abort_handle())
            }
        };
        Arc::new(Name { host: host.to_owned(), port, shared, task })
    }

    /// Whether it is `host` that is watched, and for `port`.
    pub fn is(&self, host: &str, port: u16) -> bool {
        (self.host.as_str(), self.port) == (host, port)
    }

    /// The addresses of the last good answer, in its order; empty until the first.
    pub fn addresses(&self) -> Arc<[SocketAddr]> {
        Arc::clone(&self.shared.load().addresses)
    }

    /// Looks at the addresses of the last good answer without keeping them: threads that only look do not
    /// get into each other's way.
    pub fn with_addresses<T>(&self, look: impl FnOnce(&[SocketAddr]) -> T) -> T {
        look(&self.shared.load().addresses)
    }

    /// Waits for the first answer, at most `within`. Once there is one this returns at once, and while
    /// there was never one the last failure does. May be awaited on any tokio runtime.
    ///
    /// # Errors
    /// The last failure, or that nothing came in time.
    pub async fn first(&self, within: Duration) -> Result<Arc<[SocketAddr]>, ResolveError> {
        // A name that is known costs no timer.
        if let Some(known) = self.outcome() {
            return known;
        }
        // Subscribed before looking again, so that no answer falls in between.
        let mut changes = self.shared.changes();
        let settled = async {
            loop {
                if let Some(outcome) = self.outcome() {
                    return Some(outcome);
                }
                changes.changed().await.ok()?;
            }
        };
        match tokio::time::timeout(within, settled).await {
            Ok(Some(outcome)) => outcome,
            Ok(None) | Err(_) => Err(ResolveError::Timeout { host: self.host.clone(), within }),
        }
    }

    fn outcome(&self) -> Option<Result<Arc<[SocketAddr]>, ResolveError>> {
        let known = self.shared.load();
        if !known.addresses.is_empty() {
            return Some(Ok(Arc::clone(&known.addresses)));
        }
        let reason = Arc::clone(known.error.as_ref()?);
        Some(Err(ResolveError::Failed { host: self.host.clone(), reason }))
    }

    /// Grows whenever the set of addresses changes; their order does not count.
    pub fn generation(&self) -> u64 {
        self.shared.load().generation
    }

    /// Why the last look-up failed, if it did.
    pub fn last_error(&self) -> Option<String> {
        self.shared.load().error.as_deref().map(str::to_owned)
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Name")
            .field("host", &self.host)
            .field("addresses", &self.addresses())
            .finish_non_exhaustive()
    }
}

/// An IP address, in brackets or without.
fn literal(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host).parse().ok()
}
