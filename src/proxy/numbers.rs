//! The numbers of an upload, which are collected as digests while it streams by, for the ledger.

use std::time::Duration;

use tokio::sync::oneshot;

use super::outgoing::{Room, Share};
use crate::store::{LedgerKey, Sent, SentNumbers, SentRow, Unseen};
use crate::xinyao::number_file;

/// Bytes in memory for the digests of all uploads at a time; a full one (§6.2) takes 1.8 MB.
pub const MAX_BYTES: u64 = 64 << 20;
/// Rows for which room is made at first.
const ROWS: usize = 1024;

/// Collects them.
pub struct Collect {
    key: Option<LedgerKey>,
    rows: Vec<SentRow>,
    share: Share,
    unseen: Option<Unseen>,
    to: oneshot::Sender<Collected>,
}

/// What was collected, and the room that it takes up.
pub struct Collected {
    /// The numbers; or why there are none.
    pub sent: Sent,
    /// To be kept as long as they are in memory.
    pub share: Option<Share>,
}

/// What will be collected.
pub struct Numbers(oneshot::Receiver<Collected>);

impl Collect {
    /// Digests numbers with `key`, as far as there is room; without it there is nothing to be kept.
    pub fn new(key: Option<LedgerKey>, room: &Room) -> (Self, Numbers) {
        let (to, collected) = oneshot::channel();
        let unseen = key.is_none().then_some(Unseen::NotKept);
        (Self { key, rows: Vec::new(), share: room.share(), unseen, to }, Numbers(collected))
    }

    /// Collects nothing, and says why.
    pub fn give_up(&mut self, unseen: Unseen) {
        self.unseen.get_or_insert(unseen);
        self.rows = Vec::new();
    }

    /// Hands over what was collected.
    pub fn finish(self) {
        let sent = match self.unseen {
            None => Ok(SentNumbers::of(self.rows)),
            Some(unseen) => Err(unseen),
        };
        // The upload may have come to nothing.
        drop(self.to.send(Collected { sent, share: Some(self.share) }));
    }

    /// Over when nobody waits for the numbers.
    pub async fn unwanted(&mut self) {
        self.to.closed().await;
    }

    /// Whether nobody waits for them.
    pub fn is_unwanted(&self) -> bool {
        self.to.is_closed()
    }
}

impl number_file::Numbers for Collect {
    fn number(&mut self, row: u32, number: &[u8]) {
        let Some(key) = self.key.filter(|_| self.unseen.is_none()) else { return };
        if self.rows.len() == self.rows.capacity() {
            let more = ROWS.max(self.rows.len() / 4);
            if self.share.grow(more * size_of::<SentRow>()).is_err() {
                return self.give_up(Unseen::NoRoom);
            }
            self.rows.reserve_exact(more);
        }
        self.rows.push(SentNumbers::row(row, key.number(number)));
    }

    fn unreadable(&mut self) {
        self.give_up(Unseen::Unreadable);
    }
}

impl Numbers {
    /// What was collected by then.
    pub async fn within(self, patience: Duration) -> Collected {
        let unseen = |unseen| Collected { sent: Err(unseen), share: None };
        match tokio::time::timeout(patience, self.0).await {
            Ok(Ok(collected)) => collected,
            // The upload did not come to its end.
            Ok(Err(_)) => unseen(Unseen::Unreadable),
            Err(_) => unseen(Unseen::NoRoom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xinyao::number_file::Numbers as _;

    const KEY: LedgerKey = LedgerKey([1; 32]);

    async fn sent(numbers: Numbers) -> Sent {
        numbers.within(Duration::from_secs(10)).await.sent
    }

    #[tokio::test]
    async fn numbers_are_in_the_order_of_their_rows_and_known_however_they_are_written() {
        let (mut collect, numbers) = Collect::new(Some(KEY), &Room::of(1 << 20));
        for (row, number) in [(3, "9998"), (2, "+8613800138000"), (7, "13800138000")] {
            collect.number(row, number.as_bytes());
        }
        collect.finish();
        let digest = |number: &str| KEY.number(number.as_bytes());
        let expected = [(2, digest("13800138000")), (3, digest("9998")), (7, digest("13800138000"))];
        assert_eq!(sent(numbers).await.unwrap().iter().collect::<Vec<_>>(), expected);
    }

    #[tokio::test]
    async fn all_uploads_share_one_room_until_their_numbers_are_kept() {
        let room = Room::of((ROWS * 12 + 100) as u64);
        let (mut first, numbers) = Collect::new(Some(KEY), &room);
        first.number(2, b"138001");
        first.finish();
        let collected = numbers.within(Duration::from_secs(10)).await;
        let again = || {
            let (mut collect, numbers) = Collect::new(Some(KEY), &room);
            collect.number(2, b"138001");
            collect.finish();
            numbers
        };
        assert_eq!(sent(again()).await, Err(Unseen::NoRoom));
        drop(collected);
        assert!(sent(again()).await.is_ok());
    }

    #[tokio::test]
    async fn what_can_not_be_read_or_breaks_off_is_not_seen() {
        let room = Room::of(1 << 20);
        let (mut collect, numbers) = Collect::new(Some(KEY), &room);
        collect.number(2, b"138001");
        collect.unreadable();
        collect.number(3, b"138002");
        collect.finish();
        assert_eq!(sent(numbers).await, Err(Unseen::Unreadable));
        let (collect, numbers) = Collect::new(Some(KEY), &room);
        drop(collect);
        assert_eq!(sent(numbers).await, Err(Unseen::Unreadable));
        let (_collect, numbers) = Collect::new(Some(KEY), &room);
        assert_eq!(numbers.within(Duration::ZERO).await.sent, Err(Unseen::NoRoom));
    }
}
