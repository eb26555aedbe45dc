//! A member's life on a broker: its word appears, follows the list, and is taken back.

use sealane_agent::admin::{Fault, Question};
use sealane_agent::config::Role;
use sealane_agent::event::Event;
use sealane_api::clusterset::ListPosition;
use sealane_api::receiver::{Offer, Receiver, Verdict};
use sealane_api::remote::LocalFacts;
use sealane_broker::board::{BoardEvent, Kind};
use sealane_broker::publish;
use sealane_broker::store::Store;
use sealane_state::host::HostState;
use sealane_state::owner;
use sealane_state::route::RouteKey;
use sealane_view::gateway::{GatewayRequest, RevocationDocument};
use sealane_view::membership::{LeaveDocument, LeaveRequest, ListRequest, WithoutBroker};
use sealane_view::ping::PingRequest;
use tokio::sync::mpsc::error::TrySendError;

use crate::fixture::{FullDisk, files, list, next_list, no_broker, sighting, signed, token};
use crate::host::{Broker, DEADLINE, Host, config, eventually, joins_by_itself, now};

async fn joined(place: &std::path::Path, broker: &Broker) -> Host {
    let host = Host::start(place);
    host.join(&broker.token().await).await.unwrap();
    eventually("our word is on the broker, with what root granted", || async {
        broker.word_of_me().await.is_some_and(|word| {
            word["state"] == "active"
                && word["networks"]["pods"] == serde_json::json!(["10.4.0.0/16"])
        })
    })
    .await;
    host
}

fn leave(without_broker: WithoutBroker) -> Question {
    Question::Leave(LeaveRequest { without_broker })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_says_that_the_broker_took_our_word_and_when_our_credential_ends() {
    let broker = Broker::holding(&signed(&list(now()))).await;
    let place = tempfile::tempdir().unwrap();
    let host = joined(place.path(), &broker).await;
    eventually("the agent knows", || async {
        host.status().await.advertised_unix_seconds.is_some()
    })
    .await;
    let status = host.status().await;
    let ends = status.broker.unwrap().credential_expires_unix_seconds.unwrap();
    assert!((3_500..=3_600).contains(&(ends - now().0)), "{ends}");
    let problem = status.problems.iter().find(|it| it.reason == "BrokerCredentialExpires");
    assert!(problem.unwrap().next.contains("token renew --cluster me,"), "{problem:?}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_by_hand_is_accepted_when_the_disk_has_it_and_not_before() {
    let broker = Broker::holding(&signed(&list(now()))).await;
    let place = tempfile::tempdir().unwrap();
    let host = joined(place.path(), &broker).await;
    let next = next_list(now(), |_| {});
    let by_hand = || Question::List(ListRequest { spec: serde_json::to_value(&next).unwrap() });
    let full = FullDisk::for_file(&Store::open(place.path()).unwrap(), "held.json");
    let refusal = host.ask(by_hand()).await.unwrap_err();
    assert_eq!(refusal.fault, Fault::State);
    let text = serde_json::to_string(&refusal.document).unwrap();
    assert!(text.contains("StateNotSaved") && text.contains("free the disk"), "{text}");
    drop(full);
    eventually("the list is accepted", || async { host.ask(by_hand()).await.is_ok() }).await;
    let held = std::fs::read_to_string(place.path().join("held.json")).unwrap();
    assert!(held.contains(&next.signed.signature));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaving_takes_the_word_back_clears_the_host_and_forgets_the_files() {
    let broker = Broker::holding(&signed(&list(now()))).await;
    let place = tempfile::tempdir().unwrap();
    let host = joined(place.path(), &broker).await;
    assert!(host.status().await.broker.unwrap().connected);
    assert_ne!(*host.wish.borrow().host.clone().unwrap(), HostState::default());

    let answer = host.ask(leave(WithoutBroker::Refuse)).await.unwrap();
    let document: LeaveDocument = serde_json::from_value(answer).unwrap();
    assert_eq!((document.member.as_str(), document.withdrawn), ("me", true));
    assert_eq!(document.remains, Vec::<String>::new());
    assert_eq!(broker.word_of_me().await.unwrap()["state"], "withdrawn");
    assert_eq!(files(place.path()), Vec::<String>::new());
    assert_eq!(*host.wish.borrow().host.clone().unwrap(), HostState::default());
    assert_eq!(host.status().await.member, None);

    host.stop().await;
    broker.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_cannot_tell_the_broker_stays_unless_told_otherwise() {
    let broker = Broker::holding(&signed(&list(now()))).await;
    let place = tempfile::tempdir().unwrap();
    let host = joined(place.path(), &broker).await;
    broker.server.stop().await;

    let before = files(place.path());
    let refusal = host.ask(leave(WithoutBroker::Refuse)).await.unwrap_err();
    assert_eq!(refusal.fault, Fault::Outside);
    assert!(refusal.document.next.contains("--without-broker"), "{:?}", refusal.document);
    assert_eq!(files(place.path()), before);
    assert_eq!(host.status().await.member.as_deref(), Some("me"));
    assert_ne!(*host.wish.borrow().host.clone().unwrap(), HostState::default());

    let answer = host.ask(leave(WithoutBroker::Leave)).await.unwrap();
    let document: LeaveDocument = serde_json::from_value(answer).unwrap();
    assert!(!document.withdrawn);
    assert_eq!(document.remains, Vec::<String>::new());
    assert_eq!(files(place.path()), Vec::<String>::new());
    let status = host.status().await;
    assert_eq!((status.member, status.problems.len()), (None, 0), "nothing is left to complain of");
    host.stop().await;
}

#[tokio::test]
async fn a_host_that_left_stays_out_although_a_token_is_configured_until_it_is_joined() {
    let place = tempfile::tempdir().unwrap();
    let mut config = config(place.path());
    config.token_file = Some("/etc/sealane/token".into());
    let text = token(vec![no_broker()]).encode();
    let notice = |status: sealane_view::status::StatusDocument| {
        status.problems.into_iter().find(|it| it.reason == "Left").map(|it| it.next)
    };
    let host = Host::with(config.clone());
    assert_eq!(notice(host.status().await), None, "a host that never was a member");
    host.join(&text).await.unwrap();
    host.ask(leave(WithoutBroker::Leave)).await.unwrap();
    let expected = "to be a member again: sealane join --token-file /etc/sealane/token";
    assert_eq!(notice(host.status().await).as_deref(), Some(expected));
    host.stop().await;
    assert!(!joins_by_itself(&config));

    let host = Host::with(config.clone());
    assert_eq!(notice(host.status().await).as_deref(), Some(expected), "after a restart too");
    host.join(&text).await.unwrap();
    assert_eq!(notice(host.status().await), None);
    host.stop().await;
    assert!(!joins_by_itself(&config), "it is a member");
    std::fs::remove_file(place.path().join("membership.json")).unwrap();
    assert!(joins_by_itself(&config), "nobody had it leave since");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_became_a_node_withdraws_once_and_may_come_back() {
    let broker = Broker::holding(&signed(&list(now()))).await;
    let place = tempfile::tempdir().unwrap();
    joined(place.path(), &broker).await.stop().await;
    let address = broker.server.addresses()[0];
    broker.server.stop().await;

    let mut node = config(place.path());
    node.role = Role::Node;
    let host = Host::with(node.clone());
    let is_pending = || async {
        host.status()
            .await
            .problems
            .iter()
            .any(|it| (it.reason.as_str(), it.thing.as_str()) == ("NotWithdrawn", "me.host"))
    };
    eventually("the status says what is due", is_pending).await;
    let has_no_lane =
        || async { host.wish.borrow().host.as_ref().is_some_and(|it| it.devices.is_empty()) };
    eventually("no lane is wanted", has_no_lane).await;
    let broker = Broker::on(broker.directory, address).await;
    let withdrawn = || async { broker.state_of_me().await.as_deref() == Some("withdrawn") };
    eventually("the withdrawal", withdrawn).await;
    eventually("nothing is due any more", || async { !is_pending().await }).await;
    host.stop().await;

    let numbers = std::fs::read(place.path().join("gateway.json")).unwrap();
    let host = Host::with(node);
    assert_eq!(host.status().await.roles, [sealane_view::status::Role::Node]);
    assert!(!host.status().await.problems.iter().any(|it| it.reason == "NotWithdrawn"));
    host.stop().await;
    assert_eq!(std::fs::read(place.path().join("gateway.json")).unwrap(), numbers);

    let host = Host::start(place.path());
    let active = || async { broker.state_of_me().await.as_deref() == Some("active") };
    eventually("it speaks as a gateway again", active).await;
    host.stop().await;
    broker.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_with_a_new_name_withdraws_the_old_one_and_may_revoke_it() {
    let broker = Broker::holding(&signed(&list(now()))).await;
    let place = tempfile::tempdir().unwrap();
    joined(place.path(), &broker).await.stop().await;

    let mut renamed = config(place.path());
    renamed.node = "renamed".to_owned();
    let host = Host::with(renamed);
    let withdrawn = || async { broker.state_of_me().await.as_deref() == Some("withdrawn") };
    eventually("the old name is withdrawn", withdrawn).await;
    eventually("the new one speaks", || async {
        publish::read(&broker.admin, Kind::Advertisement, "me.renamed").await.unwrap().is_some()
    })
    .await;
    eventually("nothing is due any more", || async {
        !host.status().await.problems.iter().any(|it| it.reason == "NotWithdrawn")
    })
    .await;

    let request = |gateway: &str| GatewayRequest { gateway: gateway.to_owned() };
    let refusal = host.ask(Question::Revoke(request("renamed"))).await.unwrap_err();
    assert_eq!(refusal.fault, Fault::Request);
    let refusal = host.ask(Question::Revoke(request("No.Name."))).await.unwrap_err();
    assert_eq!(refusal.fault, Fault::Request);
    let answer = host.ask(Question::Revoke(request("host"))).await.unwrap();
    let document: RevocationDocument = serde_json::from_value(answer).unwrap();
    assert_eq!((document.member.as_str(), document.gateway.as_str()), ("me", "host"));
    assert_eq!(document.revoked.len(), 1);
    eventually("our certificate tells it", || async {
        let spec = publish::read(&broker.admin, Kind::Advertisement, "me.renamed").await.unwrap();
        let spec: sealane_api::kinds::AdvertisementSpec =
            serde_json::from_value(spec.unwrap()).unwrap();
        crate::fixture::payload(&spec.cert)["revoked"][0]["gateway"] == "host"
    })
    .await;
    assert_eq!(host.status().await.revoked_gateways, document.revoked);
    let allow = || async {
        let answer = host.ask(Question::Allow(request("host"))).await.unwrap();
        serde_json::from_value::<RevocationDocument>(answer).unwrap().changed
    };
    assert!(allow().await);
    assert!(!allow().await);
    host.stop().await;
    broker.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_becomes_a_gateway_shows_the_enrolment_that_its_token_gave_it() {
    let broker = Broker::holding(&signed(&list(now()))).await;
    let place = tempfile::tempdir().unwrap();
    let mut node = config(place.path());
    node.role = Role::Node;
    let host = Host::with(node);
    host.join(&broker.token().await).await.unwrap();
    host.stop().await;
    let host = Host::start(place.path());
    let spec = || async {
        let spec = publish::read(&broker.admin, Kind::Advertisement, "me.host").await.unwrap()?;
        serde_json::from_value::<sealane_api::kinds::AdvertisementSpec>(spec).ok()
    };
    eventually("it speaks as a gateway", || async { spec().await.is_some() }).await;
    let spec = spec().await.unwrap();
    let peer = LocalFacts::named(sealane_api::names::GatewayId::parse("b.g1").unwrap());
    let mut receiver = Receiver::new(crate::fixture::clusterset_id(), ListPosition::default());
    receiver.accept_clusterset(now(), &peer, &signed(&list(now())));
    let offer = Offer { name: "me.host", spec: &spec };
    let verdict = receiver.accept_advertisement(now(), &peer, offer);
    assert!(matches!(verdict, Verdict::Accepted { .. }), "{verdict:?}");
    host.stop().await;
    broker.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_stayed_after_all_speaks_on() {
    let broker = Broker::holding(&signed(&list(now()))).await;
    let place = tempfile::tempdir().unwrap();
    let host = joined(place.path(), &broker).await;
    let address = broker.server.addresses()[0];
    broker.server.stop().await;
    host.ask(leave(WithoutBroker::Refuse)).await.unwrap_err();
    let broker = Broker::on(broker.directory, address).await;
    let stranger = crate::fixture::Gateway {
        id: crate::fixture::own(),
        ..crate::fixture::Gateway::of("me.host", 0x77, "10.4.0.0/16")
    };
    let spec = serde_json::to_value(stranger.spec(now())).unwrap();
    publish::publish(&broker.admin, Kind::Advertisement, "me.host", &spec).await.unwrap();
    let written = spec;
    eventually("what somebody else wrote under our name is written over", || async {
        let spec = publish::read(&broker.admin, Kind::Advertisement, "me.host").await.unwrap();
        spec.is_some_and(|it| it["signed"] != written["signed"])
    })
    .await;
    assert_eq!(broker.word_of_me().await.unwrap()["state"], "active");
    host.stop().await;
    broker.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_brokers_of_the_list_are_followed_without_a_restart() {
    let one = Broker::holding(&signed(&list(now()))).await;
    let place = tempfile::tempdir().unwrap();
    let address = one.server.addresses()[0];
    let token = one.token().await;
    one.server.stop().await;
    // The other broker knows the same accounts and has the same authority.
    let copy = tempfile::tempdir().unwrap();
    for file in files(one.directory.path()) {
        std::fs::copy(one.directory.path().join(&file), copy.path().join(&file)).unwrap();
    }
    std::fs::remove_file(copy.path().join("admin.kubeconfig")).unwrap();
    let other = Broker::on(copy, ([127, 0, 0, 1], 0).into()).await;
    let one = Broker::on(one.directory, address).await;

    let host = Host::start(place.path());
    host.join(&token).await.unwrap();
    eventually("a list", || async { host.status().await.clusterset.is_some() }).await;
    let moved = other.address();
    one.apply(&next_list(now(), |list| list.brokers = vec![moved.clone()])).await;
    eventually("our word is where the list says", || async { other.word_of_me().await.is_some() })
        .await;
    eventually("the status names the broker in use", || async {
        let broker = host.status().await.broker.unwrap();
        broker.connected && broker.url.trim_end_matches('/') == moved.url
    })
    .await;
    host.stop().await;
    other.server.stop().await;
    one.server.stop().await;
}

#[tokio::test]
async fn a_stop_is_heard_wherever_it_stands_among_other_events() {
    for before in [0, 1, 255, 256, 257, 512, 1000] {
        let place = tempfile::tempdir().unwrap();
        let host = Host::unseen(config(place.path()));
        let mut sent = 0;
        // The loop has one thread with this test: nothing is taken before the next await.
        while sent < before {
            match host.events.try_send(Event::HostUnseen("test".to_owned())) {
                Ok(()) => sent += 1,
                Err(TrySendError::Full(_)) => tokio::task::yield_now().await,
                Err(TrySendError::Closed(_)) => panic!("the loop ended early"),
            }
        }
        let ended = tokio::time::timeout(DEADLINE, host.stop()).await;
        assert!(ended.is_ok(), "{before} events before the stop");
    }
}

#[tokio::test]
async fn what_the_broker_told_before_the_host_was_seen_counts_afterwards() {
    let place = tempfile::tempdir().unwrap();
    let host = Host::unseen(config(place.path()));
    host.join(&token(vec![no_broker()]).encode()).await.unwrap();
    let list =
        BoardEvent::Listed(Kind::ClusterSet, vec![sighting("sealane", &signed(&list(now())))]);
    assert!(host.events.send(Event::Board(list)).await.is_ok());
    assert!(host.status().await.clusterset.is_none(), "nothing is judged before the host is known");
    let pass = sealane_agent::hand::Pass::idle(crate::host::bare_host(), None);
    assert!(host.events.send(Event::Host(pass)).await.is_ok());
    let status = host.status().await;
    assert_eq!(status.clusterset.unwrap().version, 5);
    let refused = status.problems.iter().find(|it| it.reason == "CidrNotGranted").unwrap();
    assert_eq!(refused.thing, "10.9.0.0/16");
    assert_eq!(
        refused.next,
        "have the administrator run: sealane member update --cluster me --cidr 10.4.0.0/16 \
         --cidr 10.9.0.0/16 --cidr fd00:4::/32 --dir clusterset --kubeconfig admin.kubeconfig"
    );
    host.stop().await;
}

#[tokio::test]
async fn an_identity_that_root_pinned_for_somebody_else_is_a_problem_that_stands() {
    let place = tempfile::tempdir().unwrap();
    let host = Host::start(place.path());
    host.join(&token(vec![no_broker()]).encode()).await.unwrap();
    let pinned = next_list(now(), |list| {
        let me = list.members.get_mut(&crate::fixture::own().member).unwrap();
        (me.keys, me.join) = (vec![crate::fixture::seed(0x77).public()], None);
    });
    let event = BoardEvent::Written(Kind::ClusterSet, sighting("sealane", &pinned));
    eventually("the problem", || async {
        assert!(host.events.send(Event::Board(event.clone())).await.is_ok());
        host.status().await.problems.iter().any(|it| it.reason == "IdentityNotOurs")
    })
    .await;
    let taken = crate::fixture::Gateway {
        id: crate::fixture::own(),
        ..crate::fixture::Gateway::of("me.host", 0x77, "10.4.0.0/16")
    };
    let event = BoardEvent::Written(Kind::Advertisement, taken.seen(now()));
    assert!(host.events.send(Event::Board(event)).await.is_ok());
    let status = host.status().await;
    let alarm = status.problems.iter().find(|it| it.reason == "OwnNameTaken").unwrap();
    assert_eq!(alarm.thing, "me.host");
    host.stop().await;
}

#[tokio::test]
async fn who_enrolled_with_the_same_token_before_is_remembered_when_its_word_is_gone() {
    let place = tempfile::tempdir().unwrap();
    let host = Host::start(place.path());
    host.join(&token(vec![no_broker()]).encode()).await.unwrap();
    let before = crate::fixture::enrolled_before(now());
    for event in [
        BoardEvent::Listed(Kind::ClusterSet, vec![sighting("sealane", &signed(&list(now())))]),
        BoardEvent::Listed(Kind::Advertisement, vec![before]),
        BoardEvent::Listed(Kind::Advertisement, Vec::new()),
    ] {
        assert!(host.events.send(Event::Board(event)).await.is_ok());
    }
    let status = host.status().await;
    let conflict = status.problems.iter().find(|it| it.reason == "EnrolmentConflict").unwrap();
    assert!(conflict.cause.contains("me.host under identity"), "{}", conflict.cause);
    host.stop().await;
}

#[tokio::test]
async fn a_ping_that_no_lane_serves_is_told_why() {
    let place = tempfile::tempdir().unwrap();
    let host = Host::start(place.path());
    let ping = async |target: &str| {
        let (count, interval_milliseconds, size_bytes) = (1, 200, None);
        let target = target.to_owned();
        let request = PingRequest { target, count, interval_milliseconds, size_bytes };
        host.ask(Question::Ping(request)).await.unwrap_err().document.cause
    };
    assert_eq!(ping("b").await, "this host is in no clusterset");
    host.join(&token(vec![no_broker()]).encode()).await.unwrap();
    let list =
        BoardEvent::Listed(Kind::ClusterSet, vec![sighting("sealane", &signed(&list(now())))]);
    eventually("the list counts", || async {
        assert!(host.events.send(Event::Board(list.clone())).await.is_ok());
        ping("b").await == "b has no lane at the moment"
    })
    .await;
    assert!(ping("me.other").await.contains("own member"));
    assert!(ping("10.4.7.7").await.contains("own member"));
    assert!(ping("edeg").await.contains("\"edeg\" is no member"));
    host.stop().await;
}

#[tokio::test]
async fn what_root_granted_to_a_member_that_spoke_is_refused_until_it_is_off_the_list() {
    let place = tempfile::tempdir().unwrap();
    let host = Host::start(place.path());
    host.join(&token(vec![no_broker()]).encode()).await.unwrap();
    let gateway = crate::fixture::Gateway::b_g1();
    let lists = [
        BoardEvent::Listed(Kind::ClusterSet, vec![sighting("sealane", &signed(&list(now())))]),
        BoardEvent::Listed(Kind::Advertisement, vec![gateway.seen(now())]),
    ];
    for event in lists {
        assert!(host.events.send(Event::Board(event)).await.is_ok());
    }
    let is_refused = |net: &str| {
        let destination = net.parse().unwrap();
        let key =
            RouteKey { table: owner::TABLE_REMOTE, destination, metric: owner::METRIC_BACKSTOP };
        host.wish.borrow().host.as_ref().is_some_and(|host| host.routes.contains_key(&key))
    };
    // Granted, and not advertised.
    eventually("the rest of the grant", || async { is_refused("fd00:2::/32") }).await;
    assert!(!is_refused("fd00:3::/32"), "c is listed and has never spoken");
    let without_b = next_list(now(), |list| drop(list.members.remove(&gateway.id.member)));
    let event = BoardEvent::Written(Kind::ClusterSet, sighting("sealane", &without_b));
    assert!(host.events.send(Event::Board(event)).await.is_ok());
    let is_over = || async { !is_refused("fd00:2::/32") && !is_refused("10.2.0.0/16") };
    eventually("its addresses are anybody's", is_over).await;
    host.stop().await;
}
