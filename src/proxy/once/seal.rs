//! The end of a streaming body, which waits until it is written down what the body is known by.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;
use http_body_util::BodyExt;

use super::marks::Marker;
use crate::proxy::call::Call;
use crate::proxy::outgoing::{Observer, Outgoing};
use crate::proxy::refusal::Refusal;
use crate::proxy::tenant::Parts;
use crate::store::Marks;

type Ending = BoxFuture<'static, Result<(), Refusal>>;

/// Works out what a body is known by, and does something with it before the last bytes go out.
pub struct Seal<F> {
    marker: Marker,
    then: Option<F>,
    ending: Option<Ending>,
}

impl<F: FnOnce(Marks) -> Ending> Seal<F> {
    /// Does `then`.
    pub fn new(marker: Marker, then: F) -> Self {
        Self { marker, then: Some(then), ending: None }
    }
}

impl<F> Parts for Seal<F> {
    fn part(&mut self, name: &str, is_file: bool) {
        self.marker.part(name, is_file);
    }

    fn data(&mut self, bytes: &[u8]) {
        self.marker.data(bytes);
    }
}

impl<F: FnOnce(Marks) -> Ending + Send> Observer for Seal<F> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.marker.bytes(bytes);
    }

    fn poll_end(&mut self, whole: bool, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        if let Some(then) = self.then.take() {
            self.ending = Some(then(self.marker.take(whole)));
        }
        let Some(ending) = &mut self.ending else { return Poll::Ready(Ok(())) };
        let ended = ready!(ending.as_mut().poll(cx));
        self.ending = None;
        Poll::Ready(ended)
    }
}

/// Reads the body of a call that is not sent, for what it is known by.
///
/// # Errors
/// It can't be read to its end.
pub async fn read(call: &mut Call, marker: Marker) -> Result<Marks, Refusal> {
    let found = Arc::<Mutex<Option<Marks>>>::default();
    let finding = Arc::clone(&found);
    let seal = Seal::new(marker, move |marks| {
        *finding.lock().unwrap_or_else(PoisonError::into_inner) = Some(marks);
        Box::pin(std::future::ready(Ok(())))
    });
    call.body.observe(Box::new(seal));
    let progress = call.body.progress();
    while let Some(frame) = call.body.frame().await {
        if frame.is_err() {
            let fault = progress.and_then(|progress| progress.fault());
            return Err(fault.unwrap_or(Refusal::Invalid("the body ended early")));
        }
    }
    call.body = Outgoing::default();
    call.record.unread = false;
    let marks = found.lock().unwrap_or_else(PoisonError::into_inner).take();
    marks.ok_or(Refusal::Invalid("the body ended early"))
}
