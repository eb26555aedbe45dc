//! Owns the tests that what others do to our objects is repaired, and that theirs are left alone.

use std::time::Duration;

use sealane_tests::lab::address::Family;
use sealane_tests::lab::host::Host;
use sealane_tests::lab::wait::eventually;
use sealane_tests::product::agent;
use sealane_tests::product::traces::Traces;

use crate::stage::{BRIEF, Stage, shared};

/// Within which what a foreign hand did is undone.
const REPAIR: Duration = Duration::from_secs(1);

/// What a foreign hand does, and what must be there again.
const DEEDS: [(&str, &str, &str); 6] = [
    ("ip route flush table 5182", "ip route show table 5182", "dev sealane0"),
    ("ip -6 route flush table 5182", "ip -6 route show table 5182", "dev sealane0"),
    ("ip rule del priority 5186", "ip rule", "5186:"),
    ("nft delete table inet sealane", "nft list tables", "inet sealane"),
    ("sysctl -w net.ipv4.ip_forward=0", "sysctl net.ipv4.ip_forward", "= 1"),
    ("ip link del sealane-vx", "ip link show sealane-vx", "sealane-vx"),
];

#[test]
fn what_a_foreign_hand_does_to_our_objects_is_undone_within_a_second() {
    let _machine = shared();
    let stage = Stage::joined("foreign-hand", Family::Dual);
    let gateway = &stage.berlin.gateway.host;
    for (deed, look, expected) in DEEDS {
        there(gateway, look, expected).unwrap();
        gateway.run(deed).unwrap();
        eventually(REPAIR, format!("`{deed}` is undone"), || there(gateway, look, expected))
            .unwrap();
    }
    agent::comes_to_reach(gateway, &["edge"]).unwrap();
    assert_eq!(stage.flow(1000, BRIEF).finish().unwrap().lost, 0);
}

#[test]
fn a_lane_that_a_foreign_hand_deletes_comes_back() {
    let _machine = shared();
    let stage = Stage::joined("link-deleted", Family::Dual);
    let gateway = &stage.berlin.gateway.host;
    gateway.run("ip link del sealane0").unwrap();
    eventually(Duration::from_secs(2), "the lane's link is back", || {
        there(gateway, "ip link show sealane0", "sealane0")
    })
    .unwrap();
    agent::comes_to_reach(gateway, &["edge"]).unwrap();
    assert_eq!(stage.flow(1000, BRIEF).finish().unwrap().lost, 0);
}

#[test]
fn objects_of_others_are_left_alone_even_where_they_look_like_ours() {
    let _machine = shared();
    let mut stage = Stage::bare("foreign-objects", Family::Dual);
    let host = stage.edge.host.clone();
    // Of another owner: near our tables, priorities and names, without our marks.
    host.shell(
        "ip link add other0 type bridge\n\
         ip link add sealane-other type bridge\n\
         ip route add 198.18.0.0/24 dev lo table 5182 proto static\n\
         ip route add 198.18.1.0/24 dev lo table 77\n\
         ip rule add priority 5181 from 198.18.9.9 lookup 77\n\
         ip -6 rule add priority 5190 from 2001:db8:99::/48 lookup 77\n\
         nft add table inet sealane2\n\
         nft add chain inet sealane2 forward '{ type filter hook forward priority 0; }'\n\
         nft add rule inet sealane2 forward counter comment sealane",
    )
    .unwrap();
    let before = Traces::of(&host).unwrap();
    stage.start_agents();
    stage.join_berlin();
    stage.join_edge();
    stage.await_lanes();
    host.run("sealane leave").unwrap();
    before.same_as(&Traces::of(&host).unwrap()).unwrap();
}

fn there(host: &Host, look: &str, expected: &str) -> Result<(), String> {
    let told = host.run(look).map_err(|error| error.to_string())?;
    if told.contains(expected) { Ok(()) } else { Err(format!("`{look}`: {told}")) }
}
