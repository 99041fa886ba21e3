//! A layer that looks at a call, and lets it pass or refuses it; it never waits.

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures_util::future::Either;
use tower::{Layer, Service};

use super::call::{Answered, Call, Refused};
use super::refusal::Refusal;

/// What looks at a call.
pub type Check = fn(&mut Call) -> Result<(), Refusal>;

/// Puts a [`Check`] before the services below.
#[derive(Clone, Copy)]
pub struct Gate(pub Check);

/// See [`Gate`].
#[derive(Clone, Copy)]
pub struct Gated<S> {
    check: Check,
    inner: S,
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { check: self.0, inner }
    }
}

impl<S> Service<Box<Call>> for Gated<S>
where
    S: Service<Box<Call>, Response = Answered, Error = Refused>,
{
    type Response = Answered;
    type Error = Refused;
    type Future = Either<S::Future, Ready<Result<Answered, Refused>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut call: Box<Call>) -> Self::Future {
        match (self.check)(&mut call) {
            Ok(()) => Either::Left(self.inner.call(call)),
            Err(refusal) => Either::Right(ready(Err(call.refuse(refusal)))),
        }
    }
}
