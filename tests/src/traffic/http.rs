//! Owns an HTTP server that answers who it saw, and the client that asks it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::extract::ConnectInfo;
use axum::{Json, Router};
use http_body_util::{BodyExt, Empty};
use hyper::Uri;
use hyper::body::Bytes;
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

/// The body of a URL, by a connection of its own.
///
/// # Errors
/// No answer within `timeout`, or one that is not a success.
pub async fn fetch(url: Uri, timeout: Duration) -> Result<String> {
    let client: Client<_, Empty<Bytes>> =
        Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    let exchange = async {
        let response = client.get(url.clone()).await.with_context(|| format!("get {url}"))?;
        let status = response.status();
        let body = response.into_body().collect().await.with_context(|| format!("read {url}"))?;
        if !status.is_success() {
            bail!("{url}: {status}");
        }
        Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
    };
    tokio::time::timeout(timeout, exchange)
        .await
        .with_context(|| format!("{url}: no answer within {timeout:?}"))?
}
