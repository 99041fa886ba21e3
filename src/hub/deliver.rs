//! One try of a delivery: an event becomes a signed request, and what is answered an outcome.
//!
//! Subscribers are not trusted: one deadline covers connection, head and body, and no more of an answer
//! is read than [`MAX_ANSWER`], which is enough to tell an envelope; the first [`KEPT`] bytes are kept.

mod answer;
mod request;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::Request;
use http::header::{HeaderName, HeaderValue};
use jiff::Timestamp;
use tokio::time::Instant;

use self::answer::judge;
use self::request::Template;
use super::delivery_state::Outcome;
use super::schedule::Clock;
use super::settings::SubscriberSettings;
use super::trace::Tracing;
use crate::net::client::{Client, ClientError, Reply};
use crate::store::Event;
use crate::telemetry::trace::Tracer;

/// Longest answer: what is longer is a failure, since nobody knows what it says.
pub const MAX_ANSWER: usize = 256 << 10;
/// So much of an answer goes on record.
pub const KEPT: usize = 1 << 10;

/// Marks what `test` sends.
const SAMPLE: HeaderName = HeaderName::from_static("x-xinyao-sample");

/// Brings an event to a subscriber.
pub trait Carry: Send + Sync {
    /// Tries once; `number` is which attempt it is, from 1 on. Ends within the subscriber's timeout.
    fn carry(&self, event: Arc<Event>, number: u32) -> BoxFuture<'static, Tried>;
}

/// What came of a try.
#[derive(Debug, Clone)]
pub struct Tried {
    /// What it means.
    pub outcome: Outcome,
    /// The status that was answered, if any was.
    pub status: Option<u16>,
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// The beginning of the answer.
    pub answer: Bytes,
}

impl Tried {
    /// A try of which nothing is known but that it was made.
    pub fn unknown(at: Timestamp) -> Self {
        let outcome = Outcome::BrokeOff("the gateway lost sight of it".into());
        Self { outcome, status: None, at, took: Duration::ZERO, answer: Bytes::new() }
    }
}

/// A subscriber's settings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Its URL is none.
    #[error("`url` is no URL")]
    Url,
    /// A header can't be sent.
    #[error("header {0:?} can't be sent")]
    Header(String),
    /// A signing secret is none.
    #[error(transparent)]
    Secret(#[from] super::webhook::NoSecret),
}

/// Brings events to one subscriber over the network.
#[derive(Clone)]
pub struct Courier {
    template: Arc<Template>,
    client: Client,
    clock: Arc<dyn Clock>,
    timeout: Duration,
    tracing: Option<Tracing>,
}

impl Courier {
    /// A courier as the settings say.
    ///
    /// # Errors
    /// They can't be used.
    pub fn new(
        settings: &SubscriberSettings,
        proxy_url: &str,
        client: Client,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Unusable> {
        let template = Arc::new(Template::new(settings, proxy_url)?);
        Ok(Self { template, client, clock, timeout: settings.timeout, tracing: None })
    }

    /// The same, whose deliveries to `subscriber` are traced by `tracer`.
    pub fn traced(self, subscriber: &str, tracer: Option<&Tracer>) -> Self {
        Self { tracing: tracer.map(|tracer| Tracing::new(subscriber, tracer)), ..self }
    }

    /// Brings a sample: marked as one by `x-xinyao-sample: true`.
    pub async fn carry_sample(&self, event: Arc<Event>) -> Tried {
        let mut request = self.template.fill(&event, 1, self.clock.now());
        request.headers_mut().insert(SAMPLE, HeaderValue::from_static("true"));
        self.send(request).await
    }

    async fn send(&self, request: Request<Bytes>) -> Tried {
        let (at, began) = (self.clock.now(), Instant::now());
        let mut reply = None;
        let exchange = self.exchange(request, &mut reply);
        let ended = tokio::time::timeout(self.timeout, exchange).await;
        let said = |reply: &Reply| judge(reply.status, &reply.headers, reply.begun(), self.clock.now());
        let outcome = match (ended, &reply) {
            // Its head says it all.
            (_, Some(reply)) if !reply.status.is_success() => said(reply),
            (Ok(Ok(true)), Some(reply)) => said(reply),
            (Ok(Ok(_)), _) => Outcome::TooLong { bytes: MAX_ANSWER },
            (Ok(Err(error)), _) if error.is_unreachable() => Outcome::Unreachable(chain(&error)),
            (Ok(Err(error)), _) => Outcome::BrokeOff(chain(&error)),
            (Err(_), _) => Outcome::TimedOut { within: self.timeout },
        };
        let begun = reply.as_ref().map_or(&[][..], Reply::begun);
        let answer = Bytes::copy_from_slice(begun.get(..KEPT).unwrap_or(begun));
        let status = reply.as_ref().map(|reply| reply.status.as_u16());
        Tried { outcome, status, at, took: began.elapsed(), answer }
    }

    /// Whether the answer was read to its end. What there is of it is left in `reply`, however this ends.
    async fn exchange(
        &self,
        request: Request<Bytes>,
        reply: &mut Option<Reply>,
    ) -> Result<bool, ClientError> {
        let reply = reply.insert(self.client.send(request).await?);
        reply.read(MAX_ANSWER).await
    }
}

impl Carry for Courier {
    fn carry(&self, event: Arc<Event>, number: u32) -> BoxFuture<'static, Tried> {
        let courier = self.clone();
        Box::pin(async move {
            let mut request = courier.template.fill(&event, number, courier.clock.now());
            let span = courier.tracing.as_ref().map(|tracing| tracing.begin(&event, &mut request));
            let tried = courier.send(request).await;
            if let Some((tracing, span)) = courier.tracing.as_ref().zip(span) {
                tracing.end(span, &event, number, &tried);
            }
            tried
        })
    }
}

/// An error and its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests;
