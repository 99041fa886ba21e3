//! A timer that is not set anew for each wait.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

/// One timer for one wait after another. Setting one costs a lock, so it is left where it is set, and only looks,
/// when it goes off, whether it was meant.
#[derive(Debug, Default)]
pub struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Ready once it is `until`.
    pub fn poll(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until.into())));
        if timer.deadline().into_std() > until {
            timer.as_mut().reset(until.into());
        }
        while timer.as_mut().poll(cx).is_ready() {
            let over = Instant::now() >= until;
            timer.as_mut().reset(until.into());
            if over {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}
