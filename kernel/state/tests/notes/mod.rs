//! Owns a short notation for small hosts. Does not own how the product writes hosts.

use std::collections::BTreeMap;

use sealane_state::address::Address;
use sealane_state::change::Change;
use sealane_state::diff::model::apply_to;
use sealane_state::filter::{Chain, FilterTable};
use sealane_state::host::HostState;
use sealane_state::link::{Backend, Link, LinkKind, Mac, Vxlan};
use sealane_state::neighbour::{Fdb, Neighbour};
use sealane_state::route::{Route, RouteKey, Target};
use sealane_state::wireguard::{Device, Peer, PublicKey};

/// Reads notes apart by `;`, such as `lane sealane0 51820; peer sealane0 1 10.1.0.0/16`.
pub(crate) fn host(notes: &str) -> HostState {
    let mut host = HostState::default();
    for note in notes.split(';').map(str::trim).filter(|note| !note.is_empty()) {
        put(&mut host, &note.split(' ').collect::<Vec<_>>());
    }
    host
}

pub(crate) fn key(number: u8) -> PublicKey {
    PublicKey([number; 32])
}

pub(crate) fn after(host: &HostState, steps: &[Change]) -> HostState {
    let mut host = host.clone();
    steps.iter().for_each(|step| apply_to(&mut host, step));
    host
}

fn put(host: &mut HostState, note: &[&str]) {
    match *note {
        ["lane", name, port] => put_lane(host, name, port, Backend::Kernel),
        ["userspace", name, port] => put_lane(host, name, port, Backend::Userspace),
        ["vxlan", name, vni, port] => put_vxlan(host, name, vni, port),
        ["peer", name, number, nets] => put_peer(host, name, number, nets),
        ["address", link, net] => {
            let (link, net) = (link.parse().unwrap(), net.parse().unwrap());
            host.addresses.insert(Address { link, net });
        }
        ["neigh", link, address, behind] => {
            let (link, address) = (link.parse().unwrap(), address.parse().unwrap());
            host.neighbours.insert(Neighbour { link, address, mac: mac(behind) });
        }
        ["fdb", link, frames_to, remote] => {
            let (link, remote) = (link.parse().unwrap(), remote.parse().unwrap());
            host.fdb.insert(Fdb { link, mac: mac(frames_to), remote });
        }
        ["route", destination, link] => {
            let destination = destination.parse().unwrap();
            let target = Target::Link(link.parse().unwrap());
            host.routes.insert(
                RouteKey { table: 5182, destination, metric: 0 },
                Route { target, source: None, mtu: None },
            );
        }
        ["sysctl", key, value] => {
            let key = key.split('/').collect();
            host.sysctls.insert(key, value.to_owned());
        }
        ["table", chain] => {
            let chain = (chain.to_owned(), Chain { hook: None, rules: Vec::new() });
            host.filter = Some(FilterTable { chains: [chain].into(), sets: BTreeMap::new() });
        }
        _ => panic!("no such note: {note:?}"),
    }
}

fn put_lane(host: &mut HostState, name: &str, port: &str, backend: Backend) {
    let link = Link { kind: LinkKind::WireGuard(backend), mtu: 1420, up: true };
    host.links.insert(name.parse().unwrap(), link);
    let listen_port = port.parse().unwrap();
    let device = Device { key: key(9), listen_port, mark: 0, peers: BTreeMap::new() };
    host.devices.insert(name.parse().unwrap(), device);
}

fn put_vxlan(host: &mut HostState, name: &str, vni: &str, port: &str) {
    let vxlan = Vxlan {
        vni: vni.parse().unwrap(),
        port: port.parse().unwrap(),
        local: "192.0.2.1".parse().unwrap(),
        underlay: "eth0".parse().unwrap(),
        mac: Mac([2, 0, 0, 0, 0, 1]),
    };
    let link = Link { kind: LinkKind::Vxlan(vxlan), mtu: 1420, up: true };
    host.links.insert(name.parse().unwrap(), link);
}

fn put_peer(host: &mut HostState, name: &str, number: &str, nets: &str) {
    let nets = nets.split(',').filter(|net| *net != "(none)");
    let allowed_ips = nets.map(|net| net.parse().unwrap()).collect();
    let peer = Peer { allowed_ips, ..Peer::default() };
    let device = host.devices.get_mut(&name.parse().unwrap()).unwrap();
    device.peers.insert(key(number.parse().unwrap()), peer);
}

fn mac(text: &str) -> Mac {
    let bytes: Vec<u8> =
        text.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    Mac(bytes.try_into().unwrap())
}
