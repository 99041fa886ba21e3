//! Spans of callbacks and deliveries. What is in them is what is in the log: no URL, no body, no secret.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::Request;

use super::deliver::Tried;
use super::metrics::Outcome;
use super::record::Record;
use crate::store::{Event, EventId};
use crate::telemetry::mask;
use crate::telemetry::trace::context::TRACEPARENT;
use crate::telemetry::trace::{Begun, Kind, Told, Tracer};
use crate::xinyao::callback;

/// Ends the span of a callback. Of one that came to a wrong URL nothing is told: anybody can send such.
pub fn callback(span: Begun, record: &Record) {
    let Some(app) = &record.app else { return };
    let failed = match record.outcome {
        Outcome::Rejected(reason) => Some(reason),
        Outcome::CopyLost => Some("copy_lost"),
        Outcome::Accepted | Outcome::Duplicate | Outcome::Answered(_) | Outcome::ClientGone => None,
    };
    let label = record.label.as_deref();
    let told = Told::new("callback", Kind::Server)
        .with("xinyao.event_id", record.id.to_string())
        .with("xinyao.app", app.to_string())
        // The operator's own, and perhaps a number all the same.
        .with_some("xinyao.label", label.map(|label| mask::numbers(label).into_owned()))
        .with_some("xinyao.event", record.kind.map(callback::Kind::name))
        .with("xinyao.outcome", record.outcome.to_string())
        .with_some("xinyao.responder", record.responder.as_deref().map(str::to_owned))
        .failed(failed);
    span.end(told);
}

/// Tells of the store's keeping the event `id`, since `began`.
pub fn commit(tracer: &Tracer, id: EventId, began: Instant, kept: bool) {
    let told = Told::new("store commit", Kind::Internal).failed((!kept).then_some("not_kept"));
    tracer.below(&tracer.event(id.0), began).end(told);
}

/// Traces deliveries to one subscriber.
#[derive(Debug, Clone)]
pub struct Tracing {
    subscriber: Arc<str>,
    tracer: Tracer,
}

impl Tracing {
    /// Of this subscriber, by `tracer`.
    pub fn new(subscriber: &str, tracer: &Tracer) -> Self {
        Self { subscriber: subscriber.into(), tracer: tracer.clone() }
    }

    /// Begins the span of an attempt, and tells the subscriber of it.
    pub fn begin(&self, event: &Event, request: &mut Request<Bytes>) -> Begun {
        let span = self.tracer.below(&self.tracer.event(event.id.0), Instant::now());
        if let Some(parent) = span.context().traceparent() {
            request.headers_mut().insert(TRACEPARENT, parent);
        }
        span
    }

    /// Ends it.
    pub fn end(&self, span: Begun, event: &Event, number: u32, tried: &Tried) {
        let told = Told::new("delivery attempt", Kind::Client)
            .with("xinyao.event_id", event.id.to_string())
            .with("xinyao.app", event.app.to_string())
            .with("xinyao.event", event.kind.name())
            .with("xinyao.subscriber", self.subscriber.to_string())
            .with("xinyao.attempt", i64::from(number))
            .with_some("http.response.status_code", tried.status.map(i64::from))
            .failed(tried.outcome.name());
        span.end(told);
    }
}
