//! The sockets that probes cross.

use std::net::IpAddr;

use sealane_agent::event::Event;
use sealane_agent::probe_io::{PORT, ProbeSockets, Sent, Way};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::host::DEADLINE;

#[tokio::test]
async fn the_first_probe_leaves_in_the_moment_its_socket_is_opened() {
    let [here, there] = [11, 12].map(|last| IpAddr::from([127, 82, 1, last]));
    let peer = UdpSocket::bind((there, PORT)).await.unwrap();
    let (events, mut inbox) = mpsc::channel(16);
    let mut sockets = ProbeSockets::new(events);
    let way = Way { link: None, index: 0, source: here };
    assert_eq!(sockets.send(&way, there, b"early"), Sent::Lost);
    sockets.retain(std::slice::from_ref(&way));
    // No await in between: the runtime has not seen the socket yet.
    assert_eq!(sockets.send(&way, there, b"first"), Sent::Away);

    let mut buffer = [0; 64];
    let received = tokio::time::timeout(DEADLINE, peer.recv_from(&mut buffer)).await.unwrap();
    let (length, from) = received.unwrap();
    assert_eq!((&buffer[..length], from), (&b"first"[..], (here, PORT).into()));
    peer.send_to(b"answer", from).await.unwrap();
    let event = tokio::time::timeout(DEADLINE, inbox.recv()).await.unwrap().unwrap();
    assert!(matches!(event, Event::Datagram(it) if it.way == way && it.bytes == b"answer"));
    sockets.retain(&[]);
    assert_eq!(sockets.send(&way, there, b"late"), Sent::Lost);
}
