//! Callback addresses that apps name in their tasks: what one replica registers, the others see at their next renewal.

use deadpool_postgres::{Client, GenericClient};
use tokio_postgres::Error;

use super::PostgresStore;
use super::schema::TEAM_URLS;
use crate::store::log::record::{nanos, time};
use crate::store::{Answer, StoreError, TeamUrl, TeamUrls, too_many};

pub(super) const TABLES: &str = "
CREATE TABLE team_url (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, app text NOT NULL, url text NOT NULL, since bigint NOT NULL,
  UNIQUE (app, url));
";

async fn all(client: &impl GenericClient) -> Result<Vec<TeamUrl>, Error> {
    let all = client.prepare_cached("SELECT app, url, since FROM team_url ORDER BY id").await?;
    let rows = client.query(&all, &[]).await?;
    let one =
        |row: &tokio_postgres::Row| TeamUrl { app: row.get(0), url: row.get(1), since: time(row.get(2)) };
    Ok(rows.iter().map(one).collect())
}

/// Keeps one, unless there are too many: how many.
async fn keep(client: &mut Client, one: TeamUrl) -> Result<Option<String>, Error> {
    let transaction = client.transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&TEAM_URLS]).await?;
    let known = all(&transaction).await?;
    if known.iter().any(|known| known.app == one.app && known.url == one.url) {
        return Ok(None);
    }
    if let Some(many) = too_many(&known, &one.app) {
        return Ok(Some(many));
    }
    let kept = "INSERT INTO team_url (app, url, since) VALUES ($1, $2, $3)";
    transaction.execute(kept, &[&one.app, &one.url, &nanos(one.since)]).await?;
    transaction.execute(CHANGED, &[]).await?;
    transaction.commit().await?;
    Ok(None)
}

async fn forget(client: &mut Client, app: String, url: String) -> Result<(), Error> {
    let transaction = client.transaction().await?;
    transaction.execute("DELETE FROM team_url WHERE app = $1 AND url = $2", &[&app, &url]).await?;
    transaction.execute(CHANGED, &[]).await?;
    transaction.commit().await
}

const CHANGED: &str = "UPDATE control SET generation = generation + 1";

impl TeamUrls for PostgresStore {
    fn team_urls(&self) -> Answer<'_, Vec<TeamUrl>> {
        Box::pin(self.database.ask(|client| Box::pin(async move { all(&*client).await })))
    }

    fn keep_team_url(&self, team_url: TeamUrl) -> Answer<'_, ()> {
        Box::pin(async move {
            self.answering()?;
            #[cfg(test)]
            self.room.check(0)?;
            let many = self.database.ask(move |client| Box::pin(keep(client, team_url))).await?;
            many.map_or(Ok(()), |many| Err(StoreError::Full(many)))
        })
    }

    fn forget_team_url(&self, app: String, url: String) -> Answer<'_, ()> {
        Box::pin(self.database.ask(move |client| Box::pin(forget(client, app, url))))
    }
}
