//! What is remembered of servers, so that the next handshake with one is a short one (RFC 8446 §2.2).
//!
//! rustls' own memory has eight tickets a server, and a ticket is good for one handshake. When many connections
//! are made at once, all but eight would verify and sign anew.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_rustls::rustls::NamedGroup;
use tokio_rustls::rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use tokio_rustls::rustls::pki_types::ServerName;

/// Most servers that are remembered.
const MAX_SERVERS: usize = 64;
/// Most tickets of a server; one takes some 2 KiB, much of it the server's certificates.
const MAX_TICKETS: usize = 256;

type Tickets = HashMap<ServerName<'static>, VecDeque<Tls13ClientSessionValue>>;

/// Tickets of TLS 1.3, the newest first, and what else there is to a server.
pub(super) struct Sessions {
    tickets: Mutex<Tickets>,
    rest: ClientSessionMemoryCache,
}

impl Sessions {
    pub(super) fn new() -> Self {
        Self { tickets: Mutex::default(), rest: ClientSessionMemoryCache::new(MAX_SERVERS) }
    }

    fn tickets(&self) -> MutexGuard<'_, Tickets> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, server: ServerName<'static>, group: NamedGroup) {
        self.rest.set_kx_hint(server, group);
    }

    fn kx_hint(&self, server: &ServerName<'_>) -> Option<NamedGroup> {
        self.rest.kx_hint(server)
    }

    fn set_tls12_session(&self, server: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.rest.set_tls12_session(server, session);
    }

    fn tls12_session(&self, server: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.rest.tls12_session(server)
    }

    fn remove_tls12_session(&self, server: &ServerName<'static>) {
        self.rest.remove_tls12_session(server);
    }

    fn insert_tls13_ticket(&self, server: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let mut tickets = self.tickets();
        if tickets.len() >= MAX_SERVERS && !tickets.contains_key(&server) {
            return;
        }
        let of_server = tickets.entry(server).or_default();
        if of_server.len() >= MAX_TICKETS {
            of_server.pop_front();
        }
        of_server.push_back(ticket);
    }

    fn take_tls13_ticket(&self, server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.tickets().get_mut(server)?.pop_back()
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}
