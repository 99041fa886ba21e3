//! What is known of a name, and the task that keeps it so.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use super::lookup::{Lookup, LookupFailure};

/// One look-up, all servers and retries together.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(5);
/// However short its TTL, an answer holds this long: else a TTL of 0 would be a busy loop.
const SHORTEST_TTL: Duration = Duration::from_secs(1);
/// However long its TTL, an answer is asked for again by then: a moved service is followed.
const LONGEST_TTL: Duration = Duration::from_mins(5);
/// Of an answer that names thousands, what is kept: callers hold a pool and a circuit for each.
const MOST_ADDRESSES: usize = 64;
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// What is known at one moment; replaced whole, so that readers see parts that belong together.
pub(super) struct Known {
    pub(super) addresses: Arc<[SocketAddr]>,
    pub(super) generation: u64,
    pub(super) error: Option<Arc<str>>,
}

/// Between the task, which alone writes, and the readers.
pub(super) struct Shared {
    known: ArcSwap<Known>,
    changed: watch::Sender<()>,
}

impl Shared {
    pub(super) fn new() -> Self {
        let nothing = Known { addresses: Arc::from([]), generation: 0, error: None };
        Self { known: ArcSwap::from_pointee(nothing), changed: watch::Sender::new(()) }
    }

    pub(super) fn load(&self) -> Guard<Arc<Known>> {
        self.known.load()
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Takes over a good answer. The same set in another order changes nothing: DNS servers rotate
    /// their answers, and what is first should stay first.
    pub(super) fn answered(&self, addresses: Arc<[SocketAddr]>) {
        let known = self.load();
        let next = if same_set(&known.addresses, &addresses) {
            Known { addresses: Arc::clone(&known.addresses), generation: known.generation, error: None }
        } else {
            Known { addresses, generation: known.generation + 1, error: None }
        };
        self.replace(next);
    }

    fn failed(&self, reason: &LookupFailure) {
        let known = self.load();
        let error = Some(Arc::from(reason.to_string()));
        self.replace(Known { addresses: Arc::clone(&known.addresses), generation: known.generation, error });
    }

    fn replace(&self, next: Known) {
        self.known.store(Arc::new(next));
        self.changed.send_replace(());
    }
}

/// Looks `host` up, again and again.
pub(super) async fn follow(shared: Arc<Shared>, host: String, port: u16, lookup: impl Lookup) {
    let mut retry = FIRST_RETRY;
    loop {
        let wait = match look_up(&lookup, &host).await {
            Ok((addresses, ttl)) => {
                shared.answered(endpoints(addresses, port));
                retry = FIRST_RETRY;
                ttl.clamp(SHORTEST_TTL, LONGEST_TTL)
            }
            Err(failure) => {
                // Once per outage; whoever needs the name says more.
                if shared.load().error.is_none() {
                    tracing::warn!(%host, error = %failure, "cannot resolve; the last good answer, if any, serves");
                }
                shared.failed(&failure);
                let wait = retry;
                retry = (retry * 2).min(LAST_RETRY);
                wait
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// An answer without addresses is a failure: it must not take the place of a good one.
async fn look_up(lookup: &impl Lookup, host: &str) -> Result<(Vec<IpAddr>, Duration), LookupFailure> {
    let answer = tokio::time::timeout(LOOKUP_DEADLINE, lookup.look_up(host))
        .await
        .map_err(|_| LookupFailure::Timeout(LOOKUP_DEADLINE))??;
    if answer.addresses.is_empty() {
        return Err(LookupFailure::NoAddresses);
    }
    Ok((answer.addresses, answer.ttl))
}

/// In the answer's order, each once, and no more than are of use.
pub(super) fn endpoints(addresses: Vec<IpAddr>, port: u16) -> Arc<[SocketAddr]> {
    let mut seen = HashSet::new();
    addresses
        .into_iter()
        .filter(|ip| seen.insert(*ip))
        .take(MOST_ADDRESSES)
        .map(|ip| SocketAddr::new(ip, port))
        .collect()
}

fn same_set(one: &[SocketAddr], other: &[SocketAddr]) -> bool {
    one.len() == other.len() && one.iter().collect::<HashSet<_>>() == other.iter().collect::<HashSet<_>>()
}
