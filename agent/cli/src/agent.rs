//! Owns the way to the agent of this host: HTTP over its unix socket. Knows no document's meaning.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use sealane_view::admin;
use sealane_view::error::ErrorDocument;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The agent gives up on its own questions after 120 s; its answer must still arrive.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(130);
const LARGEST_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Where the agent is.
#[derive(Debug, Clone, Args)]
pub struct AgentArgs {
    /// Admin socket of the agent.
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "SEALANE_SOCKET",
        default_value = admin::SOCKET
    )]
    pub socket: PathBuf,
}

/// Why the agent gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody answers on the socket.
    #[error("agent at {}: {cause}", socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// What came back is not an answer of this version's agent.
    #[error("agent at {}: {cause}", socket.display())]
    Garbled {
        /// The socket.
        socket: PathBuf,
        /// What is wrong with the answer.
        cause: String,
    },
    /// The agent said no.
    #[error("{}: {}", document.message, document.cause)]
    Refused {
        /// HTTP status: 422 the request, 409 the agent's state, 502 something outside.
        status: StatusCode,
        /// Its words.
        document: ErrorDocument,
    },
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Unreachable { ref socket, ref cause } => {
                let next = match cause.kind() {
                    io::ErrorKind::PermissionDenied => "run it as root",
                    _ => {
                        "start it with systemctl start sealane-agent, or name its socket with --socket"
                    }
                };
                let what = format!("agent at {}", socket.display());
                Self::new(Exit::NoAgent, what, cause).next(next)
            }
            AskError::Garbled { .. } => Self::new(Exit::NoAgent, &error, "")
                .next("bring sealane and sealane-agent to the same version"),
            AskError::Refused { status, document } => {
                let exit = match status {
                    StatusCode::BAD_GATEWAY => Exit::NoBroker,
                    _ => Exit::NotWorking,
                };
                Self::new(exit, document.message, document.cause).next(document.next)
            }
        }
    }
}

impl AgentArgs {
    /// Reads a document.
    pub async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, AskError> {
        self.call(Method::GET, path, Zeroizing::default()).await
    }

    /// Asks for something.
    pub async fn ask<Q: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        question: &Q,
    ) -> Result<T, AskError> {
        let body = serde_json::to_vec(question).map_err(|error| self.garbled(error))?;
        self.call(Method::POST, path, Zeroizing::new(body)).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Zeroizing<Vec<u8>>,
    ) -> Result<T, AskError> {
        let exchange = tokio::time::timeout(ANSWER_TIMEOUT, self.exchange(method, path, body));
        let (status, bytes) = exchange
            .await
            .unwrap_or_else(|_| Err(self.unreachable(io::ErrorKind::TimedOut.into())))?;
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|error| self.garbled(error));
        }
        match serde_json::from_slice(&bytes) {
            Ok(document) => Err(AskError::Refused { status, document }),
            Err(_) => Err(self.garbled(format!("it answers {status} on {path}"))),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Zeroizing<Vec<u8>>,
    ) -> Result<(StatusCode, Bytes), AskError> {
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, UnixStream::connect(&self.socket));
        let stream = connecting
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|cause| self.unreachable(cause))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.garbled(error))?;
        // The connection ends with the sender; what went wrong on it is told to the request.
        tokio::spawn(async move { drop(connection.await) });
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from_owner(body)))
            .map_err(|error| self.garbled(error))?;
        let answer = sender.send_request(request).await.map_err(|error| self.garbled(error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LARGEST_ANSWER_BYTES);
        let bytes = body.collect().await.map_err(|error| self.garbled(error))?.to_bytes();
        Ok((status, bytes))
    }

    fn unreachable(&self, cause: io::Error) -> AskError {
        AskError::Unreachable { socket: self.socket.clone(), cause }
    }

    fn garbled(&self, cause: impl ToString) -> AskError {
        AskError::Garbled { socket: self.socket.clone(), cause: cause.to_string() }
    }
}
