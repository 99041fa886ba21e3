//! What is known of one callback, for metrics and log; told when it has ended, however that was.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::metrics::{Metrics, Outcome};
use super::trace;
use crate::store::EventId;
use crate::telemetry::trace::Begun;
use crate::telemetry::{log, mask};
use crate::xinyao::callback::Kind;

/// What is known of one callback. Its path is not: the token in it is a secret.
#[derive(Debug)]
pub struct Record {
    /// When its head was there.
    pub started: Instant,
    /// Its id; of what becomes an event, the event's.
    pub id: EventId,
    /// From where, trusted proxies believed.
    pub client: IpAddr,
    /// Whose it is.
    pub app: Option<Arc<str>>,
    /// The label of the URL that it came to.
    pub label: Option<Arc<str>>,
    /// What it is.
    pub kind: Option<Kind>,
    /// Bytes of its body.
    pub size: usize,
    /// How it ended.
    pub outcome: Outcome,
    /// Which responder answered.
    pub responder: Option<Arc<str>>,
    /// What was wrong with the responder that failed last.
    pub failure: Option<String>,
    /// Where it is counted.
    pub metrics: Metrics,
    /// Whether numbers are masked in the log.
    pub mask_numbers: bool,
    /// Its span, where its trace is kept.
    pub span: Option<Begun>,
}

impl Drop for Record {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        self.metrics.count(self.app.as_ref(), self.kind, self.outcome, took);
        // A label is the operator's own, and may be a number all the same.
        let shown =
            |text: &str| if self.mask_numbers { mask::numbers(text).into_owned() } else { text.into() };
        tracing::info!(
            target: log::ACCESS,
            id = %self.id,
            client = %self.client,
            app = self.app.as_deref(),
            label = self.label.as_deref().map(shown),
            event = self.kind.map(Kind::name),
            outcome = %self.outcome,
            bytes_in = self.size,
            responder = self.responder.as_deref(),
            failure = self.failure.as_deref(),
            took_ms = took.as_secs_f64() * 1000.0,
            "callback",
        );
        if let Some(span) = self.span.take() {
            trace::callback(span, self);
        }
    }
}
