//! The HTTP/1.1 server that services run in: its clients can hold only so many connections, and each only for
//! so long without asking for anything; and the page of numbers that each of them shows. It knows nothing of what is
//! served.

mod files;
pub mod metrics;

pub use files::raise_file_limit;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// How long to wait when no connection can be accepted, for want of file descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// What connections may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at once; more wait to be accepted.
    pub connections: usize,
    /// Time from the start of a connection, or the end of an answer, until the next request's head is whole. Bodies
    /// are for whoever reads them to bound.
    pub head: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { connections: 8_192, head: Duration::from_secs(30) }
    }
}

/// Serves until told to stop, with `ConnectInfo` of the peer in every request, then waits for the answers that are under way.
pub async fn serve(listener: TcpListener, router: Router, bounds: Bounds, stop: CancellationToken) {
    files::check(bounds.connections);
    let mut server = Builder::new(TokioExecutor::new()).http1_only();
    server.http1().timer(TokioTimer::new()).header_read_timeout(bounds.head);
    let places = Arc::new(Semaphore::new(bounds.connections));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = stop.cancelled() => break,
        };
        // None: the bound is never closed.
        let Some((stream, peer, place)) = accepted else { break };
        connections.spawn(hold(server.clone(), stream, peer, place, router.clone(), stop.clone()));
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// The next connection, once there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return Some((stream, peer, place)),
            // Gone before it was accepted.
            Err(error)
                if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
            Err(error) => {
                tracing::error!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection to its end.
async fn hold(
    server: Builder<TokioExecutor>,
    stream: TcpStream,
    peer: SocketAddr,
    _place: OwnedSemaphorePermit,
    router: Router,
    stop: CancellationToken,
) {
    // Small frames must not wait for each other.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let service = router.map_request(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request
    });
    let mut connection =
        pin!(server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)));
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection broke");
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinHandle;

    const ASK: &[u8] = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n";
    /// Longest wait for what must come, and the wait for what must not.
    const PATIENCE: Duration = Duration::from_secs(60);
    const MOMENT: Duration = Duration::from_millis(100);

    struct Server {
        addr: SocketAddr,
        stop: CancellationToken,
        task: JoinHandle<()>,
    }

    async fn start(bounds: Bounds) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(|| async { "hello" }));
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(listener, router, bounds, stop.clone()));
        Server { addr, stop, task }
    }

    async fn answer(stream: &mut TcpStream) -> String {
        let mut read = Vec::new();
        while !read.ends_with(b"hello") {
            assert!(stream.read_buf(&mut read).await.unwrap() > 0, "closed");
        }
        String::from_utf8(read).unwrap()
    }

    async fn closed(stream: &mut TcpStream) {
        let mut rest = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
        assert!(!rest.ends_with(b"hello"));
    }

    #[tokio::test]
    async fn a_connection_that_asks_nothing_is_closed() {
        let server = start(Bounds { head: MOMENT, ..Bounds::default() }).await;
        let mut silent = TcpStream::connect(server.addr).await.unwrap();
        let mut halting = TcpStream::connect(server.addr).await.unwrap();
        halting.write_all(&ASK[..20]).await.unwrap();
        let mut idle = TcpStream::connect(server.addr).await.unwrap();
        idle.write_all(ASK).await.unwrap();
        answer(&mut idle).await;
        for stream in [&mut silent, &mut halting, &mut idle] {
            closed(stream).await;
        }
    }

    #[tokio::test]
    async fn connections_beyond_the_bound_wait() {
        let server = start(Bounds { connections: 1, ..Bounds::default() }).await;
        let mut first = TcpStream::connect(server.addr).await.unwrap();
        first.write_all(ASK).await.unwrap();
        answer(&mut first).await;
        let mut second = TcpStream::connect(server.addr).await.unwrap();
        second.write_all(ASK).await.unwrap();
        assert!(tokio::time::timeout(MOMENT, answer(&mut second)).await.is_err());
        drop(first);
        tokio::time::timeout(PATIENCE, answer(&mut second)).await.unwrap();
    }

    #[tokio::test]
    async fn stopping_closes_what_is_idle_and_ends() {
        let server = start(Bounds::default()).await;
        let mut idle = TcpStream::connect(server.addr).await.unwrap();
        idle.write_all(ASK).await.unwrap();
        answer(&mut idle).await;
        server.stop.cancel();
        closed(&mut idle).await;
        tokio::time::timeout(PATIENCE, server.task).await.unwrap().unwrap();
    }
}
