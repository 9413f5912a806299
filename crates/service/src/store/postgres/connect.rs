//! Connections: how one is made, and what is prepared on it.

use std::{
    collections::BTreeMap,
    str::FromStr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rustls::ClientConfig;
use tokio_postgres::{Client, Config, Error, Row, Statement, types::ToSql};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{store::StoreError, tls};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// And with TLS, its user and its settings: a server that takes it may say nothing.
const USABLE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the server may be silent before the connection counts as broken.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// How long the server lets a transaction wait for its client, which may be gone or stand still: it holds locks meanwhile that
/// everybody waits for.
const IDLE_IN_TRANSACTION_MAX: Duration = Duration::from_secs(5);

/// How long a lock may be waited for, by whoever: longer than the server needs to end who holds it and stands still.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(10);

/// The schema that everything is in, so that the database may hold other things.
pub(super) const SCHEMA: &str = "claude_code_api";

pub(super) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// How to reach the database.
pub(super) struct Connector {
    config: Config,
    tls: MakeRustlsConnect,
    /// What is set on each connection.
    settings: String,
}

impl Connector {
    /// From `postgres://user:password@host/database`, for a process that may be silent for `ttl`.
    pub(super) fn new(url: &str, ttl: Duration) -> Result<Self, StoreError> {
        let malformed = |cause: String| {
            StoreError::Unusable(format!(
                "database_url takes postgres://user:password@host/database, with ?sslmode=disable where there is no TLS: {cause}"
            ))
        };
        let mut config = Config::from_str(url).map_err(|error| malformed(reason(&error)))?;
        if config.get_hosts().is_empty() {
            return Err(malformed("it names no host".to_owned()));
        }
        config.application_name("claude-code-api").keepalives_idle(SILENCE_MAX).tcp_user_timeout(SILENCE_MAX);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        let settings = format!(
            "set search_path to {SCHEMA}; set synchronous_commit to on;
             set idle_in_transaction_session_timeout to {}; set lock_timeout to {}",
            IDLE_IN_TRANSACTION_MAX.min(ttl).as_millis(),
            LOCK_WAIT_MAX.as_millis()
        );
        Ok(Self { config, tls: MakeRustlsConnect::new(tls()?), settings })
    }

    /// # Errors
    /// Why there is none, in words.
    pub(super) async fn connect(&self) -> Result<Connection, String> {
        match tokio::time::timeout(USABLE_TIMEOUT, self.connected()).await {
            Ok(connected) => connected.map_err(|error| reason(&error)),
            Err(_) => {
                Err(format!("a connection came about, and could not be used within {} s", USABLE_TIMEOUT.as_secs()))
            }
        }
    }

    async fn connected(&self) -> Result<Connection, Error> {
        let (client, connection) = self.config.connect(self.tls.clone()).await?;
        #[expect(clippy::disallowed_methods, reason = "it ends with its client")]
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the database has ended");
            }
        });
        client.batch_execute(&self.settings).await?;
        Ok(Connection { client, statements: Mutex::default() })
    }
}

fn tls() -> Result<ClientConfig, StoreError> {
    tls::config().map_err(|error| StoreError::Unusable(format!("TLS to the database: {error}")))
}

/// One connection. What is asked on it without waiting for answers is done in order.
pub(super) struct Connection {
    client: Client,
    statements: Mutex<BTreeMap<&'static str, Statement>>,
}

impl Connection {
    /// Prepares what is asked again and again. Only what is prepared is sent in the order in which it was asked for.
    pub(super) async fn prepare(&self, all: &[&'static str]) -> Result<(), Error> {
        for sql in all {
            self.statement(sql).await?;
        }
        Ok(())
    }

    async fn statement(&self, sql: &'static str) -> Result<Statement, Error> {
        let known = self.statements.lock().unwrap_or_else(PoisonError::into_inner).get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.client.prepare(sql).await?;
        self.statements.lock().unwrap_or_else(PoisonError::into_inner).insert(sql, statement.clone());
        Ok(statement)
    }

    pub(super) async fn query(&self, sql: &'static str, params: Params<'_>) -> Result<Vec<Row>, Error> {
        self.client.query(&self.statement(sql).await?, params).await
    }

    /// The first row, if there is one.
    pub(super) async fn first(&self, sql: &'static str, params: Params<'_>) -> Result<Option<Row>, Error> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }

    /// How many rows it concerned.
    pub(super) async fn execute(&self, sql: &'static str, params: Params<'_>) -> Result<u64, Error> {
        self.client.execute(&self.statement(sql).await?, params).await
    }

    /// Statements without parameters or answers.
    pub(super) async fn run(&self, sql: &str) -> Result<(), Error> {
        self.client.batch_execute(sql).await
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}

/// The reason in an error, which by itself says only where it came from.
pub(super) fn reason(error: &Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| (*cause).source());
    causes.last().map_or_else(|| error.to_string(), ToString::to_string)
}

pub(super) fn failed(error: &Error) -> StoreError {
    StoreError::Failed(reason(error))
}
