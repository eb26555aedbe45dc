//! Owns the admin socket: HTTP over a unix socket, mode 0600, each request an [`Ask`] to the loop.
//! Answers nothing by itself but `/healthz`.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, extract::DefaultBodyLimit};
use sealane_view::admin as paths;
use sealane_view::error::ErrorDocument;
use sealane_view::membership::{JoinRequest, LeaveRequest};
use sealane_view::ping::PingRequest;
use sealane_view::trace::TraceRequest;
use serde_json::Value;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

/// Longest wait for the loop: leaving and pings take seconds, everything else milliseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// A token is below 2 KiB, a request far below this.
const LARGEST_REQUEST_BYTES: usize = 64 * 1024;

/// What may be asked.
pub enum Question {
    /// The status document.
    Status,
    /// Lanes and legs.
    Peers,
    /// Remote prefixes.
    Routes,
    /// All facts.
    World,
    /// The host as it should be.
    Plan,
    /// The fate of a packet.
    Trace(TraceRequest),
    /// Round trips.
    Ping(PingRequest),
    /// Become a member.
    Join(JoinRequest),
    /// Leave.
    Leave(LeaveRequest),
}

/// A JSON document, or why there is none.
pub type Answer = Result<Value, Refusal>;

/// Why a request was not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Whose fault it is.
    pub fault: Fault,
    /// What people read.
    pub document: ErrorDocument,
}

/// Whose fault a refusal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The request cannot be served as it stands.
    Request,
    /// The agent is not in a state to serve it.
    State,
    /// Something outside did not answer.
    Outside,
}

/// A question and the way back.
pub struct Ask {
    /// What is asked.
    pub question: Question,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Answer>,
}

impl Refusal {
    /// Says no, in the three parts that an error has.
    pub fn new(fault: Fault, message: &str, cause: impl ToString, next: &str) -> Self {
        let document = ErrorDocument {
            message: message.to_owned(),
            cause: cause.to_string(),
            next: next.to_owned(),
        };
        Self { fault, document }
    }
}

/// The socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Another agent answers there.
    #[error("{}: another sealane-agent runs on this host; stop that one first", path.display())]
    Taken {
        /// The socket.
        path: PathBuf,
    },
    /// The socket cannot be made.
    #[error("{}: {cause}; choose another with paths.socket", path.display())]
    Unusable {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
}

/// Opens the socket; one left by a dead agent is replaced.
///
/// # Errors
/// [`AdminError`] when another agent owns it or it cannot be made.
pub async fn open(path: &Path) -> Result<UnixListener, AdminError> {
    let unusable = |cause| AdminError::Unusable { path: path.to_owned(), cause };
    if UnixStream::connect(path).await.is_ok() {
        return Err(AdminError::Taken { path: path.to_owned() });
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(unusable)?;
    }
    match std::fs::remove_file(path) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => return Err(unusable(cause)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(unusable)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(unusable)?;
    Ok(listener)
}

/// Serves the socket until the process ends.
pub async fn serve(listener: UnixListener, asks: mpsc::Sender<Ask>) {
    let app = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route(paths::STATUS, get(|State(asks)| ask(asks, Question::Status)))
        .route(paths::PEERS, get(|State(asks)| ask(asks, Question::Peers)))
        .route(paths::ROUTES, get(|State(asks)| ask(asks, Question::Routes)))
        .route(paths::WORLD, get(|State(asks)| ask(asks, Question::World)))
        .route(paths::PLAN, get(|State(asks)| ask(asks, Question::Plan)))
        .route(paths::TRACE, post(|State(a), Json(r)| ask(a, Question::Trace(r))))
        .route(paths::PING, post(|State(a), Json(r)| ask(a, Question::Ping(r))))
        .route(paths::JOIN, post(|State(a), Json(r)| ask(a, Question::Join(r))))
        .route(paths::LEAVE, post(|State(a), Json(r)| ask(a, Question::Leave(r))))
        .layer(DefaultBodyLimit::max(LARGEST_REQUEST_BYTES))
        .with_state(asks);
    if let Err(error) = axum::serve(listener, app).await {
        tracing::error!(%error, "admin socket closed");
    }
}

async fn ask(asks: mpsc::Sender<Ask>, question: Question) -> Response {
    let (reply, answer) = oneshot::channel();
    let asked = asks.send(Ask { question, reply }).await.is_ok();
    let answer = match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(Ok(answer)) if asked => answer,
        _ => Err(Refusal::new(
            Fault::State,
            "no answer from the agent's loop",
            "it is stopping or stuck",
            "look at its log: journalctl -u sealane-agent",
        )),
    };
    match answer {
        Ok(document) => Json(document).into_response(),
        Err(refusal) => {
            let status = match refusal.fault {
                Fault::Request => StatusCode::UNPROCESSABLE_ENTITY,
                Fault::State => StatusCode::CONFLICT,
                Fault::Outside => StatusCode::BAD_GATEWAY,
            };
            (status, Json(refusal.document)).into_response()
        }
    }
}
