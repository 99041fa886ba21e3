//! Which numbers of a batch have no call record.

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::part::{Line, lines};
use crate::store::{
    BatchRecord, Ledger, MAX_REPEATS, Missing, MissingNumber, SentNumbers, StoreError, Unseen,
};

/// One batch is looked at at a time: a large one takes some 20 MiB.
static TURN: Semaphore = Semaphore::const_new(1);

/// What of `batch` is missing: the first `limit` numbers behind row `after`; or why nobody can say.
///
/// # Errors
/// The store can't be read.
pub async fn missing(
    ledger: &dyn Ledger,
    batch: &BatchRecord,
    after: u32,
    limit: usize,
) -> Result<Result<Missing, Unseen>, StoreError> {
    let (app, call_sn) = (&batch.told.app, &batch.told.call_sn);
    let _turn = TURN.acquire().await;
    let sent = match ledger.sent(app, call_sn).await? {
        Ok(sent) => sent,
        Err(unseen) => return Ok(Err(unseen)),
    };
    let parts = ledger.batch_parts(app, call_sn).await?;
    let reconciling = tokio::task::spawn_blocking(move || reconcile(&sent, parts, after, limit)).await;
    let cut_off = |error| StoreError::Unavailable(format!("the batch was not looked through: {error}"));
    reconciling.map(Ok).map_err(cut_off)
}

/// A recall makes another call of the same number, and what is told twice makes none: numbers count once.
fn reconcile(sent: &SentNumbers, parts: Vec<Bytes>, after: u32, limit: usize) -> Missing {
    let returned = returned(parts);
    let mut numbers: Vec<(u64, u32)> = sent.iter().map(|(row, digest)| (digest, row)).collect();
    numbers.sort_unstable();
    let same = || numbers.chunk_by(|(one, _), (other, _)| one == other);
    let distinct = same().count();
    let mut missing: Vec<_> = same().filter(|rows| returned.binary_search(&rows[0].0).is_err()).collect();
    missing.sort_unstable_by_key(|rows| rows[0].1);
    let back = distinct - missing.len();
    let behind = &missing[missing.partition_point(|rows| rows[0].1 <= after)..];
    Missing {
        sent: numbers.len() as u64,
        distinct: distinct as u64,
        missing: missing.len() as u64,
        unexpected: (returned.len() - back) as u64,
        page: behind.iter().take(limit).map(|rows| number(rows)).collect(),
        more: behind.len() > limit,
    }
}

fn number(rows: &[(u64, u32)]) -> MissingNumber {
    let mut rows = rows.iter().map(|(_, row)| *row);
    MissingNumber { row: rows.next().unwrap_or_default(), repeats: rows.take(MAX_REPEATS).collect() }
}

/// The numbers that have a call record, each once, in order.
fn returned(parts: Vec<Bytes>) -> Vec<u64> {
    let calls = parts.iter().flat_map(|part| lines(part)).filter_map(|line| match line {
        Line::Call { num, .. } => Some(num),
        Line::Degree { .. } => None,
    });
    let mut numbers: Vec<u64> = calls.collect();
    drop(parts);
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

#[cfg(test)]
mod tests;
