//! Requests that must not be sent twice, as they are remembered.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

/// How long a request is remembered after its answer. One with a key whose outcome is unknown is remembered
/// until somebody decides.
pub const KEEP_REQUESTS: Duration = Duration::from_hours(24);
/// Most requests that are remembered; past it, further ones are refused.
pub const MAX_REQUESTS: usize = 1_000_000;
/// Most requests of one app that are remembered: one that uses its share up shuts nobody else out.
pub const MAX_REQUESTS_OF_APP: usize = MAX_REQUESTS / 8;

/// Names a remembered request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub i64);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RequestId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// SHA-256.
pub type Digest = [u8; 32];

/// What a request's body is known by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Marks {
    /// Of path and body: what a key must stand for.
    pub fingerprint: Digest,
    /// Of task and numbers: what must not be called twice; none, where the body names no numbers.
    pub content: Option<Digest>,
    /// The task.
    pub task_id: Option<String>,
}

/// A request about to be sent.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Whose it is. A key is the app's own.
    pub app: String,
    /// What it calls.
    pub endpoint: &'static str,
    /// Its id, as the caller and the log know it.
    pub request_id: String,
    /// The caller's name for it.
    pub key: Option<String>,
    /// What its body is known by; may follow with [`Once::seal`](super::Once::seal), if it has a key.
    pub marks: Option<Marks>,
    /// When it came.
    pub at: Timestamp,
    /// Without a key: the same content that came since then stands in its way.
    pub unless_since: Option<Timestamp>,
    /// The app has decided about what stands in its way: an unknown outcome, the same content.
    pub force: bool,
}

/// What comes of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// It is taken up: it may be sent, and what comes of it is to be told.
    Taken(RequestId),
    /// It must not be sent.
    Blocked(Box<Earlier>),
}

/// The request that stands in the way of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earlier {
    /// Its id, as the caller and the log know it.
    pub request_id: String,
    /// When it came.
    pub begun_at: Timestamp,
    /// Of path and body, once they were known.
    pub fingerprint: Option<Digest>,
    /// How it stands.
    pub state: RequestState,
    /// Its answer, where it was kept.
    pub answer: Option<KeptAnswer>,
}

impl Earlier {
    /// Whether the app's word is enough to have it sent again, if it is the same request.
    pub fn may_be_forced(&self) -> bool {
        self.state != RequestState::UnderWay && self.answer.is_none()
    }

    /// Whether `claim` has the app's word that this is to be sent again, and is not another request under the
    /// same key. One whose body is still to come can't be told apart.
    pub(in crate::store) fn is_overruled_by(&self, claim: &Claim) -> bool {
        let given = claim.marks.as_ref().map(|marks| marks.fingerprint);
        claim.force && self.may_be_forced() && (self.fingerprint.is_none() || self.fingerprint == given)
    }
}

/// An answer, to be given again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// Its status.
    pub status: u16,
    /// Its header fields, as who kept it wrote them down.
    pub head: Bytes,
    /// Its body.
    pub body: Bytes,
}

/// How a remembered request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestState {
    /// It is being sent, or its answer is awaited.
    UnderWay,
    /// The SaaS did as it was asked.
    Done,
    /// Nobody knows whether the SaaS acted on it.
    Unknown,
}

impl RequestState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::UnderWay, Self::Done, Self::Unknown];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnderWay => "under_way",
            Self::Done => "done",
            Self::Unknown => "unknown",
        }
    }
}

/// What came of a request that was taken up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conclusion {
    /// It was answered, and may have to be answered in the same way again.
    Done(Option<KeptAnswer>),
    /// Whether the SaaS acted on it is not known.
    Unknown,
    /// The SaaS did not act on it: it is forgotten.
    NotSent,
}

/// What an operator found out about an unknown outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// The SaaS acted on it: it stays in the way of others.
    Done,
    /// The SaaS did not: it may be sent again.
    NotSent,
}

/// A remembered request, as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestSummary {
    /// Its name.
    pub id: RequestId,
    /// Whose it is.
    pub app: String,
    /// What it called.
    pub endpoint: String,
    /// Its id, as the caller and the log know it.
    pub request_id: String,
    /// The caller's name for it.
    pub key: Option<String>,
    /// The task.
    pub task_id: Option<String>,
    /// How it stands.
    pub state: RequestState,
    /// When it came.
    pub begun_at: Timestamp,
    /// When it came to how it stands.
    pub ended_at: Option<Timestamp>,
}
