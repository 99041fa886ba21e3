//! The connection to Redis, and the scripts that run there.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, IntoConnectionInfo, Pipeline,
    RedisConnectionInfo, RedisError, ServerErrorKind,
};
use secrecy::ExposeSecret;

use super::draw::Strange;
use crate::proxy::settings::SharedLimitSettings;

/// To a connection that scripts can be run on.
const CONNECT: Duration = Duration::from_secs(1);

/// The scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// Draws from rate limits.
    Rates,
    /// Leases slots.
    Slots,
    /// Draws from `limits.global`.
    Global,
}

impl Script {
    const ALL: [Self; 3] = [Self::Rates, Self::Slots, Self::Global];

    fn text(self) -> &'static str {
        match self {
            Self::Rates => include_str!("rates.lua"),
            Self::Slots => include_str!("slots.lua"),
            Self::Global => include_str!("global.lua"),
        }
    }
}

/// Why Redis can't be asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It says so, or it can't be reached.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// It takes longer than `limits.shared.timeout`.
    #[error("no answer within {} ms (limits.shared.timeout)", .0.as_millis())]
    Slow(Duration),
    /// It answers something else than was asked.
    #[error(transparent)]
    Strange(#[from] Strange),
}

/// A connection with the scripts loaded.
pub struct Link {
    connection: MultiplexedConnection,
    digests: [String; Script::ALL.len()],
    timeout: Duration,
}

/// What was answered to one command.
type Answer = Result<Vec<i64>, RedisError>;

impl Link {
    /// Connects, and loads the scripts.
    ///
    /// # Errors
    /// Redis can't be reached, wants another password, or is too slow.
    pub async fn connect(settings: &SharedLimitSettings) -> Result<Self, Failure> {
        let client = Client::open(info(settings)?)?;
        // Deadlines are kept here: the crate's own is half a second.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(CONNECT));
        let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut link = Self { connection, digests: Default::default(), timeout: settings.timeout };
        link.load().await?;
        Ok(link)
    }

    async fn load(&mut self) -> Result<(), Failure> {
        for script in Script::ALL {
            let mut load = redis::cmd("SCRIPT");
            load.arg("LOAD").arg(script.text());
            let loading = load.query_async(&mut self.connection);
            let digest = tokio::time::timeout(self.timeout, loading).await;
            self.digests[script as usize] = digest.map_err(|_| Failure::Slow(self.timeout))??;
        }
        Ok(())
    }

    /// What [`call`](Self::call) names this script by.
    pub fn digest(&self, script: Script) -> &str {
        &self.digests[script as usize]
    }

    /// Runs these commands in one round trip. Scripts that Redis has forgotten are loaded, and run then.
    ///
    /// # Errors
    /// Redis does not answer in time, or says no to one of them.
    pub async fn call(&mut self, commands: &[Cmd]) -> Result<Vec<Vec<i64>>, Failure> {
        let mut answers = self.send(commands.iter()).await?;
        if answers.iter().any(is_forgotten) {
            self.load().await?;
            let again = commands.iter().zip(&answers).filter(|(_, answer)| is_forgotten(answer));
            let mut again = self.send(again.map(|(command, _)| command)).await?.into_iter();
            for answer in answers.iter_mut().filter(|answer| is_forgotten(answer)) {
                *answer = again.next().ok_or(Strange)?;
            }
        }
        Ok(answers.into_iter().collect::<Result<_, _>>()?)
    }

    async fn send(&mut self, commands: impl Iterator<Item = &Cmd>) -> Result<Vec<Answer>, Failure> {
        let mut pipeline = Pipeline::new();
        for command in commands {
            pipeline.add_command(command.clone());
        }
        let answering = pipeline.ignore_errors().query_async::<Vec<Answer>>(&mut self.connection);
        let answers = tokio::time::timeout(self.timeout, answering).await;
        Ok(answers.map_err(|_| Failure::Slow(self.timeout))??)
    }
}

fn is_forgotten(answer: &Answer) -> bool {
    let forgotten = ErrorKind::Server(ServerErrorKind::NoScript);
    answer.as_ref().is_err_and(|error| error.kind() == forgotten)
}

fn info(settings: &SharedLimitSettings) -> Result<redis::ConnectionInfo, RedisError> {
    let url = &settings.url;
    let address = if url.tls {
        ConnectionAddr::TcpTls { host: url.host.clone(), port: url.port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(url.host.clone(), url.port)
    };
    let mut login = RedisConnectionInfo::default().set_db(url.database.into());
    if let Some(user) = &url.user {
        login = login.set_username(user);
    }
    if let Some(password) = &url.password {
        login = login.set_password(password.expose_secret());
    }
    Ok(address.into_connection_info()?.set_redis_settings(login))
}
