//! The store as a place where events wait for another one, to which a subscriber of its own brings them in order.

use std::sync::Arc;

use super::{EmbeddedStore, SHARD};
use crate::store::log::Run;
use crate::store::{Progress, Seq, Start, StoreError};

/// Who brings events to the other store. No subscriber has such a name in a configuration.
const FORWARDER: &str = "(postgres)";
/// A segment with less in it is not ended only because all of it is forwarded.
const WORTH_IT_BYTES: u64 = 16 << 20;

impl EmbeddedStore {
    /// Events that come from now on are to be forwarded, and those that came since this was first asked.
    pub(in crate::store) async fn begin_forwarding(&self) -> Result<(), StoreError> {
        self.open(FORWARDER, Start::Now).await.map(drop)
    }

    /// Subscribers for whom events, retries or replays wait from a time when this was the only store.
    pub(in crate::store) fn waiting_subscribers(&self) -> Vec<String> {
        let members = self.shared.members();
        let forwarder = members.by_name.get(FORWARDER);
        let end = forwarder.map_or(self.shared.shelf.tail(), |member| member.standing.began);
        let waits = members.by_name.iter().filter(|(name, member)| {
            let standing = &member.standing;
            *name != FORWARDER
                && (standing.frontier < end || standing.retries.len() > 0 || !standing.replays.is_empty())
        });
        waits.map(|(name, _)| name.clone()).collect()
    }

    fn forwarded_until(&self) -> Seq {
        let members = self.shared.members();
        let frontier = members.by_name.get(FORWARDER).map_or(Seq(0), |member| member.standing.frontier);
        frontier.max(self.shared.shelf.first())
    }

    /// How many events wait to be forwarded.
    pub(in crate::store) fn waiting(&self) -> u64 {
        self.shared.shelf.tail().0.saturating_sub(self.forwarded_until().0)
    }

    /// The next of them.
    pub(in crate::store) async fn next_waiting(
        &self,
        max_events: usize,
        max_bytes: usize,
    ) -> Result<Run, StoreError> {
        let (shelf, from) = (Arc::clone(&self.shared.shelf), self.forwarded_until());
        super::answers::blocking(move || shelf.read(from, max_events, max_bytes)).await
    }

    /// Everything before `until` is in the other store. Written within a moment.
    pub(in crate::store) fn forwarded(&self, until: Seq) {
        self.advance(FORWARDER, SHARD, until);
    }

    /// The longest that was looked back for a duplicate since the start, in nanoseconds; 0: it is not known yet.
    pub(in crate::store) fn window(&self) -> i64 {
        self.shared.window.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Gives back the room of what is forwarded, as far as whole segments go.
    pub(in crate::store) async fn release(&self) -> Result<(), StoreError> {
        let until = self.forwarded_until();
        if self.shared.shelf.bytes() >= WORTH_IT_BYTES && until == self.shared.shelf.tail() {
            self.writer.roll();
        }
        let whole = self.shared.shelf.whole_before(until);
        if whole > self.shared.shelf.first() {
            self.act(move |work| work.expire(whole, jiff::Timestamp::now())).await?;
        }
        Ok(())
    }
}
