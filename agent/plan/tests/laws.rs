//! What holds in every world, however strange: found by random worlds from a universe so small that
//! names, keys, prefixes and slots collide all the time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnetwork::IpNetwork;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use sealane_plan::documents;
use sealane_plan::health::{EndpointAdvice, LaneHealth, LegHealth, PathState, Session};
use sealane_plan::name::{GatewayId, LaneId, MemberId, NodeName, UnixSeconds};
use sealane_plan::plan::{Plan, plan};
use sealane_plan::prefix;
use sealane_plan::remote::{
    Candidate, CandidateKind, GatewayState, Networks, RemoteGateway, RemoteTunnel,
};
use sealane_plan::world::{
    BackendChoice, HostSource, Me, Node, NodeRole, Options, OwnGateway, OwnTunnel, Role, World,
};
use sealane_state::diff::diff;
use sealane_state::facts::{HostFacts, LinkFacts};
use sealane_state::filter::FilterTable;
use sealane_state::host::HostState;
use sealane_state::link::Backend;
use sealane_state::name::LinkName;
use sealane_state::nft_text;
use sealane_state::owner;
use sealane_state::route::{Route, RouteKey, Target};
use sealane_state::rule::Family;
use sealane_state::wireguard::{Displaces, PskFingerprint, PublicKey};

const NOW: UnixSeconds = UnixSeconds(1000);

/// Disjoint, equal, nested and neighbouring prefixes of both families.
const PREFIXES: [&str; 14] = [
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.0.0/17",
    "10.1.128.0/17",
    "10.2.0.0/16",
    "10.2.3.4/32",
    "172.16.0.0/12",
    "192.168.1.0/24",
    "0.0.0.0/0",
    "fd01::/48",
    "fd01:0:0:1::/64",
    "fd02::/48",
    "fd09::9/128",
    "::/0",
];

const ADDRESSES: [&str; 8] = [
    "192.168.1.1",
    "192.168.1.2",
    "10.1.0.1",
    "10.2.3.4",
    "127.0.0.1",
    "2001:db8::1",
    "fd01:0:0:1::1",
    "fe80::1",
];

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn equal_worlds_give_equal_plans_and_the_order_of_candidates_does_not_matter(world in worlds()) {
        let first = plan(&world, NOW);
        let mut shuffled = world.clone();
        for tunnel in shuffled.gateways.values_mut().flat_map(|gateway| &mut gateway.tunnels) {
            tunnel.candidates.reverse();
        }
        prop_assert_eq!(&first, &plan(&shuffled, NOW));
        prop_assert!(diff(&first.host, &first.host).is_empty());
    }

    #[test]
    fn a_plan_that_was_followed_stays_as_it_is(mut world in worlds()) {
        let first = plan(&world, NOW);
        world.choices.clone_from(&first.choices);
        prop_assert_eq!(&first.choices, &plan(&world, NOW).choices);
        prop_assert_eq!(&first.host, &plan(&world, NOW).host);
    }

    #[test]
    fn no_two_peers_of_a_link_are_given_one_prefix(world in worlds()) {
        for (link, device) in plan(&world, NOW).host.devices {
            let mut seen = BTreeSet::new();
            for prefix in device.peers.values().flat_map(|peer| &peer.allowed_ips) {
                prop_assert!(seen.insert(*prefix), "{prefix} twice on {link}");
            }
        }
    }

    #[test]
    fn a_peer_speaks_only_for_what_was_accepted_of_its_gateway(world in worlds()) {
        let plan = plan(&world, NOW);
        for device in plan.host.devices.values() {
            for (key, peer) in &device.peers {
                let gateways: Vec<&RemoteGateway> = holders(&world, *key).collect();
                for prefix in peer.allowed_ips.iter().chain(&peer.accepted_sources) {
                    prop_assert!(gateways.iter().any(|gateway| may_speak_for(gateway, *prefix)));
                }
            }
        }
    }

    #[test]
    fn nothing_is_routed_that_nobody_was_granted_or_that_the_host_needs(world in worlds()) {
        let plan = plan(&world, NOW);
        for (key, route) in remote_routes(&plan.host) {
            let destination = key.destination;
            let claimed = world.gateways.values().any(|gateway| may_speak_for(gateway, destination));
            let refused = route.target == Target::Unreachable && is_granted(&world, destination);
            prop_assert!(claimed || refused, "{destination} by {route:?}");
            let probe = world.gateways.values().any(|gateway| is_probe(gateway, destination));
            prop_assert!(probe || !needed_outside(&world, destination), "{destination}");
        }
    }

    #[test]
    fn what_is_granted_never_leaves_in_clear_unless_the_host_needs_it(world in worlds()) {
        let host = plan(&world, NOW).host;
        let own = &world.me.as_ref().unwrap().member;
        let others = world.grants.iter().filter(|(member, _)| *member != own);
        for granted in others.flat_map(|(_, nets)| nets).copied() {
            let key = RouteKey {
                table: owner::TABLE_REMOTE,
                destination: granted,
                metric: owner::METRIC_BACKSTOP,
            };
            let stands = host.routes.get(&key).is_some_and(|it| it.target == Target::Unreachable);
            let offered = world.host.families.contains(&prefix::family(granted));
            let needed = needed_outside(&world, granted) || routed_by_host(&world, granted);
            prop_assert!(stands || needed || !offered, "{granted}");
            if stands && is_unclaimed(&world, granted) {
                prop_assert!(!needed, "{granted} shadows what the host needs");
                let looked_up = |rule: &sealane_state::rule::Rule| {
                    rule.table == key.table && rule.family == prefix::family(granted)
                };
                prop_assert!(host.rules.iter().any(looked_up), "{granted} is never looked up");
            }
        }
    }

    #[test]
    fn everything_stands_on_links_that_are_planned(world in worlds()) {
        let host = plan(&world, NOW).host;
        let known = |link: &LinkName| host.links.contains_key(link);
        prop_assert!(host.routes.values().filter_map(|route| route.target.link()).all(known));
        prop_assert!(host.addresses.iter().all(|address| known(&address.link)));
        prop_assert!(host.neighbours.iter().all(|neighbour| known(&neighbour.link)));
        prop_assert!(host.fdb.iter().all(|entry| known(&entry.link)));
        prop_assert!(host.devices.keys().all(known));
        prop_assert!(host.rules.iter().filter_map(|rule| rule.input.as_ref()).all(known));
        prop_assert!(host.sysctls.keys().filter_map(|key| key.link()).all(|link| known(&link)));
    }

    #[test]
    fn next_hops_are_known_neighbours_and_their_frames_have_a_way(world in worlds()) {
        let host = plan(&world, NOW).host;
        for route in host.routes.values() {
            if let Target::Via { link, gateway } = &route.target {
                let hop = host.neighbours.iter().find(|n| n.link == *link && n.address == *gateway);
                prop_assert!(hop.is_some_and(|hop| host.fdb.iter().any(|entry| entry.mac == hop.mac)));
            }
        }
    }

    #[test]
    fn all_numbers_are_from_our_own_ranges(world in worlds()) {
        let host = plan(&world, NOW).host;
        prop_assert!(host.routes.keys().all(|key| owner::TABLES.contains(&key.table)));
        for rule in &host.rules {
            prop_assert!(owner::RULES.contains(&rule.priority) && owner::TABLES.contains(&rule.table));
            let foreign = |mark: &sealane_state::rule::MarkMatch| mark.value & !mark.mask != 0;
            prop_assert!(!rule.mark.as_ref().is_some_and(foreign));
        }
        let tables: BTreeSet<u32> = host.routes.keys().map(|key| key.table).collect();
        for rule in host.rules.iter().filter(|rule| rule.priority == owner::RULE_STEERED) {
            prop_assert!(tables.contains(&rule.table), "{rule} leads nowhere");
        }
    }

    #[test]
    fn the_table_is_one_that_nft_can_read(world in worlds()) {
        if let Some(table) = plan(&world, NOW).host.filter {
            prop_assert!(nft_text::replacement(&table, |_| 0).is_ok());
            for (name, target) in jumps(&table) {
                prop_assert!(table.chains.contains_key(&target), "{name} jumps to {target}");
            }
        }
    }

    #[test]
    fn what_is_probed_has_a_peer_and_an_address_of_ours_on_its_link(world in worlds()) {
        let plan = plan(&world, NOW);
        for (lane, target) in &plan.probes.lanes {
            let peer = plan.host.devices[&target.link].peers.get(&lane.remote);
            prop_assert!(peer.is_some());
            let has = |address: IpAddr| plan.host.addresses.iter().any(|a| a.net.ip() == address);
            prop_assert!(has(target.source));
            let key = RouteKey {
                table: owner::TABLE_REMOTE,
                destination: prefix::host(target.destination),
                metric: 0,
            };
            prop_assert!(plan.host.routes.contains_key(&key));
        }
    }

    #[test]
    fn advice_written_into_a_plan_is_what_the_next_plan_says(
        world in worlds(),
        advised in vec(lane_healths(), 8),
    ) {
        let mut before = plan(&world, NOW);
        let mut next = world.clone();
        let lanes: Vec<_> = before.probes.lanes.keys().copied().collect();
        for (lane, health) in lanes.iter().zip(&advised) {
            before.advise(lane, health.endpoint);
            let companions = before.probes.lanes[lane].companions.keys();
            let ways = companions.map(|remote| LaneId { remote: *remote, ..*lane }).chain([*lane]);
            let known: Vec<LaneId> = ways.filter(|way| next.lanes.contains_key(way)).collect();
            // Of lanes that lead one way it is enough that anything is known of one.
            for way in if known.is_empty() { vec![*lane] } else { known } {
                next.lanes.entry(way).or_default().endpoint = health.endpoint;
            }
        }
        prop_assert_eq!(before.host, plan(&next, NOW).host);
    }

    #[test]
    fn a_host_that_left_has_an_empty_plan_and_every_plan_can_be_shown(mut world in worlds()) {
        show(&world, &plan(&world, NOW));
        world.me = None;
        let left = plan(&world, NOW);
        prop_assert_eq!(&left, &Plan::default());
        show(&world, &left);
    }
}

fn show(world: &World, plan: &Plan) {
    let documents = [
        serde_json::to_string(&documents::plan(world, plan, Vec::new())),
        serde_json::to_string(&documents::peers::of(world, plan)),
        serde_json::to_string(&documents::routes::of(plan)),
        serde_json::to_string(&documents::world::of(world)),
    ];
    assert!(documents.iter().all(Result::is_ok));
}

/// Routes to others; those to the ends of our own leg are no member's to grant.
fn remote_routes(host: &HostState) -> impl Iterator<Item = (&RouteKey, &Route)> {
    let is_end = |key: &RouteKey| host.neighbours.iter().any(|n| n.address == key.destination.ip());
    let routes = host.routes.iter().filter(|(key, _)| key.table == owner::TABLE_REMOTE);
    routes.filter(move |(key, _)| !is_end(key))
}

fn holders(world: &World, key: PublicKey) -> impl Iterator<Item = &RemoteGateway> {
    world.gateways.values().filter(move |g| g.tunnels.iter().any(|tunnel| tunnel.key == key))
}

fn may_speak_for(gateway: &RemoteGateway, prefix: IpNetwork) -> bool {
    let accepted = prefix::aggregated(gateway.networks.all());
    is_probe(gateway, prefix) || accepted.iter().any(|net| prefix::covers(*net, prefix))
}

fn is_probe(gateway: &RemoteGateway, prefix: IpNetwork) -> bool {
    prefix == prefix::host(gateway.probe.into())
}

fn needed_outside(world: &World, prefix: IpNetwork) -> bool {
    let me = world.me.as_ref().unwrap();
    let overlaps =
        |other: IpNetwork| prefix::covers(prefix, other) || prefix::covers(other, prefix);
    let links = world.host.links.values().flat_map(|link| link.addresses.iter().copied());
    let connected = links.filter(|net| {
        let ip = net.ip();
        let link_local = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
        !ip.is_loopback() && !link_local
    });
    let reserved = world.reserved.iter().map(|address| prefix::host(*address));
    me.networks.all().chain(connected).chain(reserved).any(overlaps)
}

fn is_granted(world: &World, prefix: IpNetwork) -> bool {
    world.grants.values().flatten().any(|granted| *granted == prefix)
}

fn is_unclaimed(world: &World, prefix: IpNetwork) -> bool {
    !world.gateways.values().any(|gateway| may_speak_for(gateway, prefix))
}

/// What the host reaches elsewhere than by its default route: by a route, or nodes of its member.
fn routed_by_host(world: &World, prefix: IpNetwork) -> bool {
    let routes = world.host.routes.keys().map(|key| key.destination);
    let nodes = world.nodes.values().flat_map(|node| &node.underlay);
    let nodes = nodes.map(|address| prefix::host(*address));
    let mut narrow = routes.filter(|net| net.prefix() > 1).chain(nodes);
    narrow.any(|net| prefix::covers(net, prefix) || prefix::covers(prefix, net))
}

fn jumps(table: &FilterTable) -> Vec<(String, String)> {
    let mut jumps = Vec::new();
    for (name, chain) in &table.chains {
        for rule in &chain.rules {
            let words: Vec<&str> =
                rule.0.split([' ', ',']).filter(|word| !word.is_empty()).collect();
            for pair in words.windows(2).filter(|pair| ["jump", "goto"].contains(&pair[0])) {
                jumps.push((name.clone(), pair[1].to_owned()));
            }
        }
    }
    jumps
}

fn worlds() -> impl Strategy<Value = World> {
    let facts = (btree_map(node_names(), nodes(), 0..4), btree_map(ids(), gateways(), 0..7));
    let health = (vec(lane_healths(), 12), btree_map(node_names(), leg_states(), 0..4));
    let grants = btree_map(member_names(), btree_set(prefixes(), 0..4), 0..3);
    let rest = (btree_set(addresses(), 0..2), hosts(), options(), btree_set(0..12u8, 0..3), grants);
    (mes(), facts, health, rest).prop_map(|(me, (nodes, gateways), (lanes, legs), rest)| {
        let (reserved, host, options, without_psk, grants) = rest;
        let own = own_key(&me);
        let lane = |number: usize| LaneId { own, remote: key(u8::try_from(number).unwrap()) };
        World {
            members: NAMES.iter().map(|name| MemberId((*name).to_owned())).collect(),
            grants,
            psks: (0..12u8)
                .filter(|number| !without_psk.contains(number))
                .map(|number| (lane(number.into()), PskFingerprint([number; 8])))
                .collect(),
            lanes: lanes.into_iter().enumerate().map(|(n, health)| (lane(n), health)).collect(),
            me: Some(me),
            nodes,
            gateways,
            legs,
            choices: BTreeMap::new(),
            reserved,
            host,
            options,
        }
    })
}

fn own_key(me: &Me) -> PublicKey {
    match &me.role {
        Role::Gateway(own) => own.tunnel.key,
        Role::Node => key(0),
    }
}

fn mes() -> impl Strategy<Value = Me> {
    let role = prop_oneof![
        Just(Role::Node),
        (0..3u8, 0..9u8, probe4s()).prop_map(|(number, slot, probe4)| Role::Gateway(OwnGateway {
            tunnel: OwnTunnel { key: key(number), slot },
            probe: "fd00::1".parse().unwrap(),
            probe4,
        })),
    ];
    (member_names(), node_names(), role, networks()).prop_map(|(member, node, role, networks)| Me {
        member,
        node,
        role,
        networks,
    })
}

fn gateways() -> impl Strategy<Value = RemoteGateway> {
    let times = (990..1020u64, proptest::option::of(995..1030u64));
    let probe = select(vec!["fd00::2", "fd00::3", "fd00::4", "fd09::9", "fd00::1"]);
    let state = select(vec![GatewayState::Active, GatewayState::Draining]);
    (networks(), probe, probe4s(), vec(tunnels(), 0..3), state, times).prop_map(
        |(networks, probe, probe4, tunnels, state, (expires, until))| RemoteGateway {
            networks,
            probe: probe.parse().unwrap(),
            probe4,
            tunnels,
            state,
            expires: UnixSeconds(expires),
            until: until.map(UnixSeconds),
        },
    )
}

fn tunnels() -> impl Strategy<Value = RemoteTunnel> {
    (0..12u8, 0..9u8, select(vec![1280, 1420, 9000]), vec(candidates(), 0..4)).prop_map(
        |(number, slot, mtu, candidates)| RemoteTunnel { key: key(number), slot, mtu, candidates },
    )
}

fn candidates() -> impl Strategy<Value = Candidate> {
    let kind = select(vec![CandidateKind::Private, CandidateKind::Public, CandidateKind::Observed]);
    (kind, addresses(), select(vec![0, 51820, 65535]))
        .prop_map(|(kind, address, port)| Candidate { kind, endpoint: (address, port).into() })
}

fn lane_healths() -> impl Strategy<Value = LaneHealth> {
    let rtt = proptest::option::of((0..50u64).prop_map(Duration::from_millis));
    let endpoint = prop_oneof![
        Just(EndpointAdvice::Leave),
        addresses().prop_map(|address| {
            EndpointAdvice::Try { endpoint: (address, 51820).into(), displaces: Displaces::Nothing }
        }),
    ];
    let path_mtu = proptest::option::of(500..2000u32);
    let session = select(vec![Session::Heard, Session::Live, Session::Gone]);
    (states(), rtt, 0..1000u16, path_mtu, endpoint, session).prop_map(
        |(state, rtt, loss_permille, path_mtu, endpoint, session)| LaneHealth {
            state,
            since: None,
            rtt,
            loss_permille,
            path_mtu,
            endpoint,
            session,
        },
    )
}

fn nodes() -> impl Strategy<Value = Node> {
    let role = select(vec![NodeRole::Gateway, NodeRole::Worker]);
    (btree_set(addresses(), 0..3), btree_set(prefixes(), 0..3), role)
        .prop_map(|(underlay, pods, role)| Node { underlay, pods, role })
}

fn hosts() -> impl Strategy<Value = HostFacts> {
    let links = btree_map(link_names(), links(), 0..4);
    let families = subsequence(vec![Family::V4, Family::V6], 0..=2);
    let backends = subsequence(vec![Backend::Kernel, Backend::Userspace], 0..=2);
    let default = proptest::option::of(link_names());
    let narrow = btree_map(select(vec!["10.2.0.0/17", "fd02::/64", "::/0"]), link_names(), 0..3);
    (links, families, backends, default, narrow).prop_map(
        |(links, families, backends, default, narrow)| {
            let key =
                |net: &str| RouteKey { table: 254, destination: net.parse().unwrap(), metric: 0 };
            let route = |link| Route { target: Target::Link(link), source: None, mtu: None };
            HostFacts {
                links,
                families: families.into_iter().collect(),
                backends: backends.into_iter().collect(),
                routes: default
                    .map(|link| (key("::/0"), route(link)))
                    .into_iter()
                    .chain(narrow.into_iter().map(|(net, link)| (key(net), route(link))))
                    .collect(),
                ..HostFacts::default()
            }
        },
    )
}

fn links() -> impl Strategy<Value = LinkFacts> {
    let net = (addresses(), 8..=32u8).prop_map(|(ip, length)| IpNetwork::new(ip, length).unwrap());
    (select(vec![68, 1280, 1500, 9000]), btree_set(net, 0..3)).prop_map(|(mtu, addresses)| {
        LinkFacts { index: 1, mtu, running: true, addresses, ours: false }
    })
}

fn options() -> impl Strategy<Value = Options> {
    let backend =
        select(vec![BackendChoice::Auto, BackendChoice::Kernel, BackendChoice::Userspace]);
    let source = prop_oneof![
        Just(HostSource::Auto),
        btree_set(addresses(), 0..3).prop_map(HostSource::Fixed),
    ];
    (backend, select(vec![51820, 65535]), proptest::option::of(0..100_000u32), source).prop_map(
        |(backend, listen_port, mtu, source)| Options { backend, listen_port, mtu, source },
    )
}

fn networks() -> impl Strategy<Value = Networks> {
    let some = || btree_set(prefixes(), 0..4);
    (some(), some(), some()).prop_map(|(pods, services, external)| Networks {
        pods,
        services,
        external,
    })
}

fn prefixes() -> impl Strategy<Value = IpNetwork> {
    select(PREFIXES.to_vec()).prop_map(|text| text.parse().unwrap())
}

fn addresses() -> impl Strategy<Value = IpAddr> {
    select(ADDRESSES.to_vec()).prop_map(|text| text.parse().unwrap())
}

fn probe4s() -> impl Strategy<Value = Option<std::net::Ipv4Addr>> {
    proptest::option::of(select(vec![[10, 2, 3, 4].into(), [172, 16, 0, 9].into()]))
}

fn states() -> impl Strategy<Value = PathState> {
    select(vec![PathState::Up, PathState::Unknown, PathState::Down])
}

fn leg_states() -> impl Strategy<Value = LegHealth> {
    states().prop_map(|state| LegHealth { state, rtt: None })
}

fn link_names() -> impl Strategy<Value = LinkName> {
    select(vec!["eth0", "cni0", "wlan0"]).prop_map(|text| text.parse().unwrap())
}

fn ids() -> impl Strategy<Value = GatewayId> {
    (member_names(), node_names()).prop_map(|(member, gateway)| GatewayId { member, gateway })
}

fn member_names() -> impl Strategy<Value = MemberId> {
    select(NAMES.to_vec()).prop_map(|name| MemberId(name.to_owned()))
}

fn node_names() -> impl Strategy<Value = NodeName> {
    select(NAMES.to_vec()).prop_map(|name| NodeName(name.to_owned()))
}

fn key(number: u8) -> PublicKey {
    PublicKey([number; 32])
}
