//! A TLS server that says what a test tells it to and remembers what it was told; and the client's
//! side of tests. Owns no claims.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PublicKeyData};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sealane_broker::{
    access::{Broker, BrokerAddress, Credential},
    board::BoardEvent,
    mirror,
    pin::SpkiPin,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::support::{NAMESPACE, new_token, soon};

pub(crate) const TOKEN: &str = "the-token-of-a-member";

/// A certificate, its key and who signed it.
pub(crate) struct Papers {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    pub(crate) authority: SpkiPin,
    pub(crate) own: SpkiPin,
}

impl Papers {
    /// Papers for `host` that end with the year before `year`.
    pub(crate) fn of(host: &str, year: i32) -> Self {
        let pin = |key: &KeyPair| SpkiPin(Sha256::digest(key.subject_public_key_info()).into());
        let (authority, own) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let pins = (pin(&authority), pin(&own));
        let mut root = CertificateParams::default();
        root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let root_certificate = root.self_signed(&authority).unwrap();
        let mut leaf = CertificateParams::new(vec![host.to_owned()]).unwrap();
        leaf.not_after = rcgen::date_time_ymd(year, 1, 1);
        let leaf = leaf.signed_by(&own, &Issuer::new(root, authority)).unwrap();
        Self {
            chain: vec![leaf.der().clone(), root_certificate.der().clone()],
            key: PrivateKeyDer::Pkcs8(own.serialize_der().into()),
            authority: pins.0,
            own: pins.1,
        }
    }
}

/// What the door says to one request.
pub(crate) enum Reply {
    Whole(u16, Value),
    /// These lines, then silence.
    Watch(Vec<Value>),
    /// These lines, then the end.
    Ending(Vec<Value>),
    /// Bytes without end.
    Endless,
    /// Nothing, with the connection open.
    Silence,
}

pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    pub(crate) pin: SpkiPin,
    authority: SpkiPin,
    heard: Arc<Mutex<Vec<String>>>,
    sent: Arc<Mutex<usize>>,
    task: JoinHandle<()>,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Door {
    pub(crate) async fn open(reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        Self::with(Papers::of("localhost", 2100), reply).await
    }

    pub(crate) async fn with(
        papers: Papers,
        reply: impl Fn(&str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let (pin, authority) = (papers.own, papers.authority);
        let tls = rustls::ServerConfig::builder_with_provider(Arc::new(
            rustls::crypto::ring::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(papers.chain, papers.key)
        .unwrap();
        let (acceptor, reply) = (TlsAcceptor::from(Arc::new(tls)), Arc::new(reply));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (heard, sent) = (Arc::default(), Arc::default());
        let (ear, count) = (Arc::clone(&heard), Arc::clone(&sent));
        let task = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, reply) = (acceptor.clone(), Arc::clone(&reply));
                let (ear, count) = (Arc::clone(&ear), Arc::clone(&count));
                open.spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, &*reply, &ear, &count).await;
                    }
                });
            }
        });
        Self { address, pin, authority, heard, sent, task }
    }

    /// All requests so far, with their heads, decrypted.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    /// Bytes that a reader took of [`Reply::Endless`].
    pub(crate) fn sent(&self) -> usize {
        *self.sent.lock().unwrap()
    }

    /// Closes it and every connection through it.
    pub(crate) async fn close(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    pub(crate) fn broker(&self) -> Broker {
        reach(self.address, self.pin, TOKEN)
    }

    pub(crate) fn broker_by_authority(&self) -> Broker {
        reach(self.address, self.authority, TOKEN)
    }
}

async fn serve(
    mut stream: TlsStream<TcpStream>,
    reply: &(impl Fn(&str) -> Reply + ?Sized),
    heard: &Mutex<Vec<String>>,
    sent: &Mutex<usize>,
) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte).await {
            Ok(1) => head.push(byte[0]),
            _ => break,
        }
    }
    if head.is_empty() {
        return;
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    heard.lock().unwrap().push(head);
    match reply(&path) {
        Reply::Whole(code, body) => {
            let body = body.to_string();
            let length = body.len();
            let head = format!("HTTP/1.1 {code} x\r\nContent-Length: {length}\r\n");
            let whole = format!("{head}Connection: close\r\n\r\n{body}");
            let _ = stream.write_all(whole.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
        Reply::Watch(lines) => {
            tell(&mut stream, &lines).await;
            let _ = stream.read(&mut byte).await;
        }
        Reply::Ending(lines) => {
            tell(&mut stream, &lines).await;
            let _ = stream.shutdown().await;
        }
        Reply::Endless => {
            let _ = stream.write_all(b"HTTP/1.1 200 x\r\nConnection: close\r\n\r\n").await;
            while stream.write_all(&[b' '; 65_536]).await.is_ok() {
                *sent.lock().unwrap() += 65_536;
            }
        }
        Reply::Silence => drop(stream.read(&mut byte).await),
    }
}

async fn tell(stream: &mut TlsStream<TcpStream>, lines: &[Value]) {
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let whole = format!("HTTP/1.1 200 x\r\nConnection: close\r\n\r\n{lines}");
    let _ = stream.write_all(whole.as_bytes()).await;
}

/// A client of whatever is at this address, if it has this key.
pub(crate) fn reach(address: SocketAddr, pin: SpkiPin, token: &str) -> Broker {
    let url = format!("https://localhost:{}", address.port());
    let address = BrokerAddress::parse(&url, NAMESPACE, vec![pin]).unwrap();
    address.client(&Credential::new(token.to_owned())).unwrap()
}

/// The pin that the embedded broker prints for tokens.
pub(crate) fn pin_of(broker: &crate::support::Broker) -> SpkiPin {
    let pin = URL_SAFE_NO_PAD.decode(&broker.server.pins()[0]).unwrap();
    SpkiPin(pin.try_into().unwrap())
}

/// A client of the embedded broker with the token of an account.
pub(crate) async fn member(broker: &crate::support::Broker, account: &str) -> Broker {
    broker.account(NAMESPACE, account).await;
    let token = new_token(&broker.admin().await, NAMESPACE, account).await;
    reach(broker.server.addresses()[0], pin_of(broker), &token)
}

/// What a mirror tells.
pub(crate) struct Told {
    events: mpsc::Receiver<BoardEvent>,
    pub(crate) task: JoinHandle<()>,
}

impl Told {
    pub(crate) fn by(brokers: Vec<Broker>) -> Self {
        let (sender, events) = mpsc::channel(16);
        Self { events, task: tokio::spawn(mirror::follow(brokers, sender)) }
    }

    pub(crate) async fn next(&mut self) -> BoardEvent {
        soon("an event of the board", self.events.recv()).await.expect("the mirror ended")
    }

    /// Leaves out further tries of an address that is away.
    pub(crate) async fn next_news(&mut self) -> BoardEvent {
        loop {
            match self.next().await {
                BoardEvent::Unreachable { .. } => {}
                news => return news,
            }
        }
    }

    /// Stops listening.
    pub(crate) fn hang_up(self) -> JoinHandle<()> {
        self.task
    }
}

/// A list as a broker sends it.
pub(crate) fn list(version: &str, next: &str, items: &[Value]) -> Value {
    json!({"metadata": {"resourceVersion": version, "continue": next}, "items": items})
}

/// An object as a broker sends it.
pub(crate) fn item(name: &str, version: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name, "resourceVersion": version}, "spec": spec})
}
