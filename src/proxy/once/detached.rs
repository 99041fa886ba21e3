//! An exchange that goes on when nobody waits for it any more.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use super::slot::Slot;
use crate::proxy::call::{Answered, Refused};

type Outcome = Result<Answered, Refused>;

/// Polled by whoever waits. Dropped when all of the request is out and the answer is not there yet, a task of
/// its own takes it to its end: what came of it is to be written down all the same. The exchange has deadlines
/// of its own. Dropped before, it ends there, and the SaaS never has the whole of the request.
pub struct Detached {
    exchange: Option<BoxFuture<'static, Outcome>>,
    slot: Arc<Slot>,
}

impl Detached {
    /// For what `slot` will hold.
    pub fn new(exchange: BoxFuture<'static, Outcome>, slot: Arc<Slot>) -> Self {
        Self { exchange: Some(exchange), slot }
    }
}

impl Future for Detached {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let Some(exchange) = &mut self.exchange else { return Poll::Pending };
        let outcome = exchange.as_mut().poll(cx);
        if outcome.is_ready() {
            self.exchange = None;
        }
        outcome
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        let Some(exchange) = self.exchange.take() else { return };
        // Without a runtime the process is at its end, and the slot says what is known.
        if let (true, Ok(runtime)) = (self.slot.is_sent(), Handle::try_current()) {
            runtime.spawn(exchange);
        }
    }
}
