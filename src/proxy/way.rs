//! The way to one upstream as one worker has it: which address is next, and the worker's own connections.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::HeaderValue;

use super::circuit::Passage;
use super::lane::Lane;
use super::pool::Pool;
use super::source::Sources;
use super::upstream::Upstream;
use crate::net::connect::compatible;

/// The way to one upstream. Only its worker's thread takes its lock, but for a scrape.
pub struct Way {
    /// Where it leads.
    pub upstream: Arc<Upstream>,
    /// The `Host` field; a copy of the worker's own, as whoever sends it counts up and down.
    pub host: HeaderValue,
    pool: Mutex<Pool>,
    turn: AtomicUsize,
    unclaimed: Arc<()>,
}

/// Most answers at a time that come in although nobody waits for them.
const MAX_UNCLAIMED: usize = 256;

/// One way to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Route {
    /// To where.
    pub address: SocketAddr,
    /// From which of the sources.
    pub source: usize,
}

/// Why there is no route.
#[derive(Debug)]
pub enum NoRoute {
    /// All were tried.
    Exhausted,
    /// All that were not tried are left alone, the first of them for so long.
    Blocked(Duration),
}

impl Way {
    /// To `upstream`, without connections.
    pub fn new(upstream: &Arc<Upstream>) -> Arc<Self> {
        // An authority is a field's value always.
        let host = HeaderValue::from_str(upstream.authority.as_str());
        Arc::new(Self {
            upstream: Arc::clone(upstream),
            host: host.unwrap_or(HeaderValue::from_static("")),
            pool: Mutex::default(),
            turn: AtomicUsize::new(0),
            unclaimed: Arc::default(),
        })
    }

    /// The next route in turn that was not tried and is not left alone. A second one differs from the
    /// first in its source IP before it differs in its address.
    ///
    /// # Errors
    /// There is none.
    pub fn next(
        self: &Arc<Self>,
        sources: &Sources,
        tried: &[Route],
        now: Instant,
    ) -> Result<(Route, Ticket), NoRoute> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        self.upstream.name.with_addresses(|addresses| self.pick(addresses, first, sources, tried, now))
    }

    fn pick(
        self: &Arc<Self>,
        addresses: &[SocketAddr],
        first: usize,
        sources: &Sources,
        tried: &[Route],
        now: Instant,
    ) -> Result<(Route, Ticket), NoRoute> {
        let count = addresses.len() * sources.count();
        let mut blocked: Option<Duration> = None;
        let mut usable = |any_source: bool| {
            for step in 0..count {
                let at = first.wrapping_add(step) % count;
                let (source, address) = (at % sources.count(), addresses[at / sources.count()]);
                let route = Route { address, source };
                if !compatible(sources.address(source), address)
                    || tried.contains(&route)
                    || !(any_source || sources.may_use(source, now))
                {
                    continue;
                }
                match self.upstream.ask(address, now) {
                    Passage::Free => return Some((route, Ticket::new(self, address, false))),
                    Passage::Probe => return Some((route, Ticket::new(self, address, true))),
                    Passage::Blocked(pause) => {
                        blocked = Some(blocked.map_or(pause, |least| least.min(pause)));
                    }
                }
            }
            None
        };
        // A set-aside source is better than none.
        let found = usable(false).or_else(|| usable(true));
        found.ok_or_else(|| blocked.map_or(NoRoute::Exhausted, NoRoute::Blocked))
    }

    /// An unused connection along `route`.
    pub fn take(&self, route: Route) -> Option<Lane> {
        self.pool.lock().ok()?.take(route)
    }

    /// Keeps a connection for the next request.
    pub fn keep(&self, lane: Lane) {
        if let Ok(mut pool) = self.pool.lock() {
            pool.put(lane);
        }
    }

    /// A place for an answer that nobody waits for any more, if one is free. It is given back by dropping it.
    pub fn unclaimed(&self) -> Option<Arc<()>> {
        (Arc::strong_count(&self.unclaimed) <= MAX_UNCLAIMED).then(|| Arc::clone(&self.unclaimed))
    }

    /// How many unused connections leave from source number `source`.
    pub fn idle(&self, source: usize) -> usize {
        self.pool.lock().map_or(0, |pool| pool.idle(source))
    }

    /// Lets go of connections that are no longer wanted.
    pub fn sweep(&self, timeout: Duration) {
        let addresses = self.upstream.name.addresses();
        if let Ok(mut pool) = self.pool.lock() {
            pool.sweep(timeout, |address: SocketAddr| addresses.contains(&address));
        }
        self.upstream.retain(&addresses);
    }
}

/// The right to try one address; tells its circuit what came of it.
pub struct Ticket {
    way: Arc<Way>,
    address: SocketAddr,
    probe: bool,
}

impl Ticket {
    fn new(way: &Arc<Way>, address: SocketAddr, probe: bool) -> Self {
        Self { way: Arc::clone(way), address, probe }
    }

    /// The address that may be tried.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// An answer came.
    pub fn succeeded(&mut self) {
        self.probe = false;
        self.way.upstream.succeeded(self.address);
    }

    /// No connection, or no answer in time.
    pub fn failed(&mut self) {
        self.probe = false;
        self.way.upstream.failed(self.address);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.probe {
            self.way.upstream.abandoned(self.address);
        }
    }
}
