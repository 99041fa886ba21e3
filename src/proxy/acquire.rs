//! Finds a connection for an attempt: an unused one, or a new one along the next route that works.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use super::lane::Lane;
use super::refusal::Refusal;
use super::way::{NoRoute, Route, Ticket, Way};
use super::worker::Worker;
use crate::net::connect::ConnectError;

/// Most connections that one call tries to make.
const MAX_TRIES: usize = 8;

/// A connection, and the right to use its address.
pub struct Acquired {
    /// The connection.
    pub lane: Lane,
    /// To be told how it went.
    pub ticket: Ticket,
    /// Whether it was made just now.
    pub fresh: bool,
}

/// A route without a connection, or none.
pub type Next = Result<(Route, Ticket), NoRoute>;

/// What a call has tried so far.
#[derive(Default)]
pub struct Search {
    tried: Vec<Route>,
    last: Option<String>,
}

impl Search {
    /// A new connection along `route` was closed before anything was sent.
    pub fn closed(&mut self, route: Route) {
        self.tried.push(route);
        self.last = Some(format!("{} closes connections at once", route.address));
    }
}

/// An unused connection along the next route.
///
/// # Errors
/// There is none; what [`acquire`] goes on from.
pub fn at_hand(worker: &Worker, way: &Arc<Way>, search: &Search, now: Instant) -> Result<Acquired, Next> {
    let next = way.next(&worker.running.sources, &search.tried, now);
    let (route, ticket) = next.map_err(Err)?;
    match way.take(route) {
        Some(lane) => Ok(Acquired { lane, ticket, fresh: false }),
        None => Err(Ok((route, ticket))),
    }
}

/// Makes a connection, along `next` or the routes after it. It fails when the name can't be resolved, no
/// address can be reached, or all are left alone.
#[cold]
#[inline(never)]
pub fn acquire<'a>(
    worker: &'a Worker,
    way: &'a Arc<Way>,
    search: &'a mut Search,
    next: Next,
    until: Instant,
) -> BoxFuture<'a, Result<Acquired, Refusal>> {
    // In a box: it is large, and seldom.
    Box::pin(search_on(worker, way, search, next, until))
}

async fn search_on(
    worker: &Worker,
    way: &Arc<Way>,
    search: &mut Search,
    mut next: Next,
    until: Instant,
) -> Result<Acquired, Refusal> {
    if resolved(worker, way, until).await? {
        next = way.next(&worker.running.sources, &search.tried, Instant::now());
    }
    loop {
        let (route, mut ticket) = match next {
            Ok(next) if search.tried.len() < MAX_TRIES => next,
            Err(NoRoute::Blocked(pause)) if search.tried.is_empty() => {
                return Err(Refusal::CircuitOpen(pause.max(Duration::from_secs(1))));
            }
            Ok(_) | Err(_) => {
                let last = search.last.take();
                return Err(Refusal::Unreachable(
                    last.unwrap_or_else(|| "it has no address of the source IPs' family".into()),
                ));
            }
        };
        match connect(worker, way, route, until).await {
            Ok(lane) => {
                blame(worker, route, &search.tried);
                return Ok(Acquired { lane, ticket, fresh: true });
            }
            Err(Failed::Timeout) => {
                ticket.failed();
                return Err(Refusal::UpstreamTimeout(worker.running.settings.upstream.response_timeout));
            }
            Err(failed) => {
                ticket.failed();
                tracing::debug!(address = %route.address, error = %failed, "no connection to the upstream");
                if matches!(failed, Failed::Source(_)) {
                    set_aside(worker, route.source);
                }
                search.last = Some(failed.to_string());
                search.tried.push(route);
            }
        }
        match at_hand(worker, way, search, Instant::now()) {
            Ok(acquired) => return Ok(acquired),
            Err(further) => next = further,
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("source IP: {0}")]
    Source(ConnectError),
    #[error("{0}")]
    Connect(ConnectError),
    #[error("HTTP/2: {0}")]
    Preface(hyper::Error),
    #[error("no connection in time")]
    Timeout,
}

async fn connect(worker: &Worker, way: &Arc<Way>, route: Route, until: Instant) -> Result<Lane, Failed> {
    let running = &worker.running;
    let source = running.sources.address(route.source);
    let making = async {
        let connected = running.connector.connect(&way.upstream.origin, route.address, source).await;
        let connected = connected.map_err(|error| match &error {
            ConnectError::Tcp(io) if io.kind() == std::io::ErrorKind::AddrNotAvailable => {
                Failed::Source(error)
            }
            _ => Failed::Connect(error),
        })?;
        Lane::begin(connected, route, worker.open(route.source)).await.map_err(Failed::Preface)
    };
    let lane = tokio::time::timeout_at(until.into(), making).await.map_err(|_| Failed::Timeout)??;
    if let Lane::Http2(shared) = &lane {
        way.keep(Lane::Http2(shared.clone()));
    }
    Ok(lane)
}

/// Waits for the name's first answer. `true`: it was waited for.
async fn resolved(worker: &Worker, way: &Way, until: Instant) -> Result<bool, Refusal> {
    let name = &way.upstream.name;
    if name.with_addresses(|addresses: &[SocketAddr]| !addresses.is_empty()) {
        return Ok(false);
    }
    let within = worker.running.settings.egress.connect_timeout;
    let within = within.min(until.saturating_duration_since(Instant::now()));
    let found = name.first(within).await;
    found.map(|_| true).map_err(|error| Refusal::Unreachable(error.to_string()))
}

/// A source IP that could not reach an address which another one then reached is at fault itself.
fn blame(worker: &Worker, route: Route, tried: &[Route]) {
    worker.running.sources.works(route.source);
    for failed in
        tried.iter().filter(|failed| failed.address == route.address && failed.source != route.source)
    {
        set_aside(worker, failed.source);
    }
}

fn set_aside(worker: &Worker, source: usize) {
    let sources = &worker.running.sources;
    if sources.set_aside(source, Instant::now())
        && let Some(address) = sources.address(source)
    {
        tracing::warn!(%address, "a source IP fails where others do not, and is set aside");
    }
}
