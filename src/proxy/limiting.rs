//! Holds a call to its limits: what its app has under way and the app's rates, then the limit of all apps, then what
//! all have under way.

use std::future::{Ready, ready};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, Either};
use tower::{Layer, Service};

use super::call::{Answered, Call, Refused};
use super::global::Short;
use super::in_flight::Entering;
use super::limits::Verdict;
use super::refusal::Refusal;
use crate::xinyao::Target;
use crate::xinyao::endpoint::Endpoint;

/// Puts the limits before the services below.
#[derive(Clone, Copy)]
pub struct LimitLayer;

/// See [`LimitLayer`].
#[derive(Clone, Copy)]
pub struct Limited<S>(S);

impl<S> Layer<S> for LimitLayer {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited(inner)
    }
}

/// What the limits say to a call.
enum Entry {
    Free,
    /// Redis has to be asked whether there may be one more.
    Enter,
    /// Ask again from limit `at` on, after `delay`.
    Wait {
        at: usize,
        delay: Duration,
    },
    /// Redis has to be asked.
    Ask,
    /// Wait for a turn.
    Queue,
}

type Delayed = BoxFuture<'static, Result<Answered, Refused>>;

impl<S> Service<Box<Call>> for Limited<S>
where
    S: Service<Box<Call>, Response = Answered, Error = Refused> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Answered;
    type Error = Refused;
    type Future = Either<S::Future, Either<Delayed, Ready<Result<Answered, Refused>>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut call: Box<Call>) -> Self::Future {
        match enter(&mut call) {
            Ok(Entry::Free) => Either::Left(self.0.call(call)),
            Ok(entry) => Either::Right(Either::Left(Box::pin(wait(self.0.clone(), call, entry)))),
            Err(refusal) => Either::Right(Either::Right(ready(Err(call.refuse(refusal))))),
        }
    }
}

/// A call that is being delayed counts as under way with its app: so there is a bound to how many are.
fn enter(call: &mut Call) -> Result<Entry, Refusal> {
    let in_flight = &call.record.app.in_flight;
    match in_flight.enter_all() {
        Entering::In => entered(call),
        Entering::Full => Err(Refusal::TooManyInFlight(in_flight.max())),
        Entering::Ask => Ok(Entry::Enter),
    }
}

/// It counts with its app.
fn entered(call: &mut Call) -> Result<Entry, Refusal> {
    let record = &mut call.record;
    record.entered.app = true;
    record.entered.store = record.target.is_some_and(needs_store) && call.worker.running.storing.enter();
    ask(call, 0)
}

/// Asks for the room of one more; a cell of its limits comes along, so that one call is enough.
async fn ask_to_enter(call: &mut Call) -> Result<Entry, Refusal> {
    let target = call.record.target.ok_or(Refusal::UnknownEndpoint)?;
    let since = Instant::now();
    let app = &call.record.app;
    let (room, ()) = futures_util::future::join(app.in_flight.ask(), app.limits.fetch(target)).await;
    let Some(room) = room else { return Err(Refusal::TooManyInFlight(app.in_flight.max())) };
    room.keep();
    call.record.waited += since.elapsed();
    entered(call)
}

/// With the gateway it does not count: those who wait would take the room of those who need not.
fn begin(call: &mut Call) -> Result<Entry, Refusal> {
    if !call.worker.running.in_flight.enter() {
        return Err(Refusal::Overloaded);
    }
    call.record.entered.gateway = true;
    Ok(Entry::Free)
}

/// Whether what comes of a call is kept: it must not be sent twice, or has an address that stands for another.
fn needs_store(target: Target) -> bool {
    matches!(target, Target::Endpoint(Endpoint::AddTask | Endpoint::Outnum))
}

fn ask(call: &mut Call, from: usize) -> Result<Entry, Refusal> {
    let now = now(call);
    let record = &mut call.record;
    let target = record.target.ok_or(Refusal::UnknownEndpoint)?;
    let verdict = record.app.limits.admit(target, from, (now, record.waited), &mut record.standing);
    heed(call, verdict)
}

/// Until it has waited no time has passed.
fn now(call: &Call) -> Instant {
    if call.record.waited.is_zero() { call.record.started } else { Instant::now() }
}

fn heed(call: &mut Call, verdict: Verdict) -> Result<Entry, Refusal> {
    match verdict {
        Verdict::Admitted => {}
        Verdict::Wait { at, delay } => return Ok(Entry::Wait { at, delay }),
        Verdict::Ask => return Ok(Entry::Ask),
        Verdict::Refused { policy, retry_after } => return Err(Refusal::RateLimited { policy, retry_after }),
    }
    if call.worker.running.global.admit(now(call)) { begin(call) } else { Ok(Entry::Queue) }
}

async fn ask_redis(call: &mut Call) -> Result<Entry, Refusal> {
    let target = call.record.target.ok_or(Refusal::UnknownEndpoint)?;
    let since = Instant::now();
    let told = call.record.app.limits.ask(target).await;
    let record = &mut call.record;
    record.waited += since.elapsed();
    let verdict = record.app.limits.heed(told, target, record.waited, &mut record.standing);
    heed(call, verdict)
}

async fn wait<S>(mut inner: S, mut call: Box<Call>, mut entry: Entry) -> Result<Answered, Refused>
where
    S: Service<Box<Call>, Response = Answered, Error = Refused>,
{
    loop {
        let next = match entry {
            Entry::Free => return inner.call(call).await,
            Entry::Wait { at, delay } => {
                // A clock tick more, or the limit would find it a moment early.
                let delay = delay + Duration::from_millis(1);
                tokio::time::sleep(delay).await;
                call.record.waited += delay;
                ask(&mut call, at)
            }
            Entry::Enter => ask_to_enter(&mut call).await,
            Entry::Ask => ask_redis(&mut call).await,
            Entry::Queue => queue(&mut call).await,
        };
        entry = match next {
            Ok(next) => next,
            Err(refusal) => return Err(call.refuse(refusal)),
        };
    }
}

async fn queue(call: &mut Call) -> Result<Entry, Refusal> {
    let target = call.record.target.ok_or(Refusal::UnknownEndpoint)?;
    let since = Instant::now();
    let turn = call.worker.running.global.wait(call.record.app.flow(target)).await;
    call.record.waited += since.elapsed();
    turn?;
    begin(call)
}

impl From<Short> for Refusal {
    fn from(Short { retry_after, slowed }: Short) -> Self {
        let policy = if slowed { "global, lowered as the upstream answers 429 or 503," } else { "global" };
        Self::RateLimited { policy: policy.into(), retry_after }
    }
}
