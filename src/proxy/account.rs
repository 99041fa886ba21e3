//! The outermost part of the way: a call is made of a request, and an answer of what came of it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response};
use hyper::body::Incoming;
use uuid::Builder;

use super::answer::Answer;
use super::call::{Answered, Call, Refused};
use super::outgoing::Outgoing;
use super::record::{Entered, Record};
use super::refusal::{self, Refusal};
use super::trace;
use super::worker::Worker;
use crate::net::listen::{Peer, Rejected};
use crate::xinyao::Target;
use crate::xinyao::checks::Failure;

/// Names a request, in both directions.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What is wrong with a request that was forwarded all the same; a field each for who found it.
pub const X_GATEWAY_WARNING: HeaderName = HeaderName::from_static("x-gateway-warning");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Longest warning.
const MAX_WARNING: usize = 1024;
/// Longest id of a client's own.
const MAX_ID: usize = 128;

/// Makes a call of a request.
pub fn begin(request: Request<Incoming>, worker: &Arc<Worker>, peer: Peer) -> Box<Call> {
    let (head, body) = request.into_parts();
    let mut record = record(request_id(&head.headers), worker, peer);
    record.method = Some(head.method.clone());
    record.span = trace::begin(worker, &head.headers);
    record.path = head.uri.path_and_query().filter(|_| worker.running.log_access).cloned();
    Box::new(Call { head, body: Outgoing::Raw(body), numbers: None, worker: Arc::clone(worker), record })
}

/// The answer to what is no request. It is told like any other.
pub fn reject(rejected: Rejected, worker: &Arc<Worker>, peer: Peer) -> Response<Bytes> {
    let mut record = record(new_id(), worker, peer);
    let refusal = Refusal::from(rejected);
    let mut response = refusal.answer(&record.id);
    record.answered(response.status());
    record.refused = Some(refusal.reason());
    record.bytes_out = response.body().len() as u64;
    mark(response.headers_mut(), &record);
    response
}

fn record(id: HeaderValue, worker: &Arc<Worker>, peer: Peer) -> Box<Record> {
    Box::new(Record {
        started: Instant::now(),
        id,
        peer,
        client: peer.address,
        app: Arc::clone(&worker.nobody),
        target: None,
        method: None,
        path: None,
        standing: None,
        entered: Entered::default(),
        waited: Duration::ZERO,
        upstream_took: Duration::ZERO,
        overhead: Duration::ZERO,
        address: None,
        attempts: 0,
        bytes_in: 0,
        unread: false,
        bytes_out: 0,
        status: None,
        refused: None,
        failures: Vec::new(),
        upstream_failed: false,
        code: None,
        worker: Arc::clone(worker),
        span: None,
    })
}

/// Makes an answer of what came of a call.
pub fn conclude(outcome: Result<Answered, Refused>) -> Response<Answer> {
    match outcome {
        Ok(Answered { mut response, mut record }) => {
            record.answered(response.status());
            mark(response.headers_mut(), &record);
            response.map(|body| body.tell(record))
        }
        Err(refused) => refuse(refused),
    }
}

fn refuse(Refused { refusal, mut record, unread }: Refused) -> Response<Answer> {
    let mut response = refusal.answer(&record.id);
    record.answered(response.status());
    record.refused = Some(refusal.reason());
    record.upstream_failed = refusal.is_upstreams();
    mark(response.headers_mut(), &record);
    if unread {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if let Refusal::ChecksFailed(failures) = &refusal {
        record.failures.clone_from(failures);
    }
    tracing::debug!(reason = refusal.reason(), detail = %refusal, app = %record.app.name, "refused");
    response.map(|bytes| Answer::whole(bytes).tell(record))
}

/// What the gateway adds to every answer.
fn mark(headers: &mut HeaderMap, record: &Record) {
    headers.insert(X_REQUEST_ID, record.id.clone());
    if !record.failures.is_empty() {
        headers.append(X_GATEWAY_WARNING, warning(&record.failures));
    }
    let app = &record.app;
    // What is at an unknown path would be counted with the other things that the document does not have.
    let target = record.target.unwrap_or(Target::Extra);
    let Some(policy) = &app.policies[target.index()] else { return };
    headers.insert(RATE_LIMIT_POLICY, policy.clone());
    let standing = record.standing.or_else(|| app.limits.look(target));
    if let Some(standing) = standing.and_then(|standing| app.limits.standing(standing)) {
        headers.insert(RATE_LIMIT, standing);
    }
}

/// What fails, as far as it fits.
fn warning(failures: &[Failure]) -> HeaderValue {
    let mut text = refusal::listed(failures);
    text.retain(|c| c.is_ascii() && !c.is_ascii_control());
    text.truncate(MAX_WARNING);
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("checks failed"))
}

/// The client's own id where it is fit to be logged, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let own = headers.get(X_REQUEST_ID).filter(|value| {
        (1..=MAX_ID).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
    });
    own.cloned().unwrap_or_else(new_id)
}

/// A new id: time-ordered, so that logs sort by it. It names a request and guards nothing, so the dice
/// are each thread's own, and cheap ones.
pub fn new_id() -> HeaderValue {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut dice = [0; 10];
    fastrand::fill(&mut dice);
    let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let id = Builder::from_unix_timestamp_millis(millis, &dice).into_uuid();
    let mut text = [0; uuid::fmt::Simple::LENGTH];
    let text = id.simple().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("none"))
}
