//! The index, and everything small: a SQLite file behind the log.
//!
//! One thread writes it ([`work`]). It follows the log and takes its events in ([`events`]), writes down what
//! came of deliveries ([`settle`]), does what operators ask for ([`operate`]) and lets go what is too old
//! ([`expire`]). What it writes together is one transaction, and each transaction says how far it has come
//! in the log, so that after a crash it goes on exactly there. How subscribers stand is in memory too
//! ([`shared`]): following the log reads no table. Questions go to connections of their own ([`readers`],
//! [`query`]). `sqlite3` can read the file while the gateway runs; [`schema`] says what is in it.

mod clock;
pub(super) mod events;
mod expire;
pub(super) mod ledger;
mod link;
pub(super) mod once;
mod operate;
mod query;
mod readers;
pub(super) mod schema;
mod settle;
pub(super) mod shared;
pub(super) mod team_url;
mod work;

pub(super) use self::link::{Link, MAX_BEHIND};
pub(super) use self::query::Questions;
pub(super) use self::readers::Readers;
pub(super) use self::settle::{find, unreadable};
pub(super) use self::shared::Shared;
pub(super) use self::work::{Command, Outcomes, Work};

use super::StoreError;

/// What SQLite says, as others understand it.
pub(super) fn told(error: &rusqlite::Error) -> StoreError {
    use rusqlite::ErrorCode;
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full("the disk is full".into()),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            StoreError::Damaged(format!("the index: {error}"))
        }
        _ => StoreError::Unavailable(format!("the index: {error}")),
    }
}
