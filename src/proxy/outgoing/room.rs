//! The room on disk for bodies that are held back or copied, of all requests together.

use std::io;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Least room, in bytes.
const MIN_ROOM: u64 = 1 << 30;
/// How many of the largest bodies there is room for.
const LARGEST: u64 = 4;

/// The room. It is taken up as bytes come, not as they are announced.
#[derive(Debug, Clone)]
pub struct Room(Arc<Semaphore>);

/// A part of it, which is free again once this is gone.
#[derive(Debug)]
pub struct Share {
    room: Room,
    taken: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// For bodies of at most `max_bytes` each.
    pub fn new(max_bytes: u64) -> Self {
        Self::of(max_bytes.saturating_mul(LARGEST).max(MIN_ROOM))
    }

    /// Of so many bytes.
    pub fn of(bytes: u64) -> Self {
        let permits = usize::try_from(bytes).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Semaphore::new(permits)))
    }

    /// A part of it, with nothing in it yet.
    pub fn share(&self) -> Share {
        Share { room: self.clone(), taken: None }
    }
}

impl Share {
    /// Makes it greater.
    ///
    /// # Errors
    /// There is no room left.
    pub fn grow(&mut self, bytes: usize) -> io::Result<()> {
        let permits = u32::try_from(bytes).ok();
        let more = permits.and_then(|permits| Arc::clone(&self.room.0).try_acquire_many_owned(permits).ok());
        let Some(more) = more else {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                "other uploads take up all room for them",
            ));
        };
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            None => self.taken = Some(more),
        }
        Ok(())
    }
}
