//! Requests that must not be sent twice, and addresses of apps: steps for the index's thread, questions for the readers.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::EmbeddedStore;
use crate::store::sqlite::{Command, once, team_url, told};
use crate::store::{
    Answer, Claim, Claimed, Conclusion, Finding, Marks, Once, Page, RequestId, RequestState, RequestSummary,
    StoreError, TeamUrl, TeamUrls,
};

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".into())
}

impl EmbeddedStore {
    /// Has the index's thread do a step, and waits until it is on the disk.
    pub(super) fn step<T: Send + 'static>(
        &self,
        act: impl FnMut(&rusqlite::Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'static, T> {
        let (answer, answered) = oneshot::channel();
        self.shared.send(Command::Step(Box::new(once::Asked { act, answer, done: None })));
        Box::pin(async move { answered.await.map_err(|_| closed())? })
    }
}

impl TeamUrls for EmbeddedStore {
    fn team_urls(&self) -> Answer<'_, Vec<TeamUrl>> {
        Box::pin(self.readers.ask(|connection, _| team_url::all(connection).map_err(|error| told(&error))))
    }

    fn keep_team_url(&self, team_url: TeamUrl) -> Answer<'_, ()> {
        self.step(move |connection| team_url::keep(connection, &team_url))
    }

    fn forget_team_url(&self, app: String, url: String) -> Answer<'_, ()> {
        self.step(move |connection| team_url::forget(connection, &app, &url).map_err(|error| told(&error)))
    }
}

impl Once for EmbeddedStore {
    fn claim(&self, claim: Claim) -> Answer<'_, Claimed> {
        let shared = Arc::clone(&self.shared);
        self.step(move |connection| once::claim(connection, &claim, shared.doubted()))
    }

    fn seal(&self, id: RequestId, marks: Marks) -> Answer<'_, ()> {
        self.step(move |connection| once::seal(connection, id, &marks))
    }

    fn conclude(&self, id: RequestId, conclusion: Conclusion, at: Timestamp) -> Answer<'_, ()> {
        let (answer, answered) = oneshot::channel();
        let concluding = once::Concluding { id, conclusion, at, answer: Some(answer), done: Ok(()) };
        self.shared.send(Command::Step(Box::new(concluding)));
        Box::pin(async move { answered.await.map_err(|_| closed())? })
    }

    fn conclude_soon(&self, id: RequestId, conclusion: Conclusion, at: Timestamp) {
        let concluding = once::Concluding { id, conclusion, at, answer: None, done: Ok(()) };
        self.shared.send(Command::Step(Box::new(concluding)));
    }

    fn requests(
        &self,
        state: Option<RequestState>,
        limit: usize,
        cursor: Option<String>,
    ) -> Answer<'_, Page<RequestSummary>> {
        Box::pin(self.readers.ask(move |connection, _| {
            once::page(connection, state, limit, cursor.as_deref()).map_err(|error| told(&error))
        }))
    }

    fn request(&self, id: RequestId) -> Answer<'_, Option<RequestSummary>> {
        Box::pin(
            self.readers.ask(move |connection, _| once::one(connection, id).map_err(|error| told(&error))),
        )
    }

    fn settle_request(&self, id: RequestId, finding: Finding, at: Timestamp) -> Answer<'_, bool> {
        self.step(move |connection| once::settle(connection, id, finding, at).map_err(|error| told(&error)))
    }
}
