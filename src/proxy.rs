//! The request's way, on one page.
//!
//! A call passes the layers of `stack` from the first to the last; an answer comes back the other way.
//! The layers hold nothing: what they need is in the `Call` and in the `Worker` that it names, so
//! that a reloaded configuration takes effect with the next call.

mod account;
mod acquire;
mod admission;
mod answer;
pub mod answer_code;
mod app;
mod attempts;
mod batch;
mod body;
mod budget;
mod busy;
mod call;
mod checking;
mod circuit;
mod clock;
mod gate;
pub mod global;
mod handle;
mod in_flight;
mod lane;
mod limiting;
pub mod limits;
mod metrics;
mod numbers;
mod once;
mod outgoing;
mod pool;
mod proof;
mod record;
mod refusal;
mod routing;
mod running;
mod send;
mod settings;
mod shared;
mod shown;
mod source;
mod team_url;
pub mod tenant;
mod timer;
mod trace;
mod unclaimed;
mod upstream;
mod way;
mod worker;

use std::convert::Infallible;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use http::header::{self, HeaderName};
use http::{Request, Response, Version};
use hyper::body::Incoming;
use tower::{Service, ServiceBuilder};

use self::attempts::AttemptsLayer;
use self::batch::BatchLayer;
use self::body::BodyLayer;
use self::call::{Answered, Call, Refused};
use self::checking::CheckLayer;
use self::gate::Gate;
use self::limiting::LimitLayer;
use self::once::OnceLayer;
use self::send::{Send as Sending, SignLayer};
use self::team_url::TeamUrlLayer;
use self::worker::Worker;
use crate::net::headers;
use crate::net::listen::Peer;
use crate::telemetry::trace::context::{TRACEPARENT, TRACESTATE};

pub use self::answer::Answer;
pub use self::clock::parse_date;
pub use self::global::GlobalStatus;
pub use self::handle::{EgressStatus, LimitsStatus, Prepared, Proxy, SourceStatus, Status, UpstreamStatus};
pub use self::limits::LimitStatus;
pub use self::metrics::{Endings, Errors, Metrics, Traffic};
pub use self::proof::Unproven;
pub use self::refusal::Refusal;
pub use self::routing::target;
pub use self::running::{AccessLog, Rooms, StartError};
pub use self::settings::{
    AppSettings, Checks, GlobalRate, LimitSettings, NextCredential, Priority, Rate, RateLimit, RedisUrl,
    Settings, SharedLimitSettings, UpstreamSettings,
};
pub use self::shared::{
    Asking, Failure as RedisFailure, Metrics as SharedMetrics, Shared, SharedStatus, ask_redis,
};
pub use self::shown::{AppStatus, AppsStatus};
pub use self::team_url::{Originals, Place, TeamUrls};

/// The request's way: the first line sees the call first.
fn stack() -> impl Service<Box<Call>, Response = Answered, Error = Refused, Future: Send> {
    ServiceBuilder::new()
        // Before anything costs: the process is about to end.
        .layer(Gate(not_draining))
        // Address and token, before anything is told about what there is to call.
        .layer(Gate(admission::admit))
        // Target, method, right. What two readers could take for two targets ends here.
        .layer(Gate(routing::route))
        // Before anything is read: rates, the share of what all have, and what is under way. The permit rides in
        // the record, which rides in the answer's body: an answer that is being streamed is still under way.
        .layer(LimitLayer)
        // Size and tenants. Small bodies are read here, before a connection is taken for them.
        .layer(BodyLayer)
        // What the document asks for, in what was read, or is being read. Last of what only looks.
        .layer(CheckLayer)
        // What must not be sent twice, once nothing but the upstream can say no to it. Before the attempts:
        // a second one that was not sent is still the same request.
        .layer(OnceLayer)
        // The callback address of a task. Behind what may answer without the upstream: the address is kept for
        // tasks that are made.
        .layer(TeamUrlLayer)
        // The ledger sees answers of the SaaS only, and each once.
        .layer(BatchLayer)
        // The last edit of the header fields but for the signature.
        .layer(Gate(clean_headers))
        // A connection; a second one, if the first could not be made or may be tried again.
        .layer(AttemptsLayer)
        // Inside the attempts: each is signed afresh.
        .layer(SignLayer)
        .service(Sending)
}

fn not_draining(call: &mut Call) -> Result<(), Refusal> {
    if call.worker.running.is_draining() { Err(Refusal::Draining) } else { Ok(()) }
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of a gate")]
fn clean_headers(call: &mut Call) -> Result<(), Refusal> {
    headers::strip_for_upstream(&mut call.head.headers, |name: &HeaderName| {
        name == header::COOKIE
            || name.as_str() == "idempotency-key"
            // What they tell of is the apps' own affair.
            || *name == TRACEPARENT
            || *name == TRACESTATE
            || name.as_str() == "baggage"
            || name.as_str().starts_with("x-gateway-")
    });
    // A client's HTTP/1.0 ends here too: to the upstream, the gateway speaks its own version.
    call.head.version = Version::HTTP_11;
    Ok(())
}

/// Serves one connection's requests with whatever configuration its worker has at the time.
pub struct Connection {
    worker: Arc<ArcSwap<Worker>>,
    peer: Peer,
}

impl Connection {
    /// A connection of `peer`'s, to be served by `worker`.
    pub fn new(worker: Arc<ArcSwap<Worker>>, peer: Peer) -> Self {
        Self { worker, peer }
    }
}

impl hyper::service::Service<Request<Incoming>> for Connection {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Answer>, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let call = account::begin(request, &self.worker.load(), self.peer);
        // Every layer is always ready: what there is too much of is refused, not queued.
        let outcome = stack().call(call);
        Box::pin(async move { Ok(account::conclude(outcome.await)) })
    }
}
