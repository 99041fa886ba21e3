//! Callback addresses that apps name in their tasks.

use rusqlite::Connection;

use crate::store::log::record::{nanos, time};
use crate::store::{StoreError, TeamUrl, too_many};

pub(super) const TABLE: &str = "
CREATE TABLE IF NOT EXISTS team_url (
  id INTEGER PRIMARY KEY AUTOINCREMENT, app TEXT NOT NULL, url TEXT NOT NULL, since INTEGER NOT NULL,
  UNIQUE (app, url));
";

pub(in crate::store) fn all(connection: &Connection) -> rusqlite::Result<Vec<TeamUrl>> {
    let mut statement = connection.prepare_cached("SELECT app, url, since FROM team_url ORDER BY id")?;
    let rows = statement
        .query_map([], |row| Ok(TeamUrl { app: row.get(0)?, url: row.get(1)?, since: time(row.get(2)?) }))?;
    rows.collect()
}

pub(in crate::store) fn keep(connection: &Connection, one: &TeamUrl) -> Result<(), StoreError> {
    let told = |error| super::told(&error);
    let known = all(connection).map_err(told)?;
    if known.iter().any(|known| known.app == one.app && known.url == one.url) {
        return Ok(());
    }
    if let Some(many) = too_many(&known, &one.app) {
        return Err(StoreError::Full(many));
    }
    let mut statement =
        connection.prepare_cached("INSERT INTO team_url (app, url, since) VALUES (?, ?, ?)").map_err(told)?;
    statement.execute((&one.app, &one.url, nanos(one.since))).map(drop).map_err(told)
}

pub(in crate::store) fn forget(connection: &Connection, app: &str, url: &str) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("DELETE FROM team_url WHERE app = ? AND url = ?")?;
    statement.execute((app, url)).map(drop)
}
