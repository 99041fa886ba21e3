//! Connections that answer questions, off the threads that serve.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::schema;
use super::shared::Shared;
use crate::store::StoreError;

/// Most questions that are answered at the same time.
const MAX_READERS: usize = 4;

pub(in crate::store) struct Readers {
    shared: Arc<Shared>,
    room: Semaphore,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, room: Semaphore::new(MAX_READERS), idle: Arc::default() }
    }

    /// Answers a question.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection, &Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let closed = |_| StoreError::Unavailable("the store is closed".into());
        let _room = self.room.acquire().await.map_err(closed)?;
        let (shared, idle) = (Arc::clone(&self.shared), Arc::clone(&self.idle));
        let asked = tokio::task::spawn_blocking(move || {
            let connection = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = match connection {
                Some(connection) => connection,
                None => schema::open_to_read(&shared.path).map_err(|error| super::told(&error))?,
            };
            let answer = question(&connection, &shared);
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            answer
        });
        asked
            .await
            .map_err(|error| StoreError::Unavailable(format!("a question was not answered: {error}")))?
    }
}
