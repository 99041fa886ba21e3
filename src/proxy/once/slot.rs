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
        // Success without the end of the body, which never goes out now: of what, nobody can tell.
        let unsealed = !self.sent && matches!(conclusion, Conclusion::Done(_));
        let conclusion = if unsealed { Conclusion::Unknown } else { conclusion };
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

/// The place of a request.
pub struct Slot {
    memory: Arc<dyn Once>,
    state: Mutex<State>,
}

enum State {
    /// It is not taken up yet.
    Empty,
    Held(Ticket),
    /// What came of it is known, or about to be: nothing more may go out.
    Over {
        sent: bool,
    },
}

impl Slot {
    /// An empty one.
    pub fn new(memory: Arc<dyn Once>) -> Arc<Self> {
        Arc::new(Self { memory, state: Mutex::new(State::Empty) })
    }

    /// Whether the SaaS may have all of the request.
    pub fn is_sent(&self) -> bool {
        self.state().is_sent()
    }

    /// What was taken up. From now on nothing is.
    pub fn ticket(&self) -> Option<Ticket> {
        let mut state = self.state();
        let sent = state.is_sent();
        match std::mem::replace(&mut *state, State::Over { sent }) {
            State::Held(ticket) => Some(ticket),
            State::Empty | State::Over { .. } => None,
        }
    }

    /// Takes up a request with a key, whose body is still to come.
    pub async fn claim(&self, claim: Claim) -> Result<(), Stopped> {
        let ticket = self.taken(claim).await?;
        self.hold(ticket, false)
    }

    /// Takes up a request whose body is there.
    pub async fn claim_whole(&self, claim: Claim) -> Result<(), Stopped> {
        let named = claim.marks.as_ref().is_some_and(|marks| marks.content.is_some());
        if claim.key.is_none() && !named {
            return Ok(());
        }
        let ticket = self.taken(claim).await?;
        self.hold(ticket, true)
    }

    fn hold(&self, mut ticket: Ticket, sent: bool) -> Result<(), Stopped> {
        let mut state = self.state();
        if let State::Over { .. } = *state {
            return Err(Stopped::Refused(over()));
        }
        ticket.sent = sent;
        *state = State::Held(ticket);
        Ok(())
    }

    /// The body is there but for its last bytes, which may go out when this is `Ok`.
    pub async fn seal(&self, claim: Claim, marks: Marks) -> Result<(), Refusal> {
        let taken = match &*self.state() {
            State::Held(ticket) => ticket.id,
            State::Empty => None,
            // One with a key had its place.
            State::Over { .. } if claim.key.is_some() => return Err(over()),
            State::Over { .. } => None,
        };
        let Some(id) = taken else {
            let keyed = claim.key.is_some();
            let claim = Claim { marks: Some(marks.clone()), ..claim };
            return self.claim_whole(claim).await.map_err(|stopped| match stopped {
                Stopped::Earlier(earlier) => Refusal::Duplicate(Duplicate::of(&earlier, keyed, Some(&marks))),
                Stopped::Refused(refusal) => refusal,
            });
        };
        let sealing = tokio::time::timeout(PATIENCE, self.memory.seal(id, marks)).await;
        sealing.map_err(|_| late())?.map_err(unremembered)?;
        match &mut *self.state() {
            State::Held(ticket) => ticket.sent = true,
            // The answer came in between.
            State::Empty | State::Over { .. } => return Err(over()),
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_sent(&self) -> bool {
        match self {
            Self::Empty => false,
            Self::Held(ticket) => ticket.sent,
            Self::Over { sent } => *sent,
        }
    }
}

fn over() -> Refusal {
    Refusal::Invalid("it was answered before it had ended")
}

fn unremembered(error: StoreError) -> Refusal {
    tracing::error!(%error, "a request is refused, since it can't be written down that it is sent");
    Refusal::Unremembered
}

fn late() -> Refusal {
    unremembered(StoreError::Unavailable("it did not answer in time".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, RequestState};

    fn claim(key: Option<&str>) -> Claim {
        Claim {
            app: "crm".into(),
            endpoint: "outnum",
            request_id: "r".into(),
            key: key.map(str::to_owned),
            marks: None,
            at: Timestamp::now(),
            unless_since: Some(Timestamp::now()),
            force: false,
        }
    }

    fn marks() -> Marks {
        Marks { content: Some([1; 32]), ..Marks::default() }
    }

    async fn states(store: &MemoryStore) -> Vec<RequestState> {
        let page = store.requests(None, 9, None).await.unwrap();
        page.rows.iter().map(|row| row.state).collect()
    }

    #[tokio::test]
    async fn after_the_answer_nothing_is_taken_up() {
        let store = Arc::new(MemoryStore::new());
        for key in [Some("k"), None] {
            let slot = Slot::new(Arc::clone(&store) as _);
            if key.is_some() {
                slot.claim(claim(key)).await.unwrap();
            }
            if let Some(ticket) = slot.ticket() {
                ticket.conclude(Conclusion::NotSent).await;
            }
            slot.seal(claim(key), marks()).await.unwrap_err();
            drop(slot);
            assert_eq!(states(&store).await, [], "{key:?}");
        }
    }

    #[tokio::test]
    async fn success_without_the_end_of_the_body_is_unknown() {
        for (sealed, state) in [(false, RequestState::Unknown), (true, RequestState::Done)] {
            let store = Arc::new(MemoryStore::new());
            let slot = Slot::new(Arc::clone(&store) as _);
            slot.claim(claim(Some("k"))).await.unwrap();
            if sealed {
                slot.seal(claim(Some("k")), marks()).await.unwrap();
            }
            let ticket = slot.ticket().unwrap();
            assert_eq!(slot.is_sent(), sealed);
            ticket.conclude(Conclusion::Done(None)).await;
            assert_eq!(states(&store).await, [state]);
        }
    }
}
