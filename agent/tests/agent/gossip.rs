//! What peers tell inside lanes: how it is judged and shown, and how it crosses between two agents.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sealane_agent::event::Event;
use sealane_agent::gossip::desk::{Desk, Peers};
use sealane_agent::gossip::{Gossip, Reception, Told, wire};
use sealane_agent::inquiry::{self, Listener};
use sealane_agent::probe_io::{PORT, Way};
use sealane_agent::trust::Trust;
use sealane_agent::trust::told::Hearsay;
use sealane_api::clusterset::ListPosition;
use sealane_api::gossip::frame::Frame;
use sealane_api::gossip::rhythm::Ended;
use sealane_api::gossip::standing::Standing;
use sealane_api::gossip::telling::Telling;
use sealane_api::kinds::{AdvertisementSpec, ClusterSetSpec};
use sealane_api::names::ClusterId;
use sealane_api::reason::Reason;
use sealane_api::receiver::{Offer, Receiver, Verdict};
use sealane_broker::board::Kind;
use sealane_broker::store::Store;
use sealane_probe::datagram::Digest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;

use crate::fixture::{
    Gateway, NOW, clusterset_id, facts, list, membership, next_list, sighting, signed,
};
use crate::host::DEADLINE;

fn settled(place: &tempfile::TempDir) -> Trust {
    let store = Store::open(place.path()).unwrap();
    let mut trust = Trust::load(store, &membership(), NOW, &facts()).unwrap();
    trust.written(Kind::ClusterSet, sighting("sealane", &signed(&list(NOW))), NOW, &facts());
    for gateway in [Gateway::b_g1(), Gateway::c_g1()] {
        trust.written(Kind::Advertisement, gateway.seen(NOW), NOW, &facts());
    }
    trust.keep(NOW, &facts());
    trust
}

/// These addresses, as peers of member c.
fn peers<const SOME: usize>(addresses: [IpAddr; SOME]) -> Arc<Peers> {
    Arc::new(addresses.into_iter().map(|address| (address, Some(member("c")))).collect())
}

fn member(name: &str) -> ClusterId {
    ClusterId::parse(name).unwrap()
}

/// What came of it: news, how many refusals count, and the reception.
fn hear(
    trust: &mut Trust,
    list: Option<&ClusterSetSpec>,
    words: &[AdvertisementSpec],
) -> (bool, usize, Reception) {
    let teller = member("c");
    let hearsay = Hearsay { teller: &teller, list, words };
    let (outcome, reception) = trust.told(&hearsay, NOW, &facts());
    trust.keep(NOW, &facts());
    (outcome.changed, outcome.refused.len(), reception)
}

fn shown(trust: &Trust) -> Vec<(String, Reason)> {
    let standing = trust.refusals().into_iter();
    standing.map(|((_, name), refusal)| (name, refusal.rejected.reason)).collect()
}

fn lanes(trust: &Trust) -> Vec<String> {
    trust.remotes(NOW, &facts()).iter().map(|remote| remote.id.to_string()).collect()
}

#[test]
fn a_list_that_a_peer_tells_counts_and_survives_a_restart() {
    let place = tempfile::tempdir().unwrap();
    let mut trust = settled(&place);
    let without_b = next_list(NOW, |list| drop(list.members.remove(&member("b"))));
    assert_eq!(hear(&mut trust, Some(&without_b), &[]), (true, 0, Reception::Sound));
    assert_eq!(lanes(&trust), ["c.g1"]);
    drop(trust);
    let store = Store::open(place.path()).unwrap();
    let again = Trust::load(store, &membership(), NOW, &facts()).unwrap();
    assert_eq!(lanes(&again), ["c.g1"]);
    // The broker, back from the past, brings nobody back.
    let mut again = again;
    let old = sighting("sealane", &signed(&list(NOW)));
    again.written(Kind::ClusterSet, old, NOW, &facts());
    again.written(Kind::Advertisement, Gateway::b_g1().seen(NOW), NOW, &facts());
    assert_eq!(lanes(&again), ["c.g1"]);
}

#[test]
fn a_lie_is_shown_under_who_told_it_and_disturbs_nobody() {
    let place = tempfile::tempdir().unwrap();
    let mut trust = settled(&place);
    let forged = Gateway { identity: 0xc0, ..Gateway::b_g1().sequence(9) }.spec(NOW);
    let wide = Gateway::c_g1().sequence(8).pods(&["10.2.0.0/16"]).spec(NOW);
    assert_eq!(hear(&mut trust, None, &[forged, wide]), (false, 2, Reception::Sound));
    let expected = [
        ("b.g1 (told by c)".to_owned(), Reason::CertBadSignature),
        ("c.g1 (told by c)".to_owned(), Reason::CidrNotGranted),
    ];
    assert_eq!(shown(&trust), expected);
    assert_eq!(lanes(&trust), ["b.g1", "c.g1"]);
    trust.forget_told(&member("b"));
    assert_eq!(shown(&trust), expected);
    trust.forget_told(&member("c"));
    assert_eq!(shown(&trust), []);
}

#[test]
fn what_is_moot_is_not_shown_any_more() {
    let place = tempfile::tempdir().unwrap();
    let mut trust = settled(&place);
    // Peers that tell of the past are behind, and nobody has to look into that.
    let [new, old] = [9, 8].map(|sequence| Gateway::b_g1().sequence(sequence).spec(NOW));
    assert_eq!(hear(&mut trust, None, &[new, old]), (true, 0, Reception::Sound));
    assert_eq!(shown(&trust), []);
    // A lie about b is over when b is heard, and any lie when its teller is no peer any more.
    let lies = || {
        let b = Gateway { identity: 0xc0, ..Gateway::b_g1().sequence(20) }.spec(NOW);
        [b, Gateway { identity: 0xb0, ..Gateway::c_g1().sequence(20) }.spec(NOW)]
    };
    hear(&mut trust, None, &lies());
    assert_eq!(shown(&trust).len(), 2);
    let said = Gateway::b_g1().sequence(10).seen(NOW);
    trust.written(Kind::Advertisement, said, NOW, &facts());
    let names = |trust: &Trust| shown(trust).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(&trust), ["c.g1 (told by c)"]);
    trust.retain_tellers(&[member("b"), member("c")].into());
    assert_eq!(names(&trust), ["c.g1 (told by c)"]);
    trust.retain_tellers(&[member("b")].into());
    assert_eq!(names(&trust), Vec::<String>::new());
}

#[test]
fn what_a_peer_tells_of_a_member_says_nothing_of_that_member() {
    let place = tempfile::tempdir().unwrap();
    let mut trust = settled(&place);
    let forged = Gateway { identity: 0xc0, ..Gateway::b_g1().sequence(9) }.spec(NOW);
    hear(&mut trust, None, &[forged]);
    assert!(trust.refusals().values().all(|refusal| refusal.member.is_empty()));
    let peer = IpAddr::from([192, 0, 2, 1]);
    let mut gossip = Gossip::default();
    gossip.tell(knowing());
    let other = Digest { version: 9, ..gossip.digest() };
    let heard = [(peer, gossip.digest()), (IpAddr::from([192, 0, 2, 2]), other)];
    assert_eq!(gossip.agreeing(&heard), [peer]);
}

#[test]
fn a_liar_fills_sixteen_lines_and_is_asked_less_and_less() {
    let place = tempfile::tempdir().unwrap();
    let mut trust = settled(&place);
    let lies: Vec<_> = (0..100)
        .map(|number| {
            let mut spec = Gateway::of(&format!("b.x{number}"), 0xc0, "10.2.0.0/16").spec(NOW);
            spec.signed.signature = "A".repeat(87) + "=";
            spec
        })
        .collect();
    let (_, counted, reception) = hear(&mut trust, None, &lies);
    assert_eq!((counted, reception), (16, Reception::Hostile));
    assert_eq!(shown(&trust).len(), 16);

    let peer = IpAddr::from([192, 0, 2, 1]);
    let mut gossip = Gossip::default();
    let digest = Digest { link_index: 0, version: 9, hash: [1; 8], positions: [1; 8] };
    gossip.hear(vec![(peer, digest)], &peers([peer]));
    assert_eq!(gossip.due(), [peer]);
    let before = Instant::now();
    gossip.took(peer, reception, None);
    gossip.took(peer, Reception::Sound, Some(Ended::Answered));
    assert!(gossip.next_wake().unwrap() >= before + Duration::from_millis(800));
}

#[test]
fn words_without_a_name_are_one_line_without_their_text() {
    let place = tempfile::tempdir().unwrap();
    let mut trust = settled(&place);
    let nameless = |number: u8| {
        let member = format!("{}{number}", "x".repeat(20_000));
        AdvertisementSpec { member, ..Gateway::b_g1().spec(NOW) }
    };
    let lies: Vec<_> = (0..20).map(nameless).collect();
    assert_eq!(hear(&mut trust, None, &lies), (false, 1, Reception::Hostile));
    assert_eq!(shown(&trust), [("(told by c)".to_owned(), Reason::BadName)]);
}

#[test]
fn a_forged_list_is_refused_by_name() {
    let place = tempfile::tempdir().unwrap();
    let mut trust = settled(&place);
    let mut forged = next_list(NOW, |list| drop(list.members.remove(&member("b"))));
    forged.signed.signature = signed(&list(NOW)).signed.signature;
    assert_eq!(hear(&mut trust, Some(&forged), &[]), (false, 1, Reception::Hostile));
    let expected = [("sealane (told by c)".to_owned(), Reason::ClusterSetBadSignature)];
    assert_eq!(shown(&trust), expected);
    assert_eq!(lanes(&trust), ["b.g1", "c.g1"]);
}

#[tokio::test]
async fn a_forged_signature_ends_the_reading_of_that_answer() {
    let place = tempfile::tempdir().unwrap();
    let mut trust = settled(&place);
    let mut forged = Gateway::b_g1().sequence(9).spec(NOW);
    forged.signed.signature = Gateway::b_g1().sequence(8).spec(NOW).signed.signature;
    let words = [forged, Gateway::b_g1().sequence(10).spec(NOW)];
    assert_eq!(hear(&mut trust, None, &words), (false, 1, Reception::Forged));
    assert_eq!(shown(&trust), [("b.g1 (told by c)".to_owned(), Reason::BadSignature)]);

    let peer = IpAddr::from([192, 0, 2, 1]);
    let mut gossip = Gossip::default();
    let digest = Digest { link_index: 0, version: 9, hash: [1; 8], positions: [1; 8] };
    gossip.hear(vec![(peer, digest)], &peers([peer]));
    assert_eq!(gossip.due(), [peer]);
    let reader = tokio::spawn(std::future::pending::<()>());
    gossip.reads(peer, reader.abort_handle());
    let before = Instant::now();
    gossip.took(peer, Reception::Forged, None);
    assert!(reader.await.is_err_and(|error| error.is_cancelled()));
    assert!(gossip.next_wake().unwrap() >= before + Duration::from_millis(800));
}

#[test]
fn a_peer_that_is_behind_or_across_a_fork_is_no_liar() {
    let place = tempfile::tempdir().unwrap();
    let mut trust = settled(&place);
    let next = next_list(NOW, |_| {});
    assert_eq!(hear(&mut trust, Some(&next), &[]), (true, 0, Reception::Sound));
    let old = signed(&list(NOW));
    assert_eq!(hear(&mut trust, Some(&old), &[]), (false, 0, Reception::Sound));
    assert_eq!(shown(&trust), []);
    let fork = next_list(NOW, |list| drop(list.members.remove(&member("b"))));
    let teller = member("b");
    let hearsay = Hearsay { teller: &teller, list: Some(&fork), words: &[] };
    assert_eq!(trust.told(&hearsay, NOW, &facts()).1, Reception::Sound);
    let expected = [("sealane (told by b)".to_owned(), Reason::ClusterSetFork)];
    assert_eq!(shown(&trust), expected);
}

/// Knows the list and what b and c say.
fn knowing() -> Telling {
    let mut receiver = Receiver::new(clusterset_id(), ListPosition::default());
    receiver.accept_clusterset(NOW, &facts(), &signed(&list(NOW)));
    for gateway in [Gateway::b_g1(), Gateway::c_g1()] {
        let (name, spec) = (gateway.id.to_string(), gateway.spec(NOW));
        let offer = Offer { name: &name, spec: &spec };
        let verdict = receiver.accept_advertisement(NOW, &facts(), offer);
        assert!(matches!(verdict, Verdict::Accepted { .. }));
    }
    Telling::of(&receiver, NOW, &Telling::default())
}

/// Two ends of a lane, on loopback.
struct Lane {
    here: Way,
    there: IpAddr,
    desk: Desk,
    _listener: Listener,
}

fn way(address: IpAddr) -> Way {
    Way { link: None, index: 0, source: address }
}

/// A lane with the agent of `there` on the other side, which knows everything and serves `here`.
fn lane(number: u8) -> Lane {
    let [here, there] = [1, 2].map(|last| IpAddr::from([127, 83, number, last]));
    let desk = Desk::default();
    desk.show(Arc::new(knowing()));
    desk.serve(peers([here]));
    let (events, _) = mpsc::channel(1);
    let listener = inquiry::listen(&way(there), events, desk.clone()).unwrap();
    Lane { here: way(here), there, desk, _listener: listener }
}

/// Everything that asking brings, until it ended.
async fn pull(from: &Way, to: IpAddr, standing: Standing) -> (Vec<Told>, Ended) {
    let (events, mut inbox) = mpsc::channel(16);
    let question = Frame::Ask(standing).encode();
    let asking = tokio::spawn(wire::ask(from.clone(), to, question, events));
    let mut all = Vec::new();
    let ended = loop {
        let event = tokio::time::timeout(DEADLINE, inbox.recv()).await.unwrap().unwrap();
        let Event::Told(told) = event else { panic!("another event") };
        assert_eq!(told.from, to);
        let ended = told.ended;
        all.push(told);
        if let Some(ended) = ended {
            break ended;
        }
    };
    asking.await.unwrap();
    (all, ended)
}

#[tokio::test]
async fn who_knows_nothing_is_told_everything_and_who_knows_it_nothing() {
    let lane = lane(1);
    let (told, ended) = pull(&lane.here, lane.there, Standing::default()).await;
    assert_eq!((told.len(), ended), (1, Ended::Answered));
    assert!(told[0].list.is_some());
    let names: Vec<&str> = told[0].words.iter().map(|spec| spec.member.as_str()).collect();
    assert_eq!(names.len(), 2);
    let (told, ended) = pull(&lane.here, lane.there, knowing().standing().clone()).await;
    assert_eq!(ended, Ended::Answered);
    assert!(told[0].list.is_none() && told[0].words.is_empty());
}

#[tokio::test]
async fn a_stranger_is_told_nothing() {
    let lane = lane(2);
    let stranger = way(IpAddr::from([127, 83, 2, 9]));
    let (told, ended) = pull(&stranger, lane.there, Standing::default()).await;
    assert_eq!(ended, Ended::Failed);
    assert!(told[0].list.is_none() && told[0].words.is_empty());
}

#[tokio::test]
async fn a_third_question_of_one_peer_waits_two_hundred_milliseconds() {
    let lane = lane(3);
    let places: Vec<_> = (0..2).map(|_| lane.desk.pull(lane.here.source).unwrap()).collect();
    let (_, ended) = pull(&lane.here, lane.there, Standing::default()).await;
    assert_eq!(ended, Ended::Later(Duration::from_millis(200)));
    drop(places);
    let (_, ended) = pull(&lane.here, lane.there, Standing::default()).await;
    assert_eq!(ended, Ended::Answered);
}

async fn connected(lane: &Lane) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((lane.here.source, 0).into()).unwrap();
    socket.connect((lane.there, PORT).into()).await.unwrap()
}

#[tokio::test]
async fn whoever_asks_nonsense_or_says_nothing_is_dropped_and_the_next_is_served() {
    let lane = lane(4);
    let mut silent = connected(&lane).await;
    for nonsense in
        [&[2, 255, 255, 255, 255][..], &[9], &[3, 0, 0, 0, 2, b'{', b'}'], &[5, 0, 0, 0, 0]]
    {
        let mut stream = connected(&lane).await;
        stream.write_all(nonsense).await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await;
        // Closed or reset; a peer with two questions under way may be told to wait.
        let _ = read.expect("it is dropped in time");
        assert!(answer.is_empty() || answer == Frame::Later(200).encode(), "{answer:?}");
    }
    let until = Instant::now() + DEADLINE;
    while pull(&lane.here, lane.there, Standing::default()).await.1 != Ended::Answered {
        assert!(Instant::now() < until);
    }
    let ended = tokio::time::timeout(DEADLINE, silent.read_to_end(&mut Vec::new())).await;
    assert!(ended.is_ok(), "who says nothing is kept");
}

#[tokio::test]
async fn a_peer_that_tells_nonsense_is_believed_nothing() {
    for (number, nonsense) in [
        (5, Frame::Ask(Standing::default()).encode()),
        (6, Frame::List(Box::new(signed(&list(NOW)))).encode().repeat(2)),
        (7, vec![4, 0, 0, 0, 2, b'{', b'}']),
        (8, vec![4, 255, 255, 255, 255]),
    ] {
        let [here, there] = [1, 2].map(|last| IpAddr::from([127, 83, number, last]));
        let listener = TcpListener::bind((there, PORT)).await.unwrap();
        let liar = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(&nonsense).await.unwrap();
            let mut rest = Vec::new();
            // The other end may reset the connection.
            let _ = stream.read_to_end(&mut rest).await;
        });
        let (told, ended) = pull(&way(here), there, Standing::default()).await;
        assert_eq!(ended, Ended::Failed, "{number}");
        assert!(told.iter().all(|told| told.words.is_empty()));
        liar.await.unwrap();
    }
}

#[test]
fn what_probes_say_is_what_is_told() {
    let mut gossip = Gossip::default();
    assert_eq!(
        gossip.digest(),
        Digest { link_index: 0, version: 0, hash: [0; 8], ..gossip.digest() }
    );
    assert!(gossip.is_due());
    assert!(gossip.tell(knowing()));
    assert!(!gossip.is_due() && !gossip.tell(knowing()));
    assert_eq!(gossip.digest().version, 5);
    let word = Gateway::b_g1().spec(NOW);
    gossip.says(Some(&word));
    assert!(gossip.is_due(), "the own word is news");
    gossip.tell(knowing());
    gossip.says(Some(&word));
    assert!(!gossip.is_due());
    gossip.mark_stale();
    assert!(gossip.is_due());
}

#[test]
fn news_is_announced_at_once_and_further_news_a_second_later() {
    let mut gossip = Gossip::default();
    assert!(gossip.tell(knowing()) && gossip.announces() && !gossip.announces());
    assert_eq!(gossip.next_wake(), None);
    let before = Instant::now();
    assert!(gossip.tell(Telling::default()) && !gossip.announces());
    let wake = gossip.next_wake().unwrap();
    assert!(wake > before && wake <= Instant::now() + Duration::from_secs(1));
}
