//! Owns what must hold in every run, whatever fails: four sentences, and how each is looked at. Changes
//! nothing.

use std::collections::BTreeMap;

use ipnetwork::IpNetwork;
use sealane_api::names::{ClusterId, GatewayId};
use sealane_plan::prefix;
use sealane_state::diff::model::apply_to;
use sealane_state::host::HostState;
use sealane_state::owner;
use sealane_state::wireguard::{Peer, PublicKey};

use super::agent::Agent;
use super::member::{Member, Passage};
use super::story::Broken;
use super::truth::Truth;
use super::world::World;

/// Checks what can be seen at one host at any moment: owners of prefixes, and that all it believes was
/// signed by who may.
///
/// # Errors
/// What is broken.
pub fn at_any_moment(member: &Member, truth: &Truth) -> Result<(), Broken> {
    let Some(agent) = &member.agent else { return Ok(()) };
    let name = member.name();
    believes_only_what_was_signed(agent, truth)
        .map_err(|what| Broken::Forged(format!("{name}: {what}")))?;
    has_one_owner_for_each_prefix(&agent.plan.host, truth)
        .map_err(|what| Broken::TwoOwners(format!("{name}: {what}")))
}

fn believes_only_what_was_signed(agent: &Agent, truth: &Truth) -> Result<(), String> {
    let held = agent.trust.receiver().held();
    let Some(spec) = &held.clusterset else { return Ok(()) };
    let Some(list) = truth.lists.get(&spec.signed.payload) else {
        return Err("a list that root did not sign".to_owned());
    };
    for (id, held) in &held.gateways {
        let Some(spec) = &held.spec else { continue };
        if !truth.words.contains(&(id.clone(), spec.signed.payload.clone())) {
            return Err(format!("a word of {id} that it did not say"));
        }
    }
    for (id, gateway) in &agent.world.gateways {
        let member = ClusterId::parse(&id.member.0).map_err(|error| error.to_string())?;
        let Some(entry) = list.members.get(&member) else {
            return Err(format!("{id} is believed, and not listed"));
        };
        let is_granted = |net: &IpNetwork| {
            let mut cidrs = entry.cidrs.iter();
            cidrs.any(|it| it.contains_address(net.ip()) && it.length() <= net.prefix())
        };
        if let Some(net) = gateway.networks.all().find(|net| !is_granted(net)) {
            return Err(format!("{id} has {net}, which is not granted to it"));
        }
        for tunnel in &gateway.tunnels {
            let owner = truth.tunnels.get(&tunnel.key).map(ToString::to_string);
            if owner.as_ref() != Some(&id.to_string()) {
                return Err(format!("{id} has tunnel key {} of {owner:?}", tunnel.key));
            }
        }
    }
    Ok(())
}

/// On one device a prefix is one peer's; on all of them its addresses are one member's.
fn has_one_owner_for_each_prefix(host: &HostState, truth: &Truth) -> Result<(), String> {
    let mut members: Vec<(IpNetwork, &ClusterId)> = Vec::new();
    for device in host.devices.values() {
        let mut owners: BTreeMap<IpNetwork, PublicKey> = BTreeMap::new();
        for (key, peer) in &device.peers {
            let Some(gateway) = truth.tunnels.get(key) else {
                return Err(format!("peer {key} is nobody's"));
            };
            for net in &peer.allowed_ips {
                if let Some(other) = owners.insert(*net, *key) {
                    return Err(format!("{net} is given to {key} and to {other}"));
                }
                let meets =
                    |other: IpNetwork| prefix::covers(other, *net) || prefix::covers(*net, other);
                let other =
                    members.iter().find(|(other, of)| meets(*other) && **of != gateway.member);
                if let Some((other, of)) = other {
                    return Err(format!("{net} of {gateway} meets {other} of {of}"));
                }
                members.push((*net, &gateway.member));
            }
        }
    }
    Ok(())
}

/// Checks that no step of a passage cut a lane that both ends want; `is_wanted` says so of the far end,
/// given its tunnel key.
///
/// # Errors
/// What is broken.
pub fn in_passage(
    name: &str,
    passage: &Passage,
    is_wanted: impl Fn(&PublicKey) -> bool,
) -> Result<(), Broken> {
    let mut now = passage.have.clone();
    for step in &passage.steps {
        apply_to(&mut now, step);
        if let Some(lack) = lack(passage, &now, &is_wanted) {
            return Err(Broken::Cut(format!("{name}: {lack}, after {step}")));
        }
    }
    Ok(())
}

fn lack(
    passage: &Passage,
    now: &HostState,
    is_wanted: &impl Fn(&PublicKey) -> bool,
) -> Option<String> {
    let Passage { have, want, .. } = passage;
    for (link, device) in &want.devices {
        let Some(old) = have.devices.get(link).filter(|old| old.key == device.key) else {
            continue;
        };
        let both = device.peers.iter().filter(|(key, _)| is_wanted(key));
        for (key, peer, old) in
            both.filter_map(|(key, peer)| Some((key, peer, old.peers.get(key)?)))
        {
            let now = now.devices.get(link).and_then(|device| device.peers.get(key));
            if let Some(lack) = peer_lacks(peer, old, now) {
                return Some(format!("lane to {key} on {link}: {lack}"));
            }
        }
        let mut kept = want.routes.iter().filter(|(key, route)| {
            route.target.link() == Some(link)
                && have.routes.get(key).is_some_and(|old| old.target == route.target)
        });
        if let Some((key, _)) = kept.find(|(key, _)| !now.routes.contains_key(key)) {
            return Some(format!("route {key} by {link} is gone"));
        }
    }
    let mut rules = want.rules.intersection(&have.rules);
    rules.find(|rule| !now.rules.contains(rule)).map(|rule| format!("rule {rule} is gone"))
}

fn peer_lacks(want: &Peer, old: &Peer, now: Option<&Peer>) -> Option<String> {
    let Some(now) = now else { return Some("the peer is gone".to_owned()) };
    if want.endpoint_to_set(old.endpoint).is_none() && now.endpoint != old.endpoint {
        return Some("its roamed address is lost".to_owned());
    }
    let mut common = want.allowed_ips.intersection(&old.allowed_ips);
    let lost = common.find(|net| !now.allowed_ips.contains(net));
    lost.map(|net| format!("{net} is taken away"))
}

/// Says what is still missing once faults have stopped; nothing when all is as it should be.
///
/// # Errors
/// The first thing that is missing.
pub fn converged(world: &World) -> Result<(), String> {
    let truth = &world.truth;
    let live: Vec<(usize, &Member, &Agent)> = world
        .members
        .iter()
        .enumerate()
        .filter_map(|(number, member)| Some((number, member, member.agent.as_ref()?)))
        .filter(|(_, member, _)| truth.list.members.contains_key(&member.profile.id.member))
        .collect();
    for (number, member, agent) in &live {
        let name = member.name();
        let version = agent.trust.receiver().clusterset().map_or(0, |set| set.position.version);
        if version != truth.list.position.version {
            return Err(format!("{name} believes list {version}"));
        }
        let up = agent.lanes.up();
        let up: Vec<String> = up.iter().map(ToString::to_string).collect();
        for (far, other, _) in &live {
            let is_hidden = |number: usize| world.network.sites[number].nat.is_some();
            let is_reachable = !(is_hidden(*number) && is_hidden(*far));
            let is_foreign = other.profile.id.member != member.profile.id.member;
            if is_foreign && is_reachable && !up.contains(&other.name()) {
                return Err(format!("{name} has no lane to {}", other.name()));
            }
            if is_foreign && is_reachable {
                routes_lead_to(member, &other.profile.id.member, world)?;
            }
        }
        let ids: Vec<&GatewayId> = live.iter().map(|(_, member, _)| &member.profile.id).collect();
        let peers = member.have.devices.values().flat_map(|device| device.peers.keys());
        for key in peers {
            let owner = truth.tunnels.get(key);
            if !owner.is_some_and(|owner| ids.contains(&owner)) {
                return Err(format!("{name} still has a lane to {owner:?}"));
            }
        }
    }
    Ok(())
}

/// Checks that every network of a member has a route into a lane, and an owner among its gateways there.
fn routes_lead_to(member: &Member, other: &ClusterId, world: &World) -> Result<(), String> {
    let granted = world.truth.list.members.get(other).map(|entry| &entry.cidrs);
    for cidr in granted.into_iter().flatten() {
        let missing = |what: &str| format!("{}: {what} for {cidr} of {other}", member.name());
        let Ok(net) = IpNetwork::new(cidr.address(), cidr.length()) else { continue };
        let route = member.have.routes.iter().find(|(key, _)| {
            let (table, metric) = (owner::TABLE_REMOTE, owner::METRIC_BACKSTOP);
            key.destination == net && key.table == table && key.metric < metric
        });
        let link = route.and_then(|(_, route)| route.target.link());
        let link = link.ok_or_else(|| missing("no route"))?;
        let device = member.have.devices.get(link).ok_or_else(|| missing("no device"))?;
        let mut peers = device.peers.iter();
        let (key, _) = peers
            .find(|(_, peer)| peer.allowed_ips.contains(&net))
            .ok_or_else(|| missing("no peer"))?;
        if world.truth.tunnels.get(key).map(|owner| &owner.member) != Some(other) {
            return Err(missing("a foreign peer"));
        }
    }
    Ok(())
}
