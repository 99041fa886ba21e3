//! The remote control of a running sandbox.

use std::sync::Arc;

use super::fault::Fault;
use super::house::House;
use super::journal::{Pushed, Seen};
use super::push::{self, InboundAnswer};
use super::push_client::PushError;
use super::{Batch, Task};

/// Shows what came in and what went out, and turns the knobs. Clones control the same sandbox.
#[derive(Debug, Clone)]
pub struct Handle {
    house: Arc<House>,
}

impl Handle {
    pub(super) fn new(house: Arc<House>) -> Self {
        Self { house }
    }

    /// The newest 1000 requests, oldest first.
    pub fn requests(&self) -> Vec<Seen> {
        self.house.journal().seen()
    }

    /// How many requests came, all told.
    pub fn request_count(&self) -> u64 {
        self.house.journal().count()
    }

    /// All tasks, oldest first.
    pub fn tasks(&self) -> Vec<Task> {
        self.house.memory().tasks.iter().cloned().collect()
    }

    /// All batches, oldest first.
    pub fn batches(&self) -> Vec<Batch> {
        self.house.memory().batches.iter().cloned().collect()
    }

    /// The newest 1000 tries of pushes, oldest first.
    pub fn pushes(&self) -> Vec<Pushed> {
        self.house.journal().pushed()
    }

    /// From now on, this goes wrong too.
    pub fn add_fault(&self, fault: Fault) {
        self.house.faults().push(fault);
    }

    /// From now on, nothing goes wrong.
    pub fn clear_faults(&self) {
        self.house.faults().clear();
    }

    /// Puts the sandbox's clock this many seconds ahead of the system's, or behind: signatures are held
    /// against it, and `Date` shows it.
    pub fn set_clock_offset(&self, seconds: i64) {
        self.house.clock.set_skew(seconds);
    }

    /// Asks `url` what to say to `caller`, as an incoming call would (§9). Asked once, within ten seconds.
    ///
    /// # Errors
    /// Nobody answered, or it was no answer of §9.4.
    pub async fn ask_inbound(&self, caller: &str, url: &str) -> Result<InboundAnswer, PushError> {
        push::ask_inbound(&self.house, caller, url).await
    }

    /// Waits until every batch accepted so far is called through, and its pushes are over.
    pub async fn settled(&self) {
        // An error says that the house is gone, and it is not: it is held here.
        drop(self.house.unsettled().wait_for(|count| *count == 0).await);
    }
}
