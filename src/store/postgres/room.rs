//! How much of `store.max_size` is used.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use deadpool_postgres::Client;
use tokio_postgres::Error;

use crate::store::StoreError;

/// Bytes that the tables take, and how many they may.
#[derive(Debug)]
pub(super) struct Room {
    bytes: AtomicU64,
    max_bytes: u64,
    refusing: AtomicBool,
}

impl Room {
    pub fn new(max_bytes: u64) -> Self {
        Self { bytes: AtomicU64::new(0), max_bytes, refusing: AtomicBool::new(false) }
    }

    /// Whether there is room for so much more.
    ///
    /// # Errors
    /// There is none.
    pub fn check(&self, more: u64) -> Result<(), StoreError> {
        let (bytes, _) = self.size();
        if self.refusing.load(Ordering::Relaxed) || bytes.saturating_add(more) > self.max_bytes {
            return Err(StoreError::Full("store.max_size is reached".into()));
        }
        Ok(())
    }

    /// Bytes used and bytes allowed.
    pub fn size(&self) -> (u64, u64) {
        (self.bytes.load(Ordering::Relaxed), self.max_bytes)
    }

    /// So much was added since it was measured.
    pub fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So much it was when it was measured.
    pub fn set(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// From now on there is none, or there is again.
    #[cfg(test)]
    pub fn refuse(&self, refuse: bool) {
        self.refusing.store(refuse, Ordering::Relaxed);
    }
}

/// What all tables take, their indexes included.
pub(super) async fn measure(client: &mut Client) -> Result<u64, Error> {
    let sizes = "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
      WHERE relnamespace = 'xinyao_gateway'::regnamespace AND relkind = 'r'";
    let bytes: i64 = client.query_one(sizes, &[]).await?.get(0);
    Ok(u64::try_from(bytes).unwrap_or(0))
}
