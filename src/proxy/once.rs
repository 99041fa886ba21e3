//! What must not be sent twice is sent once: addtask and outnum with an `Idempotency-Key`, and an outnum of
//! the same task and the same numbers.
//!
//! Before anything goes out it is written down that it does; when the answer is there, what came of it. What
//! can't be written down is not sent. Of an upload, task and numbers are known at its end only: until that is
//! written down too, the upstream lacks the last bytes ([`seal`]). From then on the exchange no longer needs
//! the client ([`detached`]): who gave up waiting asks again with its key, and has the first answer. An answer
//! that comes before that ends the exchange, and the upstream never gets the last bytes.
//!
//! | what came of it | with a key, the next one gets | the same numbers |
//! | --- | --- | --- |
//! | an answer of code 0 | the same answer | 409, within the window |
//! | an answer of another code, or nothing was sent | is sent | is sent |
//! | the upstream broke off, or answered with a bare 5xx; the process ended | 409, until somebody decides | 409, within the window |
//! | it is under way | 409 | 409 |

mod detached;
mod duplicate;
mod kept;
mod marks;
mod seal;
mod slot;

use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, Either};
use http::{HeaderMap, HeaderName};
use jiff::Timestamp;
use tower::{Layer, Service};

use self::detached::Detached;
pub use self::duplicate::Duplicate;
use self::marks::Marker;
use self::seal::Seal;
use self::slot::{Slot, Stopped};
use super::call::{Answered, Call, Refused};
use super::outgoing::Outgoing;
use super::refusal::Refusal;
use crate::store::{Claim, Conclusion, Earlier, Marks};
use crate::xinyao::{Endpoint, Target};

/// The caller's name for a request (IETF draft).
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The app has decided.
const X_GATEWAY_FORCE: HeaderName = HeaderName::from_static("x-gateway-force");

/// Longest key.
const MAX_KEY: usize = 255;

/// Puts the memory of what was sent before the services below.
#[derive(Clone, Copy)]
pub struct OnceLayer;

/// See [`OnceLayer`].
#[derive(Clone, Copy)]
pub struct Once<S>(S);

impl<S> Layer<S> for OnceLayer {
    type Service = Once<S>;

    fn layer(&self, inner: S) -> Once<S> {
        Once(inner)
    }
}

impl<S> Service<Box<Call>> for Once<S>
where
    S: Service<Box<Call>, Response = Answered, Error = Refused> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Answered;
    type Error = Refused;
    type Future = Either<S::Future, Either<Guarding, Ready<Result<Answered, Refused>>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, call: Box<Call>) -> Self::Future {
        match plan(&call) {
            Ok(None) => Either::Left(self.0.call(call)),
            Ok(Some(plan)) => {
                let inner = self.0.clone();
                Either::Right(Either::Left(Box::pin(guard(inner, call, plan))))
            }
            Err(refusal) => Either::Right(Either::Right(ready(Err(call.refuse(refusal))))),
        }
    }
}

type Guarding = BoxFuture<'static, Result<Answered, Refused>>;

/// How a request is guarded.
struct Plan {
    endpoint: Endpoint,
    key: Option<String>,
    /// How long the same numbers are held back; none: they are not.
    window: Option<Duration>,
    force: bool,
}

fn plan(call: &Call) -> Result<Option<Plan>, Refusal> {
    let Some(Target::Endpoint(endpoint @ (Endpoint::AddTask | Endpoint::Outnum))) = call.record.target else {
        return Ok(None);
    };
    let key = key(&call.head.headers)?;
    let window = call.record.app.outnum_duplicate_window;
    let window = Some(window).filter(|window| endpoint == Endpoint::Outnum && !window.is_zero());
    if key.is_none() && window.is_none() {
        return Ok(None);
    }
    let force = call.head.headers.get(X_GATEWAY_FORCE);
    let force = force.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"));
    Ok(Some(Plan { endpoint, key, window, force }))
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let mut given = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = given.next() else { return Ok(None) };
    let sound = (1..=MAX_KEY).contains(&key.len()) && key.as_bytes().iter().all(u8::is_ascii_graphic);
    match key.to_str() {
        Ok(key) if sound && given.next().is_none() => Ok(Some(key.to_owned())),
        _ => Err(Refusal::Invalid(
            "Idempotency-Key must be there once, with 1 to 255 visible ASCII characters; a UUID does well",
        )),
    }
}

async fn guard<S>(inner: S, mut call: Box<Call>, plan: Plan) -> Result<Answered, Refused>
where
    S: Service<Box<Call>, Response = Answered, Error = Refused> + Send + 'static,
    S::Future: Send + 'static,
{
    let slot = Slot::new(Arc::clone(&call.worker.running.rooms.once));
    let marker = Marker::new(&call.head, plan.endpoint);
    let mut claim = claim(&call, &plan);
    let whole = match &call.body {
        Outgoing::Watched(_) => None,
        Outgoing::Whole(bytes) => Some(bytes.clone()),
        // One that is not empty is read or watched by now.
        Outgoing::Raw(_) => Some(Bytes::new()),
    };
    let stopped = if let Some(bytes) = whole {
        let marks = marker.of(&bytes);
        claim.marks = Some(marks.clone());
        match slot.claim_whole(claim).await {
            Ok(()) => None,
            Err(stopped) => Some((stopped, Known::Marks(marks))),
        }
    } else if claim.key.is_some()
        && let Err(stopped) = slot.claim(claim.clone()).await
        && !waits_for_the_body(&stopped, &claim)
    {
        Some((stopped, Known::Marker(Box::new(marker))))
    } else {
        let sealing = Arc::clone(&slot);
        let seal = Seal::new(marker, move |marks| Box::pin(async move { sealing.seal(claim, marks).await }));
        call.body.observe(Box::new(seal));
        None
    };
    match stopped {
        None => Detached::new(Box::pin(exchange(inner, call, Arc::clone(&slot))), slot).await,
        Some((Stopped::Refused(refusal), _)) => Err(call.refuse(refusal)),
        Some((Stopped::Earlier(earlier), known)) => repeat(call, *earlier, known, plan.key.is_some()).await,
    }
}

/// Whether the app has decided about what stands in its way, if only this is the same request. That is known
/// at the end of its body, and until then all stays as it is.
fn waits_for_the_body(stopped: &Stopped, claim: &Claim) -> bool {
    matches!(stopped, Stopped::Earlier(earlier) if claim.force && earlier.may_be_forced())
}

fn claim(call: &Call, plan: &Plan) -> Claim {
    let at = Timestamp::now();
    Claim {
        app: call.record.app.name.clone(),
        endpoint: plan.endpoint.spec().name,
        request_id: call.record.id.to_str().unwrap_or_default().to_owned(),
        key: plan.key.clone(),
        marks: None,
        at,
        unless_since: plan.window.map(|window| at.saturating_sub(window).unwrap_or(Timestamp::MIN)),
        force: plan.force,
    }
}

/// Sends it, and writes down what came of it.
async fn exchange<S>(mut inner: S, call: Box<Call>, slot: Arc<Slot>) -> Result<Answered, Refused>
where
    S: Service<Box<Call>, Response = Answered, Error = Refused>,
{
    let patience = call.worker.running.settings.upstream.response_timeout;
    let outcome = inner.call(call).await;
    let Some(ticket) = slot.ticket() else { return outcome };
    match outcome {
        Ok(answered) => kept::keep(answered, ticket, patience).await,
        Err(refused) => {
            ticket.conclude(of_refusal(&refused.refusal)).await;
            Err(refused)
        }
    }
}

/// What is known of a request that ended without an answer. One whose body was cut off lacked its end.
fn of_refusal(refusal: &Refusal) -> Conclusion {
    match refusal {
        Refusal::BrokeOff | Refusal::UpstreamTimeout(_) => Conclusion::Unknown,
        _ => Conclusion::NotSent,
    }
}

/// What there is to tell whether a request is the one that had its key before.
enum Known {
    Marks(Marks),
    /// Its body is still to be read.
    Marker(Box<Marker>),
}

/// Gives the first answer again, or says why the request is not sent.
async fn repeat(
    mut call: Box<Call>,
    earlier: Earlier,
    known: Known,
    keyed: bool,
) -> Result<Answered, Refused> {
    let Some(answer) = &earlier.answer else {
        let marks = match &known {
            Known::Marks(marks) => Some(marks),
            Known::Marker(_) => None,
        };
        return Err(call.refuse(Refusal::Duplicate(Duplicate::of(&earlier, keyed, marks))));
    };
    let marks = match known {
        Known::Marks(marks) => marks,
        Known::Marker(marker) => match seal::read(&mut call, *marker).await {
            Ok(marks) => marks,
            Err(refusal) => return Err(call.refuse(refusal)),
        },
    };
    if earlier.fingerprint != Some(marks.fingerprint) {
        return Err(call.refuse(Refusal::Duplicate(Duplicate::of_another(&earlier))));
    }
    Ok(kept::replay(answer, call.record))
}
