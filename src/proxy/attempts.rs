//! Sends a call until it is answered, or must not be sent again.
//!
//! While nothing was sent, any call may be tried along the next route. Once it was sent, only those that
//! read may be tried again, once, within the budget: a second outnum would call people twice.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{Request, Response};
use tower::{Layer, Service};

use super::acquire::{self, Acquired, Search};
use super::answer::Answer;
use super::budget::Retry;
use super::call::{Answered, Call, Refused};
use super::outgoing::{Outgoing, Progress};
use super::refusal::Refusal;
use super::way::Way;
use super::worker::Worker;

/// A call about to be sent over a connection.
pub struct Attempt {
    /// What is sent.
    pub request: Request<Outgoing>,
    /// Over what.
    pub acquired: Acquired,
    /// To whom.
    pub way: Arc<Way>,
    /// Whose credential signs it.
    pub app: Arc<super::app::App>,
    /// The worker that serves it.
    pub worker: Arc<Worker>,
    /// When it began.
    pub started: Instant,
    /// When the answer must be there, a streaming body's pauses aside.
    pub until: Instant,
    /// How its body fares.
    pub progress: Option<Arc<Progress>>,
}

/// Why an attempt brought no answer.
pub enum Failure {
    /// Nothing was sent; the request is as it was.
    Unsent(Box<Request<Outgoing>>),
    /// The connection was lost after something was sent.
    Lost,
    /// No answer in time.
    Timeout,
}

/// Puts the attempts before the services below.
#[derive(Clone, Copy)]
pub struct AttemptsLayer;

/// See [`AttemptsLayer`].
#[derive(Clone, Copy)]
pub struct Attempts<S>(S);

impl<S> Layer<S> for AttemptsLayer {
    type Service = Attempts<S>;

    fn layer(&self, inner: S) -> Attempts<S> {
        Attempts(inner)
    }
}

impl<S> Service<Box<Call>> for Attempts<S>
where
    S: Service<Attempt, Response = Response<Answer>, Error = Failure> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Answered;
    type Error = Refused;
    type Future = BoxFuture<'static, Result<Answered, Refused>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        match self.0.poll_ready(cx) {
            Poll::Ready(_) => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn call(&mut self, call: Box<Call>) -> Self::Future {
        let inner = self.0.clone();
        Box::pin(run(call, inner))
    }
}

async fn run<S>(mut call: Box<Call>, mut inner: S) -> Result<Answered, Refused>
where
    S: Service<Attempt, Response = Response<Answer>, Error = Failure>,
{
    let Some(target) = call.record.target else { return Err(call.refuse(Refusal::UnknownEndpoint)) };
    let way = Arc::clone(call.worker.way(target));
    let mut started = Instant::now();
    let until = started + call.worker.running.settings.upstream.response_timeout;
    let mut search = Search::default();
    let mut retry: Option<Retry> = None;
    loop {
        let acquired = match acquire::at_hand(&call.worker, &way, &search, started) {
            Ok(acquired) => Ok(acquired),
            // In a box: it is large, and seldom.
            Err(next) => Box::pin(acquire::acquire(&call.worker, &way, &mut search, next, until)).await,
        };
        let acquired = match acquired {
            Ok(acquired) => acquired,
            Err(refusal) => {
                call.record.upstream_took += started.elapsed();
                return Err(call.refuse(refusal));
            }
        };
        let (route, fresh) = (acquired.lane.route(), acquired.fresh);
        let spare = (target.repeatable() && retry.is_none()).then(|| spare(&call)).flatten();
        let attempt = attempt(&mut call, &way, acquired, started, until);
        let progress = attempt.progress.clone();
        let outcome = inner.call(attempt).await;
        call.record.upstream_took += started.elapsed();
        let failure = match outcome {
            Ok(response) => return Ok(answered(call, response)),
            Err(failure) => failure,
        };
        // A body that was cut off takes its connection with it: the cut is what there is to tell.
        if let Some(fault) = progress.and_then(|progress| progress.fault()) {
            return Err(call.refuse(fault));
        }
        match after(&mut call, failure, spare, &mut retry) {
            Ok(Again::Unsent) if fresh => search.closed(route),
            // Of a kept connection nothing is to be learnt: the next one may do.
            Ok(Again::Unsent | Again::Lost) => {}
            Err(refusal) => return Err(call.refuse(refusal)),
        }
        started = Instant::now();
    }
}

/// The call, on its way over a connection.
fn attempt(call: &mut Call, way: &Arc<Way>, acquired: Acquired, started: Instant, until: Instant) -> Attempt {
    let progress = call.body.progress();
    call.record.attempts += 1;
    call.record.address = Some(acquired.lane.route().address);
    let body = std::mem::replace(&mut call.body, Outgoing::Whole(None));
    Attempt {
        request: Request::from_parts(std::mem::replace(&mut call.head, empty()), body),
        acquired,
        way: Arc::clone(way),
        app: Arc::clone(&call.record.app),
        worker: Arc::clone(&call.worker),
        started,
        until,
        progress,
    }
}

/// Why a call is sent again.
enum Again {
    /// Nothing of it was sent.
    Unsent,
    /// Its connection was lost, and it only reads.
    Lost,
}

/// Makes the call whole again after a failure, if it may be sent again.
fn after(
    call: &mut Call,
    failure: Failure,
    spare: Option<(Parts, Outgoing)>,
    retry: &mut Option<Retry>,
) -> Result<Again, Refusal> {
    let running = &call.worker.running;
    match (failure, spare) {
        (Failure::Unsent(request), _) => {
            (call.head, call.body) = request.into_parts();
            Ok(Again::Unsent)
        }
        (Failure::Timeout, _) => Err(Refusal::UpstreamTimeout(running.settings.upstream.response_timeout)),
        (Failure::Lost, Some((head, body))) => {
            *retry = Some(running.budget.take(running.in_flight.now()).ok_or(Refusal::BrokeOff)?);
            (call.head, call.body) = (head, body);
            Ok(Again::Lost)
        }
        (Failure::Lost, None) => Err(Refusal::BrokeOff),
    }
}

fn answered(mut call: Box<Call>, response: Response<Answer>) -> Answered {
    let encoding = response.headers().get(http::header::CONTENT_ENCODING);
    call.record.code = Some(super::answer_code::CodeReader::new(encoding));
    Answered { response, record: call.record }
}

fn spare(call: &Call) -> Option<(Parts, Outgoing)> {
    Some((call.head.clone(), call.body.again()?))
}

fn empty() -> Parts {
    Request::new(()).into_parts().0
}
