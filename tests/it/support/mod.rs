//! What the promises are tested with.
//!
//! - [`Gateway`]: a gateway in this process, on free ports, from a configuration of which a test writes only
//!   what it is about. [`Binary`]: the real thing, where the promise is about the process.
//! - [`Sandbox`]: the stand-in SaaS. [`Upstream`]: a server that does what it is told, byte by byte.
//! - [`Cluster`]: three of the real thing on one [`Postgres`] and one [`Redis`], each by a [`Relay`] that can be cut;
//!   [`Pushes`]: a SaaS that pushes to all of them; [`Subscriber`]: what notes all that it gets.
//! - [`Collector`]: where spans go.
//! - [`Line`]: one TCP connection, as a client's or a server's end; every wait on it has a deadline.
//! - [`Browser`]: what operators look at the console with.
//! - [`get`], [`post`]: requests; [`Answer`], [`Seen`]: what came.
//! - [`eventually`]: a condition that must come true soon.

// Each module of promises uses its own part of this.
#![allow(dead_code, unused_imports, reason = "a tool box")]

mod binary;
mod browser;
mod cluster;
mod collector;
mod egress_proxy;
mod gateway;
mod http2;
mod line;
mod load;
mod log;
mod message;
#[path = "../../support/postgres.rs"]
mod postgres;
mod promql;
mod pushes;
mod redis;
mod relay;
mod sandbox;
mod tls;
mod upload;
mod upstream;

use std::time::{Duration, Instant};

pub use binary::{Binary, Starting};
pub use browser::Browser;
pub use cluster::{Cluster, HeldShard, Replica};
pub use collector::{Collector, Span};
pub use egress_proxy::EgressProxy;
pub use gateway::{Builder, Gateway, Metrics, TOKEN, callback, config, merge};
pub use http2::Http2Upstream;
pub use line::Line;
pub use load::Load;
pub use log::logged;
pub use message::{Answer, Ask, Seen, get, post, request};
pub use postgres::Postgres;
pub use promql::Exported;
pub use pushes::{Pushed, Pushes, Subscriber, try_ask};
pub use redis::Redis;
pub use relay::Relay;
pub use sandbox::Sandbox;
pub use tls::{Authority, Pair};
pub use upload::{outnum, outnum_as, outnum_with, workbook};
pub use upstream::{Act, OK, Upstream, answer, nobody, ok};

/// Where the endpoints are (§6, §10-§16): written out, for the gateway has them from its own table.
pub const ADDTASK: &str = "/api/v1/coeus/apiserver/agent/addtask";
pub const OUTNUM: &str = "/api/v1/coeus/apiserver/agent/outnum";
pub const TASKLIST: &str = "/api/v1/coeus/apiserver/agent/tasklist";
pub const SYNCPROMPT: &str = "/api/v1/coeus/apiserver/agent/syncprompt";
pub const FOLLOWED_DATA: &str = "/api/v1/coeus/apiserver/followed/data";
pub const BOTDM_START: &str = "/api/v1/gaia/botdm/start";
pub const BOTDM_TRIGGER: &str = "/api/v1/gaia/botdm/trigger";
pub const BOTDM_STOP: &str = "/api/v1/gaia/botdm/stop";

/// No wait is longer. Reached only when a promise is broken.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// What `future` comes to, within [`DEADLINE`].
#[track_caller]
pub fn within<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        tokio::time::timeout(DEADLINE, future)
            .await
            .unwrap_or_else(|_| panic!("nothing within {DEADLINE:?}, waited for at {caller}"))
    }
}

/// Waits until `holds`, and panics when it does not within [`DEADLINE`].
#[track_caller]
pub fn eventually(holds: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    let waited = in_time(DEADLINE, holds);
    async move {
        waited.await;
    }
}

/// Waits until `holds`, and panics when it does not within `limit`; how long it took.
#[track_caller]
pub fn in_time(limit: Duration, holds: impl AsyncFnMut() -> bool) -> impl Future<Output = Duration> {
    let caller = std::panic::Location::caller();
    async move {
        let mut holds = holds;
        let begun = Instant::now();
        while !holds().await {
            assert!(begun.elapsed() < limit, "did not come true within {limit:?}: {caller}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        begun.elapsed()
    }
}

/// A body of `size` bytes, no part of which is like another.
pub fn bytes(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    fastrand::Rng::with_seed(size as u64).fill(&mut bytes);
    for byte in &mut bytes {
        *byte = b'a' + *byte % 26;
    }
    bytes
}
