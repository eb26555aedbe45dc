//! Owns the laws of `diff` over random hosts. Does not own how Linux carries a change out.
#![allow(clippy::unwrap_used)]

mod hosts;
mod obstacles;

use std::collections::BTreeMap;

use proptest::prelude::*;
use sealane_state::change::Change;
use sealane_state::diff::diff;
use sealane_state::diff::model::apply_to;
use sealane_state::host::HostState;
use sealane_state::route::Target;
use sealane_state::wireguard::{Displaces, Peer};

fn applied(have: &HostState, steps: &[Change]) -> HostState {
    let mut host = have.clone();
    steps.iter().for_each(|step| apply_to(&mut host, step));
    host
}

/// What `want` says once endpoints that it leaves alone, and those that roamed before it came, are read
/// from `seen`.
fn with_roamed_endpoints(want: &HostState, seen: &HostState) -> HostState {
    let mut want = want.clone();
    for (name, device) in &mut want.devices {
        for (key, peer) in &mut device.peers {
            let roamed = seen.devices.get(name).and_then(|it| it.peers.get(key)?.endpoint);
            if peer.endpoint_to_set(roamed).is_none() {
                peer.endpoint = roamed;
            }
            peer.displaces = Displaces::Nothing;
        }
    }
    want
}

/// Says what a lane that both hosts contain lacks in `now`; `None` when nothing.
fn lane_cut(want: &HostState, have: &HostState, now: &HostState) -> Option<String> {
    for (name, device) in &want.devices {
        let Some(old) = have.devices.get(name) else { continue };
        let same_link =
            want.links.get(name).map(|l| &l.kind) == have.links.get(name).map(|l| &l.kind);
        let same_device =
            (old.key, old.listen_port, old.mark) == (device.key, device.listen_port, device.mark);
        if !same_link || !same_device {
            continue;
        }
        for (key, peer) in &device.peers {
            let Some(old) = old.peers.get(key) else { continue };
            let now = now.devices.get(name).and_then(|device| device.peers.get(key));
            if let Some(lack) = peer_lacks(peer, old, now) {
                return Some(format!("peer {key} of {name}: {lack}"));
            }
        }
    }
    None
}

fn peer_lacks(want: &Peer, old: &Peer, now: Option<&Peer>) -> Option<String> {
    let Some(now) = now else { return Some("gone".to_owned()) };
    if want.endpoint_to_set(old.endpoint).is_none() && now.endpoint != old.endpoint {
        return Some("roamed endpoint lost".to_owned());
    }
    let mut common = want.allowed_ips.intersection(&old.allowed_ips);
    let lost = common.find(|net| !now.allowed_ips.contains(net));
    lost.map(|net| format!("{net} taken away"))
}

/// Says which routing object that both hosts contain is missing in `now`.
fn path_cut(want: &HostState, have: &HostState, now: &HostState) -> Option<String> {
    let stays = |name| {
        let kind = |host: &HostState| host.links.get(name).map(|link| link.kind.clone());
        kind(want).is_some() && kind(want) == kind(have)
    };
    for (key, route) in &want.routes {
        let same = have.routes.get(key).is_some_and(|old| old.target == route.target);
        let stands = route.target.link().is_none_or(stays);
        if same
            && stands
            && !now.routes.contains_key(key)
            && !kernel_drops(want, have, &route.target)
        {
            return Some(format!("{key}"));
        }
    }
    let rule = want.rules.intersection(&have.rules).find(|rule| !now.rules.contains(rule));
    let address = want.addresses.intersection(&have.addresses);
    let address = address.filter(|a| stays(&a.link)).find(|a| !now.addresses.contains(a));
    let neighbour = want.neighbours.intersection(&have.neighbours);
    let neighbour = neighbour.filter(|n| stays(&n.link)).find(|n| {
        let falls = n.address.is_ipv4() && kernel_drops(want, have, &Target::Link(n.link.clone()));
        !falls && !now.neighbours.contains(n)
    });
    let fdb = want.fdb.intersection(&have.fdb);
    let fdb = fdb.filter(|e| stays(&e.link)).find(|e| !now.fdb.contains(e));
    rule.map(ToString::to_string)
        .or(address.map(ToString::to_string))
        .or(neighbour.map(ToString::to_string))
        .or(fdb.map(ToString::to_string))
}

/// The one exception: IPv4 routes and neighbours fall with the last IPv4 address of their link.
fn kernel_drops(want: &HostState, have: &HostState, target: &Target) -> bool {
    let v4 = |host: &HostState| {
        host.addresses.iter().any(|a| Some(&a.link) == target.link() && a.net.is_ipv4())
    };
    v4(have) && !v4(want)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_host_as_wanted_needs_no_change(host in hosts::host()) {
        prop_assert_eq!(diff(&host, &host), vec![]);
    }

    #[test]
    fn the_changes_bring_any_host_to_what_is_wanted((want, have) in hosts::pair()) {
        let steps = diff(&want, &have);
        let got = applied(&have, &steps);
        prop_assert_eq!(&got, &with_roamed_endpoints(&want, &got));
        prop_assert_eq!(diff(&want, &got), vec![]);
    }

    #[test]
    fn no_prefix_of_the_changes_cuts_what_both_hosts_contain(
        (want, have) in hosts::pair()
    ) {
        let mut now = have.clone();
        for step in diff(&want, &have) {
            apply_to(&mut now, &step);
            prop_assert_eq!(lane_cut(&want, &have, &now), None, "after {}", step);
            prop_assert_eq!(path_cut(&want, &have, &now), None, "after {}", step);
        }
    }

    #[test]
    fn no_step_asks_for_what_the_kernel_refuses_at_that_point((want, have) in hosts::pair()) {
        let mut now = have.clone();
        for step in diff(&want, &have) {
            prop_assert_eq!(obstacles::obstacle(&now, &step), None, "before {}", step);
            apply_to(&mut now, &step);
        }
    }

    #[test]
    fn a_prefix_that_changes_hands_always_has_an_owner(
        (want, have) in hosts::pair()
    ) {
        let owners = |host: &HostState| {
            let mut owners = BTreeMap::new();
            for (name, device) in &host.devices {
                for (key, peer) in &device.peers {
                    owners.extend(peer.allowed_ips.iter().map(|n| ((name.clone(), *n), *key)));
                }
            }
            owners
        };
        let (before, after) = (owners(&have), owners(&want));
        let mut now = have.clone();
        for step in diff(&want, &have) {
            apply_to(&mut now, &step);
            let owned = owners(&now);
            for ((name, net), old_owner) in &before {
                let remade = want.links.get(name).map(|l| &l.kind)
                    != have.links.get(name).map(|l| &l.kind);
                let Some(_) = after.get(&(name.clone(), *net)) else { continue };
                prop_assert!(
                    remade || owned.contains_key(&(name.clone(), *net)),
                    "{} of {} has no owner after {} (was {})", net, name, step, old_owner
                );
            }
        }
    }

    #[test]
    fn a_peer_that_leaves_nothing_to_others_goes_before_anything_else(
        want in hosts::host(), have in hosts::found()
    ) {
        let steps = diff(&want, &have);
        for (place, step) in steps.iter().enumerate() {
            let Change::DeletePeer(link, key) = step else { continue };
            let taken: Vec<_> =
                want.devices[link].peers.values().flat_map(|peer| &peer.allowed_ips).collect();
            let hands_over =
                have.devices[link].peers[key].allowed_ips.iter().any(|net| taken.contains(&net));
            let is_first =
                steps[..place].iter().all(|step| matches!(step, Change::DeletePeer(..)));
            prop_assert!(is_first || hands_over, "{} waits for {}", step, steps[0]);
        }
    }

    #[test]
    fn leaving_takes_everything_away(have in hosts::found()) {
        let nothing = HostState::default();
        prop_assert_eq!(applied(&have, &diff(&nothing, &have)), nothing);
    }

    #[test]
    fn nothing_new_is_reachable_before_the_filter_stands(
        (want, have) in hosts::pair()
    ) {
        let steps = diff(&want, &have);
        let gains = |step: &Change| matches!(
            step,
            Change::AddLink(..) | Change::PutPeer(..) | Change::PutRoute(..) | Change::AddRule(_)
        );
        let replaced = steps.iter().position(|step| matches!(step, Change::ReplaceFilter(_)));
        let gained = steps.iter().position(gains);
        if let (Some(replaced), Some(gained)) = (replaced, gained) {
            prop_assert!(replaced < gained);
        }
        let dropped = steps.iter().position(|step| matches!(step, Change::DeleteFilter));
        if let Some(dropped) = dropped {
            prop_assert_eq!(dropped, steps.len() - 1);
        }
    }

    #[test]
    fn rules_follow_their_routes_and_go_before_them((want, have) in hosts::pair()) {
        let steps = diff(&want, &have);
        let place = |wanted: fn(&Change) -> bool| steps.iter().position(wanted);
        let last = |wanted: fn(&Change) -> bool| steps.iter().rposition(wanted);
        let routes_put = last(|step| matches!(step, Change::PutRoute(..)));
        let rules_added = place(|step| matches!(step, Change::AddRule(_)));
        let address_last = |host: &HostState| host.addresses.iter().any(|a| a.net.is_ipv4());
        if let (Some(put), Some(added), true) = (routes_put, rules_added, !address_last(&have)) {
            prop_assert!(put < added);
        }
        let rules_gone = last(|step| matches!(step, Change::DeleteRule(_)));
        let routes_gone = place(|step| matches!(step, Change::DeleteRoute(_)));
        if let (Some(rules), Some(routes)) = (rules_gone, routes_gone) {
            prop_assert!(rules < routes);
        }
    }
}
