//! The place of one request in the memory of what was sent.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::duplicate::Duplicate;
use crate::proxy::refusal::Refusal;
use crate::store::{Claim, Claimed, Conclusion, Earlier, Marks, Once, RequestId, StoreError};

/// How long the store may take to write something down.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request that was taken up. Dropped without a word, it concludes by what is known: nothing was done without
/// the end of its body.
pub struct Ticket {
    memory: Arc<dyn Once>,
    id: Option<RequestId>,
    keyed: bool,
    sent: bool,
}

impl Ticket {
    /// Whether its answer may be asked for again.
    pub fn is_keyed(&self) -> bool {
        self.keyed
    }

    /// Writes down what came of it. If that fails it is written later, and the answer is given regardless.
    pub async fn conclude(mut self, conclusion: Conclusion) {
        let Some(id) = self.id.take() else { return };
        tell(id, &conclusion);
        let concluding = self.memory.conclude(id, conclusion, Timestamp::now());
        if let Ok(Err(error)) = tokio::time::timeout(PATIENCE, concluding).await {
            tracing::warn!(request = %id, %error, "what came of a request is written down later");
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let conclusion = if self.sent { Conclusion::Unknown } else { Conclusion::NotSent };
        tell(id, &conclusion);
        self.memory.conclude_soon(id, conclusion, Timestamp::now());
    }
}

fn tell(id: RequestId, conclusion: &Conclusion) {
    if *conclusion == Conclusion::Unknown {
        tracing::warn!(
            request = %id,
            "whether the SaaS acted on a request is unknown; find out, and settle it: `xinyao-gateway requests`"
        );
    }
}

/// Why a request goes no further.
#[derive(Debug)]
pub enum Stopped {
    /// This came before it.
    Earlier(Box<Earlier>),
    /// It can't be written down.
    Refused(Refusal),
}

/// The place of a request: empty until it is taken up.
pub struct Slot {
    memory: Arc<dyn Once>,
    ticket: Mutex<Option<Ticket>>,
}

impl Slot {
    /// An empty one.
    pub fn new(memory: Arc<dyn Once>) -> Arc<Self> {
        Arc::new(Self { memory, ticket: Mutex::default() })
    }

    /// Whether the SaaS may have all of the request.
    pub fn is_sent(&self) -> bool {
        self.held().as_ref().is_some_and(|ticket| ticket.sent)
    }

    /// What was taken up.
    pub fn ticket(&self) -> Option<Ticket> {
        self.held().take()
    }

    /// Takes up a request with a key, whose body is still to come.
    pub async fn claim(&self, claim: Claim) -> Result<(), Stopped> {
        let ticket = self.taken(claim).await?;
        *self.held() = Some(ticket);
        Ok(())
    }

    /// Takes up a request whose body is there.
    pub async fn claim_whole(&self, claim: Claim) -> Result<(), Stopped> {
        let named = claim.marks.as_ref().is_some_and(|marks| marks.content.is_some());
        if claim.key.is_none() && !named {
            return Ok(());
        }
        let mut ticket = self.taken(claim).await?;
        ticket.sent = true;
        *self.held() = Some(ticket);
        Ok(())
    }

    /// The body is there but for its last bytes, which may go out when this is `Ok`.
    pub async fn seal(&self, claim: Claim, marks: Marks) -> Result<(), Refusal> {
        let taken = self.held().as_ref().and_then(|ticket| ticket.id);
        let Some(id) = taken else {
            let claim = Claim { marks: Some(marks), ..claim };
            return self.claim_whole(claim).await.map_err(|stopped| match stopped {
                Stopped::Earlier(earlier) => Refusal::Duplicate(Duplicate::of(&earlier, false)),
                Stopped::Refused(refusal) => refusal,
            });
        };
        let sealing = tokio::time::timeout(PATIENCE, self.memory.seal(id, marks)).await;
        sealing.map_err(|_| late())?.map_err(unremembered)?;
        if let Some(ticket) = &mut *self.held() {
            ticket.sent = true;
        }
        Ok(())
    }

    /// Whoever asks may be gone by the time of the answer, and the ticket with them: so it is a task that asks,
    /// and a ticket that nobody takes concludes.
    async fn taken(&self, claim: Claim) -> Result<Ticket, Stopped> {
        let memory = Arc::clone(&self.memory);
        let (answer, answered) = oneshot::channel();
        tokio::spawn(async move {
            let keyed = claim.key.is_some();
            let claimed = memory.claim(claim).await;
            let taken = claimed.map(|claimed| match claimed {
                Claimed::Taken(id) => Ok(Ticket { memory, id: Some(id), keyed, sent: false }),
                Claimed::Blocked(earlier) => Err(earlier),
            });
            drop(answer.send(taken));
        });
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(Ok(taken))) => taken.map_err(Stopped::Earlier),
            Ok(Ok(Err(error))) => Err(Stopped::Refused(unremembered(error))),
            Ok(Err(_)) | Err(_) => Err(Stopped::Refused(late())),
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<Ticket>> {
        self.ticket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unremembered(error: StoreError) -> Refusal {
    tracing::error!(%error, "a request is refused, since it can't be written down that it is sent");
    Refusal::Unremembered
}

fn late() -> Refusal {
    unremembered(StoreError::Unavailable("it did not answer in time".into()))
}
