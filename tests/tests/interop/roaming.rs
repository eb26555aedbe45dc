//! Proves that a lane follows an end to another address, port or family: the other end learns it
//! from the next packet, and nothing is configured anew.

use ipnetwork::IpNetwork;
use sealane_tests::interop::end::{End, LINK, PORT, Terms};
use sealane_tests::interop::pair::Pair;
use sealane_tests::lab::wait::eventually;

use crate::stage::SOON;

against_each_partner!(an_end_that_moves_is_followed, an_end_that_changes_its_port_is_followed);

fn an_end_that_moves_is_followed(pair: &Pair) {
    let ends = [&pair.near, &pair.far];
    for family in [0, 1] {
        for (side, [mover, other]) in [(0, ends), (1, [ends[1], ends[0]])] {
            other.meet(mover, Terms { endpoint: Some(mover.outer[family]), psk: None }).unwrap();
            mover.meet(other, Terms { endpoint: Some(other.outer[family]), psk: None }).unwrap();
            mover.reaches(other.inner[0], SOON).unwrap();
            let old = pair.address(side, 2, family).unwrap();
            let new = pair.address(side, 77, family).unwrap();
            move_to(pair, side, mover, [old, new]);
            mover.reaches(other.inner[1], SOON).unwrap();
            let told = other.shown("endpoints").unwrap();
            assert!(told.contains(&new.ip().to_string()), "{told}, not {new}");
            other.reaches(mover.inner[0], SOON).unwrap();
            move_to(pair, side, mover, [new, old]);
        }
    }
}

/// Takes one address from an end and gives it another. With its last address of a network, a link loses
/// the routes by it; and the first takes the others of its network along, so it goes before they come.
fn move_to(pair: &Pair, side: usize, end: &End, [old, new]: [IpNetwork; 2]) {
    end.shell(&format!("ip addr del {old} dev eth0")).unwrap();
    end.add_outer(new).unwrap();
    for gateway in pair.sides[side].addresses() {
        let family = if gateway.is_ipv4() { "-4" } else { "-6" };
        end.shell(&format!("ip {family} route replace default via {gateway}")).unwrap();
    }
}

fn an_end_that_changes_its_port_is_followed(pair: &Pair) {
    let ends = [&pair.near, &pair.far];
    for [mover, other] in [ends, [ends[1], ends[0]]] {
        other.meet(mover, Terms { endpoint: Some(mover.outer[1]), psk: None }).unwrap();
        mover.meet(other, Terms { endpoint: Some(other.outer[1]), psk: None }).unwrap();
        mover.reaches(other.inner[0], SOON).unwrap();
        let port = PORT + 100;
        mover.shell(&format!("wg set {LINK} listen-port {port}")).unwrap();
        eventually(SOON, "the other end knows the port", || {
            mover.reaches(other.inner[0], SOON).map_err(|fault| fault.to_string())?;
            let told = other.shown("endpoints").map_err(|fault| fault.to_string())?;
            if told.ends_with(&format!(":{port}")) { Ok(()) } else { Err(told) }
        })
        .unwrap();
        other.reaches(mover.inner[1], SOON).unwrap();
        mover.shell(&format!("wg set {LINK} listen-port {PORT}")).unwrap();
    }
}
