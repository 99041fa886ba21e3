//! Connections of one worker that wait for a next request. Nothing here is shared between threads.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::lane::{Http1, Http2, Lane};
use super::way::Route;

/// Unused connections, by route.
#[derive(Default)]
pub struct Pool {
    routes: Vec<Shelf>,
    count: usize,
}

/// What leads one way; of few ways a list is searched faster than a map.
struct Shelf {
    route: Route,
    idle: Vec<Idle>,
    shared: Option<Shared>,
}

struct Shared {
    used: Instant,
    lane: Http2,
}

struct Idle {
    since: Instant,
    lane: Box<Http1>,
}

/// Most unused connections of one worker.
const MAX_IDLE: usize = 512;

impl Pool {
    /// A connection along `route`: the one that was used last.
    pub fn take(&mut self, route: Route) -> Option<Lane> {
        let shelf = self.routes.iter_mut().find(|shelf| shelf.route == route)?;
        shelf.shared.take_if(|shared| !shared.lane.is_usable());
        if let Some(shared) = &mut shelf.shared {
            shared.used = Instant::now();
            return Some(Lane::Http2(shared.lane.clone()));
        }
        while let Some(mut idle) = shelf.idle.pop() {
            self.count -= 1;
            if idle.lane.connection.is_usable() {
                return Some(Lane::Http1(idle.lane));
            }
        }
        None
    }

    /// Keeps a connection for the next request.
    pub fn put(&mut self, lane: Lane) {
        let route = lane.route();
        let at = self.routes.iter().position(|shelf| shelf.route == route);
        let at = at.unwrap_or_else(|| {
            self.routes.push(Shelf { route, idle: Vec::new(), shared: None });
            self.routes.len() - 1
        });
        match lane {
            Lane::Http1(lane) if self.count < MAX_IDLE && lane.connection.is_reusable() => {
                self.routes[at].idle.push(Idle { since: Instant::now(), lane });
                self.count += 1;
            }
            Lane::Http1(_) => {}
            Lane::Http2(lane) => self.routes[at].shared = Some(Shared { used: Instant::now(), lane }),
        }
    }

    /// Lets go of connections unused for over `timeout`, of those that the server has closed, and of
    /// those to addresses that are no longer `current`.
    pub fn sweep(&mut self, timeout: Duration, current: impl Fn(SocketAddr) -> bool) {
        self.routes.retain(|shelf| current(shelf.route.address));
        for shelf in &mut self.routes {
            shelf.idle.retain_mut(|idle| idle.since.elapsed() < timeout && idle.lane.connection.is_usable());
            shelf.shared.take_if(|shared| shared.used.elapsed() >= timeout || !shared.lane.is_usable());
        }
        self.routes.retain(|shelf| !shelf.idle.is_empty() || shelf.shared.is_some());
        self.count = self.routes.iter().map(|shelf| shelf.idle.len()).sum();
    }

    /// How many unused connections leave from source number `source`.
    pub fn idle(&self, source: usize) -> usize {
        self.routes.iter().filter(|shelf| shelf.route.source == source).map(|shelf| shelf.idle.len()).sum()
    }
}
