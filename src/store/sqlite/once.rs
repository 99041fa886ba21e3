//! Requests that must not be sent twice. Each step is on the disk before anybody hears of it; steps that come
//! together share a transaction.

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};
use tokio::sync::oneshot;

use super::schema::signed;
use super::work::Work;
use crate::store::log::record::{nanos, time};
use crate::store::{
    Claim, Claimed, Conclusion, Earlier, Finding, KEEP_REQUESTS, KeptAnswer, MAX_REQUESTS,
    MAX_REQUESTS_OF_APP, Marks, Page, RequestId, RequestState, RequestSummary, StoreError,
};

/// States 0 under way, 1 done, 2 unknown. What is remembered is counted as it comes and goes.
pub(super) const TABLE: &str = "
CREATE TABLE IF NOT EXISTS request (
  id INTEGER PRIMARY KEY AUTOINCREMENT, app TEXT NOT NULL, endpoint TEXT NOT NULL, request_id TEXT NOT NULL,
  key TEXT, fingerprint BLOB, content BLOB, task_id TEXT, state INTEGER NOT NULL, begun_at INTEGER NOT NULL,
  ended_at INTEGER, status INTEGER, head BLOB, body BLOB);
CREATE UNIQUE INDEX IF NOT EXISTS request_key ON request (app, key) WHERE key IS NOT NULL;
CREATE INDEX IF NOT EXISTS request_content ON request (app, content) WHERE content IS NOT NULL;
CREATE INDEX IF NOT EXISTS request_state ON request (state, id) WHERE state <> 1;
CREATE INDEX IF NOT EXISTS request_begun ON request (begun_at);
CREATE TABLE IF NOT EXISTS request_count (app TEXT PRIMARY KEY, requests INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO request_count
  SELECT app, count(*) FROM request WHERE NOT EXISTS (SELECT 1 FROM request_count) GROUP BY app;
CREATE TRIGGER IF NOT EXISTS request_comes AFTER INSERT ON request BEGIN
  INSERT INTO request_count VALUES (new.app, 1) ON CONFLICT (app) DO UPDATE SET requests = requests + 1;
END;
CREATE TRIGGER IF NOT EXISTS request_goes AFTER DELETE ON request BEGIN
  UPDATE request_count SET requests = requests - 1 WHERE app = old.app;
END;
";

/// Most conclusions that wait for a disk that can be written.
const MAX_UNWRITTEN: usize = 256;

/// Something to be done about a request.
pub(in crate::store) trait Step: Send {
    /// Does it.
    fn run(&mut self, connection: &Connection) -> Result<(), StoreError>;

    /// It is on the disk, or is not. Gives back what must be written later.
    fn told(self: Box<Self>, written: Result<(), StoreError>) -> Option<Concluding>;
}

/// What somebody waits for.
pub(in crate::store) struct Asked<T, F> {
    pub act: F,
    pub answer: oneshot::Sender<Result<T, StoreError>>,
    pub done: Option<Result<T, StoreError>>,
}

impl<T: Send, F> Step for Asked<T, F>
where
    F: FnMut(&Connection) -> Result<T, StoreError> + Send,
{
    fn run(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let done = (self.act)(connection);
        let ran = done.as_ref().map(drop).map_err(StoreError::clone);
        self.done = Some(done);
        ran
    }

    fn told(self: Box<Self>, written: Result<(), StoreError>) -> Option<Concluding> {
        let Self { answer, done, .. } = *self;
        let unwritten = || Err(StoreError::Unavailable("the index was not written".into()));
        answer.send(written.and_then(|()| done.unwrap_or_else(unwritten))).ok();
        None
    }
}

/// What came of a request.
pub(in crate::store) struct Concluding {
    pub id: RequestId,
    pub conclusion: Conclusion,
    pub at: Timestamp,
    pub answer: Option<oneshot::Sender<Result<(), StoreError>>>,
    /// How its own step went, whatever became of those that it shared a transaction with.
    pub done: Result<(), StoreError>,
}

impl Step for Concluding {
    fn run(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let done = conclude(connection, self.id, &self.conclusion, self.at);
        self.done = done.map_err(|error| super::told(&error));
        self.done.clone()
    }

    fn told(mut self: Box<Self>, written: Result<(), StoreError>) -> Option<Concluding> {
        let written = written.and_then(|()| self.done.clone());
        let failed = written.is_err();
        if let Some(answer) = self.answer.take() {
            answer.send(written).ok();
        }
        failed.then_some(*self)
    }
}

impl Work {
    /// Does these steps, and what is left over from earlier ones.
    pub(super) fn take_steps(&mut self, mut steps: Vec<Box<dyn Step>>) {
        let late = std::mem::take(&mut self.unwritten);
        steps.splice(0..0, late.into_iter().map(|one| Box::new(one) as Box<dyn Step>));
        if steps.is_empty() {
            return;
        }
        // A window is looked at only with a clock that was.
        self.watch_clock(Timestamp::now());
        let ran = self.run_steps(&mut steps);
        if let Err(error) = &ran {
            tracing::warn!(%error, "what is remembered of requests can't be written");
        }
        for step in steps {
            self.unwritten.extend(step.told(ran.clone()));
        }
        if self.unwritten.len() > MAX_UNWRITTEN {
            tracing::error!("what came of some requests is lost; they are under way until the next start");
            self.unwritten.truncate(MAX_UNWRITTEN);
        }
    }

    fn run_steps(&mut self, steps: &mut [Box<dyn Step>]) -> Result<(), StoreError> {
        #[cfg(test)]
        if self.shared.full.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(StoreError::Full("as the test wants it".into()));
        }
        let told = |error| super::told(&error);
        self.synchronous(true).map_err(told)?;
        let mut transaction = self.connection.transaction().map_err(told)?;
        for step in steps {
            // What one of them could not do is undone, and the others go on.
            let savepoint = transaction.savepoint().map_err(told)?;
            if step.run(&savepoint).is_ok() {
                savepoint.commit().map_err(told)?;
            }
        }
        transaction.commit().map_err(told)
    }
}

/// Nobody knows what came of requests that were under way when the process ended. Returns how many.
pub(in crate::store) fn after_a_crash(connection: &Connection, now: Timestamp) -> rusqlite::Result<usize> {
    connection.execute("UPDATE request SET state = 2, ended_at = ? WHERE state = 0", [nanos(now)])
}

/// Forgets what is old enough. What has been under way for as long is not: its conclusion was lost. An unknown
/// outcome with a key waits for somebody's word, however long.
pub(super) fn expire(connection: &Connection, now: Timestamp) -> rusqlite::Result<usize> {
    connection.execute(
        "UPDATE request SET state = 2, ended_at = ? WHERE state = 0 AND begun_at < ?",
        (nanos(now), nanos(oldest(now))),
    )?;
    connection.execute(
        "DELETE FROM request WHERE begun_at < ?1 AND coalesce(ended_at, begun_at) < ?1
         AND (state = 1 OR (state = 2 AND key IS NULL))",
        [nanos(oldest(now))],
    )
}

fn oldest(now: Timestamp) -> Timestamp {
    now.saturating_sub(KEEP_REQUESTS).unwrap_or(Timestamp::MIN)
}

/// Takes a request up. What came until `doubted` may be younger than it looks.
pub(in crate::store) fn claim(
    connection: &Connection,
    claim: &Claim,
    doubted: Timestamp,
) -> Result<Claimed, StoreError> {
    let told = |error| super::told(&error);
    let earlier = match &claim.key {
        Some(key) => of_key(connection, claim, key),
        None => of_content(connection, claim, doubted),
    };
    if let Some(earlier) = earlier.map_err(told)? {
        return Ok(Claimed::Blocked(Box::new(earlier)));
    }
    let (all, of_app) = remembered(connection, &claim.app).map_err(told)?;
    if all >= signed(MAX_REQUESTS as u64) {
        return Err(StoreError::Full(format!("{MAX_REQUESTS} requests are remembered already")));
    }
    if of_app >= signed(MAX_REQUESTS_OF_APP as u64) {
        let why = format!("{MAX_REQUESTS_OF_APP} requests of app {} are remembered already", claim.app);
        return Err(StoreError::Full(why));
    }
    let marks = claim.marks.clone();
    let (fingerprint, content, task_id) =
        marks.map_or_else(Default::default, |marks| (Some(marks.fingerprint), marks.content, marks.task_id));
    let mut statement = connection
        .prepare_cached(
            "INSERT INTO request
             (app, endpoint, request_id, key, fingerprint, content, task_id, state, begun_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?)",
        )
        .map_err(told)?;
    let at = nanos(claim.at);
    let row = (&claim.app, claim.endpoint, &claim.request_id, &claim.key, fingerprint, content, task_id, at);
    statement.execute(row).map_err(told)?;
    Ok(Claimed::Taken(RequestId(connection.last_insert_rowid())))
}

/// How many requests are remembered, and how many of `app`.
fn remembered(connection: &Connection, app: &str) -> rusqlite::Result<(i64, i64)> {
    let counts = "SELECT coalesce(sum(requests), 0), coalesce(sum(requests) FILTER (WHERE app = ?), 0)
                  FROM request_count";
    connection.prepare_cached(counts)?.query_row([app], |row| Ok((row.get(0)?, row.get(1)?)))
}

const EARLIER: &str = "id, request_id, begun_at, fingerprint, state, status, head, body FROM request";

fn of_key(connection: &Connection, claim: &Claim, key: &str) -> rusqlite::Result<Option<Earlier>> {
    let mut statement = connection.prepare_cached(&format!("SELECT {EARLIER} WHERE app = ? AND key = ?"))?;
    let found = statement.query_row((&claim.app, key), earlier).optional()?;
    let Some((id, earlier)) = found else { return Ok(None) };
    // However old it is: whether the clock is to be trusted with that is not asked here.
    if !earlier.is_overruled_by(claim) {
        return Ok(Some(earlier));
    }
    connection.prepare_cached("DELETE FROM request WHERE id = ?")?.execute([id])?;
    Ok(None)
}

fn of_content(
    connection: &Connection,
    claim: &Claim,
    doubted: Timestamp,
) -> rusqlite::Result<Option<Earlier>> {
    let content = claim.marks.as_ref().and_then(|marks| marks.content);
    let (Some(content), Some(since)) = (content, claim.unless_since) else { return Ok(None) };
    if claim.force {
        let mut decided = connection.prepare_cached(
            "DELETE FROM request WHERE app = ? AND content = ? AND state = 2 AND key IS NULL",
        )?;
        decided.execute((&claim.app, content))?;
        return Ok(None);
    }
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {EARLIER} WHERE app = ? AND content = ?
         AND (state = 0 OR coalesce(ended_at, begun_at) >= ? OR coalesce(ended_at, begun_at) <= ?)
         ORDER BY id DESC LIMIT 1"
    ))?;
    let named = (&claim.app, content, nanos(since), nanos(doubted));
    Ok(statement.query_row(named, earlier).optional()?.map(|(_, earlier)| earlier))
}

fn earlier(row: &Row<'_>) -> rusqlite::Result<(i64, Earlier)> {
    let status: Option<u16> = row.get(5)?;
    let blob = |column| Ok::<_, rusqlite::Error>(Bytes::from(row.get::<_, Vec<u8>>(column)?));
    let answer = match status {
        Some(status) => Some(KeptAnswer { status, head: blob(6)?, body: blob(7)? }),
        None => None,
    };
    let earlier = Earlier {
        request_id: row.get(1)?,
        begun_at: time(row.get(2)?),
        fingerprint: row.get(3)?,
        state: state(row.get(4)?),
        answer,
    };
    Ok((row.get(0)?, earlier))
}

fn state(code: i64) -> RequestState {
    match code {
        0 => RequestState::UnderWay,
        1 => RequestState::Done,
        _ => RequestState::Unknown,
    }
}

fn code(state: RequestState) -> i64 {
    match state {
        RequestState::UnderWay => 0,
        RequestState::Done => 1,
        RequestState::Unknown => 2,
    }
}

pub(in crate::store) fn seal(
    connection: &Connection,
    id: RequestId,
    marks: &Marks,
) -> Result<(), StoreError> {
    let told = |error| super::told(&error);
    let mut statement = connection
        .prepare_cached(
            "UPDATE request SET fingerprint = ?, content = ?, task_id = ? WHERE id = ? AND state = 0",
        )
        .map_err(told)?;
    match statement.execute((marks.fingerprint, marks.content, &marks.task_id, id.0)).map_err(told)? {
        1 => Ok(()),
        _ => Err(StoreError::over(id)),
    }
}

fn conclude(
    connection: &Connection,
    id: RequestId,
    conclusion: &Conclusion,
    at: Timestamp,
) -> rusqlite::Result<()> {
    let state = match conclusion {
        Conclusion::NotSent => {
            let mut statement =
                connection.prepare_cached("DELETE FROM request WHERE id = ? AND state = 0")?;
            return statement.execute([id.0]).map(drop);
        }
        Conclusion::Done(_) => RequestState::Done,
        Conclusion::Unknown => RequestState::Unknown,
    };
    let kept = match conclusion {
        Conclusion::Done(Some(kept)) => Some((kept.status, &kept.head[..], &kept.body[..])),
        Conclusion::Done(None) | Conclusion::Unknown | Conclusion::NotSent => None,
    };
    let (status, head, body) = (kept.map(|kept| kept.0), kept.map(|kept| kept.1), kept.map(|kept| kept.2));
    let mut statement = connection.prepare_cached(
        "UPDATE request SET state = ?, ended_at = ?, status = ?, head = ?, body = ? WHERE id = ? AND state = 0",
    )?;
    statement.execute((code(state), nanos(at), status, head, body, id.0)).map(drop)
}

pub(in crate::store) fn settle(
    connection: &Connection,
    id: RequestId,
    finding: Finding,
    at: Timestamp,
) -> rusqlite::Result<bool> {
    let changed = match finding {
        Finding::Done => connection.execute(
            "UPDATE request SET state = 1, ended_at = ? WHERE id = ? AND state = 2",
            (nanos(at), id.0),
        )?,
        Finding::NotSent => connection.execute("DELETE FROM request WHERE id = ? AND state = 2", [id.0])?,
    };
    Ok(changed > 0)
}

const SUMMARY: &str =
    "SELECT id, app, endpoint, request_id, key, task_id, state, begun_at, ended_at FROM request";

pub(in crate::store) fn page(
    connection: &Connection,
    wanted: Option<RequestState>,
    limit: usize,
    cursor: Option<&str>,
) -> rusqlite::Result<Page<RequestSummary>> {
    let before: i64 = cursor.map_or(i64::MAX, |cursor| cursor.parse().unwrap_or(0));
    // Written out, so that the index of what is not done is seen to do.
    let narrowed = wanted.map_or(String::new(), |wanted| format!("AND state = {}", code(wanted)));
    let mut statement =
        connection.prepare_cached(&format!("{SUMMARY} WHERE id < ? {narrowed} ORDER BY id DESC LIMIT ?"))?;
    let rows = statement.query_map((before, signed(limit as u64 + 1)), summary)?;
    let mut rows: Vec<RequestSummary> = rows.collect::<Result<_, _>>()?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = rows.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(Page { rows, next_cursor })
}

pub(in crate::store) fn one(
    connection: &Connection,
    id: RequestId,
) -> rusqlite::Result<Option<RequestSummary>> {
    connection.prepare_cached(&format!("{SUMMARY} WHERE id = ?"))?.query_row([id.0], summary).optional()
}

fn summary(row: &Row<'_>) -> rusqlite::Result<RequestSummary> {
    Ok(RequestSummary {
        id: RequestId(row.get(0)?),
        app: row.get(1)?,
        endpoint: row.get(2)?,
        request_id: row.get(3)?,
        key: row.get(4)?,
        task_id: row.get(5)?,
        state: state(row.get(6)?),
        begun_at: time(row.get(7)?),
        ended_at: row.get::<_, Option<i64>>(8)?.map(time),
    })
}
