//! Owns sockets and connections: binding, TLS handshakes, HTTP/1.1 and HTTP/2, their timeouts and
//! their end. Does not own requests.

use super::{
    app::App, app::Connection, certificate::Certificates, rest::router, strangers::Strangers,
};
use axum::{Extension, Router};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use rustls::{ServerConfig, crypto::ring, version::TLS13};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

const HANDSHAKE: Duration = Duration::from_secs(10);
/// Time for a request's header, and for an idle HTTP/1.1 connection.
const HEADER: Duration = Duration::from_secs(60);
/// Time that answers in progress get when the broker stops.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
const PING: Duration = Duration::from_secs(20);

/// Binds one address; `[::]` takes IPv4 as well, whatever the host's default is.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket =
        Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1_024)?;
    TcpListener::from_std(socket.into())
}

/// TLS 1.3 with the current certificate; HTTP/2 is offered.
pub(crate) fn tls(certificates: Arc<Certificates>) -> Result<TlsAcceptor, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Accepts connections until the broker stops.
pub(crate) struct Front {
    app: App,
    routes: Router,
    tls: TlsAcceptor,
    room: Arc<Semaphore>,
    strangers: Arc<Strangers>,
    tasks: TaskTracker,
}

impl Front {
    pub(crate) fn new(app: App, tls: TlsAcceptor, tasks: TaskTracker) -> Arc<Self> {
        let room = Arc::new(Semaphore::new(app.limits.connections));
        let strangers = Strangers::new(&app.limits);
        let routes = router(app.clone());
        Arc::new(Self { app, routes, tls, room, strangers, tasks })
    }

    pub(crate) async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.app.stopping.cancelled() => return,
            };
            let (stream, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors: what is open must end before this can go on.
                    tracing::warn!(%error, "connection not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
                tracing::warn!("too many connections, newest closed");
                continue;
            };
            let place = self.strangers.enter(from.ip(), Instant::now());
            let front = Arc::clone(&self);
            self.tasks.spawn(async move {
                front.app.metrics.connections.inc();
                let connection = Connection::default();
                tokio::select! {
                    () = front.serve(stream, connection.clone()) => {}
                    () = place.outstayed(connection.known) => {
                        tracing::debug!(%from, "connection closed on which nobody showed a token");
                    }
                }
                front.app.metrics.connections.dec();
                drop(permit);
            });
        }
    }

    async fn serve(&self, stream: TcpStream, connection: Connection) {
        let keepalive = TcpKeepalive::new().with_time(PING).with_interval(PING);
        let tuned = socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive);
        if let Err(error) = tuned.and_then(|()| stream.set_nodelay(true)) {
            tracing::debug!(%error, "connection not tuned");
        }
        let stream = match timeout(HANDSHAKE, self.tls.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "no TLS connection"),
            Err(_) => return tracing::debug!("TLS handshake took too long"),
        };
        let cut = connection.cut.clone();
        let routes = self.routes.clone().layer(Extension(connection));
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER).max_buf_size(64 << 10);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .max_concurrent_streams(1_024)
            .max_header_list_size(16 << 10);
        let service = TowerToHyperService::new(routes);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection broke");
                }
                return;
            }
            () = cut.cancelled() => return,
            () = self.app.stopping.cancelled() => {}
        }
        connection.as_mut().graceful_shutdown();
        // Whoever does not take the last answer in time loses it.
        let _ = timeout(LAST_ANSWERS, connection).await;
    }
}
