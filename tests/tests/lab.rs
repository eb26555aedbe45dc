//! Owns the tests of the lab itself: that it builds, isolates, impairs, reports, and vanishes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use sealane_tests::lab::address::Family;
use sealane_tests::lab::segment::Segment;
use sealane_tests::lab::world::Lab;

fn lan(lab: &Lab, name: &str, family: Family) -> Segment {
    let subnets = family.select("192.0.2.0/24".parse().unwrap(), "2001:db8::/64".parse().unwrap());
    Segment::new(lab, name, subnets).unwrap()
}

#[test]
fn two_hosts_on_a_segment_reach_each_other() {
    for family in Family::ALL {
        let lab = Lab::new("ping").unwrap();
        let lan = lan(&lab, "lan", family);
        let (a, b) = (lab.host("a").unwrap(), lab.host("b").unwrap());
        lan.attach(&a, 1).unwrap();
        for address in lan.attach(&b, 2).unwrap().addresses() {
            a.run(&format!("ping -n -c 1 -W 2 {address}")).unwrap();
        }
    }
}
