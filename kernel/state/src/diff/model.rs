//! Owns a model of Linux: what each change does to a host. For laws and simulations; the real
//! effects are read back from the kernel.

use crate::address::Address;
use crate::change::Change;
use crate::host::HostState;
use crate::link::LinkKind;
use crate::name::LinkName;
use crate::wireguard::{Device, Displaces, Peer, PublicKey};

/// Does to `host` what Linux does when `change` is applied, known side effects included.
pub fn apply_to(host: &mut HostState, change: &Change) {
    match change {
        Change::SetSysctl(key, value) => {
            host.sysctls.insert(key.clone(), value.clone());
        }
        Change::RestoreSysctl(key) => {
            host.sysctls.remove(key);
        }
        Change::AddLink(name, link) | Change::SetLink(name, link) => {
            host.links.insert(name.clone(), link.clone());
        }
        Change::DeleteLink(name) => delete_link(host, name),
        Change::SetDevice(name, device) => set_device(host, name, device),
        Change::PutPeer(name, key, peer) => put_peer(host, name, *key, peer),
        Change::DeletePeer(name, key) => {
            if let Some(device) = host.devices.get_mut(name) {
                device.peers.remove(key);
            }
        }
        Change::AddAddress(address) => {
            host.addresses.insert(address.clone());
        }
        Change::DeleteAddress(address) => delete_address(host, address),
        Change::PutNeighbour(new) => {
            host.neighbours.retain(|old| (&old.link, old.address) != (&new.link, new.address));
            host.neighbours.insert(new.clone());
        }
        Change::DeleteNeighbour(gone) => {
            host.neighbours.retain(|old| (&old.link, old.address) != (&gone.link, gone.address));
        }
        Change::PutFdb(new) => {
            host.fdb.retain(|old| (&old.link, old.mac) != (&new.link, new.mac));
            host.fdb.insert(new.clone());
        }
        Change::DeleteFdb(gone) => {
            host.fdb.remove(gone);
        }
        Change::PutRoute(key, route) => {
            host.routes.insert(*key, route.clone());
        }
        Change::DeleteRoute(key) => {
            host.routes.remove(key);
        }
        Change::AddRule(rule) => {
            host.rules.insert(rule.clone());
        }
        Change::DeleteRule(rule) => {
            host.rules.remove(rule);
        }
        Change::ReplaceFilter(table) => host.filter = Some(table.clone()),
        Change::DeleteFilter => host.filter = None,
    }
}

/// A link takes with it everything that hangs on it; rules that name it stay, without effect.
fn delete_link(host: &mut HostState, name: &LinkName) {
    host.links.remove(name);
    host.devices.remove(name);
    host.addresses.retain(|address| &address.link != name);
    host.neighbours.retain(|neighbour| &neighbour.link != name);
    host.fdb.retain(|entry| &entry.link != name);
    host.routes.retain(|_, route| route.target.link() != Some(name));
    host.sysctls.retain(|key, _| key.link().as_ref() != Some(name));
}

fn set_device(host: &mut HostState, name: &LinkName, device: &Device) {
    let is_wireguard =
        host.links.get(name).is_some_and(|link| matches!(link.kind, LinkKind::WireGuard(_)));
    if is_wireguard {
        let peers = host.devices.remove(name).map(|old| old.peers).unwrap_or_default();
        host.devices.insert(name.clone(), Device { peers, ..device.clone() });
    }
}

/// An allowed IP belongs to the peer that was given it last; an unset endpoint is left alone.
fn put_peer(host: &mut HostState, name: &LinkName, key: PublicKey, peer: &Peer) {
    let Some(device) = host.devices.get_mut(name) else { return };
    for (other, old) in &mut device.peers {
        if *other != key {
            old.allowed_ips.retain(|net| !peer.allowed_ips.contains(net));
        }
    }
    let roamed = device.peers.get(&key).and_then(|old| old.endpoint);
    let endpoint = peer.endpoint_to_set(roamed).or(roamed);
    device.peers.insert(key, Peer { endpoint, displaces: Displaces::Nothing, ..peer.clone() });
}

/// With the last IPv4 address of a link go its IPv4 routes in every table and its ARP entries,
/// permanent ones too (`fib_disable_ip` in net/ipv4/fib_frontend.c).
fn delete_address(host: &mut HostState, gone: &Address) {
    let existed = host.addresses.remove(gone);
    let v4_left = host.addresses.iter().any(|a| a.link == gone.link && a.net.is_ipv4());
    if existed && gone.net.is_ipv4() && !v4_left {
        host.neighbours.retain(|n| n.link != gone.link || n.address.is_ipv6());
        host.routes.retain(|key, route| {
            !key.destination.is_ipv4() || route.target.link() != Some(&gone.link)
        });
    }
}
