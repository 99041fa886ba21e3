//! Requests that must not be sent twice.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::MemoryStore;
use crate::store::{
    Answer, Claim, Claimed, Conclusion, Earlier, Finding, KEEP_REQUESTS, KeptAnswer, Marks, Once, Page,
    RequestId, RequestState, RequestSummary, StoreError,
};

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct Requests {
    rows: BTreeMap<RequestId, Row>,
    named: i64,
    /// Conclusions that could not be written.
    unwritten: Vec<(RequestId, Conclusion, Timestamp)>,
}

#[derive(Debug)]
struct Row {
    summary: RequestSummary,
    marks: Option<Marks>,
    answer: Option<KeptAnswer>,
}

impl Row {
    fn ended_at(&self) -> Timestamp {
        self.summary.ended_at.unwrap_or(self.summary.begun_at)
    }

    fn earlier(&self) -> Earlier {
        Earlier {
            request_id: self.summary.request_id.clone(),
            begun_at: self.summary.begun_at,
            fingerprint: self.marks.as_ref().map(|marks| marks.fingerprint),
            state: self.summary.state,
            answer: self.answer.clone(),
        }
    }
}

impl Requests {
    fn claim(&mut self, claim: Claim) -> Claimed {
        let earlier = match &claim.key {
            Some(key) => self.of_key(&claim, key),
            None => self.of_content(&claim),
        };
        if let Some(earlier) = earlier {
            return Claimed::Blocked(Box::new(earlier));
        }
        self.named += 1;
        let id = RequestId(self.named);
        let summary = RequestSummary {
            id,
            app: claim.app,
            endpoint: claim.endpoint.to_owned(),
            request_id: claim.request_id,
            key: claim.key,
            task_id: claim.marks.as_ref().and_then(|marks| marks.task_id.clone()),
            state: RequestState::UnderWay,
            begun_at: claim.at,
            ended_at: None,
        };
        self.rows.insert(id, Row { summary, marks: claim.marks, answer: None });
        Claimed::Taken(id)
    }

    fn of_key(&mut self, claim: &Claim, key: &str) -> Option<Earlier> {
        let named = |row: &&Row| row.summary.app == claim.app && row.summary.key.as_deref() == Some(key);
        let row = self.rows.values().find(named)?;
        let (id, earlier) = (row.summary.id, row.earlier());
        if !earlier.is_overruled_by(claim) {
            return Some(earlier);
        }
        self.rows.remove(&id);
        None
    }

    fn expire(&mut self, now: Timestamp) {
        let over = |row: &Row| match row.summary.state {
            RequestState::UnderWay => false,
            RequestState::Done => true,
            RequestState::Unknown => row.summary.key.is_none(),
        };
        self.rows.retain(|_, row| !over(row) || row.ended_at() >= now - KEEP_REQUESTS);
    }

    fn of_content(&mut self, claim: &Claim) -> Option<Earlier> {
        let content = claim.marks.as_ref()?.content?;
        let since = claim.unless_since?;
        let same = |row: &Row| {
            row.summary.app == claim.app && row.marks.as_ref().is_some_and(|m| m.content == Some(content))
        };
        if claim.force {
            let unknown = |row: &Row| row.summary.state == RequestState::Unknown && row.summary.key.is_none();
            self.rows.retain(|_, row| !(same(row) && unknown(row)));
            return None;
        }
        let stands = |row: &Row| row.summary.state == RequestState::UnderWay || row.ended_at() >= since;
        self.rows.values().rev().find(|row| same(row) && stands(row)).map(Row::earlier)
    }

    fn conclude(&mut self, id: RequestId, conclusion: Conclusion, at: Timestamp) {
        let Some(row) = self.rows.get_mut(&id) else { return };
        if row.summary.state != RequestState::UnderWay {
            return;
        }
        row.summary.ended_at = Some(at);
        match conclusion {
            Conclusion::Done(answer) => (row.summary.state, row.answer) = (RequestState::Done, answer),
            Conclusion::Unknown => row.summary.state = RequestState::Unknown,
            Conclusion::NotSent => _ = self.rows.remove(&id),
        }
    }

    fn settle(&mut self, id: RequestId, finding: Finding, at: Timestamp) -> bool {
        let unknown = |row: &&mut Row| row.summary.state == RequestState::Unknown;
        let Some(row) = self.rows.get_mut(&id).filter(unknown) else { return false };
        match finding {
            Finding::Done => {
                row.summary.state = RequestState::Done;
                row.summary.ended_at = Some(at);
            }
            Finding::NotSent => _ = self.rows.remove(&id),
        }
        true
    }

    fn page(&self, state: Option<RequestState>, limit: usize, cursor: Option<&str>) -> Page<RequestSummary> {
        let before = cursor.map_or(i64::MAX, |cursor| cursor.parse().unwrap_or(0));
        let wanted = |row: &&Row| state.is_none_or(|state| row.summary.state == state);
        let rows = self.rows.range(..RequestId(before)).rev().map(|(_, row)| row).filter(wanted);
        let mut rows: Vec<RequestSummary> = rows.take(limit + 1).map(|row| row.summary.clone()).collect();
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows.last().filter(|_| more).map(|last| last.id.to_string());
        Page { rows, next_cursor }
    }
}

impl MemoryStore {
    /// Lets go of requests that are old enough at `now`.
    pub fn forget_requests(&self, now: Timestamp) {
        self.kept().requests.expire(now);
    }

    fn step<T: Send + 'static>(&self, act: impl FnOnce(&mut Requests) -> T) -> Answer<'static, T> {
        let mut kept = self.kept();
        let done = match kept.refusing.clone() {
            Some(why) => Err::<T, StoreError>(why),
            None => {
                let requests = &mut kept.requests;
                for (id, conclusion, at) in std::mem::take(&mut requests.unwritten) {
                    requests.conclude(id, conclusion, at);
                }
                Ok(act(requests))
            }
        };
        Self::answer(done)
    }
}

impl Once for MemoryStore {
    fn claim(&self, claim: Claim) -> Answer<'_, Claimed> {
        self.step(|requests| requests.claim(claim))
    }

    fn seal(&self, id: RequestId, marks: Marks) -> Answer<'_, ()> {
        let sealing = self.step(move |requests| {
            let under_way = |row: &&mut Row| row.summary.state == RequestState::UnderWay;
            let row = requests.rows.get_mut(&id).filter(under_way).ok_or_else(|| StoreError::over(id))?;
            row.summary.task_id.clone_from(&marks.task_id);
            row.marks = Some(marks);
            Ok(())
        });
        Box::pin(async move { sealing.await? })
    }

    fn conclude(&self, id: RequestId, conclusion: Conclusion, at: Timestamp) -> Answer<'_, ()> {
        let mut kept = self.kept();
        if kept.refusing.is_some() {
            kept.requests.unwritten.push((id, conclusion.clone(), at));
        }
        drop(kept);
        self.step(|requests| requests.conclude(id, conclusion, at))
    }

    fn conclude_soon(&self, id: RequestId, conclusion: Conclusion, at: Timestamp) {
        drop(self.conclude(id, conclusion, at));
    }

    fn requests(
        &self,
        state: Option<RequestState>,
        limit: usize,
        cursor: Option<String>,
    ) -> Answer<'_, Page<RequestSummary>> {
        Self::answer(Ok(self.kept().requests.page(state, limit, cursor.as_deref())))
    }

    fn request(&self, id: RequestId) -> Answer<'_, Option<RequestSummary>> {
        Self::answer(Ok(self.kept().requests.rows.get(&id).map(|row| row.summary.clone())))
    }

    fn settle_request(&self, id: RequestId, finding: Finding, at: Timestamp) -> Answer<'_, bool> {
        self.step(|requests| requests.settle(id, finding, at))
    }
}
