//! What came in and what was pushed: the newest of each, for [`super::Handle`].

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use super::push::PushKind;

/// How many of each are remembered.
pub(super) const KEPT: usize = 1000;
/// How much of a request's body is remembered.
pub(super) const BODY_BYTES: usize = 64 << 10;
const MAX_PUSH_BYTES: usize = 64 << 20;

/// A request as it came in, whatever became of it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// When its body had been read.
    pub at: SystemTime,
    /// Who sent it.
    pub peer: SocketAddr,
    /// Its method.
    pub method: Method,
    /// Path and query, as sent.
    pub target: String,
    /// Its headers, as sent.
    pub headers: HeaderMap,
    /// Whether address and signature were accepted.
    pub authorized: bool,
    /// Length of its body, as far as it came.
    pub body_bytes: usize,
    /// SHA-256 of that, in hex.
    pub sha256: String,
    /// The first 64 KiB of that.
    pub body: Bytes,
    /// Whether the body came whole, and within the largest size.
    pub complete: bool,
}

/// One try of one push.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// When it was over.
    pub at: SystemTime,
    /// What it was.
    pub kind: PushKind,
    /// Where it went.
    pub url: String,
    /// The batch it is about; empty for inbound queries.
    pub call_sn: String,
    /// 1 for the first try.
    pub attempt: u32,
    /// What was sent.
    pub body: Bytes,
    /// The status answered, if there was an answer.
    pub status: Option<StatusCode>,
    /// The first KiB of the answer.
    pub answer: String,
    /// Whether that was HTTP 200 with `code` 0.
    pub accepted: bool,
    /// What went wrong, if there was no answer.
    pub error: Option<String>,
}

/// The newest [`KEPT`] of each.
#[derive(Debug, Default)]
pub(super) struct Journal {
    seen: VecDeque<Seen>,
    count: u64,
    pushed: VecDeque<Pushed>,
    push_bytes: usize,
}

impl Journal {
    /// Notes a request.
    pub(super) fn note(&mut self, seen: Seen) {
        self.count += 1;
        self.seen.push_back(seen);
        if self.seen.len() > KEPT {
            self.seen.pop_front();
        }
    }

    /// Notes a try of a push.
    pub(super) fn note_push(&mut self, pushed: Pushed) {
        self.push_bytes += pushed.body.len();
        self.pushed.push_back(pushed);
        while self.pushed.len() > KEPT || (self.push_bytes > MAX_PUSH_BYTES && self.pushed.len() > 1) {
            let Some(oldest) = self.pushed.pop_front() else { break };
            self.push_bytes -= oldest.body.len();
        }
    }

    /// How many requests came, all told.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The newest requests, oldest first.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.iter().cloned().collect()
    }

    /// The newest tries of pushes, oldest first.
    pub(super) fn pushed(&self) -> Vec<Pushed> {
        self.pushed.iter().cloned().collect()
    }
}
