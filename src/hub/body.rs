//! A callback's body, read whole: capped each, and all together.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::refusal::Refusal;

/// Fewest bytes of bodies that may be under way.
const MIN_ROOM: u64 = 64 << 20;
/// How many of the largest bodies may be under way.
const LARGEST: u64 = 8;
/// Up to there a body is copied out of the connection's buffer: that is several times as large, and would last as
/// long as the body.
const SMALL: usize = 64 << 10;

/// The room for bodies that are being read, or wait to be kept. It is taken up as they come, not as they are
/// announced: who announces much and sends nothing takes nothing.
#[derive(Debug)]
pub struct Room {
    free: Arc<Semaphore>,
    max_bytes: u64,
    max_pause: Duration,
}

/// A body, and its part of the room.
#[derive(Debug)]
pub struct Whole {
    /// Its bytes.
    pub bytes: Bytes,
    /// Holds its part of the room.
    pub share: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// For bodies of at most `max_bytes`, in which no pause is over `max_pause`.
    pub fn new(max_bytes: u64, max_pause: Duration) -> Self {
        let room = max_bytes.saturating_mul(LARGEST).max(MIN_ROOM);
        let permits = usize::try_from(room).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(permits)), max_bytes, max_pause }
    }

    /// For other bodies. Where they are as large as before it is the same room.
    pub fn changed(&self, max_bytes: u64, max_pause: Duration) -> Self {
        if max_bytes == self.max_bytes {
            return Self { free: Arc::clone(&self.free), max_bytes, max_pause };
        }
        Self::new(max_bytes, max_pause)
    }

    /// Reads `body` to its end.
    ///
    /// # Errors
    /// It is too large, too slow or broken, or there is no room for it.
    pub async fn read<B: Body<Data = Bytes> + Unpin>(&self, mut body: B) -> Result<Whole, Refusal> {
        let announced = body.size_hint().lower();
        if announced > self.max_bytes {
            return Err(Refusal::BodyTooLarge(self.max_bytes));
        }
        let mut share: Option<OwnedSemaphorePermit> = None;
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        let mut size = 0;
        loop {
            let frame = timeout(self.max_pause, body.frame()).await.map_err(|_| Refusal::TooSlow("body"))?;
            let Some(frame) = frame else { break };
            let broken = Refusal::Invalid("the body's framing is broken, or it ended early");
            let Ok(data) = frame.map_err(|_| broken)?.into_data() else { continue };
            size += data.len() as u64;
            if size > self.max_bytes {
                return Err(Refusal::BodyTooLarge(self.max_bytes));
            }
            let part = self.take(data.len())?;
            match &mut share {
                None => share = Some(part),
                Some(share) => share.merge(part),
            }
            if first.is_empty() && rest.is_empty() {
                first = data;
            } else {
                rest.extend_from_slice(&std::mem::take(&mut first));
                rest.extend_from_slice(&data);
            }
        }
        let bytes = match rest.is_empty() {
            true if first.len() <= SMALL => Bytes::copy_from_slice(&first),
            true => first,
            false => rest.freeze(),
        };
        Ok(Whole { bytes, share })
    }

    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        let bytes = u32::try_from(bytes).map_err(|_| Refusal::Crowded)?;
        Arc::clone(&self.free).try_acquire_many_owned(bytes).map_err(|_| Refusal::Crowded)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    #[tokio::test]
    async fn all_bodies_together_have_a_bound() {
        let room = Room::new(MIN_ROOM / LARGEST, Duration::from_secs(1));
        let large = Bytes::from(vec![b'x'; 8 << 20]);
        let mut held = Vec::new();
        for _ in 0..LARGEST {
            held.push(room.read(Full::new(large.clone())).await.unwrap());
        }
        let refused = room.read(Full::new(large.clone())).await;
        assert_eq!(refused.err(), Some(Refusal::Crowded));
        held.pop();
        assert_eq!(room.read(Full::new(large.clone())).await.unwrap().bytes, large);
    }
}
