//! How long a full recomputation takes: prints it for growing numbers of members with ten prefixes
//! each. `cargo run --release -p sealane-plan --example large`.

use std::time::Instant;

use sealane_plan::health::{LaneHealth, PathState};
use sealane_plan::name::{GatewayId, LaneId, MemberId, NodeName, UnixSeconds};
use sealane_plan::plan::plan;
use sealane_plan::remote::{GatewayState, Networks, RemoteGateway, RemoteTunnel};
use sealane_plan::world::{Me, OwnGateway, OwnTunnel, Role, World};
use sealane_state::link::Backend;
use sealane_state::rule::Family;
use sealane_state::wireguard::{PskFingerprint, PublicKey};

const PREFIXES_EACH: u16 = 10;

fn main() {
    for members in [125, 250, 500, 1000, 2000] {
        let world = world(members);
        let mut best = f64::MAX;
        for _ in 0..10 {
            let start = Instant::now();
            let routes = plan(&world, UnixSeconds(0)).host.routes.len();
            // Each prefix has its route and the refusal behind it; each gateway has its probe address.
            assert_eq!(routes, usize::from(members) * (2 * usize::from(PREFIXES_EACH) + 1));
            best = best.min(start.elapsed().as_secs_f64());
        }
        println!("{members} members x {PREFIXES_EACH} prefixes: {:.1} ms", best * 1000.0);
    }
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
