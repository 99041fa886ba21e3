//! Traces: what a request, a callback and their parts took, as spans for an OpenTelemetry collector.
//!
//! A [`Tracer`] begins spans. One that has ended goes into a queue of bounded length, or is dropped and
//! counted where there is no room: nobody waits for a collector. [`Queue`] hands them out in batches, and
//! [`otlp`] writes a batch as OTLP's JSON.
//!
//! The trace of an event has the event's id, and its first span the id's second half. So every delivery of
//! it, after a restart too, belongs to the trace of the callback, and nothing has to be remembered for that.

pub mod context;
mod metrics;
pub mod otlp;
mod queue;
mod settings;
mod span;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::HeaderMap;
use uuid::Uuid;

pub use self::context::Context;
use self::context::{SpanId, TraceId};
pub use self::metrics::Metrics;
use self::queue::Sink;
pub use self::queue::{BATCH, QUEUE, Queue};
pub use self::settings::Settings;
pub use self::span::{Kind, Span, Told, Value};

/// Begins spans. Clones are the same.
#[derive(Clone)]
pub struct Tracer(Arc<Inner>);

struct Inner {
    sink: Sink,
    /// Traces that begin here are kept when their dice are below this.
    threshold: u64,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").finish_non_exhaustive()
    }
}

impl Tracer {
    /// A tracer that keeps `ratio` (0 to 1) of the traces that begin here, and where its spans come out.
    pub fn new(ratio: f64) -> (Self, Queue) {
        let (sink, queue) = queue::queue();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 2^32")]
        let threshold = (ratio.clamp(0.0, 1.0) * (context::DICE as f64)) as u64;
        (Self(Arc::new(Inner { sink, threshold })), queue)
    }

    /// What is counted, for a scrape.
    pub fn metrics(&self) -> Metrics {
        Metrics(self.0.sink.counts())
    }

    /// The first span of a request with these header fields: below the span that they name, if they do. `None`:
    /// its trace is not kept.
    pub fn request(&self, headers: &HeaderMap) -> Option<Begun> {
        let Some(parent) = Context::of(headers) else {
            let context = Context { span: SpanId::random(), ..self.root(TraceId::random()) };
            return context.sampled.then(|| self.begin(context, None));
        };
        parent.sampled.then(|| self.below(&parent, Instant::now()))
    }

    /// The first span of a callback that becomes the event `id`. `None`: its trace is not kept.
    pub fn callback(&self, id: Uuid) -> Option<Begun> {
        let context = self.event(id);
        context.sampled.then(|| self.begin(context, None))
    }

    /// The first span of the event `id`, as its parts are below it.
    pub fn event(&self, id: Uuid) -> Context {
        self.root(TraceId(id.into_bytes()))
    }

    fn root(&self, trace: TraceId) -> Context {
        let sampled = trace.dice() < self.0.threshold;
        Context { trace, span: trace.first_span(), sampled, state: None }
    }

    /// A part of `parent`'s that began at `since`.
    pub fn below(&self, parent: &Context, since: Instant) -> Begun {
        let span = self.begin(Context { span: SpanId::random(), ..parent.clone() }, Some(parent.span));
        let at = span.at.checked_sub(span.since.saturating_duration_since(since)).unwrap_or(span.at);
        Begun { at, since, ..span }
    }

    fn begin(&self, context: Context, parent: Option<SpanId>) -> Begun {
        Begun { tracer: self.clone(), context, parent, at: SystemTime::now(), since: Instant::now() }
    }
}

/// A span that has begun. Where it does not [end](Begun::end), nothing is told of it.
#[derive(Debug)]
pub struct Begun {
    tracer: Tracer,
    context: Context,
    parent: Option<SpanId>,
    at: SystemTime,
    since: Instant,
}

impl Begun {
    /// Where it stands, for others to be below it.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// A part of it that began at `since`.
    pub fn part(&self, since: Instant) -> Self {
        self.tracer.below(&self.context, since)
    }

    /// It ends now, and is what `told` says.
    pub fn end(self, told: Told) {
        if !self.context.sampled {
            return;
        }
        let ended = self.at + self.since.elapsed();
        let Self { tracer, context, parent, at, .. } = self;
        tracer.0.sink.put(Span { context, parent, began: at, ended, told });
    }
}
