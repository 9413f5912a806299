//! The operator's own door: a socket in the data folder, which the file system keeps others away from. Commands that manage
//! the service go through it while the service runs; while none runs, they take the folder and do the same in their own
//! process. So there is one way to manage, and a ledger is never written to by two.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body};
use http_body_util::BodyExt;
pub use hyper::Method;
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1 as client, server::conn::http1, service::Service};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::{UnixListener, UnixStream};

use crate::{
    app::App,
    call::Auto,
    config::{Config, ConfigError, Settings},
    http,
    store::{
        Store, StoreError,
        postgres::{self, Postgres},
        sqlite::{Options, Sqlite},
    },
};
use claude_code_api_wire::{ErrorBody, ErrorEnvelope};

fn socket(folder: &Path) -> PathBuf {
    folder.join("operator.sock")
}

/// Opens the door of a running service; it closes when the service drains. Whoever calls this has the data folder to himself.
///
/// # Errors
/// The folder does not take a socket, as when its path is longer than about 90 bytes.
pub fn open(app: &Arc<App>, folder: &Path) -> io::Result<()> {
    let path = socket(folder);
    // What stands there is of a process that has died, as the folder is ours.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    let serving = Arc::clone(app);
    app.spawn(async move {
        tokio::select! {
            () = serving.draining() => {}
            () = accept(&listener, &serving) => {}
        }
        // Who comes now is told that nobody is here.
        let _ = fs::remove_file(&path);
    });
    Ok(())
}

async fn accept(listener: &UnixListener, app: &Arc<App>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a command could not be let in");
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        let router = TowerToHyperService::new(http::operator_router(Arc::clone(app)));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), router);
        let app_of_task = Arc::clone(app);
        app.spawn(async move {
            tokio::select! {
                _ = connection => {}
                () = app_of_task.cut_off() => {}
            }
        });
    }
}

/// The operator, at the door of a running service or with the folder in hand.
pub struct Operator(Way);

enum Way {
    Door(PathBuf),
    Here(Router),
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The service has refused it.
    #[error("{}", .0.message)]
    Refused(Box<ErrorBody>),
    /// There is neither a service nor a folder to work on.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The service went away, or is not one.
    #[error("the service on this data folder does not answer: {0}")]
    Broken(String),
    /// The defaults do not hold together.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// A command takes no process for dead that has been silent for less than this: none, that is.
const JUDGES_NOBODY: Duration = Duration::from_hours(24);

impl Operator {
    /// The operator of what is kept in this database, else in this folder.
    ///
    /// # Errors
    /// The folder is in use by something that opens no door, or cannot be written to.
    pub async fn of(folder: &Path, database_url: Option<&SecretString>) -> Result<Self, OperatorError> {
        let path = socket(folder);
        let store: Arc<dyn Store> = match database_url {
            Some(url) => Arc::new(Postgres::open(url.expose_secret(), postgres::Options { ttl: JUDGES_NOBODY }).await?),
            None if UnixStream::connect(&path).await.is_ok() => return Ok(Self(Way::Door(path))),
            None => Arc::new(Sqlite::open(folder, Options::default())?),
        };
        let Config { limits, prices, auto, .. } = Config::from_settings(&Settings::default())?;
        let auto = Auto::open(&auto).expect("a test reads the router of this build");
        Ok(Self(Way::Here(http::operator_router(App::open(Vec::new(), store, limits, prices, auto).await?))))
    }

    /// Asks for something, and reads what comes.
    ///
    /// # Errors
    /// It was refused, in words for people; or nobody answered.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<T, OperatorError> {
        let body = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
        let request = Request::builder().method(method).uri(path).header("host", "localhost").body(Body::from(body));
        let request = request.map_err(broken)?;
        let (status, bytes) = match &self.0 {
            Way::Door(path) => through(path, request).await?,
            Way::Here(router) => {
                let response = TowerToHyperService::new(router.clone()).call(request).await.map_err(broken)?;
                (response.status(), response.into_body().collect().await.map_err(broken)?.to_bytes())
            }
        };
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(broken);
        }
        let refused: ErrorEnvelope = serde_json::from_slice(&bytes).map_err(broken)?;
        Err(OperatorError::Refused(Box::new(refused.error)))
    }
}

async fn through(path: &Path, request: Request<Body>) -> Result<(StatusCode, Bytes), OperatorError> {
    let stream = UnixStream::connect(path).await.map_err(broken)?;
    let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        Ok((response.status(), response.into_body().collect().await.map_err(broken)?.to_bytes()))
    };
    let (answered, ended) = tokio::join!(exchange, connection);
    answered.or_else(|error| ended.map_err(broken).and(Err(error)))
}

fn broken(error: impl std::fmt::Display) -> OperatorError {
    OperatorError::Broken(error.to_string())
}
