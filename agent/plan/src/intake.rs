//! Owns the step from verified objects to facts: the only place that knows the types of
//! `sealane-api`. Verifies nothing; what reaches it was accepted.

use std::collections::BTreeSet;

use ipnetwork::IpNetwork;
use sealane_api::advertisement::{self, State};
use sealane_api::cidr::Cidr;
use sealane_api::names;
use sealane_api::remote;
use sealane_state::wireguard::PublicKey;

use crate::name::{GatewayId, MemberId, NodeName, UnixSeconds};
use crate::remote::{
    Candidate, CandidateKind, GatewayState, Networks, RemoteGateway, RemoteTunnel,
};

/// Returns a gateway's name as the plan spells it.
pub fn gateway_id(id: &names::GatewayId) -> GatewayId {
    GatewayId {
        member: MemberId(id.member.as_str().to_owned()),
        gateway: NodeName(id.gateway.as_str().to_owned()),
    }
}

/// Returns what is believed of a remote gateway as a fact.
///
/// A gateway past its hold that the receiver still lists stays without limit: the receiver has found
/// the clock to blame.
pub fn remote_gateway(believed: &remote::RemoteGateway, now: UnixSeconds) -> RemoteGateway {
    let until = UnixSeconds(believed.held_until.0);
    RemoteGateway {
        networks: networks(&believed.networks),
        probe: believed.probe,
        probe4: believed.probe4,
        tunnels: believed.tunnels.iter().map(tunnel).collect(),
        state: match believed.state {
            State::Active => GatewayState::Active,
            State::Draining | State::Withdrawn => GatewayState::Draining,
        },
        expires: UnixSeconds(believed.expires.0),
        until: Some(until).filter(|until| *until > now),
    }
}

/// Returns networks as prefixes of the host's own type.
pub fn networks(networks: &advertisement::Networks<Cidr>) -> Networks {
    let prefixes = |cidrs: &[Cidr]| -> BTreeSet<IpNetwork> {
        // Lengths of a Cidr fit its family, so none is lost.
        cidrs.iter().filter_map(|cidr| IpNetwork::new(cidr.address(), cidr.length()).ok()).collect()
    };
    Networks {
        pods: prefixes(&networks.pods),
        services: prefixes(&networks.services),
        external: prefixes(&networks.external),
    }
}

fn tunnel(tunnel: &remote::RemoteTunnel) -> RemoteTunnel {
    RemoteTunnel {
        key: PublicKey(tunnel.key.0),
        slot: tunnel.slot,
        mtu: u32::from(tunnel.mtu),
        candidates: tunnel.candidates.iter().map(candidate).collect(),
    }
}

fn candidate(candidate: &advertisement::Candidate) -> Candidate {
    let kind = match candidate.kind {
        advertisement::CandidateKind::Private => CandidateKind::Private,
        advertisement::CandidateKind::Public => CandidateKind::Public,
        advertisement::CandidateKind::Observed => CandidateKind::Observed,
    };
    Candidate { kind, endpoint: candidate.socket() }
}
