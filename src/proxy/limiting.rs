//! Holds a call to its app's limits: what is under way, then the rates.

use std::future::{Ready, ready};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{BoxFuture, Either};
use tower::{Layer, Service};

use super::call::{Answered, Call, Refused};
use super::limits::Verdict;
use super::refusal::Refusal;

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
    /// Ask again from limit `at` on, after `delay`.
    Wait {
        at: usize,
        delay: Duration,
    },
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
        match enter(&mut call).and_then(|()| ask(&mut call, 0)) {
            Ok(Entry::Free) => Either::Left(self.0.call(call)),
            Ok(Entry::Wait { at, delay }) => {
                Either::Right(Either::Left(Box::pin(wait(self.0.clone(), call, at, delay))))
            }
            Err(refusal) => Either::Right(Either::Right(ready(Err(call.refuse(refusal))))),
        }
    }
}

/// A call that is being delayed counts as under way: so there is a bound to how many are.
fn enter(call: &mut Call) -> Result<(), Refusal> {
    let record = &mut call.record;
    if !record.app.in_flight.enter() {
        return Err(Refusal::TooManyInFlight(record.app.in_flight.max()));
    }
    record.entered.app = true;
    if !call.worker.running.in_flight.enter() {
        return Err(Refusal::Overloaded);
    }
    record.entered.gateway = true;
    Ok(())
}

fn ask(call: &mut Call, from: usize) -> Result<Entry, Refusal> {
    let record = &mut call.record;
    let target = record.target.ok_or(Refusal::UnknownEndpoint)?;
    match record.app.limits.admit(target, from, record.waited, &mut record.standing) {
        Verdict::Admitted => {}
        Verdict::Wait { at, delay } => return Ok(Entry::Wait { at, delay }),
        Verdict::Refused { policy, retry_after } => return Err(Refusal::RateLimited { policy, retry_after }),
    }
    match call.worker.running.global.admit() {
        Verdict::Admitted | Verdict::Wait { .. } => Ok(Entry::Free),
        Verdict::Refused { policy, retry_after } => Err(Refusal::RateLimited { policy, retry_after }),
    }
}

async fn wait<S>(
    mut inner: S,
    mut call: Box<Call>,
    mut at: usize,
    mut delay: Duration,
) -> Result<Answered, Refused>
where
    S: Service<Box<Call>, Response = Answered, Error = Refused>,
{
    loop {
        // A clock tick more, or the limit would find it a moment early.
        delay += Duration::from_millis(1);
        tokio::time::sleep(delay).await;
        call.record.waited += delay;
        match ask(&mut call, at) {
            Ok(Entry::Free) => return inner.call(call).await,
            Ok(Entry::Wait { at: next, delay: further }) => (at, delay) = (next, further),
            Err(refusal) => return Err(call.refuse(refusal)),
        }
    }
}
