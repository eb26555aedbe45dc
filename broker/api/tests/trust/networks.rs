//! Hostile inputs about addresses: what a member may advertise, and what this host leaves out.

use crate::fixture::*;
use sealane_api::cidr::Cidr;
use sealane_api::reason::{Reason, Warning};
use serde_json::json;

fn cidrs(texts: &[&str]) -> Vec<Cidr> {
    texts.iter().map(|text| Cidr::parse(text).unwrap()).collect()
}

#[test]
fn widened() {
    let mut host = Host::settled();
    for pods in [
        &["10.2.0.0/16", "10.9.0.0/16"][..],
        &["10.2.0.0/15"],
        &["10.3.0.0/25"],
        &["fd00:2::/31"],
        &["fd00:9::/64"],
    ] {
        host.reject(&Ad::b_g1().sequence(8).pods(pods), Reason::CidrNotGranted);
    }
}

#[test]
fn my_cidr() {
    let mut host = Host::settled();
    host.reject(&Ad::b_g1().sequence(8).pods(&["10.4.0.0/24"]), Reason::CidrNotGranted);
}

const FORBIDDEN: [&str; 9] = [
    "0.0.0.0/0",
    "::/0",
    "::ffff:10.0.0.0/104",
    "127.0.0.0/8",
    "fe80::/64",
    "224.0.0.0/4",
    "169.254.0.0/16",
    "ff00::/16",
    "255.255.255.255/32",
];

const NOT_CANONICAL: [&str; 9] = [
    "10.2.0.1/16",
    "010.2.0.0/16",
    "10.2.0.0/016",
    "10.2/16",
    "fd00:2::%eth0/64",
    " 10.2.0.0/16",
    "10.2.0.0/33",
    "FD00:2::/64",
    "10.2.0.0",
];

#[test]
fn default_route_mapped_and_loopback() {
    let mut host = Host::settled();
    for network in FORBIDDEN {
        host.reject(&Ad::b_g1().sequence(8).pods(&[network]), Reason::CidrForbidden);
        host.now.0 += 1;
    }
    let probe = sealane_api::probe_address::network(&clusterset_id()).to_string();
    host.reject(&Ad::b_g1().sequence(8).pods(&[&probe]), Reason::CidrForbidden);
}

#[test]
fn host_bits_and_odd_text() {
    let mut host = Host::settled();
    for network in NOT_CANONICAL {
        host.reject(&Ad::b_g1().sequence(8).pods(&[network]), Reason::CidrNotCanonical);
        host.now.0 += 1;
    }
}

#[test]
fn a_list_grants_nothing_forbidden_or_odd() {
    let mut host = Host::fresh();
    let with = |network: &str| {
        let mut payload = list_json(&list());
        payload["version"] = json!(6);
        payload["members"][1]["cidrs"] = json!([network]);
        signed_json(&payload)
    };
    for network in FORBIDDEN {
        host.reject_list(&with(network), Reason::CidrForbidden);
    }
    for network in NOT_CANONICAL {
        host.reject_list(&with(network), Reason::CidrNotCanonical);
    }
}

#[test]
fn overlap_in_set() {
    let mut host = Host::fresh();
    for shared in ["10.3.255.255/32", "fd00:3:ffff:ffff:ffff:ffff:ffff:ffff/128", "10.3.0.0/16"] {
        let overlapping = next_list(|list| {
            list.members.get_mut(&member("b")).unwrap().cidrs.extend(cidrs(&[shared]));
        });
        host.reject_list(&overlapping, Reason::ClusterSetOverlap);
    }
}

#[test]
fn overlap_is_found_below_a_network_of_the_same_member() {
    let mut host = Host::fresh();
    let overlapping = next_list(|list| {
        list.members.get_mut(&member("b")).unwrap().cidrs = cidrs(&["10.2.0.0/16", "10.2.1.0/24"]);
        list.members.get_mut(&member("c")).unwrap().cidrs = cidrs(&["10.2.200.0/24"]);
    });
    host.reject_list(&overlapping, Reason::ClusterSetOverlap);
}

#[test]
fn overlaps_host() {
    let mut host = Host::fresh();
    host.facts.links = cidrs(&["10.2.7.0/24"]);
    host.facts.reserved.insert("fd00:2:0:1::53".parse().unwrap());
    let ad = Ad::b_g1().pods(&["10.2.0.0/20", "10.2.64.0/20", "fd00:2:0:1::/64"]);
    let (warnings, _) = host.accept(&ad);
    let left_out = |network| Warning::OverlapsHost { network };
    let expected: Vec<_> =
        cidrs(&["10.2.0.0/20", "fd00:2:0:1::/64"]).into_iter().map(left_out).collect();
    assert_eq!(warnings, expected);
    assert_eq!(host.remote("b.g1").networks.pods, cidrs(&["10.2.64.0/20"]));
}

#[test]
fn grant_shrinks() {
    let mut host = Host::settled();
    let dropped = host.accept_list(&next_list(|list| {
        list.members.get_mut(&member("b")).unwrap().cidrs = cidrs(&["10.2.0.0/17"]);
    }));
    assert!(dropped.is_empty());
    assert_eq!(host.remote("b.g1").networks.pods, cidrs(&["10.2.0.0/17"]));
    host.reject(&Ad::b_g1().sequence(8), Reason::CidrNotGranted);
}

#[test]
fn probe_hijack() {
    let mut host = Host::settled();
    for address in ["10.3.0.1", "10.4.0.1"] {
        let ad = Ad::b_g1().sequence(8).edit(|payload| payload["probe4"] = json!(address));
        host.reject(&ad, Reason::ProbeNotGranted);
    }
    host.accept(&Ad::b_g1().sequence(8).edit(|payload| payload["probe4"] = json!("10.2.0.9")));
    let remote = host.remote("b.g1");
    let allowed = remote.allowed_ips();
    assert!(allowed.contains(&Cidr::parse("10.2.0.9/32").unwrap()));
    assert!(allowed.contains(&Cidr::host(remote.probe.into())));
    assert_eq!(allowed.len(), 4, "{allowed:?}");
}

#[test]
fn candidates_bad() {
    let mut host = Host::fresh();
    host.facts.addresses.insert("198.51.100.4".parse().unwrap());
    let bad = [
        ("127.0.0.1", 1),
        ("0.0.0.0", 1),
        ("ff02::1", 1),
        ("169.254.169.254", 1),
        ("198.51.100.4", 1),
        ("10.3.0.9", 1),
        ("192.0.2.8", 0),
        ("fe80::1", 1),
        ("::ffff:192.0.2.9", 1),
    ];
    let candidate = |(addr, port)| json!({"kind": "public", "addr": addr, "port": port});
    let ad = Ad::b_g1().edit(|payload| {
        let mut candidates: Vec<_> = bad.into_iter().map(candidate).collect();
        candidates.push(candidate(("192.0.2.8", 51820)));
        payload["tunnels"][0]["candidates"] = json!(candidates);
    });
    let (warnings, _) = host.accept(&ad);
    assert_eq!(warnings.len(), bad.len(), "{warnings:?}");
    assert!(warnings.iter().all(|warning| warning.as_str() == "CandidateIgnored"));
    let tried = &host.remote("b.g1").tunnels[0].candidates;
    assert_eq!(tried.len(), 1);
    assert_eq!(tried[0].socket().to_string(), "192.0.2.8:51820");
}

#[test]
fn a_candidate_inside_a_grant_is_tried_on_a_link_we_are_connected_to() {
    let mut host = Host::fresh();
    host.facts.links = cidrs(&["10.3.0.0/24"]);
    let ad = Ad::b_g1().edit(|payload| {
        payload["tunnels"][0]["candidates"] =
            json!([{"kind": "private", "addr": "10.3.0.9", "port": 51820}]);
    });
    assert!(host.accept(&ad).0.is_empty());
    assert_eq!(host.remote("b.g1").tunnels[0].candidates.len(), 1);
}

#[test]
fn view_lies() {
    let mut host = Host::settled();
    let mut spec = Ad::b_g1().sequence(8).spec();
    spec.view = Some(sealane_api::kinds::AdvertisementView {
        state: "active".to_owned(),
        networks: vec!["10.4.0.0/16".to_owned()],
        addresses: Vec::new(),
        sequence: 8,
        expires: String::new(),
        agent: String::new(),
    });
    let verdict = host.offer_spec("b.g1", &spec);
    let sealane_api::receiver::Verdict::Accepted { warnings, .. } = verdict else { panic!() };
    assert_eq!(warnings, [Warning::ViewMismatch]);
    assert_eq!(host.remote("b.g1").networks.pods, grant_of("b"));
}
