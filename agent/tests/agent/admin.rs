//! The admin socket: who may use it, what it answers, how it says no.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sealane_agent::admin::{self, AdminError, Ask, Fault, Question, Refusal};
use sealane_view::admin as paths;
use sealane_view::error::ErrorDocument;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use crate::host::DEADLINE;

async fn send(socket: &Path, method: &str, path: &str, body: &str) -> (u16, String) {
    send_as(socket, method, path, body, "application/json").await
}

async fn send_as(socket: &Path, method: &str, path: &str, body: &str, kind: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    // A server that refuses early need not read all of it.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.unwrap();
    assert!(read.is_ok() || !answer.is_empty(), "{read:?}");
    let answer = String::from_utf8(answer).unwrap();
    let status = answer[9..12].parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

/// A loop that answers with the name of what was asked, and refuses to leave or ping.
async fn served() -> (TempDir, std::path::PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("run/agent.sock");
    let listener = admin::open(&socket).await.unwrap();
    let (asks, mut asked) = mpsc::channel::<Ask>(4);
    tokio::spawn(admin::serve(listener, asks));
    tokio::spawn(async move {
        while let Some(Ask { question, reply }) = asked.recv().await {
            let no = |fault| Err(Refusal::new(fault, "not done", "the cause", "the next step"));
            let answer = match question {
                Question::Status => Ok(json!("status")),
                Question::Peers => Ok(json!("peers")),
                Question::Routes => Ok(json!("routes")),
                Question::World => Ok(json!("world")),
                Question::Plan => Ok(json!("plan")),
                Question::Join(request) if request.token == "drop" => continue,
                Question::Join(request) => Ok(json!({ "length": request.token.len() })),
                Question::List(request) => {
                    Ok(json!({ "length": request.spec.as_str().map(str::len) }))
                }
                Question::Revoke(request) => Ok(json!({ "revoke": request.gateway })),
                Question::Allow(request) => Ok(json!({ "allow": request.gateway })),
                Question::Rotate => Ok(json!("rotate")),
                Question::RotateIdentity => Ok(json!("identity")),
                Question::Trace(_) => no(Fault::State),
                Question::Ping(_) => no(Fault::Request),
                Question::Leave(_) => no(Fault::Outside),
            };
            let _ = reply.send(answer);
        }
    });
    (place, socket)
}

fn document(body: &str) -> ErrorDocument {
    serde_json::from_str(body).unwrap_or_else(|_| panic!("no error document: {body:?}"))
}

#[tokio::test]
async fn every_path_asks_its_own_question() {
    let (_place, socket) = served().await;
    for (path, expected) in [
        (paths::STATUS, "status"),
        (paths::PEERS, "peers"),
        (paths::ROUTES, "routes"),
        (paths::WORLD, "world"),
        (paths::PLAN, "plan"),
    ] {
        let (status, body) = send(&socket, "GET", path, "").await;
        assert_eq!((status, serde_json::from_str::<Value>(&body).unwrap()), (200, json!(expected)));
    }
    assert_eq!(send(&socket, "GET", "/healthz", "").await, (200, "ok".to_owned()));
    let gateway = r#"{"gateway":"old"}"#;
    for (path, body, expected) in [
        (paths::JOIN, r#"{"token":"four"}"#, r#"{"length":4}"#),
        (paths::REVOKE, gateway, r#"{"revoke":"old"}"#),
        (paths::ALLOW, gateway, r#"{"allow":"old"}"#),
        (paths::ROTATE, "null", r#""rotate""#),
        (paths::ROTATE_IDENTITY, "null", r#""identity""#),
    ] {
        let (status, answer) = send(&socket, "POST", path, body).await;
        assert_eq!((status, answer.as_str()), (200, expected), "{path}");
    }
}

#[tokio::test]
async fn a_no_has_three_parts_and_the_status_of_whose_fault_it_is() {
    let (_place, socket) = served().await;
    let ping = r#"{"target":"b","count":1,"intervalMilliseconds":100}"#;
    for (path, body, expected) in [(paths::PING, ping, 422), (paths::LEAVE, "{}", 502)] {
        let (status, body) = send(&socket, "POST", path, body).await;
        assert_eq!(status, expected);
        let ErrorDocument { message, cause, next } = document(&body);
        assert_eq!([message, cause, next], ["not done", "the cause", "the next step"]);
    }
    let (status, body) = send(&socket, "POST", paths::JOIN, r#"{"token":"drop"}"#).await;
    assert_eq!(status, 409);
    assert!(document(&body).message.contains("no answer"));
}

#[tokio::test]
async fn what_is_not_understood_is_told_without_repeating_it() {
    let (_place, socket) = served().await;
    let secret = "slj1.secret";
    let cases = [
        ("POST", paths::JOIN, format!(r#"{{"token":"{secret}""#), 400, "not JSON"),
        ("POST", paths::JOIN, format!(r#"{{"tokens":"{secret}"}}"#), 422, "fields"),
        ("POST", paths::JOIN, format!(r#""{secret}""#), 422, "fields"),
        ("POST", paths::JOIN, format!(r#"{{"token":"{}"}}"#, secret.repeat(6000)), 413, "65536"),
        ("GET", "/v1/secrets", String::new(), 404, "no such path"),
        ("GET", paths::JOIN, String::new(), 405, "method"),
        ("DELETE", paths::STATUS, String::new(), 405, "method"),
    ];
    for (method, path, body, expected, cause) in cases {
        let (status, answer) = send(&socket, method, path, &body).await;
        assert_eq!(status, expected, "{method} {path}: {answer}");
        let told = document(&answer);
        assert!(told.cause.contains(cause), "{told:?}");
        assert!(!answer.contains(secret), "{answer}");
    }
    let (status, answer) = send_as(&socket, "POST", paths::LEAVE, "{}", "text/plain").await;
    assert_eq!(status, 415);
    assert!(document(&answer).cause.contains("application/json"));
}

#[tokio::test]
async fn the_socket_is_for_its_owner_alone_and_for_one_agent() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("agent.sock");
    let listener = admin::open(&socket).await.unwrap();
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let second = admin::open(&socket).await.unwrap_err();
    assert!(matches!(second, AdminError::Taken { .. }), "{second}");
    let first = format!("another sealane-agent, process {}, runs on this host", std::process::id());
    assert!(second.to_string().contains(&first), "{second}");

    drop(listener);
    let _again = admin::open(&socket).await.expect("a dead agent's socket is replaced");
    assert!(UnixStream::connect(&socket).await.is_ok());
}

#[tokio::test]
async fn an_agent_too_busy_to_accept_keeps_its_socket() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("agent.sock");
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    socket.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    socket.listen(0).unwrap();
    socket.set_nonblocking(true).unwrap();
    let _busy = UnixListener::from_std(std::os::fd::OwnedFd::from(socket).into()).unwrap();
    let mut callers = Vec::new();
    while let Ok(caller) = UnixStream::connect(&path).await {
        callers.push(caller);
        assert!(callers.len() < 100, "the backlog never fills");
    }
    let second = admin::open(&path).await.unwrap_err();
    assert!(matches!(second, AdminError::Taken { .. }), "{second}");
    assert!(path.exists());
}

#[tokio::test]
async fn a_file_in_the_place_of_the_socket_is_left_alone() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("agent.sock");
    std::fs::write(&path, b"somebody's").unwrap();
    let error = admin::open(&path).await.unwrap_err();
    assert!(matches!(error, AdminError::NotASocket { .. }), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"somebody's");
}

#[test]
fn a_state_folder_serves_one_agent_at_a_time() {
    let place = tempfile::tempdir().unwrap();
    let claim = admin::claim(place.path()).unwrap();
    let second = admin::claim(place.path()).unwrap_err();
    assert!(matches!(second, AdminError::Taken { .. }), "{second}");
    drop(claim);
    admin::claim(place.path()).expect("the claim ends with the process");
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0, "and leaves nothing");
}
