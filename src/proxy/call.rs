//! What travels through the stack.

use std::sync::Arc;

use http::Response;
use http::request::Parts;

use super::answer::Answer;
use super::numbers::Numbers;
use super::outgoing::Outgoing;
use super::record::Record;
use super::refusal::Refusal;
use super::worker::Worker;

/// A request on its way in. Each layer adds what it found out. It travels in a box, since every layer moves
/// it on, and the future of each that waits would be as large.
pub struct Call {
    /// The request's head; what the layers strip and set is what the SaaS sees.
    pub head: Parts,
    /// The request's body.
    pub body: Outgoing,
    /// The numbers of an upload, once it has come.
    pub numbers: Option<Numbers>,
    /// The worker that serves it.
    pub worker: Arc<Worker>,
    /// What will be told of it.
    pub record: Box<Record>,
}

/// An answer on its way out.
pub struct Answered {
    /// The upstream's answer.
    pub response: Response<Answer>,
    /// What will be told of it.
    pub record: Box<Record>,
}

/// A request that ends here.
pub struct Refused {
    /// Why.
    pub refusal: Refusal,
    /// What will be told of it.
    pub record: Box<Record>,
    /// Whether there is a body that nobody has read; the connection can't be used again then.
    pub unread: bool,
}

impl Call {
    /// Ends it here.
    pub fn refuse(self: Box<Self>, refusal: Refusal) -> Refused {
        let unread = self.record.unread || !self.body.is_taken();
        Refused { refusal, record: self.record, unread }
    }
}
