//! A stand-in for the SaaS, for trying things out and for tests: it checks signatures as the vendor's
//! document says (§3), serves the eight endpoints and recordings from state that holds together,
//! places simulated calls for the numbers it is given, and pushes what came of them (§7, §8) to the
//! task's `team_url`, with the document's three retries. Faults can be injected. `docs/sandbox.md`
//! says where it chose what the document leaves open.
//!
//! # A request's way
//!
//! `serve` accepts it, `exchange` reads the body under a cap and notes it in the journal that [`Handle`]
//! shows; the dice of `fault` decide whether it goes wrong; `route` checks address, signature, path,
//! method and fields, in this order, and hands it to the endpoint: `tasks`, `upload`, `chat` or
//! `recordings`. Everything that is remembered is in `house`, and bounded.
//!
//! # A campaign's way
//!
//! An accepted upload becomes a `campaign`: `call` throws the dice for each number, `push` delivers.

mod answer;
mod call;
mod campaign;
mod chat;
mod clock;
mod exchange;
mod fault;
mod fields;
mod handle;
mod house;
mod journal;
mod kept;
mod multipart;
mod numbers;
mod push;
mod push_client;
mod recordings;
mod route;
mod schedule;
mod script;
mod serve;
mod tasks;
mod upload;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::xinyao::Credential;

pub use fault::{Fault, FaultError, FaultKind};
pub use handle::Handle;
pub use journal::{Pushed, Seen};
pub use push::{InboundAnswer, PushKind};
pub use push_client::PushError;
pub use serve::Sandbox;
pub use tasks::Task;
pub use upload::Batch;

/// What a sandbox is told at its start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// The one credential that it accepts.
    pub credential: Credential,
    /// The IP whitelist (§2.2); empty: any address.
    pub allowed_ips: Vec<IpAddr>,
    /// How much faster than life simulated calls go, and the pauses between pushes with them. 1 is life.
    pub speed: f64,
    /// Whom to ask (§9) when somebody rings back who missed a simulated call; `None`: nobody rings back.
    pub inbound_url: Option<String>,
    /// What goes wrong, and how often.
    pub faults: Vec<Fault>,
    /// Makes its dice repeatable.
    pub seed: Option<u64>,
}

impl Settings {
    /// A sandbox at `address` that accepts `credential` from anywhere, at life's speed, without faults.
    pub fn new(address: SocketAddr, credential: Credential) -> Self {
        Self {
            address,
            credential,
            allowed_ips: Vec::new(),
            speed: 1.0,
            inbound_url: None,
            faults: Vec::new(),
            seed: None,
        }
    }
}

/// Takes the address. Connections wait in the listen queue until [`Sandbox::run`].
///
/// # Errors
/// The address can't be bound, or `speed` is not a positive number.
pub async fn bind(settings: Settings) -> io::Result<Sandbox> {
    if !(settings.speed.is_finite() && settings.speed > 0.0) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "speed must be a number above 0"));
    }
    let listener = TcpListener::bind(settings.address).await?;
    let address = listener.local_addr()?;
    let (campaigns, queue) = mpsc::channel(campaign::MAX_CAMPAIGNS);
    let house = Arc::new(house::House::new(settings, campaigns));
    Ok(Sandbox { address, listener, house, queue })
}
