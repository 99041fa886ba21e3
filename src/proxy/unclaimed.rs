//! An answer that nobody waits for any more.
//!
//! A client that goes away takes its request along: the connection is closed, so that the SaaS may notice. But
//! most answers are on their way already, and a new connection costs a TLS handshake; so they are given a
//! moment to come in, and the connection is kept.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use http::Response;

use super::lane::{Http1, Lane, Patience, SendError};
use super::way::Way;

/// How long such an answer may take.
const MOMENT: Duration = Duration::from_millis(500);
/// Most bytes of it.
const MAX_BYTES: usize = 64 * 1024;

/// A lane whose answer is waited for; dropped before that is there, it looks after itself.
pub struct Awaited {
    /// Until there is an answer, or none to come.
    lane: Option<Box<Http1>>,
    way: Arc<Way>,
}

impl Awaited {
    /// A lane of `way`'s that has been given a request.
    pub fn new(lane: Box<Http1>, way: &Arc<Way>) -> Self {
        Self { lane: Some(lane), way: Arc::clone(way) }
    }

    /// Waits for the answer's head until `patience` ends; the rest of the answer comes over the lane.
    ///
    /// # Errors
    /// There is none, and the lane is closed.
    pub async fn wait(mut self, patience: Patience<'_>) -> Result<(Response<()>, Box<Http1>), SendError> {
        let Some(lane) = &mut self.lane else { return Err(SendError::Unsent(None)) };
        let answer = lane.wait(patience).await;
        let lane = self.lane.take();
        answer.and_then(|head| lane.map(|lane| (head, lane)).ok_or(SendError::Unsent(None)))
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        let Some(lane) = self.lane.take().filter(|lane| lane.connection.is_sent()) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let Some(place) = self.way.unclaimed() else { return };
        let way = Arc::clone(&self.way);
        runtime.spawn(async move {
            if let Ok(Some(lane)) = tokio::time::timeout(MOMENT, take_in(lane)).await {
                way.keep(Lane::Http1(lane));
            }
            drop(place);
        });
    }
}

/// Reads the answer to its end.
async fn take_in(mut lane: Box<Http1>) -> Option<Box<Http1>> {
    let connection = &mut lane.connection;
    poll_fn(|cx| connection.poll_head(cx)).await.ok()?;
    let mut bytes = 0;
    while let Some(data) = poll_fn(|cx| connection.poll_data(cx)).await {
        bytes += data.ok()?.len();
        if bytes > MAX_BYTES {
            return None;
        }
    }
    Some(lane)
}
