//! Owns an HTTP server that answers who it saw, and the client that asks it.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::{Json, Router};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::{StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;

use crate::traffic::report::HttpAnswer;

/// Answers every request with an [`HttpAnswer`], until killed.
///
/// # Errors
/// The address cannot be bound.
pub async fn serve(listen: SocketAddr) -> io::Result<()> {
    let server = nix::unistd::gethostname()?.to_string_lossy().into_owned();
    let answer = move |ConnectInfo(peer): ConnectInfo<SocketAddr>| {
        let answer = HttpAnswer { peer: peer.ip().to_canonical(), server: server.clone() };
        async move { Json(answer) }
    };
    let listener = TcpListener::bind(listen).await?;
    println!("listening on {}", listener.local_addr()?);
    let router = Router::new().fallback(answer);
    axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>()).await
}

/// Why there is no body.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No connection, or one that broke before the answer.
    #[error("{url}: {cause}")]
    Connection {
        /// What was asked for.
        url: Uri,
        /// What the client says, with its causes.
        cause: String,
    },
    /// An answer that is not a success.
    #[error("{url}: {status}")]
    Status {
        /// What was asked for.
        url: Uri,
        /// What the server said.
        status: StatusCode,
    },
    /// Retrying may help.
    #[error("{url}: no answer within {after:?}")]
    Timeout {
        /// What was asked for.
        url: Uri,
        /// How long was waited.
        after: Duration,
    },
}

/// The body of a URL, by a connection of its own.
///
/// # Errors
/// No answer within `timeout`, or one that is not a success.
pub async fn fetch(url: Uri, timeout: Duration) -> Result<String, FetchError> {
    let exchange = tokio::time::timeout(timeout, exchange(url.clone())).await;
    exchange.unwrap_or(Err(FetchError::Timeout { url, after: timeout }))
}

async fn exchange(url: Uri) -> Result<String, FetchError> {
    let client: Client<_, Empty<Bytes>> =
        Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    let broken =
        |error: &dyn Error| FetchError::Connection { url: url.clone(), cause: chain(error) };
    let response = client.get(url.clone()).await.map_err(|error| broken(&error))?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|error| broken(&error))?;
    if !status.is_success() {
        return Err(FetchError::Status { url, status });
    }
    Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
}

/// An error with all its causes: the client's own text ends before "connection refused".
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
