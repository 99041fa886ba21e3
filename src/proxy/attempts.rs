//! Sends a call until it is answered, or must not be sent again.
//!
//! While nothing was sent, any call may be tried along the next route. Once it was sent, only those that
//! read may be tried again, once, within the budget, after a loss or a 429 or 503: a second outnum would call people
//! twice.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::future::BoxFuture;
use http::Response;
use tower::{Layer, Service};

use super::acquire::{self, Acquired, Search};
use super::answer::Answer;
use super::budget::Retry;
use super::busy;
use super::call::{Answered, Call, Refused};
use super::outgoing::Outgoing;
use super::refusal::Refusal;
use super::trace::{self, Tried};
use super::way::Way;

/// A call about to be sent over a connection.
pub struct Attempt {
    /// What is sent.
    pub call: Box<Call>,
    /// Over what.
    pub acquired: Acquired,
    /// To whom.
    pub way: Arc<Way>,
    /// Its signature, once it has one.
    pub authorization: Vec<u8>,
    /// When it began.
    pub started: Instant,
    /// When the answer must be there, a streaming body's pauses aside.
    pub until: Instant,
}

/// An attempt that was answered.
pub struct Sent {
    /// What was sent.
    pub call: Box<Call>,
    /// The answer.
    pub response: Response<Answer>,
}

/// An attempt that was not answered.
pub struct Failed {
    /// What was to be sent.
    pub call: Box<Call>,
    /// Why there is no answer.
    pub failure: Failure,
}

/// Why an attempt brought no answer.
#[derive(Debug)]
pub enum Failure {
    /// Nothing was sent; the call is as it was.
    Unsent,
    /// The connection was lost after something was sent.
    Lost,
    /// No answer in time.
    Timeout,
    /// The body could not go on.
    Cut(Refusal),
}

impl Failure {
    /// Its name in traces.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unsent => "unsent",
            Self::Lost => "lost",
            Self::Timeout => "timeout",
            Self::Cut(_) => "cut",
        }
    }
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
    S: Service<Attempt, Response = Sent, Error = Failed> + Clone + Send + 'static,
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
    S: Service<Attempt, Response = Sent, Error = Failed>,
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
            Err(next) => acquire::acquire(&call.worker, &way, &mut search, next, until).await,
        };
        let acquired = match acquired {
            Ok(acquired) => acquired,
            Err(refusal) => {
                call.record.upstream_took += started.elapsed();
                trace::no_connection(&call.record, started, &refusal);
                return Err(call.refuse(refusal));
            }
        };
        let (route, fresh) = (acquired.lane.route(), acquired.fresh);
        call.record.attempts += 1;
        let attempt = Tried { number: call.record.attempts, route, fresh, started };
        call.record.address = Some(route.address);
        let repeatable = target.repeatable() && retry.is_none() && matches!(call.body, Outgoing::Whole(_));
        let outcome = inner
            .call(Attempt {
                call,
                acquired,
                way: Arc::clone(&way),
                authorization: Vec::new(),
                started,
                until,
            })
            .await;
        let took = started.elapsed();
        let failure = match outcome {
            Ok(mut sent) => {
                sent.call.record.upstream_took += took;
                attempt.trace(&sent.call.record, Ok(sent.response.status()));
                if !repeatable {
                    return Ok(answered(sent));
                }
                match busy::another_turn(sent, until).await {
                    Ok((again, budgeted)) => (call, retry) = (again, Some(budgeted)),
                    Err(sent) => return Ok(answered(sent)),
                }
                started = Instant::now();
                continue;
            }
            Err(failed) => {
                call = failed.call;
                attempt.trace(&call.record, Err(&failed.failure));
                failed.failure
            }
        };
        call.record.upstream_took += took;
        match after(&call, failure, repeatable, &mut retry) {
            Ok(Again::Unsent) if fresh => search.closed(route),
            // Of a kept connection nothing is to be learnt: the next one may do.
            Ok(Again::Unsent | Again::Lost) => {}
            Err(refusal) => return Err(call.refuse(refusal)),
        }
        started = Instant::now();
    }
}

/// Why a call is sent again.
enum Again {
    /// Nothing of it was sent.
    Unsent,
    /// Its connection was lost, and it only reads.
    Lost,
}

/// What to do after a failure: send again what may be, or tell the client.
fn after(
    call: &Call,
    failure: Failure,
    repeatable: bool,
    retry: &mut Option<Retry>,
) -> Result<Again, Refusal> {
    let running = &call.worker.running;
    match (failure, repeatable) {
        (Failure::Unsent, _) => Ok(Again::Unsent),
        (Failure::Cut(refusal), _) => Err(refusal),
        (Failure::Timeout, _) => Err(Refusal::UpstreamTimeout(running.settings.upstream.response_timeout)),
        (Failure::Lost, true) => {
            *retry = Some(running.budget.take(running.in_flight.now()).ok_or(Refusal::BrokeOff)?);
            Ok(Again::Lost)
        }
        (Failure::Lost, false) => Err(Refusal::BrokeOff),
    }
}

fn answered(sent: Sent) -> Answered {
    let Sent { call, response } = sent;
    let mut record = call.record;
    let encoding = response.headers().get(http::header::CONTENT_ENCODING);
    record.code = Some(super::answer_code::CodeReader::new(encoding));
    Answered { response, record }
}
