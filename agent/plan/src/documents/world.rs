//! Owns how the facts are shown.

use std::collections::BTreeMap;

use sealane_state::wireguard::PublicKey;
use sealane_view::peers::PathState;
use sealane_view::world::{GatewayView, NodeView, TunnelView, WorldDocument};

use crate::documents::{self, peers};
use crate::health;
use crate::remote::{GatewayState, RemoteGateway, RemoteTunnel};
use crate::world::{NodeRole, World};

/// Returns all facts as people read them.
pub fn of(world: &World) -> WorldDocument {
    let states: BTreeMap<PublicKey, health::PathState> =
        world.lanes.iter().map(|(lane, health)| (lane.remote, health.state)).collect();
    let me = world.me.as_ref();
    let host = &world.host;
    WorldDocument {
        member: me.map(|me| me.member.to_string()),
        node: me.map(|me| me.node.to_string()),
        networks: me.map(|me| documents::networks(&me.networks)).unwrap_or_default(),
        nodes: nodes(world),
        members: world.members.iter().map(ToString::to_string).collect(),
        gateways: world
            .gateways
            .iter()
            .map(|(id, gateway)| (id.to_string(), view(gateway, &states)))
            .collect(),
        backends: host.backends.iter().map(ToString::to_string).collect(),
        families: host.families.iter().map(|f| documents::family(*f).to_owned()).collect(),
        links: host
            .links
            .iter()
            .map(|(name, link)| (name.to_string(), link.addresses.iter().copied().collect()))
            .collect(),
    }
}

fn nodes(world: &World) -> BTreeMap<String, NodeView> {
    let view = |(name, node): (&crate::name::NodeName, &crate::world::Node)| {
        let leg =
            world.legs.get(name).map_or(PathState::Unknown, |leg| documents::state(leg.state));
        let view = NodeView {
            gateway: node.role == NodeRole::Gateway,
            underlay: node.underlay.iter().copied().collect(),
            pods: node.pods.iter().copied().collect(),
            leg,
        };
        (name.to_string(), view)
    };
    world.nodes.iter().map(view).collect()
}

fn view(gateway: &RemoteGateway, states: &BTreeMap<PublicKey, health::PathState>) -> GatewayView {
    GatewayView {
        networks: documents::networks(&gateway.networks),
        probe: gateway.probe.into(),
        expires_unix_seconds: gateway.expires.0,
        draining: gateway.state == GatewayState::Draining,
        tunnels: gateway.tunnels.iter().map(|tunnel| tunnel_view(tunnel, states)).collect(),
    }
}

fn tunnel_view(
    tunnel: &RemoteTunnel,
    states: &BTreeMap<PublicKey, health::PathState>,
) -> TunnelView {
    TunnelView {
        public_key: tunnel.key.to_string(),
        slot: tunnel.slot,
        mtu_bytes: tunnel.mtu,
        candidates: tunnel.candidates.iter().map(peers::candidate).collect(),
        state: states.get(&tunnel.key).map_or(PathState::Unknown, |s| documents::state(*s)),
    }
}
