//! Owns the gathering of facts: what configuration, belief, probes and the host say becomes one
//! World. Draws no conclusion.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::IpNetwork;
use sealane_api::advertisement::Networks as ApiNetworks;
use sealane_api::cidr::Cidr;
use sealane_api::probe_address;
use sealane_api::remote::LocalFacts;
use sealane_plan::intake;
use sealane_plan::name::{MemberId, NodeName, UnixSeconds};
use sealane_plan::world::{
    BackendChoice, HostSource, Me, Node, NodeRole, Options, OwnGateway, OwnTunnel, Role, World,
};
use sealane_state::facts::Observation;

use crate::config::{self, Config};
use crate::keys::Keys;
use crate::paths::Paths;
use crate::session::Session;

/// Returns what only this host knows, for judging what others say.
pub fn local(session: &Session, config: &Config, seen: &Observation) -> LocalFacts {
    let foreign = seen.facts.links.values().filter(|link| !link.ours);
    let addresses = foreign.flat_map(|link| link.addresses.iter());
    let connected = addresses.clone().filter(|net| !is_private_to_host(net.ip()));
    let own = own_networks(config);
    LocalFacts {
        gateway_key: session.keys.as_ref().map(|keys| keys.gateway.public()),
        identity: session.keys.as_ref().map(|keys| keys.identity.public()),
        tunnel_keys: session.keys.iter().flat_map(Keys::tunnel_keys).collect(),
        addresses: seen
            .facts
            .links
            .values()
            .flat_map(|link| link.addresses.iter().map(|net| net.ip()))
            .collect(),
        links: connected
            .filter_map(|net| Cidr::covering(net.ip(), net.prefix()))
            // Links of our own pods are ours to announce; nobody else can be granted them.
            .filter(|link| !own.iter().any(|network| network.contains(link)))
            .collect(),
        reserved: session.reserved(),
        ..LocalFacts::named(session.own.clone())
    }
}

/// Returns all facts; `now` dates health and judges expiry.
pub fn world(
    session: &mut Session,
    config: &Config,
    seen: &Observation,
    paths: &Paths,
    now: UnixSeconds,
) -> World {
    let facts = local(session, config, seen);
    let unix = sealane_api::time::UnixTime(now.0);
    let remotes = session.trust.remotes(unix, &facts);
    session.trust.remark(&remotes);
    let psks = session.lend_psks(&remotes);
    World {
        me: Some(me(session, config)),
        nodes: nodes(config),
        members: members(session),
        grants: grants(session),
        psks,
        gateways: remotes
            .iter()
            .map(|remote| (intake::gateway_id(&remote.id), intake::remote_gateway(remote, now)))
            .collect(),
        lanes: paths.lane_health(now.0),
        legs: paths.leg_health(),
        choices: session.choices.clone(),
        reserved: session.reserved(),
        host: seen.facts.clone(),
        options: options(config),
    }
}

/// Returns our networks as configured, as the wire has them.
pub fn configured_networks(config: &Config) -> ApiNetworks<Cidr> {
    let cidrs = |list: &[ipnetwork::IpNetwork]| {
        list.iter().filter_map(|net| Cidr::covering(net.ip(), net.prefix())).collect()
    };
    ApiNetworks {
        pods: cidrs(&config.networks.pods),
        services: cidrs(&config.networks.services),
        external: cidrs(&config.networks.external),
    }
}

/// Returns the configured IPv4 probe address, if it lies in networks that root granted: outside them
/// others refuse the whole advertisement.
pub fn probe4(config: &Config, granted: &ApiNetworks<Cidr>) -> Option<Ipv4Addr> {
    let inside = |address: &Ipv4Addr| {
        let mut own = granted.pods.iter().chain(&granted.external);
        own.any(|network| network.contains_address((*address).into()))
    };
    config.networks.probe.filter(inside)
}

/// Returns the slot of this gateway: its place among the member's gateways by name.
pub fn own_slot(config: &Config) -> u8 {
    let mut gateways: Vec<&str> = config
        .nodes
        .iter()
        .filter(|node| node.role == config::Role::Gateway)
        .map(|node| node.name.as_str())
        .collect();
    gateways.sort_unstable();
    let place = gateways.iter().position(|name| *name == config.node).unwrap_or(0);
    u8::try_from(place % 8).unwrap_or(0)
}

/// Returns the slot of the tunnel entry in use.
fn present_slot(session: &Session, config: &Config) -> u8 {
    let base = own_slot(config);
    session.rotation.as_ref().map_or(base, |rotation| rotation.slots(base).0)
}

fn me(session: &Session, config: &Config) -> Me {
    let (networks, _) = session.granted(config);
    let role = match (&session.keys, config.role) {
        (Some(keys), config::Role::Gateway) => Role::Gateway(OwnGateway {
            tunnel: OwnTunnel { key: keys.wireguard(), slot: present_slot(session, config) },
            probe: probe_address::of(&session.id, &session.own),
            probe4: probe4(config, &networks),
        }),
        _ => Role::Node,
    };
    Me {
        member: MemberId(session.own.member.as_str().to_owned()),
        node: NodeName(config.node.clone()),
        role,
        networks: intake::networks(&networks),
    }
}

fn nodes(config: &Config) -> BTreeMap<NodeName, Node> {
    let node = |node: &config::Node| Node {
        underlay: node.addresses.iter().copied().collect(),
        pods: node.pods.iter().copied().collect(),
        role: match node.role {
            config::Role::Gateway => NodeRole::Gateway,
            config::Role::Node => NodeRole::Worker,
        },
    };
    config.nodes.iter().map(|it| (NodeName(it.name.clone()), node(it))).collect()
}

fn members(session: &Session) -> BTreeSet<MemberId> {
    let listed = session.trust.receiver().clusterset().map(|set| &set.members);
    listed
        .into_iter()
        .flat_map(|members| members.keys())
        .filter(|member| **member != session.own.member)
        .map(|member| MemberId(member.as_str().to_owned()))
        .collect()
}

/// What root granted to listed members that were believed once.
fn grants(session: &Session) -> BTreeMap<MemberId, BTreeSet<IpNetwork>> {
    let receiver = session.trust.receiver();
    let listed = receiver.clusterset().into_iter().flat_map(|set| &set.members);
    let spoke = &receiver.held().believed;
    let nets = |cidrs: &[Cidr]| {
        // Lengths of a Cidr fit its family, so none is lost.
        cidrs.iter().filter_map(|it| IpNetwork::new(it.address(), it.length()).ok()).collect()
    };
    listed
        .filter(|(member, _)| **member != session.own.member && spoke.contains(*member))
        .map(|(member, entry)| (MemberId(member.as_str().to_owned()), nets(&entry.cidrs)))
        .collect()
}

fn options(config: &Config) -> Options {
    Options {
        backend: match config.tunnel.backend {
            config::BackendChoice::Auto => BackendChoice::Auto,
            config::BackendChoice::Kernel => BackendChoice::Kernel,
            config::BackendChoice::Userspace => BackendChoice::Userspace,
        },
        listen_port: config.tunnel.listen_port,
        mtu: config.tunnel.mtu,
        source: match &config.networks.source {
            none if none.is_empty() => HostSource::Auto,
            some => HostSource::Fixed(some.clone()),
        },
    }
}

fn own_networks(config: &Config) -> Vec<Cidr> {
    configured_networks(config).iter().copied().collect()
}

/// Says whether nobody else can use an address to reach this host.
pub fn is_private_to_host(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    address.is_loopback() || address.is_unspecified() || address.is_multicast() || link_local
}
