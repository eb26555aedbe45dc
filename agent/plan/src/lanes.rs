//! Owns which lanes exist on this host and on which link each lives. Does not rank them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use sealane_state::link::Backend;
use sealane_state::name::LinkName;
use sealane_state::owner;
use sealane_state::wireguard::{PskFingerprint, PublicKey};

use crate::claims::{Claimant, Claims};
use crate::ground::Ground;
use crate::health::{EndpointAdvice, LaneHealth, PathState, Session};
use crate::name::LaneId;
use crate::prefix::{self, PrefixMap};
use crate::problem::Problem;
use crate::remote::{Candidate, RemoteTunnel};
use crate::world::OwnGateway;

/// Slots that a tunnel entry may advertise: 0 to 7.
pub const SLOTS: u8 = 8;

/// A lane of this host.
#[derive(Debug, Clone)]
pub struct Lane<'a> {
    /// The two keys.
    pub id: LaneId,
    /// The remote gateway.
    pub claimant: &'a Claimant<'a>,
    /// Its tunnel entry.
    pub tunnel: &'a RemoteTunnel,
    /// Smallest key of those that the gateway has on this link: while it replaces its key it has two,
    /// which lead the same way.
    pub way: PublicKey,
    /// The link that holds the peer.
    pub link: LinkName,
    /// Pre-shared key.
    pub psk: PskFingerprint,
    /// What probes say.
    pub health: LaneHealth,
}

impl Lane<'_> {
    /// Says whether packets may cross: probes do, nobody knows yet, or at least the tunnel can.
    pub fn is_usable(&self) -> bool {
        self.health.state != PathState::Down || self.health.session != Session::Gone
    }

    /// Returns the largest packet that the far end and the path take, in bytes.
    pub fn path_mtu(&self) -> u32 {
        self.health.path_mtu.unwrap_or(u32::MAX).min(self.tunnel.mtu)
    }
}

/// Returns the lanes of this host, sorted by member, gateway and advertised order.
pub fn survey<'a>(
    ground: &Ground<'a>,
    claims: &'a Claims<'a>,
    problems: &mut BTreeSet<Problem>,
) -> Vec<Lane<'a>> {
    let Some(own) = ground.gateway().filter(|_| ground.backend.is_some()) else {
        return Vec::new();
    };
    let mut holders: BTreeMap<PublicKey, &Claimant<'a>> = BTreeMap::new();
    let mut lanes = Vec::new();
    for claimant in &claims.claimants {
        let first = lanes.len();
        for tunnel in &claimant.gateway.tunnels {
            match lane(ground, own, claimant, tunnel, &holders) {
                Ok(lane) => {
                    holders.insert(tunnel.key, claimant);
                    lanes.push(lane);
                }
                Err(problem) => {
                    problems.insert(*problem);
                }
            }
        }
        join_ways(ground, &mut lanes[first..]);
    }
    lanes
}

/// Puts the lanes of one gateway in the order of their last handshakes, newest first: once it has taken
/// up a new key it makes no handshake with the old one. Those on one link lead the same way, which is
/// what probes tell of.
fn join_ways(ground: &Ground<'_>, lanes: &mut [Lane<'_>]) {
    let handshake = |lane: &Lane<'_>| {
        let peers = ground.world.host.peers.get(&lane.link);
        peers.and_then(|peers| peers.get(&lane.id.remote)?.counters.last_handshake)
    };
    lanes.sort_by_key(|lane| (lane.link.clone(), std::cmp::Reverse(handshake(lane))));
    for way in lanes.chunk_by_mut(|a, b| a.link == b.link) {
        let known = way.iter().find_map(|lane| ground.world.lanes.get(&lane.id)).cloned();
        let first = way.iter().map(|lane| lane.id.remote).min();
        for lane in way {
            lane.way = first.unwrap_or(lane.way);
            lane.health = known.clone().unwrap_or_default();
        }
    }
}

/// Returns the lane links of this host, sorted: one where a userspace device serves all slots, else
/// one for each slot in use.
pub fn links(ground: &Ground<'_>, lanes: &[Lane<'_>]) -> BTreeMap<LinkName, u8> {
    match ground.backend {
        None => BTreeMap::new(),
        Some(Backend::Userspace) => link(0).into_iter().map(|name| (name, 0)).collect(),
        Some(Backend::Kernel) => {
            lanes.iter().map(|lane| (lane.link.clone(), lane.tunnel.slot)).collect()
        }
    }
}

/// Returns where to look for a gateway, in order: by kind, and last the ports that kernel WireGuard
/// listens on, which are the advertised ones plus our own slot.
pub fn candidates(ground: &Ground<'_>, fences: &Outside, lane: &Lane<'_>) -> Vec<Candidate> {
    let mut sound: Vec<Candidate> =
        lane.tunnel.candidates.iter().filter(|c| fences.admits(c.endpoint)).copied().collect();
    sound.sort();
    sound.dedup();
    let slot = u16::from(ground.gateway().map_or(0, |own| own.tunnel.slot));
    let shifted = sound.iter().filter_map(|candidate| {
        let port = candidate.endpoint.port().checked_add(slot)?;
        let endpoint = SocketAddr::new(candidate.endpoint.ip(), port);
        Some(Candidate { kind: candidate.kind, endpoint })
    });
    let shifted: Vec<_> = shifted.filter(|other| !sound.contains(other)).collect();
    sound.extend(shifted);
    sound
}

/// Which addresses a handshake may be sent to.
#[derive(Debug)]
pub struct Outside {
    offered: BTreeSet<sealane_state::rule::Family>,
    own: BTreeSet<IpAddr>,
    connected: PrefixMap<()>,
    inside: PrefixMap<()>,
}

impl Outside {
    /// Draws the line from this host's addresses and everybody's networks.
    pub fn survey(ground: &Ground<'_>, claims: &Claims<'_>) -> Self {
        let addresses = ground.world.host.links.values().flat_map(|link| &link.addresses);
        let claimed = claims.claimants.iter().flat_map(|claimant| &claimant.prefixes).copied();
        let inside = ground.me.networks.all().chain(claimed);
        Self {
            offered: ground.offered.clone(),
            own: addresses.map(|net| net.ip()).collect(),
            connected: ground.foreign_networks().map(|(_, net)| (net, ())).collect(),
            inside: inside.map(|net| (net, ())).collect(),
        }
    }

    /// Whether a handshake to `endpoint` could reach another host without crossing a lane.
    fn admits(&self, endpoint: SocketAddr) -> bool {
        let address = endpoint.ip();
        let host = prefix::host(address);
        let elsewhere = endpoint.port() != 0
            && !is_special(address)
            && !self.own.contains(&address)
            && self.offered.contains(&prefix::family_of(address));
        elsewhere && (self.inside.meeting(host).is_none() || self.connected.meeting(host).is_some())
    }
}

/// Whether no host of its own has this address.
fn is_special(address: IpAddr) -> bool {
    let of_family = match address {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.to_ipv4_mapped().is_some(),
    };
    of_family || address.is_unspecified() || address.is_loopback() || address.is_multicast()
}

fn lane<'a>(
    ground: &Ground<'a>,
    own: &OwnGateway,
    claimant: &'a Claimant<'a>,
    tunnel: &'a RemoteTunnel,
    holders: &BTreeMap<PublicKey, &Claimant<'a>>,
) -> Result<Lane<'a>, Box<Problem>> {
    let gateway = || claimant.id.clone();
    let id = LaneId { own: own.tunnel.key, remote: tunnel.key };
    if id.own == id.remote {
        return Err(Box::new(Problem::OwnKey(gateway())));
    }
    if let Some(holder) = holders.get(&tunnel.key) {
        let holder = holder.id.clone();
        return Err(Box::new(Problem::DuplicateTunnelKey { gateway: gateway(), holder }));
    }
    let Some(psk) = ground.world.psks.get(&id).copied() else {
        return Err(Box::new(Problem::PskMissing(gateway())));
    };
    let slot = if ground.backend == Some(Backend::Kernel) { tunnel.slot } else { 0 };
    let Some(link) = link(slot) else {
        return Err(Box::new(Problem::BadSlot { gateway: gateway(), slot }));
    };
    let health = ground.world.lanes.get(&id).cloned().unwrap_or_default();
    Ok(Lane { id, claimant, tunnel, way: id.remote, link, psk, health })
}

/// Reports lanes that cannot come up from this side and have not come up from the other.
pub fn report_silent(lane: &Lane<'_>, candidates: &[Candidate], problems: &mut BTreeSet<Problem>) {
    let advised = matches!(lane.health.endpoint, EndpointAdvice::Try { .. });
    if lane.health.state != PathState::Up && candidates.is_empty() && !advised {
        problems.insert(Problem::NoCandidate(lane.claimant.id.clone()));
    }
}

fn link(slot: u8) -> Option<LinkName> {
    if slot >= SLOTS {
        return None;
    }
    format!("{}{slot}", owner::LANE_LINK_PREFIX).parse().ok()
}
