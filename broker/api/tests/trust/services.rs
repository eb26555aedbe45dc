//! Hostile inputs about services: who may export what, under which name, in which order.

use crate::fixture::*;
use crate::service_fixture::{KEY, Service};
use sealane_api::clusterset::{JoinKey, MemberEntry, OnExpiry};
use sealane_api::reason::{Reason, Warning};
use sealane_api::receiver::services::ServiceOffer;
use sealane_api::receiver::{Receiver, Verdict};
use sealane_api::service::MAX_SERVICES;
use sealane_api::sign::services::{self, ServiceDraft, ServicesCertRequest};
use sealane_api::signed::{Signed, Statement};
use sealane_api::time::{DAY_SECONDS, UnixTime};
use serde_json::{Value, json};

/// A list in which b may export from these namespaces.
fn granting(namespaces: &[&str]) -> sealane_api::clusterset::ClusterSet {
    let mut list = list();
    let entry = list.members.get_mut(&member("b")).unwrap();
    entry.namespaces = namespaces.iter().map(|name| (*name).to_owned()).collect();
    list
}

#[test]
fn a_service_is_believed_as_its_member_says_it() {
    let mut host = Host::settled();
    host.accept_service(&Service::of_b());
    host.accept_service(&Service::of("c", "shop", "cart").headless().with("endpoints", json!([])));
    assert_eq!(host.service_names(), ["b.shop.cart", "c.shop.cart"]);
    let service = host.services().remove(0);
    assert_eq!(service.exported.addresses, ["10.2.0.7".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(service.exported.ports[0].port, 80);
    assert_eq!((service.generation, service.sequence), (100, 7));
    assert_eq!(service.expires, NOW.plus_seconds(30 * DAY_SECONDS));
    assert_eq!(host.offer_service(&Service::of_b()), Verdict::Unchanged);
}

#[test]
fn svc_namespace() {
    let mut host = Host::with(&granting(&["shop", "bank"]));
    host.accept_service(&Service::of_b());
    host.reject_service(&Service::of("b", "payments", "db"), Reason::NamespaceNotGranted);
    let mut nobody = Host::with(&granting(&[]));
    nobody.reject_service(&Service::of_b(), Reason::NamespaceNotGranted);
}

#[test]
fn svc_kube() {
    for namespaces in [&["*"][..], &["kube-system", "sealane-system", "kube-public"]] {
        let mut host = Host::with(&granting(namespaces));
        for namespace in ["kube-system", "kube-public", "kube-anything", "sealane-system"] {
            let service = Service::of("b", namespace, "dns");
            host.reject_service(&service, Reason::NamespaceNotGranted);
        }
    }
}

#[test]
fn svc_address() {
    let mut host = Host::settled();
    let addresses =
        ["10.3.0.7", "10.1.0.0", "10.4.0.1", "::ffff:10.2.0.7", "127.0.0.1", "fd00:3::1"];
    for address in addresses {
        let own_too = json!(["10.2.0.7", address]);
        let service = Service::of_b().with("addresses", own_too);
        host.reject_service(&service, Reason::AddressNotGranted);
        let endpoints = json!([{"addr": "10.2.0.7"}, {"addr": address}]);
        let service = Service::of_b().headless().with("endpoints", endpoints);
        host.reject_service(&service, Reason::AddressNotGranted);
    }
    host.accept_service(&Service::of_b().with("addresses", json!(["10.2.0.7", "fd00:2::7"])));
}

#[test]
fn a_key_of_one_role_signs_nothing_of_the_other() {
    let mut host = Host::settled();
    let by_gateway = Service::of_b().cert_with("role", json!("gateway"));
    host.reject_service(&by_gateway, Reason::WrongRole);
    host.reject_service(&by_gateway.cert_with("gateway", json!("g1")), Reason::WrongRole);
    host.reject_service(&Service::of_b().cert_with("role", json!("keeper")), Reason::Malformed);
    let of_a_gateway = Service::of_b().cert_with("gateway", json!("g1"));
    host.reject_service(&of_a_gateway, Reason::EnvelopeMismatch);
    // The other way round, the certificate of services around a sound advertisement.
    let mut ad = Ad::b_g1().sequence(8);
    ad.cert = Service::of_b().cert;
    ad.key = identity_of("b") + KEY;
    host.reject(&ad, Reason::WrongRole);
}

#[test]
fn a_service_signed_as_anything_else_is_forged() {
    let mut host = Host::settled();
    let service = Service::of_b();
    for statement in [
        Statement::RootLink,
        Statement::ClusterSet,
        Statement::Enrolment,
        Statement::GatewayCert,
        Statement::Advertisement,
        Statement::Tunnel,
    ] {
        let spec = service.spec_signed_as(statement);
        let verdict = host.offer_service_spec(&service.name, &spec);
        assert_eq!(reason_of(&verdict), Some(Reason::BadSignature), "{statement:?}");
    }
    host.reject_service(&Service { key: 0x77, ..Service::of_b() }, Reason::BadSignature);
}

#[test]
fn nobody_exports_in_the_name_of_another() {
    let mut host = Host::settled();
    let posing = Service { identity: identity_of("c"), ..Service::of_b() };
    host.reject_service(&posing, Reason::CertBadSignature);
    host.reject_service(&Service::of("nobody", "shop", "cart"), Reason::UnknownMember);
    let other = sealane_api::names::ClusterSetId::of_genesis(&seed(8).public(), &seed(9).public());
    let foreign = Service::of_b().with("clusterset", json!(other.as_str()));
    host.reject_service(&foreign, Reason::WrongClusterSet);
    for (field, value) in [("member", "c"), ("namespace", "bank"), ("name", "till")] {
        host.reject_service(&Service::of_b().with(field, json!(value)), Reason::EnvelopeMismatch);
    }
    let swapped = Service::of_b().with("cert", json!(b64([7; 32])));
    host.reject_service(&swapped, Reason::CertSwapped);
}

#[test]
fn the_name_of_the_object_is_that_of_the_service() {
    let mut host = Host::settled();
    let spec = Service::of_b().spec();
    for name in ["b.shop.till", "b.shop", "c.shop.cart", ""] {
        let verdict = host.offer_service_spec(name, &spec);
        assert_eq!(reason_of(&verdict), Some(Reason::NameMismatch), "{name}");
    }
    let long = "x".repeat(64);
    for (namespace, name) in [("shop", "ca.rt"), ("Shop", "cart"), ("", "cart"), ("shop", &*long)] {
        let mut spec = Service::of_b().spec();
        (spec.namespace, spec.name) = (namespace.to_owned(), name.to_owned());
        let object = format!("b.{namespace}.{name}");
        let verdict = host.offer_service_spec(&object, &spec);
        assert_eq!(reason_of(&verdict), Some(Reason::BadName), "{object}");
    }
}

#[test]
fn parts_of_a_service_that_do_not_fit_are_refused() {
    let mut host = Host::settled();
    let port = |name: &str, port: u64| json!({"name": name, "protocol": "TCP", "port": port});
    let headless = Service::of_b().headless();
    let both = |service: &Service| {
        service.clone().with("addresses", Service::of_b().payload["addresses"].clone())
    };
    let last_with = |field: &str, service: &Service| {
        Service::of_b().withdrawn().with(field, service.payload[field].clone())
    };
    for bad in [
        Service::of_b().with("addresses", json!([])),
        Service::of_b().with("ports", json!([])),
        Service::of_b().with("ports", json!([port("web", 0)])),
        Service::of_b().with("ports", json!([port("web", 65_536)])),
        Service::of_b().with("ports", json!([port("Web", 80)])),
        Service::of_b().with("ports", json!([port("web", 80), port("", 81)])),
        Service::of_b().with("ports", json!([port("web", 80), port("web", 81)])),
        Service::of_b().with("ports", json!([port("web", 80), port("api", 80)])),
        Service::of_b().with("affinity", json!(0)),
        Service::of_b().with("affinity", json!(86_401)),
        Service::of_b().with("state", json!("withdrawn")),
        both(&headless),
        both(&headless).with("type", json!("ClusterSetIP")),
        headless.clone().with("endpoints", json!([{"addr": "10.2.0.7", "hostname": "cart.0"}])),
        last_with("ports", &Service::of_b()),
        last_with("addresses", &Service::of_b()),
        last_with("endpoints", &headless),
    ] {
        host.reject_service(&bad, Reason::BadService);
    }
    let two = json!([{"name": "a", "protocol": "TCP", "port": 53}, {"name": "b", "protocol": "UDP", "port": 53}]);
    host.accept_service(&Service::of_b().with("ports", two));
    let nameless = json!([{"protocol": "SCTP", "port": 65_535}]);
    host.accept_service(&Service::of_b().sequence(8).with("ports", nameless));
}

#[test]
fn a_service_is_read_strictly() {
    let mut host = Host::settled();
    for (field, value) in [
        ("type", json!("ExternalName")),
        ("state", json!("gone")),
        ("ports", json!([{"protocol": "ICMP", "port": 1}])),
        ("ports", json!([{"protocol": "TCP", "port": 1, "nodePort": 2}])),
        ("ports", json!([{"protocol": "TCP", "port": 1, "appProtocol": ""}])),
        ("addresses", json!(["10.2.0.07"])),
        ("endpoints", json!([{"addr": "10.2.0.7", "node": "n"}])),
        ("sequence", json!("7")),
        ("extra", json!(1)),
    ] {
        host.reject_service(&Service::of_b().with(field, value), Reason::Malformed);
    }
    host.reject_service(&Service::of_b().with("v", json!(2)), Reason::UnsupportedVersion);
    host.reject_service(&Service::of_b().with("crit", json!(["x"])), Reason::UnknownCritical);
    let ports: Vec<Value> = (1..=65).map(|n| json!({"protocol": "TCP", "port": n})).collect();
    host.reject_service(&Service::of_b().with("ports", json!(ports)), Reason::TooMany);
    host.reject_service(
        &Service::of_b().with("addresses", json!(vec!["10.2.0.7"; 65])),
        Reason::TooMany,
    );
    let endpoints = json!(vec![json!({"addr": "10.2.0.7"}); 257]);
    host.reject_service(&Service::of_b().headless().with("endpoints", endpoints), Reason::TooMany);
    let big = json!({"x": "y".repeat(16 * 1024)});
    host.reject_service(&Service::of_b().with("ext", big), Reason::TooLarge);
}

#[test]
fn each_service_has_an_order_of_its_own() {
    let mut host = Host::settled();
    host.accept_service(&Service::of_b());
    host.accept_service(&Service::of("b", "shop", "till").sequence(1));
    host.reject_service(&Service::of_b().sequence(6), Reason::SequenceRolledBack);
    let older = Service::of_b().sequence(900).cert_with("generation", json!(99));
    host.reject_service(&older, Reason::SequenceRolledBack);
    let other = Service::of_b().with("affinity", json!(1));
    host.reject_service(&other, Reason::Equivocation);
    // The services key is new at each start of its keeper.
    let restarted = Service { key: 0x55, ..Service::of_b() };
    let restarted = restarted.cert_with("key", json!(seed(0x55).public().to_string()));
    host.accept_service(&restarted.cert_with("generation", json!(101)).sequence(1));
    assert_eq!(host.service_names(), ["b.shop.cart", "b.shop.till"]);
}

#[test]
fn a_withdrawn_service_is_gone_and_its_past_cannot_come_back() {
    let mut host = Host::settled();
    host.accept_service(&Service::of_b());
    host.accept_service(&Service::of_b().sequence(8).withdrawn());
    assert!(host.service_names().is_empty());
    host.reject_service(&Service::of_b(), Reason::SequenceRolledBack);
    host.accept_service(&Service::of_b().sequence(9));
    assert_eq!(host.service_names(), ["b.shop.cart"]);
}

#[test]
fn a_service_that_never_rests_is_heard_once_a_second_and_its_end_at_once() {
    let mut host = Host::settled();
    for sequence in 10..15 {
        host.accept_service(&Service::of_b().sequence(sequence));
    }
    host.reject_service(&Service::of_b().sequence(15), Reason::RateLimited);
    host.accept_service(&Service::of("b", "shop", "till"));
    host.accept_service(&Service::of_b().sequence(16).withdrawn());
    host.now.0 += 2;
    host.accept_service(&Service::of_b().sequence(17));
}

#[test]
fn a_newer_list_takes_services_away_and_gives_them_back() {
    let mut host = Host::settled();
    host.accept_service(&Service::of_b().headless());
    host.accept_service(&Service::of("c", "shop", "cart"));
    let change = |version: u64, change: fn(&mut MemberEntry)| {
        next_list(|list| {
            list.position.version = version;
            change(list.members.get_mut(&member("b")).unwrap());
        })
    };
    host.accept_list(&change(10, |entry| entry.namespaces = vec!["bank".to_owned()]));
    assert_eq!(host.service_names(), ["c.shop.cart"]);
    // Half of the grant: what is left of the service goes on.
    host.accept_list(&change(11, |entry| entry.cidrs.truncate(1)));
    let service = host.services().remove(0);
    assert_eq!(service.exported.endpoints.len(), 1, "{service:?}");
    host.accept_list(&change(12, |entry| entry.keys = vec![seed(0x99).public()]));
    assert_eq!(host.service_names(), ["c.shop.cart"]);
    host.accept_list(&next_list(|list| list.position.version = 13));
    assert_eq!(host.service_names(), ["b.shop.cart", "c.shop.cart"]);
    host.accept_list(&next_list(|list| {
        list.position.version = 14;
        list.members.remove(&member("b"));
    }));
    host.reject_service(&Service::of_b().sequence(8), Reason::MemberRevoked);
    assert_eq!(host.service_names(), ["c.shop.cart"]);
    host.accept_list(&next_list(|list| {
        list.position.version = 15;
        list.on_expiry = OnExpiry::Drop;
    }));
    host.now = NOW.plus_seconds(400 * DAY_SECONDS);
    assert!(host.service_names().is_empty());
}

#[test]
fn services_are_held_after_expiry_and_refused_when_new() {
    let mut host = Host::settled();
    host.accept_service(&Service::of_b());
    host.now = UnixTime(NOW.0 + 30 * DAY_SECONDS + 1);
    host.reject_service(&Service::of("b", "shop", "till"), Reason::CertExpired);
    let long =
        Service::of("b", "shop", "till").cert_with("expires", json!(NOW.0 + 90 * DAY_SECONDS));
    host.reject_service(&long, Reason::Expired);
    let life = |days: u64| json!(NOW.0 + days * DAY_SECONDS);
    host.reject_service(&long.clone().with("expires", life(32)), Reason::LifetimeTooLong);
    assert_eq!(host.offer_service(&Service::of_b()), Verdict::Unchanged);
    host.accept_service(&long.with("expires", life(31)));
    host.now = NOW.plus_seconds(60 * DAY_SECONDS);
    host.receiver.expire(host.now);
    assert_eq!(host.service_names(), ["b.shop.cart", "b.shop.till"]);
    host.now.0 += 1;
    assert!(!host.receiver.expire(host.now).clock_suspect);
    assert_eq!(host.service_names(), ["b.shop.till"]);
    host.now.0 += 90 * DAY_SECONDS;
    assert!(host.receiver.expire(host.now).clock_suspect);
    assert_eq!(host.service_names(), ["b.shop.till"]);
}

#[test]
fn services_survive_a_restart_and_what_the_disk_cannot_prove_does_not() {
    let mut host = Host::settled();
    host.accept_service(&Service::of_b());
    host.accept_service(&Service::of("c", "shop", "cart"));
    let written = serde_json::to_vec(host.receiver.held()).unwrap();
    let held: sealane_api::held::Held = serde_json::from_slice(&written).unwrap();
    assert_eq!(held, *host.receiver.held());
    let (again, _) = Receiver::at_cold_start(held.clone(), host.now, &host.facts);
    assert_eq!(again.services(host.now), host.services());
    let mut forged = held;
    for (id, service) in &mut forged.services {
        if id.member == member("b") {
            let spec = service.spec.as_mut().unwrap();
            spec.signed = Signed::seal(&seed(0x77), Statement::Service, b"{}");
        }
    }
    (host.receiver, _) = Receiver::at_cold_start(forged, host.now, &host.facts);
    assert_eq!(host.service_names(), ["c.shop.cart"]);
    // Whoever has the true bytes is believed again.
    host.accept_service(&Service::of_b());
    assert_eq!(host.service_names(), ["b.shop.cart", "c.shop.cart"]);
}

#[test]
fn the_thousand_and_first_service_of_a_member_is_refused() {
    let mut host = Host::settled();
    for number in 0..MAX_SERVICES {
        // A member may cost 50 new checks a second.
        host.now.0 += 1;
        let service = Service::of("b", "shop", &format!("s{number}"));
        let (name, spec) = (&*service.name, &service.spec());
        let offer = ServiceOffer { name, spec };
        let verdict = host.receiver.accept_service(host.now, &host.facts, offer);
        assert!(matches!(verdict, Verdict::Accepted { .. }), "{name}: {verdict:?}");
    }
    host.now.0 += 1;
    host.reject_service(&Service::of_b(), Reason::TooManyServices);
    host.accept_service(&Service::of("b", "shop", "s0").sequence(8).withdrawn());
    host.accept_service(&Service::of_b());
    host.accept_service(&Service::of("c", "shop", "cart"));
}

#[test]
fn a_member_that_enrolled_exports_and_a_revocation_beside_it_counts() {
    let mut list = list();
    let join = JoinKey { key: seed(0xc1).public(), before: NOW.plus_seconds(DAY_SECONDS) };
    let entry = list.members.get_mut(&member("c")).unwrap();
    (entry.keys, entry.join) = (Vec::new(), Some(join));
    let mut host = Host::with(&list);
    host.accept(&Ad { enrolment: Some(enrolment(0xc1, "c", 0xc0)), ..Ad::c_g1() });
    let service = Service::of("c", "shop", "cart");
    host.reject_service(&service, Reason::CertBadSignature);
    let revoked = json!([{"gateway": "g1", "below": 101}]);
    let enrolled = Service { enrolment: Some(enrolment(0xc1, "c", 0xc0)), ..service };
    let Verdict::Accepted { dropped, .. } =
        host.offer_service(&enrolled.clone().cert_with("revoked", revoked))
    else {
        panic!("not accepted")
    };
    assert_eq!(dropped[0].rejected.reason, Reason::GatewayRevoked);
    assert!(host.names().is_empty());
    assert_eq!(host.service_names().len(), 1, "a gateway that is revoked takes no service along");
    let second = Service { identity: 0xc5, ..enrolled };
    let second = Service { enrolment: Some(enrolment(0xc1, "c", 0xc5)), ..second };
    host.reject_service(&second.sequence(8), Reason::EnrolmentConflict);
}

#[test]
fn own_services_are_not_imported_and_those_of_a_namesake_are_alarmed() {
    let mut host = Host::settled();
    let own = Service::of("me", "shop", "cart");
    assert!(matches!(host.offer_service(&own), Verdict::Own(position) if position.sequence == 7));
    assert!(host.service_names().is_empty());
    host.facts.identity = Some(seed(0x31).public());
    host.reject_service(&own, Reason::OwnNameTaken);
}

#[test]
fn what_a_keeper_signs_is_believed_and_a_lying_view_is_said() {
    let mut host = Host::settled();
    let (id, owner) = (clusterset_id(), member("b"));
    let key = seed(0x42);
    let revoked = Vec::new();
    let request =
        ServicesCertRequest { id: &id, member: &owner, key: key.public(), generation: 5, revoked };
    let cert = services::cert(&seed(identity_of("b")), &request, NOW);
    let service = sealane_api::names::ServiceId::parse("b.shop.cart").unwrap();
    let exported = {
        host.accept_service(&Service::of("c", "shop", "cart"));
        let mut exported = host.services().remove(0).exported;
        exported.addresses = vec!["fd00:2::7".parse().unwrap()];
        exported
    };
    let state = sealane_api::advertisement::State::Active;
    let draft = ServiceDraft {
        id: &id,
        service: &service,
        cert: &cert,
        enrolment: None,
        sequence: 1,
        state,
        exported,
    };
    let spec = services::service(&key, &draft, NOW).unwrap();
    let accepted = |warnings| Verdict::Accepted { warnings, dropped: Vec::new() };
    assert_eq!(host.offer_service_spec("b.shop.cart", &spec), accepted(Vec::new()));
    let view = spec.view.clone().unwrap();
    assert_eq!(
        (&*view.service_type, &view.ports[..]),
        ("ClusterSetIP", &["80/TCP".to_owned()][..])
    );
    let mut next = ServiceDraft { sequence: 2, ..draft.clone() };
    next.exported.affinity = None;
    let mut lying = services::service(&key, &next, NOW).unwrap();
    lying.view.as_mut().unwrap().ports = vec!["443/TCP".to_owned()];
    assert_eq!(
        host.offer_service_spec("b.shop.cart", &lying),
        accepted(vec![Warning::ViewMismatch])
    );
    let last = ServiceDraft { sequence: 3, ..draft }.withdrawn();
    let last = services::service(&key, &last, NOW).unwrap();
    assert_eq!(host.offer_service_spec("b.shop.cart", &last), accepted(Vec::new()));
    assert_eq!(host.service_names(), ["c.shop.cart"]);
}
