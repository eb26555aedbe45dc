//! What a packet meets, story by story. The answers stand in `cases/`, one file for each trace.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod lab;

use lab::{Lab, check};
use sealane_view::trace::Outcome;

const W1: &str = "cluster-1.w";
const G1: &str = "cluster-1.gw";
const W2: &str = "cluster-2.w";
const G2: &str = "cluster-2.gw";
const POD: &str = "10.1.1.10";
const FAR_POD: &str = "10.2.1.10";

#[test]
fn a_packet_of_a_pod_reaches_a_pod_of_another_member_in_each_family() {
    let lab = Lab::in_order();
    check("pod-to-pod-v4", &lab.trace(W1, POD, FAR_POD));
    check("pod-to-pod-v6", &lab.trace(W1, "fd01:0:0:1::a", "fd02:0:0:1::a"));
}

#[test]
fn a_packet_of_a_host_gets_a_source_that_other_members_accept() {
    check("host-to-pod", &Lab::in_order().trace(W1, "", FAR_POD));
}

#[test]
fn a_gateway_begins_where_the_packet_of_a_worker_comes_in() {
    let document = Lab::in_order().trace(G1, POD, FAR_POD);
    assert_eq!(document.outcome, Outcome::Ok, "{}", document.verdict);
    assert_eq!(document.hops[0].detail, "brings it from cluster-1.w");
}

#[test]
fn without_our_rule_the_packet_leaves_past_the_lanes_and_the_missing_rule_is_named() {
    let mut lab = Lab::in_order();
    lab.host(G1).remove("rule 5186");
    check("no-rule", &lab.trace(W1, POD, FAR_POD));
}

#[test]
fn without_a_route_the_table_is_named() {
    let mut lab = Lab::in_order();
    lab.host(G1).remove("route 5182");
    lab.host(G1).remove("route 254 unicast 0.0.0.0/0");
    check("no-route", &lab.trace(W1, POD, FAR_POD));
}

#[test]
fn a_member_without_a_live_way_is_refused_with_icmp() {
    let mut lab = Lab::in_order();
    lab.host(G1).remove("route 5182 unicast 10.");
    lab.host(G1).add("route 5182 unreachable 10.2.0.0/16");
    check("unreachable", &lab.trace(W1, POD, FAR_POD));
}

#[test]
fn a_foreign_firewall_that_drops_is_named_on_the_other_side() {
    let mut lab = Lab::in_order();
    lab.host(G2).add_ruleset("firewall");
    check("firewall", &lab.trace(W1, POD, FAR_POD));
}

#[test]
fn a_foreign_rule_about_a_port_leaves_a_doubt_and_never_an_ok() {
    let mut lab = Lab::in_order();
    lab.host(G2).add_ruleset("ports");
    check("doubt-port", &lab.trace(W1, POD, FAR_POD));
    let mut lab = Lab::in_order();
    lab.host(W2).add_ruleset("limits");
    check("doubt-limit", &lab.trace(W1, POD, FAR_POD));
}

#[test]
fn a_ruleset_that_cannot_be_read_leaves_a_doubt() {
    let mut lab = Lab::in_order();
    lab.host(G1).nft_answers = false;
    let document = lab.trace(W1, POD, FAR_POD);
    assert_eq!(document.outcome, Outcome::Warn);
    assert!(document.verdict.contains("could not be read"), "{}", document.verdict);
}

#[test]
fn a_service_address_leads_to_each_of_its_endpoints() {
    let mut lab = Lab::in_order();
    lab.host(W1).add_ruleset("service");
    check("service", &lab.trace(W1, POD, "10.96.0.7"));
    lab.choice = 1;
    let document = lab.trace(W1, POD, "10.96.0.7");
    let told = document.hops.iter().any(|hop| hop.detail.contains("becomes 10.2.1.11 port 8080"));
    assert!(told, "the second endpoint is not reached: {document:#?}");
}

#[test]
fn a_peer_that_never_shook_hands_is_named() {
    let mut lab = Lab::in_order();
    lab.host(G1).remove("handshake");
    check("no-handshake", &lab.trace(W1, POD, FAR_POD));
}

#[test]
fn a_peer_that_does_not_answer_probes_is_named() {
    let mut lab = Lab::in_order();
    lab.host(G1).remove("health");
    lab.host(G1).add("health 2 down");
    check("dead-peer", &lab.trace(W1, POD, FAR_POD));
}

#[test]
fn a_lane_without_a_peer_for_the_destination_is_named() {
    let mut lab = Lab::in_order();
    lab.host(G1).remove("peer");
    lab.host(G1).remove("endpoint");
    lab.host(G1).remove("handshake");
    lab.host(G1).remove("health");
    check("no-peer", &lab.trace(W1, POD, FAR_POD));
}

#[test]
fn a_source_that_the_other_end_does_not_take_fails_where_it_leaves() {
    check("foreign-source", &Lab::in_order().trace(W1, "172.16.0.9", FAR_POD));
}

#[test]
fn a_source_that_the_other_end_no_longer_takes_fails_where_it_arrives() {
    let mut lab = Lab::in_order();
    lab.host(G2).remove("peer");
    lab.host(G2).remove("endpoint");
    lab.host(G2).remove("handshake");
    lab.host(G2).remove("health");
    lab.host(G2).add("peer 1 cluster-1.gw sealane0 10.1.9.0/24 fd00::1/128");
    check("shrunken-source", &lab.trace(W1, POD, FAR_POD));
}

#[test]
fn a_packet_larger_than_the_path_is_met_by_icmp() {
    let lab = Lab::in_order();
    check("too-large-v4", &lab.trace_sized(W1, POD, FAR_POD, Some(1500)));
    check("too-large-v6", &lab.trace_sized(W1, "fd01:0:0:1::a", "fd02:0:0:1::a", Some(1500)));
}

#[test]
fn a_lane_narrower_than_its_link_is_named() {
    let mut lab = Lab::in_order();
    lab.host(G1).remove("health");
    lab.host(G1).add("health 2 up 1280");
    check("narrow-lane", &lab.trace(W1, POD, FAR_POD));
}

#[test]
fn an_answer_that_takes_another_gateway_is_told() {
    let mut lab = Lab::in_order();
    let worker = lab.host(W2);
    worker.remove("route 5209");
    worker.remove("route 5182 unicast 10.");
    worker.add("neighbour fe80::3 02:00:00:00:02:03 sealane-vx");
    worker.add("fdb 02:00:00:00:02:03 192.168.2.3 sealane-vx");
    worker.add("leg gw2 gateway 192.168.2.3 up");
    worker.add("route 5182 unicast 10.1.0.0/16 via fe80::3 dev sealane-vx");
    check("asymmetrical", &lab.trace(W1, POD, FAR_POD));
}

#[test]
fn an_answer_that_gets_lost_is_told() {
    let mut lab = Lab::in_order();
    lab.host(W2).remove("route 5209");
    lab.host(W2).remove("route 5182");
    check("lost-answer", &lab.trace(W1, POD, FAR_POD));
}

#[test]
fn a_destination_of_no_member_is_told() {
    check("nowhere", &Lab::in_order().trace(W1, POD, "198.51.100.7"));
}

#[test]
fn a_destination_that_was_granted_and_is_not_advertised_is_told() {
    let mut lab = Lab::in_order();
    lab.grants.push(("10.77.0.0/16".parse().unwrap(), "cluster-3".to_owned()));
    let trace = lab.trace(W1, POD, "10.77.1.1");
    assert_eq!(trace.outcome, Outcome::Fail);
    let end = "no member advertises it; the list grants 10.77.0.0/16 to cluster-3, but no \
               accepted gateway of it advertises the address: sealane status says why";
    assert!(trace.verdict.ends_with(end), "{}", trace.verdict);
}

#[test]
fn a_destination_of_no_member_that_is_a_neighbour_is_delivered() {
    let trace = Lab::in_order().trace(W1, "", "192.168.1.9");
    assert_ne!(trace.outcome, Outcome::Fail, "{}", trace.verdict);
    assert!(!trace.verdict.contains("no member advertises"), "{}", trace.verdict);
}

#[test]
fn a_node_that_the_leg_does_not_reach_is_named() {
    let mut lab = Lab::in_order();
    lab.host(G2).remove("fdb");
    check("no-fdb", &lab.trace(W1, POD, FAR_POD));
}

#[test]
fn a_host_that_does_not_forward_is_named() {
    let mut lab = Lab::in_order();
    lab.host(G2).remove("sysctl");
    lab.host(G2).add("sysctl net/ipv4/ip_forward 0");
    check("no-forwarding", &lab.trace(W1, POD, FAR_POD));
}

#[test]
fn a_link_that_is_down_is_named() {
    let mut lab = Lab::in_order();
    lab.host(W2).remove("link cni0");
    lab.host(W2).add("link cni0 down mtu 1500 10.2.1.1/24");
    check("link-down", &lab.trace(W1, POD, FAR_POD));
}

#[test]
fn an_agent_that_does_not_answer_leaves_a_doubt() {
    let mut lab = Lab::in_order();
    lab.silence(G2);
    check("silent-agent", &lab.trace(W1, POD, FAR_POD));
}

#[test]
fn a_lane_that_carries_packets_though_the_agent_there_is_dead_does_not_fail() {
    let mut lab = Lab::in_order();
    lab.host(G1).remove("health");
    lab.host(G1).add("health 2 silent 1420");
    lab.silence(G2);
    check("dead-agent", &lab.trace(W1, POD, FAR_POD));
}

#[test]
fn a_rule_that_cannot_be_judged_leaves_a_doubt() {
    let mut lab = Lab::in_order();
    lab.host(G1).add("rule 100 if uidrange:0-9 lookup 254");
    let document = lab.trace(W1, POD, FAR_POD);
    assert_eq!(document.outcome, Outcome::Warn);
    assert!(document.verdict.contains("rule 100"), "{}", document.verdict);
}

#[test]
fn a_packet_that_goes_round_in_circles_is_given_up() {
    let mut lab = Lab::in_order();
    lab.host(G1).add("rule 10 lookup 77");
    lab.host(G1).add("route 77 unicast 10.2.0.0/16 via fe80::2 dev sealane-vx");
    let document = lab.trace(W1, POD, FAR_POD);
    assert_eq!(document.outcome, Outcome::Warn);
    assert!(document.verdict.ends_with("too many agents were asked"), "{}", document.verdict);
}
