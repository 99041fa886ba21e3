//! One server behind the gateway: its addresses, and which of them to use next.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::HeaderValue;
use http::uri::{Authority, Scheme as UriScheme};

use super::circuit::{Circuit, Passage};
use super::source::Sources;
use crate::net::connect::{Connector, compatible};
use crate::net::resolve::Name;
use crate::net::{Origin, Scheme};

/// One server.
pub struct Upstream {
    /// Where it is.
    pub origin: Origin,
    /// Its `Host` field.
    pub host: HeaderValue,
    /// Its authority, for HTTP/2.
    pub authority: Authority,
    /// Its scheme, for HTTP/2.
    pub scheme: UriScheme,
    /// What is resolved to reach it.
    pub name: Arc<Name>,
    circuits: Mutex<HashMap<SocketAddr, Circuit>>,
    /// How many addresses failed last; while none did, nobody takes the lock.
    troubled: AtomicUsize,
    turn: AtomicUsize,
}

/// The origin can't be written as an authority.
#[derive(Debug, thiserror::Error)]
#[error("{0} is no authority")]
pub struct BadOrigin(String);

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

impl Upstream {
    /// Begins to follow the server's name, on the current tokio runtime.
    ///
    /// # Errors
    /// The origin's host is none.
    pub fn new(origin: Origin, connector: &Connector) -> Result<Self, BadOrigin> {
        let text = origin.authority();
        let bad = |_| BadOrigin(text.clone());
        let (host, port) = connector.dial(&origin);
        Ok(Self {
            host: HeaderValue::try_from(&text).map_err(|_| BadOrigin(text.clone()))?,
            authority: Authority::try_from(text.as_str()).map_err(bad)?,
            scheme: match origin.scheme {
                Scheme::Http => UriScheme::HTTP,
                Scheme::Https => UriScheme::HTTPS,
            },
            name: Name::watch(&host, port),
            origin,
            circuits: Mutex::default(),
            troubled: AtomicUsize::new(0),
            turn: AtomicUsize::new(0),
        })
    }

    /// The next route in turn that was not tried and is not left alone. A second one differs from the
    /// first in its source IP before it differs in its address.
    ///
    /// # Errors
    /// There is none.
    pub fn next(
        self: &Arc<Self>,
        addresses: &[SocketAddr],
        sources: &Sources,
        tried: &[Route],
        now: Instant,
    ) -> Result<(Route, Ticket), NoRoute> {
        let count = addresses.len() * sources.count();
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
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
                match self.ask(address, now) {
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

    /// Addresses that are left alone at present.
    pub fn open_circuits(&self) -> Vec<SocketAddr> {
        let Ok(circuits) = self.circuits.lock() else { return Vec::new() };
        circuits.iter().filter(|(_, circuit)| circuit.is_open()).map(|(address, _)| *address).collect()
    }

    /// Forgets addresses that are no longer the server's.
    pub fn retain(&self, addresses: &[SocketAddr]) {
        if let Ok(mut circuits) = self.circuits.lock() {
            circuits.retain(|address, _| addresses.contains(address));
            self.troubled.store(circuits.len(), Ordering::Relaxed);
        }
    }

    fn ask(&self, address: SocketAddr, now: Instant) -> Passage {
        if self.troubled.load(Ordering::Relaxed) == 0 {
            return Passage::Free;
        }
        let Ok(mut circuits) = self.circuits.lock() else { return Passage::Free };
        circuits.get_mut(&address).map_or(Passage::Free, |circuit| circuit.ask(now))
    }

    fn with_circuit(&self, address: SocketAddr, change: impl FnOnce(&mut Circuit)) {
        let Ok(mut circuits) = self.circuits.lock() else { return };
        change(circuits.entry(address).or_default());
        self.troubled.store(circuits.len(), Ordering::Relaxed);
    }
}

/// The right to try one address; tells its circuit what came of it.
pub struct Ticket {
    upstream: Arc<Upstream>,
    address: SocketAddr,
    probe: bool,
}

impl Ticket {
    fn new(upstream: &Arc<Upstream>, address: SocketAddr, probe: bool) -> Self {
        Self { upstream: Arc::clone(upstream), address, probe }
    }

    /// The address that may be tried.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// An answer came.
    pub fn succeeded(&mut self) {
        self.probe = false;
        if self.upstream.troubled.load(Ordering::Relaxed) == 0 {
            return;
        }
        let Ok(mut circuits) = self.upstream.circuits.lock() else { return };
        if circuits.remove(&self.address).is_some_and(|circuit| circuit.is_open()) {
            tracing::info!(address = %self.address, "the upstream answers again");
        }
        self.upstream.troubled.store(circuits.len(), Ordering::Relaxed);
    }

    /// No connection, or no answer in time.
    pub fn failed(&mut self) {
        self.probe = false;
        self.upstream.with_circuit(self.address, |circuit| {
            if circuit.failed(Instant::now()) {
                tracing::warn!(address = %self.address, "the upstream fails repeatedly and is left alone");
            }
        });
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.probe {
            self.upstream.with_circuit(self.address, Circuit::abandoned);
        }
    }
}
