//! What the room can be told.

use std::net::SocketAddr;

use secrecy::SecretString;

/// The operators' listener.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it listens.
    pub address: SocketAddr,
    /// What callers must show, except for `/healthz` and `/readyz`.
    pub token: Option<SecretString>,
}
