//! What is done when the upstream answers 429 or 503: less is sent from then on, and what only reads has another
//! turn once it may.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Response, StatusCode};
use jiff::Timestamp;

use super::answer::Answer;
use super::attempts::Sent;
use super::budget::Retry;
use super::call::Call;
use super::way::Way;
use super::worker::Worker;
use crate::net::headers;

/// Takes in an answer to what was sent at `sent_at`. Recordings may come from elsewhere: that they are short says
/// nothing of the API.
pub fn observe(response: &Response<Answer>, worker: &Worker, way: &Arc<Way>, sent_at: Instant) {
    if Arc::ptr_eq(way, &worker.api) {
        let status = response.status();
        let pause = is_busy(status).then(|| asked_pause(response)).flatten();
        worker.running.global.answered(status, pause, sent_at);
    }
}

/// Waits until a call that was answered so may be sent once more, which has to be by `until`.
///
/// # Errors
/// It may not: its answer is the one that the client gets.
pub async fn another_turn(mut sent: Sent, until: Instant) -> Result<(Box<Call>, Retry), Sent> {
    let (running, target) = (Arc::clone(&sent.call.worker.running), sent.call.record.target);
    let (Some(target), true) = (target, is_busy(sent.response.status())) else { return Err(sent) };
    let (max_wait, since) = (running.global.max_wait(), Instant::now());
    let pause = asked_pause(&sent.response).unwrap_or_default();
    if max_wait.is_zero() || pause > max_wait || since + pause + max_wait > until {
        return Err(sent);
    }
    let Some(retry) = running.budget.take(running.in_flight.now()) else { return Err(sent) };
    tokio::time::sleep(pause).await;
    let turn = running.global.wait(sent.call.record.app.flow(target)).await;
    sent.call.record.waited += since.elapsed();
    match turn {
        Ok(()) => Ok((sent.call, retry)),
        Err(_) => Err(sent),
    }
}

fn is_busy(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

fn asked_pause(response: &Response<Answer>) -> Option<Duration> {
    headers::retry_after(response.headers(), Timestamp::now())
}
