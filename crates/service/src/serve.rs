//! The server as a function: accept connections until told to stop, then drain.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::{
    app::App,
    batch::{economy, runner},
    config::Listen,
    http,
};

/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How old may be what is known of keys and projects: a revoked key is refused within a second.
const REFRESH_EVERY: Duration = Duration::from_millis(500);

/// How long an answer may outlive its time.
const FORGET_EVERY: Duration = Duration::from_secs(10);

/// How long connections may take to send what is left for them once every call has ended.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// The sockets that the service accepts on.
pub struct Listeners(Vec<TcpListener>);

impl Listeners {
    /// Binds the address, or both loopback addresses.
    pub async fn bind(listen: Listen) -> io::Result<Self> {
        let port = match listen {
            Listen::Address(address) => return Ok(Self(vec![TcpListener::bind(address).await?])),
            Listen::Localhost { port } => port,
        };
        let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let port = v4.local_addr()?.port();
        match TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await {
            Ok(v6) => Ok(Self(vec![v4, v6])),
            // A port that another program has on ::1 only would split the clients between us and it.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
            Err(_) => Ok(Self(vec![v4])),
        }
    }

    /// Where clients reach the service.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0[0].local_addr()
    }
}

/// Serves `app` until `shutdown` ends, then drains: no new connection is taken, running calls may finish within
/// `limits.drain_timeout`, after which each is ended with an error. Returns when every connection is closed.
pub async fn serve(app: Arc<App>, listeners: Listeners, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let port = listeners.address()?.port();
    let connections = Connections {
        router: http::router(Arc::clone(&app), port),
        open: Arc::new(Semaphore::new(app.limits().connections_max)),
        graceful: GracefulShutdown::new(),
    };
    app.spawn(keep_directory_fresh(Arc::clone(&app)));
    app.spawn(forget_expired(Arc::clone(&app)));
    app.spawn(runner::run(Arc::clone(&app), http::STORED_ITEMS));
    app.spawn(economy::run(Arc::clone(&app), http::STORED_ITEMS));
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            (permit, accepted) = connections.accept(&listeners) => match accepted {
                Ok(stream) => connections.spawn(stream, permit),
                Err(error) => back_off(&error).await,
            },
        }
    }
    drop(listeners);
    drain(&app, connections.graceful).await;
    Ok(())
}

/// Takes in, until shutdown, what other processes on the same store change of keys and projects.
async fn keep_directory_fresh(app: Arc<App>) {
    loop {
        tokio::select! {
            () = app.draining() => return,
            () = tokio::time::sleep(REFRESH_EVERY) => {}
        }
        if let Err(error) = app.refresh_directory().await {
            tracing::warn!(%error, "keys and projects could not be read; going on with those known");
        }
    }
}

/// Deletes, until shutdown, the answers whose time is over.
async fn forget_expired(app: Arc<App>) {
    loop {
        match app.store().forget_expired().await {
            Ok(0) => {}
            Ok(_) => continue,
            Err(error) => tracing::warn!(%error, "expired answers could not be deleted; trying again"),
        }
        tokio::select! {
            () = app.draining() => return,
            () = tokio::time::sleep(FORGET_EVERY) => {}
        }
    }
}

struct Connections {
    router: axum::Router,
    open: Arc<Semaphore>,
    graceful: GracefulShutdown,
}

impl Connections {
    /// The next connection, once there is room for one.
    async fn accept(&self, listeners: &Listeners) -> (OwnedSemaphorePermit, io::Result<TcpStream>) {
        let permit = Arc::clone(&self.open).acquire_owned().await.expect("the semaphore is never closed");
        let accepts = listeners.0.iter().map(|listener| Box::pin(listener.accept()));
        let (accepted, ..) = futures_util::future::select_all(accepts).await;
        (permit, accepted.map(|(stream, _)| stream))
    }

    fn spawn(&self, stream: TcpStream, permit: OwnedSemaphorePermit) {
        // Without it a small frame of a stream waits for the one before to be acknowledged.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY refused");
        }
        let service = TowerToHyperService::new(self.router.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        let watched = self.graceful.watch(connection);
        #[expect(clippy::disallowed_methods, reason = "`graceful` waits for connections")]
        tokio::spawn(async move {
            let _permit = permit;
            // How a connection ends is the client's affair.
            if let Err(error) = watched.await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
}

/// An error of `accept` that is not about one connection (no descriptor left, say) lasts: wait, or it spins.
async fn back_off(error: &io::Error) {
    let about_one_connection = matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    );
    if !about_one_connection {
        tracing::warn!(%error, "cannot accept connections; trying again");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn drain(app: &App, graceful: GracefulShutdown) {
    app.begin_drain();
    tracing::info!(open_calls = app.open_reservations().count(), "draining");
    let mut connections = pin!(graceful.shutdown());
    let mut all_closed = false;
    let mut time = pin!(tokio::time::sleep(app.limits().drain_timeout));
    loop {
        tokio::select! {
            // Prompts of a batch run on that nobody waits for.
            () = &mut connections, if !all_closed => all_closed = true,
            () = app.drained() => break,
            () = &mut time => {
                tracing::warn!(open_calls = app.open_reservations().count(), "the time to drain is over; ending what still runs");
                app.cut_off_calls();
                break;
            }
        }
    }
    // What is left is to be sent, and settled. A connection on which half a request has come is not waited for any longer.
    let rest = async {
        if !all_closed {
            connections.await;
        }
        app.drained().await;
    };
    if tokio::time::timeout(FLUSH_TIMEOUT, rest).await.is_err() {
        tracing::info!("closing connections whose clients neither send nor read");
    }
}
