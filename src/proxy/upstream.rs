//! One server behind the gateway: its addresses, and which of them are left alone. Shared by all workers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use http::uri::{Authority, Scheme as UriScheme};

use super::circuit::{Circuit, Passage};
use crate::net::connect::Connector;
use crate::net::resolve::Name;
use crate::net::{Origin, Scheme};

/// One server.
pub struct Upstream {
    /// Where it is.
    pub origin: Origin,
    /// Its authority.
    pub authority: Authority,
    /// Its scheme, for HTTP/2.
    pub scheme: UriScheme,
    /// What is resolved to reach it.
    pub name: Arc<Name>,
    circuits: Mutex<HashMap<SocketAddr, Circuit>>,
    /// How many addresses failed last; while none did, nobody takes the lock.
    troubled: AtomicUsize,
}

/// The origin can't be written as an authority.
#[derive(Debug, thiserror::Error)]
#[error("{0} is no authority")]
pub struct BadOrigin(String);

impl Upstream {
    /// Begins to follow the server's name, on the current tokio runtime; if it is that of `known`, what is known
    /// of it stays.
    ///
    /// # Errors
    /// The origin's host is none.
    pub fn new(origin: Origin, connector: &Connector, known: Option<&Self>) -> Result<Self, BadOrigin> {
        let text = origin.authority();
        let (host, port) = connector.dial(&origin);
        let name = known.map(|known| &known.name).filter(|name| name.is(&host, port)).cloned();
        Ok(Self {
            authority: Authority::try_from(text.as_str()).map_err(|_| BadOrigin(text))?,
            scheme: match origin.scheme {
                Scheme::Http => UriScheme::HTTP,
                Scheme::Https => UriScheme::HTTPS,
            },
            name: name.unwrap_or_else(|| Name::watch(&host, port)),
            origin,
            circuits: Mutex::default(),
            troubled: AtomicUsize::new(0),
        })
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

    /// Whether `address` may be tried.
    pub fn ask(&self, address: SocketAddr, now: Instant) -> Passage {
        if self.troubled.load(Ordering::Relaxed) == 0 {
            return Passage::Free;
        }
        let Ok(mut circuits) = self.circuits.lock() else { return Passage::Free };
        circuits.get_mut(&address).map_or(Passage::Free, |circuit| circuit.ask(now))
    }

    /// An answer came from `address`.
    pub fn succeeded(&self, address: SocketAddr) {
        if self.troubled.load(Ordering::Relaxed) == 0 {
            return;
        }
        let Ok(mut circuits) = self.circuits.lock() else { return };
        if circuits.remove(&address).is_some_and(|circuit| circuit.is_open()) {
            tracing::info!(%address, "the upstream answers again");
        }
        self.troubled.store(circuits.len(), Ordering::Relaxed);
    }

    /// No connection to `address`, or no answer in time.
    pub fn failed(&self, address: SocketAddr) {
        self.with_circuit(address, |circuit| {
            if circuit.failed(Instant::now()) {
                tracing::warn!(%address, "the upstream fails repeatedly and is left alone");
            }
        });
    }

    /// Whoever was to find out about `address` did not.
    pub fn abandoned(&self, address: SocketAddr) {
        self.with_circuit(address, Circuit::abandoned);
    }

    fn with_circuit(&self, address: SocketAddr, change: impl FnOnce(&mut Circuit)) {
        let Ok(mut circuits) = self.circuits.lock() else { return };
        change(circuits.entry(address).or_default());
        self.troubled.store(circuits.len(), Ordering::Relaxed);
    }
}
