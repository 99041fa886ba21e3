//! The connections to PostgreSQL, and the thread that drives them.

use std::fmt;
use std::time::Duration;

use deadpool_postgres::{
    Client, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, Timeouts,
};
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Config, Error, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::rustls::ClientConfig;

use crate::store::StoreError;

/// How long a question may take, the wait for a connection included.
const DEADLINE: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(3);
/// What each session is told. A process that stands still holds no lock for long; one that is gone is noticed.
const SESSION: &str = "SET search_path TO xinyao_gateway, public; SET statement_timeout = '8s'; \
     SET lock_timeout = '5s'; SET idle_in_transaction_session_timeout = '5s'; SET jit = off";

/// Connections, on a thread of their own: who asks waits for no other runtime, and outlives none.
pub(super) struct Database {
    pool: Pool,
    handle: Handle,
    /// The thread ends with it.
    _alive: mpsc::Sender<()>,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("pool", &self.pool.status()).finish_non_exhaustive()
    }
}

impl Database {
    /// Prepares to connect, and connects when somebody asks.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn new(config: Config, tls: Option<ClientConfig>, connections: usize) -> Result<Self, StoreError> {
        let failed = |error: &dyn fmt::Display| StoreError::Unavailable(format!("PostgreSQL: {error}"));
        let pool = pool(config, tls, connections).map_err(|error| failed(&error))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed(&error))?;
        let handle = runtime.handle().clone();
        let (alive, mut ended) = mpsc::channel::<()>(1);
        let serve = move || runtime.block_on(async move { _ = ended.recv().await });
        std::thread::Builder::new().name("postgres".into()).spawn(serve).map_err(|error| failed(&error))?;
        Ok(Self { pool, handle, _alive: alive })
    }

    /// Where tasks of the store run.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Has `work` done with a connection of its own. What takes too long loses its connection, since what is asked
    /// next must not wait behind it; whether it was done is then not known.
    pub async fn ask<T: Send + 'static>(
        &self,
        work: impl for<'c> FnOnce(&'c mut Client) -> BoxFuture<'c, Result<T, Error>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let pool = self.pool.clone();
        let (answer, answered) = oneshot::channel();
        self.handle.spawn(async move { answer.send(within(&pool, work).await).ok() });
        answered.await.map_err(|_| StoreError::Unavailable("the store is closed".into()))?
    }
}

async fn within<T>(
    pool: &Pool,
    work: impl for<'c> FnOnce(&'c mut Client) -> BoxFuture<'c, Result<T, Error>>,
) -> Result<T, StoreError> {
    let until = tokio::time::Instant::now() + DEADLINE;
    let late =
        || StoreError::Unavailable(format!("PostgreSQL did not answer within {} s", DEADLINE.as_secs()));
    // The pool's own timeouts leave out what a new connection is told first.
    let connected = tokio::time::timeout_at(until, pool.get()).await.map_err(|_| late())?;
    let mut client = connected.map_err(|error| unconnected(&error))?;
    match tokio::time::timeout_at(until, work(&mut client)).await {
        Ok(Err(error)) => {
            if error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION) {
                // It has become a standby: the next connection goes to who took its place.
                drop(Object::take(client));
            }
            Err(told(&error))
        }
        Ok(Ok(done)) => Ok(done),
        Err(_) => {
            drop(Object::take(client));
            Err(late())
        }
    }
}

fn pool(
    config: Config,
    tls: Option<ClientConfig>,
    connections: usize,
) -> Result<Pool, deadpool_postgres::BuildError> {
    let how = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = match tls.filter(|_| config.get_ssl_mode() != SslMode::Disable) {
        Some(tls) => Manager::from_config(config, MakeRustlsConnect::new(tls), how),
        None => Manager::from_config(config, NoTls, how),
    };
    let prepare = deadpool_postgres::Hook::async_fn(|client, _| {
        Box::pin(
            async move { client.batch_execute(SESSION).await.map_err(deadpool_postgres::HookError::Backend) },
        )
    });
    Pool::builder(manager)
        .max_size(connections)
        .runtime(Runtime::Tokio1)
        .timeouts(Timeouts { wait: Some(DEADLINE / 2), create: Some(CONNECT), recycle: Some(CONNECT) })
        .post_create(prepare)
        .build()
}

fn unconnected(error: &PoolError) -> StoreError {
    match error {
        PoolError::Backend(error) => told(error),
        PoolError::Timeout(_) => StoreError::Unavailable("no connection to PostgreSQL in time".into()),
        other => StoreError::Unavailable(format!("no connection to PostgreSQL: {other}")),
    }
}

/// What an error means for who asked.
pub(super) fn told(error: &Error) -> StoreError {
    let text = match error.as_db_error() {
        Some(said) => format!("PostgreSQL: {} ({})", said.message(), said.code().code()),
        None => format!("PostgreSQL: {}", chain(error)),
    };
    match error.code() {
        Some(&SqlState::DISK_FULL) => StoreError::Full(text),
        Some(&(SqlState::DATA_CORRUPTED | SqlState::INDEX_CORRUPTED)) => StoreError::Damaged(text),
        _ => StoreError::Unavailable(text),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
