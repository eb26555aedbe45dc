//! Owns WireGuard devices and peers: which source and destination each peer is given. Does not
//! choose the lane that carries.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;

use ipnetwork::IpNetwork;
use sealane_state::address::Address;
use sealane_state::host::HostState;
use sealane_state::link::{Backend, Link, LinkKind};
use sealane_state::name::LinkName;
use sealane_state::owner;
use sealane_state::wireguard::{Device, Displaces, Peer, PublicKey};

use crate::election::Ranking;
use crate::ground::Ground;
use crate::health::EndpointAdvice;
use crate::lanes::{self, Lane, Outside};
use crate::name::GatewayId;
use crate::prefix;
use crate::problem::Problem;
use crate::remote::Candidate;

/// Keeps a mapping of a NAT or firewall open while nobody probes, as when an agent restarts.
/// 25 s is below the 30 s after which common ones forget a UDP flow.
const KEEPALIVE_SECONDS: u16 = 25;

/// Which lane each prefix is given to, per link; no two peers of a link share one.
type Given<'l> = BTreeMap<&'l LinkName, BTreeMap<IpNetwork, &'l Lane<'l>>>;

/// Puts the lane links, their devices and our addresses inside the lanes into `host`.
pub fn place_devices(ground: &Ground<'_>, links: &BTreeMap<LinkName, u8>, host: &mut HostState) {
    let (Some(own), Some(backend)) = (ground.gateway(), ground.backend) else { return };
    for (name, slot) in links {
        let kind = LinkKind::WireGuard(backend);
        host.links.insert(name.clone(), Link { kind, mtu: ground.lane_mtu, up: true });
        let device = Device {
            key: own.tunnel.key,
            listen_port: ground.world.options.listen_port.saturating_add(u16::from(*slot)),
            mark: owner::MARK_ENCRYPTED,
            peers: BTreeMap::new(),
        };
        host.devices.insert(name.clone(), device);
        let own_addresses = [Some(own.probe.into()), own.probe4.map(Into::into)];
        for address in own_addresses.into_iter().flatten() {
            if ground.offered.contains(&prefix::family_of(address)) {
                host.addresses.insert(Address { link: name.clone(), net: prefix::host(address) });
            }
        }
    }
}

/// Puts the peers of all lanes into the devices of `host`.
///
/// On each link the best lane of a member is given the member's networks. A userspace device takes
/// them as sources from the other lanes too; kernel WireGuard cannot, hence a link for each slot.
pub fn place_peers(
    ground: &Ground<'_>,
    rankings: &[Ranking<'_>],
    outside: &Outside,
    host: &mut HostState,
    problems: &mut BTreeSet<Problem>,
) {
    let given = give(rankings);
    let mut allowed: BTreeMap<PublicKey, BTreeSet<IpNetwork>> = BTreeMap::new();
    for (prefix, lane) in given.values().flatten() {
        allowed.entry(lane.tunnel.key).or_default().insert(*prefix);
    }
    let mut watched: BTreeSet<(&GatewayId, &LinkName)> = BTreeSet::new();
    for ranking in rankings {
        for lane in &ranking.lanes {
            let candidates = lanes::candidates(ground, outside, lane);
            lanes::report_silent(lane, &candidates, problems);
            let besides = besides(lane, ranking, &given);
            let advice = match watched.insert((lane.claimant.id, &lane.link)) {
                true => lane.health.endpoint,
                false => lane.health.endpoint.for_companion(),
            };
            let mut peer = Peer { psk: Some(lane.psk), ..Peer::default() };
            advise(&mut peer, &candidates, advice);
            peer.allowed_ips = allowed.remove(&lane.tunnel.key).unwrap_or_default();
            if ground.backend == Some(Backend::Userspace) {
                peer.accepted_sources = besides;
            } else {
                report_shared_slot(lane, &besides, &given, problems);
            }
            if let Some(device) = host.devices.get_mut(&lane.link) {
                device.peers.insert(lane.tunnel.key, peer);
            }
        }
    }
}

/// Returns the probe addresses that a lane's gateway may use.
///
/// The IPv4 one only inside what its member may speak for.
pub fn probe_prefixes(lane: &Lane<'_>) -> impl Iterator<Item = IpNetwork> {
    let claimant = lane.claimant;
    let probe4 = claimant.gateway.probe4.map(|address| prefix::host(address.into()));
    let granted = |probe: &IpNetwork| claimant.prefixes.iter().any(|p| prefix::covers(*p, *probe));
    iter::once(prefix::host(claimant.gateway.probe.into())).chain(probe4.filter(granted))
}

/// Gives out all prefixes: probe addresses first, so that no network of one address takes another
/// gateway's probe address.
fn give<'l>(rankings: &'l [Ranking<'l>]) -> Given<'l> {
    let mut given = Given::new();
    for lane in rankings.iter().flat_map(|ranking| &ranking.lanes) {
        let on_link = given.entry(&lane.link).or_default();
        for probe in probe_prefixes(lane) {
            on_link.entry(probe).or_insert(lane);
        }
    }
    for ranking in rankings {
        let mut held: BTreeMap<&LinkName, Vec<IpNetwork>> = BTreeMap::new();
        for lane in &ranking.lanes {
            let held = held.entry(&lane.link).or_default();
            let on_link = given.entry(&lane.link).or_default();
            for network in &lane.claimant.prefixes {
                if !held.iter().any(|wider| prefix::covers(*wider, *network)) {
                    held.push(*network);
                    on_link.entry(*network).or_insert(lane);
                }
            }
        }
    }
    given
}

/// Returns the sources that a lane's gateway may use although another lane of its member has them,
/// or has a part of them.
fn besides(lane: &Lane<'_>, ranking: &Ranking<'_>, given: &Given<'_>) -> BTreeSet<IpNetwork> {
    let on_link = given.get(&lane.link);
    let holder = |prefix| on_link.and_then(|held| held.get(&prefix));
    let others = || ranking.lanes.iter().filter(|other| other.id != lane.id);
    let shared = |prefix: &IpNetwork| match holder(*prefix) {
        Some(has) if has.id == lane.id => {
            others().flat_map(|other| &other.claimant.prefixes).any(|part| {
                prefix::covers(*prefix, *part) && holder(*part).is_some_and(|has| has.id != lane.id)
            })
        }
        Some(has) => has.claimant.id.member == lane.claimant.id.member,
        None => true,
    };
    probe_prefixes(lane).chain(lane.claimant.prefixes.iter().copied()).filter(shared).collect()
}

/// Gives a peer the endpoint that is advised; one that may be called from here is kept within reach.
pub fn advise(peer: &mut Peer, candidates: &[Candidate], advice: EndpointAdvice) {
    (peer.endpoint, peer.displaces) = match advice {
        EndpointAdvice::Leave => (None, Displaces::Nothing),
        EndpointAdvice::Try { endpoint, displaces } => (Some(endpoint), displaces),
    };
    let calls = peer.endpoint.is_some() || !candidates.is_empty();
    peer.keepalive = calls.then_some(KEEPALIVE_SECONDS);
}

fn report_shared_slot(
    lane: &Lane<'_>,
    besides: &BTreeSet<IpNetwork>,
    given: &Given<'_>,
    problems: &mut BTreeSet<Problem>,
) {
    for prefix in besides {
        let holder = given.get(&lane.link).and_then(|held| held.get(prefix));
        if let Some(holder) = holder.filter(|holder| holder.id != lane.id) {
            problems.insert(Problem::SlotShared {
                gateway: lane.claimant.id.clone(),
                holder: holder.claimant.id.clone(),
                slot: lane.tunnel.slot,
            });
        }
    }
}
