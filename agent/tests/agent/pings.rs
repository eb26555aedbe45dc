//! Pings that people ask for.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use sealane_agent::admin::{Answer, Fault};
use sealane_agent::event::{Datagram, Event};
use sealane_agent::paths::Paths;
use sealane_agent::pings::{Pings, Rhythm, Target};
use sealane_agent::probe_io::{PORT, Way};
use sealane_plan::name::{GatewayId, MemberId, NodeName};
use sealane_plan::plan::{LegTarget, Plan};
use sealane_probe::datagram::{Datagram as Probe, Kind};
use sealane_probe::responder::Responder;
use sealane_probe::time::Time;
use sealane_view::ping::{PingDocument, PingRequest};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};

use crate::host::{DEADLINE, bare_host};

fn request(count: u32, interval: u32, size: Option<u32>) -> PingRequest {
    let target = "b".to_owned();
    PingRequest { target, count, interval_milliseconds: interval, size_bytes: size }
}

fn target(address: IpAddr) -> Target {
    let gateway =
        GatewayId { member: MemberId("b".to_owned()), gateway: NodeName("g1".to_owned()) };
    let way = Way { link: None, index: 0, source: address };
    Target { gateway, way, address, path_mtu: Some(1420) }
}

fn begin(pings: &mut Pings, rhythm: Rhythm) -> oneshot::Receiver<Answer> {
    let (reply, answer) = oneshot::channel();
    pings.begin(target(IpAddr::V6(Ipv6Addr::LOCALHOST)), rhythm, reply);
    answer
}

#[test]
fn what_would_take_too_long_or_is_no_packet_is_refused_at_once() {
    for wrong in
        [request(1000, 101, None), request(1, u32::MAX, None), request(3, 10, Some(65_536))]
    {
        let refusal = Rhythm::of(&wrong).unwrap_err();
        assert_eq!(refusal.fault, Fault::Request, "{wrong:?}");
    }
    let modest = Rhythm::of(&request(0, 0, Some(65_535))).unwrap();
    assert_eq!((modest.count, modest.interval.as_millis(), modest.size), (1, 5, Some(65_535)));
    assert_eq!(Rhythm::of(&request(5000, 0, None)).unwrap().count, 1000);
}

#[tokio::test]
async fn a_series_tells_which_probes_came_back_and_which_did_not() {
    let (events, _inbox) = mpsc::channel(16);
    let paths = Paths::new(events);
    let mut pings = Pings::default();
    let mut answer = begin(&mut pings, Rhythm::of(&request(3, 5, None)).unwrap());
    let mut answered = 0;
    let began = Instant::now();
    // No socket is open: what is sent is lost, unless this test answers in a peer's place.
    let document = loop {
        assert!(began.elapsed() < DEADLINE);
        pings.poll(&paths);
        match answer.try_recv() {
            Ok(document) => break document.unwrap(),
            Err(_) => tokio::task::yield_now().await,
        }
        if answered == 0 && pings.next_wake().is_some() {
            // A stranger's guess answers nothing.
            let forged = Probe {
                kind: Kind::Reply,
                size: 64,
                sequence: 0,
                nonce: 42,
                sent: Time::from_origin(Duration::ZERO),
                digest: None,
            };
            let source = IpAddr::V6(Ipv6Addr::LOCALHOST);
            let way = Way { link: None, index: 0, source };
            let from = SocketAddr::new(source, PORT);
            answered = 1;
            assert!(!pings.received(&Datagram { way, from, bytes: forged.encode() }));
        }
    };
    let document: PingDocument = serde_json::from_value(document).unwrap();
    assert_eq!((document.sent, document.received, document.replies.len()), (3, 0, 3));
    assert_eq!((document.member.as_str(), document.path_mtu_bytes), ("b", Some(1420)));
    assert!(document.replies.iter().all(|reply| reply.rtt_microseconds.is_none()));
    assert_eq!(document.rtt_min_microseconds, None);
    assert!(began.elapsed() >= Duration::from_secs(2), "late replies still count");
    assert!(pings.next_wake().is_none());
}

#[tokio::test]
async fn a_series_ends_when_nobody_waits_and_leaves_room_for_others() {
    let (events, _inbox) = mpsc::channel(16);
    let paths = Paths::new(events);
    let mut pings = Pings::default();
    let long = Rhythm::of(&request(1000, 100, None)).unwrap();
    let waiting: Vec<_> = (0..16).map(|_| begin(&mut pings, long)).collect();
    let refused = begin(&mut pings, long).await.unwrap().unwrap_err();
    assert_eq!(refused.fault, Fault::State);
    drop(waiting);
    pings.poll(&paths);
    assert!(pings.next_wake().is_none());
    let mut welcome = begin(&mut pings, long);
    pings.poll(&paths);
    assert!(welcome.try_recv().is_err(), "it runs");
}

#[tokio::test]
async fn replies_count_with_their_time_and_only_from_where_the_probe_went() {
    let [here, there] = [1, 2].map(|last| IpAddr::from([127, 82, 1, last]));
    let (events, mut inbox) = mpsc::channel(16);
    let mut paths = Paths::new(events);
    let leg = LegTarget { link: None, source: here, destination: there, max_mtu: 1500 };
    let mut plan = Plan::default();
    plan.probes.legs.insert(NodeName("g1".to_owned()), leg);
    paths.follow(&plan, &bare_host());
    let peer = UdpSocket::bind((there, PORT)).await.unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        let mut answering = Responder::default();
        let start = Time::from_origin(Duration::ZERO);
        answering.set_sources(start, [here]);
        while let Ok((length, from)) = peer.recv_from(&mut buffer).await {
            // Two answers to each: the second is a repetition.
            if let Ok(answer) = answering.answer(start, here, &buffer[..length], None) {
                peer.send_to(&answer.payload, from).await.unwrap();
                peer.send_to(&answer.payload, from).await.unwrap();
            }
        }
    });
    let mut pings = Pings::default();
    let (reply, mut answer) = oneshot::channel();
    let way = Way { link: None, index: 0, source: here };
    let target = Target { way, ..target(there) };
    pings.begin(target, Rhythm::of(&request(5, 5, None)).unwrap(), reply);
    let document = tokio::time::timeout(DEADLINE, async {
        loop {
            pings.poll(&paths);
            if let Ok(document) = answer.try_recv() {
                return document.unwrap();
            }
            let due = pings.next_wake().unwrap();
            tokio::select! {
                event = inbox.recv() => {
                    let Some(Event::Datagram(datagram)) = event else { continue };
                    let elsewhere = Datagram {
                        from: SocketAddr::new(IpAddr::from([127, 82, 1, 3]), PORT),
                        ..datagram.clone()
                    };
                    assert!(!pings.received(&elsewhere));
                    pings.received(&datagram);
                }
                () = tokio::time::sleep_until(due.into()) => {}
            }
        }
    });
    let document: PingDocument = serde_json::from_value(document.await.unwrap()).unwrap();
    assert_eq!((document.sent, document.received), (5, 5));
    let rtts: Vec<u64> =
        document.replies.iter().map(|reply| reply.rtt_microseconds.unwrap()).collect();
    assert_eq!(document.rtt_min_microseconds, rtts.iter().min().copied());
    assert_eq!(document.rtt_max_microseconds, rtts.iter().max().copied());
    assert_eq!(document.rtt_mean_microseconds, Some(rtts.iter().sum::<u64>() / 5));
}
