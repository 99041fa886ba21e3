//! Spans of requests and their attempts. What is in them is what is in the log: no URL, no body, no secret.

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, Method, StatusCode};

use super::attempts::Failure;
use super::metrics::Outcome;
use super::record::Record;
use super::refusal::Refusal;
use super::way::Route;
use super::worker::Worker;
use crate::telemetry::mask;
use crate::telemetry::trace::{Begun, Kind, Told};
use crate::xinyao::Target;

/// The methods that HTTP's documents know; others are clients' own words.
const METHODS: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::TRACE,
    Method::CONNECT,
];

/// Begins a request's span, if its trace is kept.
pub fn begin(worker: &Arc<Worker>, headers: &HeaderMap) -> Option<Box<Begun>> {
    worker.running.rooms.tracer.as_ref()?.request(headers).map(Box::new)
}

/// Ends it.
pub fn end(span: Begun, record: &Record) {
    let outcome = record.outcome();
    let failed = match outcome {
        Outcome::Ok | Outcome::BusinessError | Outcome::ClientGone => None,
        Outcome::UpstreamError => Some(record.refused.unwrap_or("upstream_error")),
        // What the client did wrong is no failure of who says so.
        Outcome::Rejected(reason) => (record.status() >= 500).then_some(reason),
    };
    let told = Told::new("request", Kind::Server)
        .with("xinyao.request_id", request_id(record))
        .with("xinyao.app", record.app.name.clone())
        .with("xinyao.endpoint", record.target.map_or("none", Target::name))
        .with("xinyao.outcome", outcome.to_string())
        .with_some("xinyao.code", record.code())
        .with("xinyao.attempts", i64::from(record.attempts))
        .with_some("http.request.method", record.method.as_ref().map(method))
        .with_some("http.response.status_code", record.status.map(status))
        .failed(failed);
    span.end(told);
}

/// A client's own id may be a number of somebody's; one with anything else in it is left as the log has it.
fn request_id(record: &Record) -> String {
    let id = record.id.to_str().unwrap_or_default();
    let digits = |c: u8| c.is_ascii_digit() || matches!(c, b'+' | b'-' | b' ');
    if id.bytes().all(digits) { mask::numbers(id).into_owned() } else { id.to_owned() }
}

fn method(method: &Method) -> String {
    METHODS.iter().find(|known| *known == method).map_or("_OTHER", Method::as_str).to_owned()
}

fn status(status: StatusCode) -> i64 {
    status.as_u16().into()
}

/// An attempt that was made.
#[derive(Clone, Copy)]
pub struct Tried {
    /// Which it was, from 1 on.
    pub number: u32,
    /// Along which route.
    pub route: Route,
    /// Whether its connection was made for it.
    pub fresh: bool,
    /// When the search for a connection began.
    pub started: Instant,
}

impl Tried {
    /// Tells of it, once its answer's head is there or there will be none.
    pub fn trace(self, record: &Record, answer: Result<StatusCode, &Failure>) {
        let Some(span) = &record.span else { return };
        let source = record.worker.running.sources.address(self.route.source);
        let told = Told::new("upstream attempt", Kind::Client)
            .with("xinyao.attempt", i64::from(self.number))
            .with("xinyao.source_ip", source.map_or_else(|| "any".to_owned(), |address| address.to_string()))
            .with("xinyao.connection", if self.fresh { "fresh" } else { "kept" })
            .with("network.peer.address", self.route.address.ip().to_string())
            .with("network.peer.port", i64::from(self.route.address.port()))
            .with_some("http.response.status_code", answer.ok().map(status))
            .failed(answer.err().map(Failure::name));
        span.part(self.started).end(told);
    }
}

/// Tells of a search for a connection, since `started`, that found none.
#[cold]
pub fn no_connection(record: &Record, started: Instant, refusal: &Refusal) {
    let Some(span) = &record.span else { return };
    let told = Told::new("upstream attempt", Kind::Client)
        .with("xinyao.attempt", i64::from(record.attempts) + 1)
        .failed(Some(refusal.reason()));
    span.part(started).end(told);
}
