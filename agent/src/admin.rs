//! Owns the admin socket: HTTP over a unix socket, mode 0600, each request an [`Ask`] to the loop.
//! Answers nothing by itself but `/healthz`.

use std::fs::TryLockError;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router, extract::DefaultBodyLimit};
use sealane_view::admin as paths;
use sealane_view::error::ErrorDocument;
use sealane_view::gateway::GatewayRequest;
use sealane_view::membership::{JoinRequest, LeaveRequest, ListRequest};
use sealane_view::ping::PingRequest;
use sealane_view::trace::TraceRequest;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

/// Longest wait for the loop: leaving and pings take seconds, everything else milliseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// A token is below 2 KiB, a request far below this.
const LARGEST_REQUEST_BYTES: usize = 64 * 1024;
/// A list of members with all its links. Unit: bytes.
const LARGEST_LIST_BYTES: usize = 1_500_000;

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
    /// Take a list of members from a person.
    List(ListRequest),
    /// Have nobody believe a gateway of ours any more.
    Revoke(GatewayRequest),
    /// Replace the keys of this gateway.
    Rotate,
    /// Make the next identity key of our member.
    RotateIdentity,
    /// Take that back for certificates to come.
    Allow(GatewayRequest),
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
    /// Another agent answers there, or works with the same state.
    #[error("{}: another sealane-agent{} runs on this host; stop that one first", path.display(), named(*pid))]
    Taken {
        /// The socket, or the folder of its state.
        path: PathBuf,
        /// Its process, where the system tells.
        pid: Option<i32>,
    },
    /// Something else is in its place, and stays there.
    #[error("{}: there already and not a socket; choose another with paths.socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The folder of the state cannot be claimed.
    #[error("{}: {cause}; run it as root or as the user sealane, or set paths.state", path.display())]
    NoState {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
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

/// Claims the state folder for this process until what is returned is dropped: numbers that two
/// agents count would go back.
///
/// # Errors
/// [`AdminError`] when another agent works with it.
pub fn claim(state: &Path) -> Result<std::fs::File, AdminError> {
    let unusable = |cause| AdminError::NoState { path: state.to_owned(), cause };
    let folder = std::fs::File::open(state).map_err(unusable)?;
    match folder.try_lock() {
        Ok(()) => Ok(folder),
        Err(TryLockError::WouldBlock) => {
            let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
            let inode = folder.metadata().map(|it| it.ino()).unwrap_or_default();
            Err(AdminError::Taken { path: state.to_owned(), pid: holder(&locks, inode) })
        }
        Err(TryLockError::Error(cause)) => Err(unusable(cause)),
    }
}

/// Returns the process that holds a lock on a whole file, as `/proc/locks` lists them (proc(5)).
fn holder(locks: &str, inode: u64) -> Option<i32> {
    let held = locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (kind, pid, place) = (words.next()?, words.nth(2)?, words.next()?);
        let is_it = place.rsplit(':').next()?.parse() == Ok(inode);
        (kind == "FLOCK" && is_it).then(|| pid.parse().ok()).flatten()
    });
    // Those of other PID namespaces have no number here.
    held.filter(|pid| *pid > 0)
}

fn named(pid: Option<i32>) -> String {
    pid.map(|pid| format!(", process {pid},")).unwrap_or_default()
}

/// Opens the socket; one left by a dead agent is replaced.
///
/// # Errors
/// [`AdminError`] when another agent owns it or it cannot be made.
pub async fn open(path: &Path) -> Result<UnixListener, AdminError> {
    let unusable = |cause| AdminError::Unusable { path: path.to_owned(), cause };
    match std::fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            return Err(AdminError::NotASocket { path: path.to_owned() });
        }
        // Only a socket that nobody listens on is a dead agent's; a full backlog is a living one's.
        Ok(_) => match UnixStream::connect(path).await {
            Err(cause) if cause.kind() == ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(unusable)?;
            }
            Ok(stream) => {
                let pid = stream.peer_cred().ok().and_then(|first| first.pid());
                return Err(AdminError::Taken { path: path.to_owned(), pid });
            }
            Err(cause) if cause.kind() == ErrorKind::WouldBlock => {
                return Err(AdminError::Taken { path: path.to_owned(), pid: None });
            }
            Err(cause) => return Err(unusable(cause)),
        },
        Err(cause) if cause.kind() == ErrorKind::NotFound => {}
        Err(cause) => return Err(unusable(cause)),
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(unusable)?;
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
        .route(paths::TRACE, post(|State(a), Body(r)| ask(a, Question::Trace(r))))
        .route(paths::PING, post(|State(a), Body(r)| ask(a, Question::Ping(r))))
        .route(paths::JOIN, post(|State(a), Body(r)| ask(a, Question::Join(r))))
        .route(
            paths::CLUSTERSET,
            post(|State(a), Body(r)| ask(a, Question::List(r))).layer(at_most(LARGEST_LIST_BYTES)),
        )
        .route(paths::REVOKE, post(|State(a), Body(r)| ask(a, Question::Revoke(r))))
        .route(paths::ALLOW, post(|State(a), Body(r)| ask(a, Question::Allow(r))))
        .route(paths::ROTATE, post(|State(asks)| ask(asks, Question::Rotate)))
        .route(paths::ROTATE_IDENTITY, post(|State(asks)| ask(asks, Question::RotateIdentity)))
        .route(paths::LEAVE, post(|State(a), Body(r)| ask(a, Question::Leave(r))))
        .fallback(|| async { not_understood(StatusCode::NOT_FOUND, "there is no such path") })
        .method_not_allowed_fallback(|| async {
            not_understood(StatusCode::METHOD_NOT_ALLOWED, "the path takes another method")
        })
        .layer(at_most(LARGEST_REQUEST_BYTES))
        .with_state(asks);
    if let Err(error) = axum::serve(listener, app).await {
        tracing::error!(%error, "admin socket closed");
    }
}

/// Bytes that the body of a request on a route may have.
#[derive(Debug, Clone, Copy)]
struct Most(usize);

/// Limits the requests of a route, and tells its readers what the limit is.
fn at_most(bytes: usize) -> (DefaultBodyLimit, Extension<Most>) {
    (DefaultBodyLimit::max(bytes), Extension(Most(bytes)))
}

async fn ask(asks: mpsc::Sender<Ask>, question: Question) -> Response {
    let (reply, answer) = oneshot::channel();
    let exchange = async {
        asks.send(Ask { question, reply }).await.ok()?;
        answer.await.ok()
    };
    let answer = match tokio::time::timeout(ANSWER_TIMEOUT, exchange).await {
        Ok(Some(answer)) => answer,
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

/// A request's body; one that cannot be read is answered like any other refusal. What is wrong with
/// it is told by place and not by content, which may be a token.
struct Body<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let most = request.extensions().get::<Most>().map_or(LARGEST_REQUEST_BYTES, |most| most.0);
        let refused = match Json::<T>::from_request(request, state).await {
            Ok(Json(body)) => return Ok(Self(body)),
            Err(refused) => refused,
        };
        let status = refused.status();
        let cause = match (&refused, status) {
            (_, StatusCode::PAYLOAD_TOO_LARGE) => {
                format!("it is larger than {most} bytes")
            }
            (JsonRejection::MissingJsonContentType(_), _) => {
                "its content-type is not application/json".to_owned()
            }
            (JsonRejection::JsonDataError(_), _) => {
                "its fields are not those of this path".to_owned()
            }
            _ => "it is not JSON".to_owned(),
        };
        Err(not_understood(status, cause))
    }
}

fn not_understood(status: StatusCode, cause: impl Into<String>) -> Response {
    let document = ErrorDocument {
        message: "the request was not understood".to_owned(),
        cause: cause.into(),
        next: "use the `sealane` of this agent's version".to_owned(),
    };
    (status, Json(document)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_that_holds_the_lock_is_named() {
        let locks = "1: POSIX  ADVISORY  WRITE 12 00:1a:77 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 4711 fe:00:77 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 4712 fe:00:77 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 0 fe:00:78 0 EOF\n";
        assert_eq!(holder(locks, 77), Some(4711));
        assert_eq!(holder(locks, 78), None, "a process of another namespace");
        assert_eq!(holder(locks, 79), None);
    }
}
