//! Owns how lanes and legs are shown.

use std::net::IpAddr;

use sealane_state::wireguard::Peer;
use sealane_view::peers::{CandidateKind, CandidateView, LegView, PeerView, PeersDocument};

use crate::documents::{self, members};
use crate::health::EndpointAdvice;
use crate::name::LaneId;
use crate::plan::Plan;
use crate::remote::{self, Candidate};
use crate::verdict::{LaneRole, LaneVerdict};
use crate::world::{NodeRole, World};

/// Returns lanes and legs as planned, with what the host and the probes say of them.
pub fn of(world: &World, plan: &Plan) -> PeersDocument {
    let mut peers: Vec<PeerView> = plan
        .verdicts
        .lanes
        .iter()
        .filter_map(|(id, verdict)| {
            let peer = plan.host.devices.get(&verdict.link)?.peers.get(&id.remote)?;
            Some(view(world, plan, (*id, verdict), peer))
        })
        .collect();
    peers.sort_by(|a, b| {
        (&a.member, &a.gateway, &a.public_key).cmp(&(&b.member, &b.gateway, &b.public_key))
    });
    PeersDocument { peers, legs: legs(world, plan) }
}

/// Returns a candidate as documents spell it.
pub fn candidate(candidate: &Candidate) -> CandidateView {
    let kind = match candidate.kind {
        remote::CandidateKind::Private => CandidateKind::Private,
        remote::CandidateKind::Public => CandidateKind::Public,
        remote::CandidateKind::Observed => CandidateKind::Observed,
    };
    CandidateView { kind, endpoint: candidate.endpoint }
}

fn view(
    world: &World,
    plan: &Plan,
    (id, verdict): (LaneId, &LaneVerdict),
    peer: &Peer,
) -> PeerView {
    let seen = world.host.peers.get(&verdict.link).and_then(|peers| peers.get(&id.remote));
    let seen = seen.copied().unwrap_or_default();
    let health = world.lanes.get(&id).cloned().unwrap_or_default();
    let tried = match health.endpoint {
        EndpointAdvice::Leave => None,
        EndpointAdvice::Try { endpoint, .. } => Some(endpoint),
    };
    let carries = matches!(
        verdict.role,
        LaneRole::Only
            | LaneRole::Best
            | LaneRole::Kept
            | LaneRole::Partial
            | LaneRole::AgentSilent
            | LaneRole::LastResort
    );
    let target = plan.probes.lanes.get(&id);
    let entries = world.gateways.get(&verdict.gateway).into_iter().flat_map(|it| &it.tunnels);
    let entry = entries.into_iter().find(|entry| entry.key == id.remote);
    PeerView {
        member: verdict.gateway.member.to_string(),
        gateway: verdict.gateway.gateway.to_string(),
        public_key: id.remote.to_string(),
        slot: entry.map_or(0, |entry| entry.slot),
        link: verdict.link.to_string(),
        state: documents::state(verdict.state),
        since_unix_seconds: health.since.map(|since| since.0),
        carries,
        agent_silent: verdict.role == LaneRole::AgentSilent,
        endpoint: seen.endpoint.or(tried),
        candidates: target.into_iter().flat_map(|t| &t.candidates).map(candidate).collect(),
        last_handshake_unix_seconds: seen.counters.last_handshake,
        received_bytes: seen.counters.received_bytes,
        sent_bytes: seen.counters.sent_bytes,
        rtt_microseconds: health.rtt.map(documents::microseconds),
        loss_permille: health.rtt.map(|_| health.loss_permille),
        path_mtu_bytes: health.path_mtu,
        keepalive_seconds: peer.keepalive,
        allowed_ips: peer.allowed_ips.iter().copied().collect(),
        accepted_sources: peer.accepted_sources.iter().copied().collect(),
        reason: members::why(verdict.role).to_owned(),
    }
}

fn legs(world: &World, plan: &Plan) -> Vec<LegView> {
    let forwarding: Vec<IpAddr> = plan.host.fdb.iter().map(|entry| entry.remote).collect();
    let legs = world.nodes.iter().filter_map(|(name, node)| {
        let underlay = *node.underlay.iter().find(|address| forwarding.contains(address))?;
        let health = world.legs.get(name).cloned().unwrap_or_default();
        Some(LegView {
            node: name.to_string(),
            gateway: node.role == NodeRole::Gateway,
            underlay,
            state: documents::state(health.state),
            rtt_microseconds: health.rtt.map(documents::microseconds),
        })
    });
    legs.collect()
}
