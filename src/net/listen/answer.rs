//! The service as hyper gets it: it answers refused requests itself, and knows whether one is under way.

use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::Service;
use pin_project_lite::pin_project;

use super::connection::Terms;
use super::{Peer, refusal};

/// Whether a request is under way on a connection: from its head to the last of its answer.
#[derive(Debug, Default)]
pub(super) struct UnderWay(AtomicBool);

impl UnderWay {
    pub(super) fn is(&self) -> bool {
        // All on one task; it is atomic to be shared between its parts.
        self.0.load(Ordering::Relaxed)
    }

    fn begin(self: &Arc<Self>) -> Mark {
        self.0.store(true, Ordering::Relaxed);
        Mark(Arc::clone(self))
    }
}

/// Says, when it is dropped, that the request is no longer under way.
struct Mark(Arc<UnderWay>);

impl Drop for Mark {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Relaxed);
    }
}

pub(super) struct Answerer<S> {
    pub(super) service: S,
    pub(super) peer: Peer,
    pub(super) terms: Arc<Terms>,
    pub(super) under_way: Arc<UnderWay>,
}

impl<S, B> Service<Request<Incoming>> for Answerer<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<Answer<B>>;
    type Error = Infallible;
    type Future = Answering<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let mark = Some(self.under_way.begin());
        match refusal::rejected(&request) {
            Some(rejected) => Answering {
                mark,
                kind: Kind::Refused { answer: Some(self.terms.reject(rejected, self.peer)) },
            },
            None => Answering { mark, kind: Kind::Served { future: self.service.call(request) } },
        }
    }
}

pin_project! {
    pub(super) struct Answering<F> {
        mark: Option<Mark>,
        #[pin]
        kind: Kind<F>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<F> {
        Served { #[pin] future: F },
        Refused { answer: Option<Response<Bytes>> },
    }
}

impl<F, B> Future for Answering<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
{
    type Output = Result<Response<Answer<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = match this.kind.project() {
            KindProjection::Served { future } => {
                let Ok(answer) = ready!(future.poll(cx));
                answer.map(Either::Left)
            }
            KindProjection::Refused { answer } => {
                answer.take().unwrap_or_default().map(|body| Either::Right(Full::new(body)))
            }
        };
        let mark = this.mark.take();
        Poll::Ready(Ok(answer.map(|content| Answer { content, mark })))
    }
}

pin_project! {
    /// The body of an answer. The request is under way until it is dropped.
    pub(super) struct Answer<B> {
        #[pin]
        content: Either<B, Full<Bytes>>,
        mark: Option<Mark>,
    }
}

impl<B> Body for Answer<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.project().content.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.content.size_hint()
    }
}
