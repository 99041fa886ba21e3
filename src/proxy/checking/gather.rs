//! A JSON body of untold length, gathered on its way and judged at its end.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use super::follow::{State, Verdict};
use super::too_long;
use crate::proxy::body::MAX_SCANNED;
use crate::proxy::outgoing::Observer;
use crate::proxy::refusal::Refusal;
use crate::proxy::tenant::Parts;
use crate::xinyao::{Endpoint, checks};

/// Follows a JSON body.
pub struct Gather {
    endpoint: Endpoint,
    /// What has come; nothing any more, once it is too much.
    bytes: Option<Vec<u8>>,
    verdict: Arc<Mutex<State>>,
}

impl Gather {
    /// Follows a request to `endpoint`.
    pub fn new(endpoint: Endpoint) -> (Self, Verdict) {
        let (state, verdict) = Verdict::new();
        (Self { endpoint, bytes: Some(Vec::new()), verdict: state }, verdict)
    }
}

impl Parts for Gather {
    fn part(&mut self, _: &str, _: bool) {}
    fn data(&mut self, _: &[u8]) {}
}

impl Observer for Gather {
    fn bytes(&mut self, bytes: &[u8]) {
        let Some(gathered) = &mut self.bytes else { return };
        gathered.extend_from_slice(bytes);
        if gathered.len() as u64 > MAX_SCANNED {
            self.bytes = None;
        }
    }

    fn poll_end(&mut self, _: bool, _: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        let gathered = self.bytes.take();
        let failures = gathered.map_or_else(|| vec![too_long()], |body| checks::json(self.endpoint, &body));
        if let Ok(mut verdict) = self.verdict.lock() {
            *verdict = State::Found(failures);
        }
        Poll::Ready(Ok(()))
    }
}
