//! Owns how long a full recomputation of the plan takes, for growing numbers of members with ten
//! prefixes each.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::ensure;
use sealane_plan::health::{LaneHealth, PathState};
use sealane_plan::name::{GatewayId, LaneId, MemberId, NodeName, UnixSeconds};
use sealane_plan::plan::plan;
use sealane_plan::remote::{GatewayState, Networks, RemoteGateway, RemoteTunnel};
use sealane_plan::world::{Me, OwnGateway, OwnTunnel, Role, World};
use sealane_state::link::Backend;
use sealane_state::rule::Family;
use sealane_state::wireguard::{PskFingerprint, PublicKey};

const PREFIXES_EACH: u16 = 10;

/// Runs of each size; the fastest and the slowest are told.
const RUNS: usize = 10;

/// The longest that the fastest plan of a thousand members may take. Unit: milliseconds.
const THOUSAND_MS: f64 = 50.0;

/// How many times as long a member of five thousand may take as one of a thousand: linear, with room
/// for caches that no longer hold everything.
const GROWTH: f64 = 2.5;

/// Measures plans of 10 to 5,000 members; the bars are those of a release build.
///
/// # Errors
/// The bar that does not hold.
///
/// # Panics
/// A plan without one of the routes that it must have.
pub fn measure() -> anyhow::Result<()> {
    println!(
        "{:>8}  {:>8}  {:>10}  {:>10}  {:>13}",
        "members", "routes", "least ms", "most ms", "us per member"
    );
    let mut costs = BTreeMap::new();
    for members in [10, 100, 1000, 5000] {
        let world = world(members);
        // Each prefix has its route and the refusal behind it; each gateway has its probe address.
        let expected = usize::from(members) * (2 * usize::from(PREFIXES_EACH) + 1);
        let mut times: Vec<f64> = (0..RUNS)
            .map(|_| {
                let start = Instant::now();
                let routes = plan(&world, UnixSeconds(0)).host.routes.len();
                assert_eq!(routes, expected);
                start.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        times.sort_by(f64::total_cmp);
        let (least, most) = (times[0], times[RUNS - 1]);
        let each = least * 1e3 / f64::from(members);
        println!("{members:>8}  {expected:>8}  {least:>10.2}  {most:>10.2}  {each:>13.1}");
        costs.insert(members, (least, each));
    }
    println!();
    let ((least, each), (_, each_of_more)) = (costs[&1000], costs[&5000]);
    ensure!(
        least <= THOUSAND_MS,
        "a plan of 1,000 members takes {least:.2} ms; the bar is {THOUSAND_MS} ms"
    );
    ensure!(
        each_of_more <= GROWTH * each,
        "a member takes {each:.1} us among 1,000 and {each_of_more:.1} us among 5,000; the bar is {GROWTH} times as much"
    );
    Ok(())
}

fn world(members: u16) -> World {
    let own = PublicKey([0xff; 32]);
    let me = Me {
        member: MemberId("me".to_owned()),
        node: NodeName("host".to_owned()),
        role: Role::Gateway(OwnGateway {
            tunnel: OwnTunnel { key: own, slot: 0 },
            probe: [0xfd00, 0, 0, 0, 0, 0, 0, 1].into(),
            probe4: None,
        }),
        networks: Networks {
            pods: [([192, 168, 0, 0], 24), ([192, 168, 1, 0], 24)]
                .into_iter()
                .filter_map(|(octets, length)| network(octets, length))
                .collect(),
            ..Networks::default()
        },
    };
    let mut world = World { me: Some(me), ..World::default() };
    world.host.families = [Family::V4, Family::V6].into();
    world.host.backends = [Backend::Userspace].into();
    for member in 0..members {
        let [high, low] = member.to_be_bytes();
        let mut bytes = [1; 32];
        (bytes[0], bytes[1]) = (high, low);
        let lane = LaneId { own, remote: PublicKey(bytes) };
        world.psks.insert(lane, PskFingerprint([low; 8]));
        world.lanes.insert(lane, LaneHealth { state: PathState::Up, ..LaneHealth::default() });
        let id = GatewayId {
            member: MemberId(format!("member-{member}")),
            gateway: NodeName("gateway".to_owned()),
        };
        world.members.insert(id.member.clone());
        world.gateways.insert(id, gateway(member, lane.remote));
    }
    world
}

/// Every second /24 of 10.0.0.0/8 in the order of members, so that nothing aggregates.
fn gateway(member: u16, key: PublicKey) -> RemoteGateway {
    let prefix = |place: u16| {
        let number = (u32::from(member) * u32::from(PREFIXES_EACH) + u32::from(place)) * 2;
        let [_, high, middle, low] = number.to_be_bytes();
        network([10 + high, middle, low, 0], 24)
    };
    let [high, low] = member.to_be_bytes();
    RemoteGateway {
        networks: Networks {
            pods: (0..PREFIXES_EACH).filter_map(prefix).collect(),
            ..Networks::default()
        },
        probe: [0xfd00, 0, 0, 0, 0, u16::from(high) + 1, u16::from(low), 1].into(),
        probe4: None,
        tunnels: vec![RemoteTunnel { key, slot: 0, mtu: 1420, candidates: Vec::new() }],
        state: GatewayState::Active,
        expires: UnixSeconds(1000),
        until: None,
    }
}

fn network(octets: [u8; 4], length: u8) -> Option<ipnetwork::IpNetwork> {
    ipnetwork::IpNetwork::new(octets.into(), length).ok()
}
