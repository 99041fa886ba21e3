//! The index's thread watches the clock, and remembers how it stood for the next start.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::schema::{progress, set_progress, unsigned};
use super::work::Work;
use crate::store::clock_watch::ClockWatch;
use crate::store::log::record::{nanos, time};

impl Work {
    /// Compares the clock with how much time has passed; whether what is old by it may go.
    pub(in crate::store) fn watch_clock(&mut self, now: Timestamp) -> bool {
        let passed = self.clock_at.elapsed();
        self.clock_at = Instant::now();
        let trusted = self.clock.trusts(now, passed);
        self.shared.doubt(self.clock.doubted);
        trusted
    }

    /// Writes down how the clock stands, for the next start.
    pub(in crate::store) fn keep_clock(&mut self) {
        let (last, hold) = (nanos(self.clock.last), self.clock.hold.as_secs());
        let kept = self.synchronous(false).and_then(|()| {
            let transaction = self.connection.transaction()?;
            set_progress(&transaction, "clock", unsigned(last))?;
            set_progress(&transaction, "clock_hold", hold)?;
            transaction.commit()
        });
        if let Err(error) = kept {
            tracing::warn!(%error, "how the clock stands is written down later");
        }
    }

    /// Compares the clock with how it stood when the process ended.
    pub(in crate::store) fn find_clock(&mut self, now: Timestamp) -> rusqlite::Result<()> {
        let hold = Duration::from_secs(progress(&self.connection, "clock_hold")?);
        // An index that is new has nothing to compare with.
        if let Some(last) = i64::try_from(progress(&self.connection, "clock")?).ok().filter(|last| *last > 0)
        {
            self.clock = ClockWatch::again(time(last), hold, now);
            self.shared.doubt(self.clock.doubted);
        }
        self.clock_at = Instant::now();
        self.keep_clock();
        Ok(())
    }
}
