//! The callback's way, on one page.
//!
//! A callback passes the steps of `take` from the first to the last. What it becomes, an event, is
//! acknowledged once the store has synced it, and not a moment earlier: the SaaS pushes it four times in half
//! a minute and then forgets it. From there the loops of [`dispatch`] follow the log, each at its subscriber's pace. An
//! inbound query is another matter: somebody is on the phone, so it is answered first and kept afterwards.

mod body;
mod copies;
pub mod deliver;
pub mod delivery_state;
pub mod dispatch;
mod enrich;
mod filter;
mod inbound;
mod intake;
mod metrics;
mod record;
mod refusal;
pub mod schedule;
mod settings;
pub mod team_url;
#[cfg(test)]
mod tests;
mod token;
mod trace;
mod webhook;

use std::convert::Infallible;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;

use self::inbound::Answer;
use self::metrics::Outcome;
use self::record::Record;
use self::refusal::{Refusal, X_REQUEST_ID};
use crate::net::listen::{Peer, Rejected};
use crate::xinyao::callback::Kind;

pub use self::inbound::BadUrl;
pub use self::intake::Intake;
pub use self::metrics::Metrics;
pub use self::settings::*;
pub use self::token::{Keys, is_label};

/// What the SaaS is told once a callback is kept (§7.5).
const ACK: &[u8] = br#"{"code":0,"msg":"success"}"#;

/// What a callback is answered with.
enum Taken {
    /// It is kept, or was before.
    Kept(Outcome),
    /// It is a query, and this is what is said.
    Answered(Answer),
}

/// The callback's way.
async fn take(intake: &Intake, record: &mut Record, head: &Parts, body: Incoming) -> Result<Taken, Refusal> {
    // Before anything is told about what there is to call.
    intake.allow(record.client)?;
    // The URL is the proof that the callback is the app's. All wrong ones are alike.
    let (app, label) = intake.door(head.uri.path())?;
    (record.app, record.label) = (Some(Arc::clone(&app)), label.clone());
    if head.method != Method::POST {
        return Err(Refusal::MethodNotAllowed);
    }
    // Whole, for it can be acknowledged only when all of it is kept.
    let whole = intake.read(body).await?;
    record.size = whole.bytes.len();
    // From here on nothing is refused for what it is: a refusal would lose it.
    let event = intake.event(record.id, app, label, head, whole.bytes).await;
    record.kind = Some(event.kind);
    match event.kind {
        Kind::InboundQuery => Ok(Taken::Answered(intake.answer(record, event, whole.share).await)),
        Kind::CallRecord | Kind::IntentResult | Kind::Unknown => intake.keep(event).await.map(Taken::Kept),
    }
}

/// Serves one connection's callbacks, each by what the intake is at the time.
pub struct Connection {
    intake: Arc<ArcSwap<Intake>>,
    peer: Peer,
}

impl Connection {
    /// A connection of `peer`'s.
    pub fn new(intake: Arc<ArcSwap<Intake>>, peer: Peer) -> Self {
        Self { intake, peer }
    }
}

impl hyper::service::Service<Request<Incoming>> for Connection {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let intake = self.intake.load_full();
        let (head, body) = request.into_parts();
        let mut record = intake.record(&self.peer, &head.headers);
        Box::pin(async move {
            let taken = take(&intake, &mut record, &head, body).await;
            Ok(conclude(taken, record).map(Full::new))
        })
    }
}

fn conclude(taken: Result<Taken, Refusal>, mut record: Record) -> Response<Bytes> {
    let id = record.id.to_string();
    let (content_type, body) = match taken {
        Ok(Taken::Kept(outcome)) => {
            record.outcome = outcome;
            (HeaderValue::from_static("application/json"), Bytes::from_static(ACK))
        }
        Ok(Taken::Answered(answer)) => {
            record.outcome = Outcome::Answered(answer.outcome);
            (answer.content_type, answer.body)
        }
        Err(refusal) => {
            record.outcome = Outcome::Rejected(refusal.reason());
            tracing::debug!(reason = refusal.reason(), detail = %refusal, "refused");
            return refusal.answer(&id);
        }
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(X_REQUEST_ID, id);
    }
    response
}

/// The answer to what is no request.
pub fn reject(rejected: Rejected, _: Peer) -> Response<Bytes> {
    Refusal::from(rejected).answer(&intake::new_id().to_string())
}
