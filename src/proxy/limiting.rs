//! Holds a call to its app's limits: what is under way, then the rates.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
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

impl<S> Service<Call> for Limited<S>
where
    S: Service<Call, Response = Answered, Error = Refused> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Answered;
    type Error = Refused;
    type Future = BoxFuture<'static, Result<Answered, Refused>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut call: Call) -> Self::Future {
        let mut inner = self.0.clone();
        Box::pin(async move {
            match admit(&mut call).await {
                Ok(()) => inner.call(call).await,
                Err(refusal) => Err(call.refuse(refusal)),
            }
        })
    }
}

/// A call that is being delayed counts as under way: so there is a bound to how many are.
async fn admit(call: &mut Call) -> Result<(), Refusal> {
    let app = Arc::clone(&call.record.app);
    let running = Arc::clone(&call.worker.running);
    let own = app.in_flight.enter().ok_or(Refusal::TooManyInFlight(app.in_flight.max()))?;
    let shared = running.in_flight.enter().ok_or(Refusal::Overloaded)?;
    call.record.permits = [Some(own), Some(shared)];
    let target = call.record.target.ok_or(Refusal::UnknownEndpoint)?;
    let mut from = 0;
    loop {
        match app.limits.admit(target, from, call.record.waited, &mut call.record.standing) {
            Verdict::Admitted => break,
            Verdict::Wait { at, delay } => {
                // A clock tick more, or the limit would find it a moment early.
                let delay = delay + Duration::from_millis(1);
                tokio::time::sleep(delay).await;
                call.record.waited += delay;
                from = at;
            }
            Verdict::Refused { policy, retry_after } => {
                return Err(Refusal::RateLimited { policy, retry_after });
            }
        }
    }
    match running.global.admit() {
        Verdict::Admitted | Verdict::Wait { .. } => Ok(()),
        Verdict::Refused { policy, retry_after } => Err(Refusal::RateLimited { policy, retry_after }),
    }
}
