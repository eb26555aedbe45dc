//! The sockets that probes cross.

use std::net::IpAddr;
use std::sync::Arc;

use sealane_agent::event::Event;
use sealane_agent::gossip::desk::Desk;
use sealane_agent::probe_io::{PORT, ProbeSockets, Sent, Way};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::host::DEADLINE;

/// A desk that serves these.
fn desk(peers: &[IpAddr]) -> Desk {
    let desk = Desk::default();
    desk.serve(Arc::new(peers.iter().map(|peer| (*peer, None)).collect()));
    desk
}

#[tokio::test]
async fn the_first_probe_leaves_in_the_moment_its_socket_is_opened() {
    let [here, there] = [11, 12].map(|last| IpAddr::from([127, 82, 1, last]));
    let peer = UdpSocket::bind((there, PORT)).await.unwrap();
    let (events, mut inbox) = mpsc::channel(16);
    let mut sockets = ProbeSockets::new(events, desk(&[there]));
    let way = Way { link: None, index: 0, source: here };
    assert_eq!(sockets.send(&way, there, b"early"), Sent::Lost);
    sockets.retain(std::slice::from_ref(&way), |_| 1420);
    // No await in between: the runtime has not seen the socket yet.
    assert_eq!(sockets.send(&way, there, b"first"), Sent::Away);

    let mut buffer = [0; 64];
    let received = tokio::time::timeout(DEADLINE, peer.recv_from(&mut buffer)).await.unwrap();
    let (length, from) = received.unwrap();
    assert_eq!((&buffer[..length], from), (&b"first"[..], (here, PORT).into()));
    peer.send_to(b"answer", from).await.unwrap();
    let event = tokio::time::timeout(DEADLINE, inbox.recv()).await.unwrap().unwrap();
    assert!(matches!(event, Event::Datagram(it) if it.way == way && it.bytes == b"answer"));
    sockets.retain(&[], |_| 1420);
    assert_eq!(sockets.send(&way, there, b"late"), Sent::Lost);
}

#[tokio::test]
async fn strangers_and_what_no_lane_could_carry_wait_beside_nothing() {
    let [here, peer, stranger] = [21, 22, 23].map(|last| IpAddr::from([127, 82, 1, last]));
    let (events, mut inbox) = mpsc::channel(16);
    let mut sockets = ProbeSockets::new(events, desk(&[peer]));
    let way = Way { link: None, index: 0, source: here };
    sockets.retain(std::slice::from_ref(&way), |_| 1420);
    let [strange, known] = [stranger, peer].map(|at| std::net::UdpSocket::bind((at, 0)).unwrap());
    strange.send_to(b"let me in", (here, PORT)).unwrap();
    known.send_to(&[0; 1421], (here, PORT)).unwrap();
    known.send_to(b"a probe", (here, PORT)).unwrap();
    let event = tokio::time::timeout(DEADLINE, inbox.recv()).await.unwrap().unwrap();
    assert!(matches!(event, Event::Datagram(it) if it.bytes == b"a probe"));

    // The link has grown, and its probes with it.
    sockets.retain(std::slice::from_ref(&way), |_| 9000);
    known.send_to(&[0; 8000], (here, PORT)).unwrap();
    let event = tokio::time::timeout(DEADLINE, inbox.recv()).await.unwrap().unwrap();
    assert!(matches!(event, Event::Datagram(it) if it.bytes.len() == 8000));
}
