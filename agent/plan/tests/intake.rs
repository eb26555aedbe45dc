//! What a plan takes over from a gateway that was verified and accepted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use sealane_api::advertisement::{self, State};
use sealane_api::cidr::Cidr;
use sealane_api::keys::{PairKey, VerifyKey, WireguardKey};
use sealane_api::names;
use sealane_api::remote;
use sealane_api::time::UnixTime;
use sealane_plan::intake;
use sealane_plan::name::UnixSeconds;
use sealane_plan::remote::{Candidate, CandidateKind, GatewayState};
use sealane_state::wireguard::PublicKey;

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

#[test]
fn a_gateway_counts_until_the_end_of_its_hold_and_one_past_it_without_limit() {
    for (held, until) in [(NOW.0 - 1, None), (NOW.0, None), (NOW.0 + 1, Some(NOW.0 + 1))] {
        let gateway = remote::RemoteGateway { held_until: UnixTime(held), ..believed() };
        let fact = intake::remote_gateway(&gateway, NOW);
        assert_eq!(fact.until, until.map(UnixSeconds));
    }
}

#[test]
fn a_gateway_that_drains_or_withdraws_is_given_no_new_traffic() {
    for (state, is) in [
        (State::Active, GatewayState::Active),
        (State::Draining, GatewayState::Draining),
        (State::Withdrawn, GatewayState::Draining),
    ] {
        let fact = intake::remote_gateway(&remote::RemoteGateway { state, ..believed() }, NOW);
        assert_eq!(fact.state, is);
    }
}

#[test]
fn networks_keep_their_kind_and_tunnels_their_candidates() {
    let fact = intake::remote_gateway(&believed(), NOW);
    let words = |set: &std::collections::BTreeSet<ipnetwork::IpNetwork>| {
        set.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(words(&fact.networks.pods), "10.1.0.0/16 fd01::/48");
    assert_eq!(words(&fact.networks.services), "10.96.0.0/16");
    assert_eq!(words(&fact.networks.external), "192.0.2.7/32");
    assert_eq!(fact.expires, UnixSeconds(NOW.0 + 10));
    let tunnel = &fact.tunnels[0];
    assert_eq!((tunnel.key, tunnel.slot, tunnel.mtu), (PublicKey([5; 32]), 3, 1420));
    let endpoint = "203.0.113.7:51820".parse().unwrap();
    let kinds = [CandidateKind::Private, CandidateKind::Public, CandidateKind::Observed];
    assert_eq!(tunnel.candidates, kinds.map(|kind| Candidate { kind, endpoint }));
}

fn believed() -> remote::RemoteGateway {
    use advertisement::CandidateKind::{Observed, Private, Public};
    // The base points of both curves: sound, and nobody's keys.
    let (mut edwards, mut montgomery) = ([0x66; 32], [0; 32]);
    (edwards[0], montgomery[0]) = (0x58, 9);
    let verify = VerifyKey::check(edwards).unwrap();
    let cidrs = |texts: &[&str]| texts.iter().map(|text| Cidr::parse(text).unwrap()).collect();
    let candidate =
        |kind| advertisement::Candidate { kind, addr: [203, 0, 113, 7].into(), port: 51820 };
    remote::RemoteGateway {
        id: names::GatewayId::parse("north.g1").unwrap(),
        identity: verify,
        gateway_key: verify,
        generation: 1,
        sequence: 1,
        state: State::Active,
        networks: advertisement::Networks {
            pods: cidrs(&["fd01::/48", "10.1.0.0/16"]),
            services: cidrs(&["10.96.0.0/16"]),
            external: cidrs(&["192.0.2.7/32"]),
        },
        probe: "fd00::2".parse().unwrap(),
        probe4: None,
        tunnels: vec![remote::RemoteTunnel {
            key: WireguardKey([5; 32]),
            pair: PairKey::check(montgomery).unwrap(),
            slot: 3,
            mtu: 1420,
            candidates: [Private, Public, Observed].map(candidate).into(),
        }],
        expires: UnixTime(NOW.0 + 10),
        held_until: UnixTime(NOW.0 + 20),
        agent: "0.1".to_owned(),
        warnings: Vec::new(),
    }
}
