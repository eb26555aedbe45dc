//! Owns what differs between the peers of devices as they are and as they should be. Looks at no
//! device and changes none.

use std::collections::BTreeMap;

use sealane_state::change::Change;
use sealane_state::diff::{diff, peers};
use sealane_state::host::HostState;
use sealane_state::name::LinkName;
use sealane_state::wireguard::{Device, Peer};

/// Returns the steps that the devices lack, in an order that means nothing. An endpoint that nobody
/// asked for may be any: it follows the peer.
pub(super) fn lacking(wanted: &HostState, devices: BTreeMap<LinkName, Device>) -> Vec<Change> {
    let seen = HostState { devices, ..HostState::default() };
    let mut steps = peers::device_changes(wanted, &seen);
    steps.extend(peers::additions(wanted, &seen));
    steps.extend(peers::departures(wanted, &seen));
    steps.extend(peers::removals(wanted, &seen));
    steps
}

/// Returns the steps from one wish to the next where they are about peers that stay, and nothing
/// else: they can be taken without a look at the host.
pub(super) fn edits(wanted: &HostState, before: &HostState) -> Option<Vec<Change>> {
    let stays = |change: &Change| match change {
        Change::PutPeer(link, key, _) => {
            before.devices.get(link).is_some_and(|device| device.peers.contains_key(key))
        }
        _ => false,
    };
    let steps = diff(wanted, &unaimed(wanted, before));
    steps.iter().all(stays).then_some(steps)
}

/// Returns `before` as if no endpoint had been asked for where `wanted` asks for one anew: what the
/// device sends to now is for it to say.
fn unaimed(wanted: &HostState, before: &HostState) -> HostState {
    let mut before = before.clone();
    for (link, device) in &mut before.devices {
        let asked = wanted.devices.get(link).map(|device| &device.peers);
        for (key, peer) in &mut device.peers {
            let aim = |of: &Peer| (of.endpoint, of.displaces);
            if asked.and_then(|peers| peers.get(key)).is_some_and(|to| aim(to) != aim(peer)) {
                peer.endpoint = None;
            }
        }
    }
    before
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use sealane_state::link::{Backend, Link, LinkKind};
    use sealane_state::wireguard::PublicKey;

    use super::*;

    const NEAR: PublicKey = PublicKey([1; 32]);
    const FAR: PublicKey = PublicKey([2; 32]);

    #[test]
    fn a_peer_that_roams_lacks_nothing() {
        let wanted = host(&[(NEAR, None), (FAR, Some("192.0.2.1:51820"))]);
        let mut seen = wanted.clone();
        peer(&mut seen, NEAR).endpoint = at("198.51.100.7:4");
        assert_eq!(lacking(&wanted, seen.devices.clone()), []);
        peer(&mut seen, FAR).endpoint = at("198.51.100.7:4");
        assert_eq!(lacking(&wanted, seen.devices.clone()), [], "it was heard from since");
        let mut wanted = wanted;
        peer(&mut wanted, FAR).displaces = at("198.51.100.7:4").into();
        assert_eq!(lacking(&wanted, seen.devices).len(), 1, "here another address is asked for");
    }

    #[test]
    fn what_another_hand_does_to_a_device_is_lacking() {
        let wanted = host(&[(NEAR, None), (FAR, None)]);
        let mut seen = wanted.clone();
        peer(&mut seen, NEAR).keepalive = Some(1);
        assert_eq!(lacking(&wanted, seen.devices).len(), 1);
        let mut seen = wanted.clone();
        device(&mut seen).peers.remove(&NEAR);
        device(&mut seen).peers.insert(PublicKey([3; 32]), some_peer(None));
        assert_eq!(lacking(&wanted, seen.devices).len(), 2);
        assert_eq!(lacking(&wanted, BTreeMap::new()).len(), 3, "the device is gone");
    }

    #[test]
    fn a_peer_that_goes_is_parted_with_without_a_look_at_the_host() {
        let before = host(&[(NEAR, None), (FAR, None)]);
        let wanted = host(&[(NEAR, Some("192.0.2.1:51820"))]);
        assert_eq!(peers::departures(&wanted, &before), [Change::DeletePeer(link(), FAR)]);
        assert_eq!(peers::departures(&wanted, &wanted), []);
        assert_eq!(edits(&wanted, &before), None, "the rest is for a whole pass");
    }

    #[test]
    fn another_address_for_a_peer_is_an_edit_and_another_peer_is_none() {
        let before = host(&[(NEAR, None)]);
        let steps = edits(&host(&[(NEAR, Some("192.0.2.1:51820"))]), &before).unwrap();
        assert!(matches!(steps.as_slice(), [Change::PutPeer(_, NEAR, _)]), "{steps:?}");
        assert_eq!(edits(&before, &host(&[(NEAR, Some("192.0.2.1:51820"))])), Some(Vec::new()));
        assert_eq!(edits(&host(&[(NEAR, None), (FAR, None)]), &before), None);
        let mut other = host(&[(NEAR, Some("192.0.2.2:51820"))]);
        peer(&mut other, NEAR).displaces = at("198.51.100.7:4").into();
        let steps = edits(&other, &host(&[(NEAR, Some("192.0.2.1:51820"))])).unwrap();
        assert_eq!(steps.len(), 1, "where the device sends by now is for it to say");
        let mut narrow = before.clone();
        narrow.links.values_mut().for_each(|link| link.mtu = 1280);
        assert_eq!(edits(&narrow, &before), None);
    }

    fn host(peers: &[(PublicKey, Option<&str>)]) -> HostState {
        let peers = peers.iter().map(|(key, endpoint)| (*key, some_peer(endpoint.and_then(at))));
        let (key, listen_port, mark) = (PublicKey([9; 32]), 51820, 0x2000);
        let device = Device { key, listen_port, mark, peers: peers.collect() };
        let kind = LinkKind::WireGuard(Backend::Userspace);
        let mut host = HostState::default();
        host.links.insert(link(), Link { kind, mtu: 1420, up: true });
        host.devices.insert(link(), device);
        host
    }

    fn some_peer(endpoint: Option<SocketAddr>) -> Peer {
        Peer { endpoint, keepalive: Some(25), ..Peer::default() }
    }

    fn device(host: &mut HostState) -> &mut Device {
        host.devices.get_mut(&link()).unwrap()
    }

    fn peer(host: &mut HostState, key: PublicKey) -> &mut Peer {
        device(host).peers.get_mut(&key).unwrap()
    }

    fn link() -> LinkName {
        "sealane0".parse().unwrap()
    }

    fn at(text: &str) -> Option<SocketAddr> {
        text.parse().ok()
    }
}
