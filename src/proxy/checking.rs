//! Holds a call to what the document asks of it, as its app's `checks` say.
//!
//! A JSON body is here whole when it comes by, unless its length is not told and nobody has to wait for its
//! end: then it is gathered while it streams. An upload is followed while it streams: with `report` on its
//! way to the upstream, and the verdict waits for the answer; with `enforce` on its way to a spool, and
//! nothing is sent before the verdict. With `off` it is followed too, for its numbers alone, which the
//! [ledger](super::batch) wants.

mod follow;
mod gather;
mod spool;

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures_util::future::{BoxFuture, Either};
use http::header::CONTENT_TYPE;
use tower::{Layer, Service};

use self::follow::{Copies, Follow, Verdict};
use self::gather::Gather;
use super::body::is_encoded;
use super::call::{Answered, Call, Refused};
use super::numbers::Collect;
use super::outgoing::{Outgoing, Rules, Watched};
use super::refusal::Refusal;
use super::settings::Checks;
use super::tenant::MultipartScan;
use crate::xinyao::checks::{self, BODY, Check, Failure};
use crate::xinyao::endpoint::BodyKind;
use crate::xinyao::{Endpoint, Target};

/// Puts the checks before the services below.
#[derive(Clone, Copy)]
pub struct CheckLayer;

/// See [`CheckLayer`].
#[derive(Clone, Copy)]
pub struct Checked<S>(S);

impl<S> Layer<S> for CheckLayer {
    type Service = Checked<S>;

    fn layer(&self, inner: S) -> Checked<S> {
        Checked(inner)
    }
}

type Following = BoxFuture<'static, Result<Answered, Refused>>;

impl<S> Service<Box<Call>> for Checked<S>
where
    S: Service<Box<Call>, Response = Answered, Error = Refused> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Answered;
    type Error = Refused;
    type Future = Either<S::Future, Either<Following, Ready<Result<Answered, Refused>>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut call: Box<Call>) -> Self::Future {
        let Some(endpoint) = checked(&call) else {
            if let Some(Target::Endpoint(endpoint @ Endpoint::Outnum)) = call.record.target {
                drop(observe(&mut call, endpoint));
            }
            return Either::Left(self.0.call(call));
        };
        let inner = &mut self.0;
        let enforce = call.record.app.checks == Checks::Enforce;
        match endpoint.spec().body {
            BodyKind::Json if !enforce && streams(&call) => {
                let verdict = gather(&mut call, endpoint);
                Either::Right(Either::Left(Box::pin(follow(inner.clone(), call, verdict))))
            }
            BodyKind::Json => {
                let failures = judge(&call, endpoint);
                match settle(&mut call, failures) {
                    Ok(()) => Either::Left(inner.call(call)),
                    Err(refusal) => Either::Right(Either::Right(ready(Err(call.refuse(refusal))))),
                }
            }
            BodyKind::Multipart if enforce => {
                Either::Right(Either::Left(Box::pin(hold(inner.clone(), call, endpoint))))
            }
            BodyKind::Multipart => {
                let verdict = observe(&mut call, endpoint);
                Either::Right(Either::Left(Box::pin(follow(inner.clone(), call, verdict))))
            }
        }
    }
}

/// What is checked of a call: those that go to a documented endpoint, unless its app's checks are off.
pub fn checked(call: &Call) -> Option<Endpoint> {
    match call.record.target {
        Some(Target::Endpoint(endpoint)) if call.record.app.checks != Checks::Off => Some(endpoint),
        _ => None,
    }
}

fn judge(call: &Call, endpoint: Endpoint) -> Vec<Failure> {
    let unread = |msg| vec![Failure::new(BODY, Check::Body, msg)];
    if is_encoded(&call.head.headers) {
        return unread("is content-encoded; send it as it is");
    }
    match &call.body {
        Outgoing::Whole(bytes) => checks::json(endpoint, bytes),
        Outgoing::Raw(_) => checks::json(endpoint, b""),
        Outgoing::Watched(_) => vec![too_long()],
    }
}

fn too_long() -> Failure {
    Failure::new(BODY, Check::Body, "is over 1 MiB, many times what the document's fields can hold")
}

/// Refuses the call for `failures`, or lets it pass and notes them.
fn settle(call: &mut Call, failures: Vec<Failure>) -> Result<(), Refusal> {
    if failures.is_empty() {
        return Ok(());
    }
    if call.record.app.checks == Checks::Enforce {
        return Err(Refusal::ChecksFailed(failures));
    }
    call.record.note(failures);
    Ok(())
}

/// Whether the body's end is not known before it comes.
fn streams(call: &Call) -> bool {
    matches!(&call.body, Outgoing::Watched(watched) if watched.size_hint().exact().is_none())
}

/// A body that is followed to the upstream. Once that answers, the verdict is there, or nearly.
async fn follow<S>(mut inner: S, call: Box<Call>, verdict: Verdict) -> Result<Answered, Refused>
where
    S: Service<Box<Call>, Response = Answered, Error = Refused>,
{
    let mut outcome = inner.call(call).await;
    let failures = verdict.reported().await;
    if let Some(failures) = failures.filter(|failures| !failures.is_empty()) {
        match &mut outcome {
            Ok(answered) => answered.record.note(failures),
            Err(refused) => refused.record.note(failures),
        }
    }
    outcome
}

/// Holds an upload back until it is judged.
async fn hold<S>(mut inner: S, mut call: Box<Call>, endpoint: Endpoint) -> Result<Answered, Refused>
where
    S: Service<Box<Call>, Response = Answered, Error = Refused>,
{
    let verdict = observe(&mut call, endpoint);
    let judged = async {
        spool(&mut call).await?;
        let failures = verdict.enforced().await?;
        settle(&mut call, failures)
    };
    match judged.await {
        Ok(()) => inner.call(call).await,
        Err(refusal) => Err(call.refuse(refusal)),
    }
}

fn observe(call: &mut Call, endpoint: Endpoint) -> Verdict {
    let running = &call.worker.running;
    let checked = call.record.app.checks != Checks::Off;
    let room = if checked { &running.spools } else { &running.copies };
    let copies = Copies::new(running.settings.spool.clone(), room.clone(), checked);
    let (collect, numbers) = Collect::new(running.rooms.ledger_key.get().copied(), &running.digests);
    let (follow, verdict) = Follow::new(endpoint, copies, collect);
    call.numbers = Some(numbers);
    match &mut call.body {
        Outgoing::Watched(watched) => watched.observe(Box::new(follow)),
        // An upload without a body, or one that nobody can look into.
        Outgoing::Raw(_) | Outgoing::Whole(_) => follow.end(false),
    }
    verdict
}

fn gather(call: &mut Call, endpoint: Endpoint) -> Verdict {
    let (gather, verdict) = Gather::new(endpoint);
    call.body.observe(Box::new(gather));
    verdict
}

/// Puts the spooled body in the place of the one that comes from the client.
async fn spool(call: &mut Call) -> Result<(), Refusal> {
    let Outgoing::Watched(watched) = &mut call.body else { return Ok(()) };
    let started = std::time::Instant::now();
    let running = &call.worker.running;
    let supply = spool::fill(watched, &running.settings.spool, &running.spools).await;
    call.record.waited += started.elapsed();
    let supply = supply?;
    call.record.unread = false;
    let limits = &call.worker.running.settings.limits;
    // It was read once already, with the same result.
    let scan = call.head.headers.get(CONTENT_TYPE);
    let scan = scan.and_then(|kind| MultipartScan::new(kind, call.record.app.tenants.clone()).ok());
    let rules = Rules { max_bytes: limits.max_body_bytes, max_pause: limits.body_idle_timeout, scan };
    call.body = Outgoing::Watched(Box::new(Watched::new(supply, rules)));
    Ok(())
}
