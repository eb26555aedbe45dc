//! Owns the tests that nobody but a node of the member puts packets into the leg between nodes:
//! each way is shown to be closed, and then, with our guards taken away, to have been a way.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnetwork::IpNetwork;
use sealane_tests::lab::address::Family;
use sealane_tests::lab::host::Host;
use sealane_tests::lab::wait::eventually;
use sealane_tests::traffic::drive;

use crate::stage::{Stage, shared};

on_each_family!(nobody_but_a_node_puts_packets_into_the_leg);

const VXLAN_PORT: u16 = 4801;
const VNI: u32 = 5182;
/// Where the gateway's DNAT leads to its own VXLAN port, as a Service may.
const NODE_PORT: u16 = 30_481;
/// The inner port of a real node's frame; those of the hostile ways follow.
const FIRST_PORT: u16 = 7_000;
/// How long what was sent may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(5);
/// The way of a pod that has a node's address for its source, as one may that writes headers itself.
const STOLEN: &str = "a pod with a node's address";
/// Longer than any link's MTU: goes in fragments.
const FRAGMENTED: usize = 3_000;

fn nobody_but_a_node_puts_packets_into_the_leg(family: Family) {
    let _machine = shared();
    let mut stage = Stage::joined("injection", family);
    let scene = Scene::set(&stage);
    let ways = scene.ways();

    scene.send_as_node();
    ways.iter().for_each(Way::go);
    scene.send_as_node();
    scene.arrive(&[(FIRST_PORT, 2)]);
    assert_eq!(scene.arrived().values().sum::<u64>(), 2, "only a node's frames are taken");

    // The same with our guards taken away, and nobody there to put them back.
    for host in [&scene.gateway, &scene.worker] {
        stage.agent(host).kill().unwrap();
        for chain in ["raw_prerouting", "guard_input", "guard_forward"] {
            host.run(&format!("nft delete chain inet sealane {chain}")).unwrap();
        }
    }
    ways.iter().for_each(Way::go);
    let each: Vec<(u16, u64)> = ways.iter().map(|way| (way.port, 1)).collect();
    scene.arrive(&each);
}

/// A way in: who sends what to where.
struct Way {
    name: &'static str,
    sender: Host,
    from: IpAddr,
    to: SocketAddr,
    port: u16,
    datagram: Vec<u8>,
    /// Whether `from` is not the sender's own.
    origin: Origin,
}

#[derive(Clone, Copy, PartialEq)]
enum Origin {
    Own,
    Stolen,
}

impl Way {
    fn go(&self) {
        let host = &self.sender;
        let nodad = if self.from.is_ipv4() { "" } else { "nodad" };
        if self.origin == Origin::Stolen {
            host.run(&format!("ip address add {} dev lo {nodad}", self.from)).unwrap();
        }
        drive::datagram(host, self.from, self.to, &self.datagram)
            .unwrap_or_else(|error| panic!("{}: {error}", self.name));
        if self.origin == Origin::Stolen {
            host.run(&format!("ip address del {} dev lo", self.from)).unwrap();
        }
    }
}

/// The gateway and the worker of a cluster, a pod on either, and a stranger on the nodes' segment.
struct Scene {
    gateway: Host,
    worker: Host,
    near: Host,
    far: Host,
    stranger: Host,
    /// Addresses of the family that outer packets have.
    outer: Outer,
    /// The source that inner packets claim: an app of another member.
    claimed: IpAddr,
    pods: [IpAddr; 2],
    macs: [[u8; 6]; 2],
}

struct Outer {
    gateway: IpNetwork,
    worker: IpAddr,
    stranger: IpAddr,
    pod: IpAddr,
}

impl Scene {
    fn set(stage: &Stage) -> Self {
        let site = &stage.berlin;
        let stranger = stage.ground.lab.host("stranger").unwrap();
        let link = site.cluster.lan().attach(&stranger, 200).unwrap();
        let scene = Self {
            gateway: site.gateway.host.clone(),
            worker: site.worker.host.clone(),
            near: site.near.host.clone(),
            far: site.far.host.clone(),
            stranger,
            outer: Outer {
                gateway: site.gateway.lan.networks[0],
                worker: site.worker.lan.addresses()[0],
                stranger: link.addresses()[0],
                pod: site.near.link.addresses()[0],
            },
            claimed: stage.edge.app.link.addresses()[0],
            pods: [site.near.link.addresses()[0], site.far.link.addresses()[0]],
            macs: [&site.gateway, &site.worker].map(|node| leg_mac(&node.host)),
        };
        scene.prepare();
        scene
    }

    /// Counts what arrives, and leads a port to the VXLAN port.
    fn prepare(&self) {
        for pod in [&self.near, &self.far] {
            let rules: String = (FIRST_PORT..FIRST_PORT + 16)
                .map(|port| {
                    format!("add counter inet seen p{port}\nadd rule inet seen in udp dport {port} counter name p{port}\n")
                })
                .collect();
            let chain = "{ type filter hook input priority 0; }";
            pod.nft(&format!("add table inet seen\nadd chain inet seen in {chain}\n{rules}"))
                .unwrap();
        }
        let to = SocketAddr::new(self.outer.gateway.ip(), VXLAN_PORT);
        let chain = "{ type nat hook prerouting priority dstnat; }";
        let family = if to.is_ipv4() { "ip" } else { "ip6" };
        self.gateway
            .nft(&format!(
                "add table {family} lead\nadd chain {family} lead in {chain}\n\
                 add rule {family} lead in udp dport {NODE_PORT} dnat to {to}\n"
            ))
            .unwrap();
    }

    fn ways(&self) -> Vec<Way> {
        let Outer { gateway, worker, stranger, pod } = self.outer;
        let vxlan = |to| SocketAddr::new(to, VXLAN_PORT);
        let leg = |sender: &Host, from, to| (sender.clone(), from, to);
        let own = gateway.ip();
        let everyone = self.everyone();
        let all = [
            ("a stranger", leg(&self.stranger, stranger, vxlan(own)), 0),
            ("a stranger, in fragments", leg(&self.stranger, stranger, vxlan(own)), FRAGMENTED),
            ("a stranger, to everyone", leg(&self.stranger, stranger, everyone), 0),
            (
                "a stranger, by DNAT",
                leg(&self.stranger, stranger, SocketAddr::new(own, NODE_PORT)),
                0,
            ),
            ("a pod", leg(&self.near, pod, vxlan(own)), 0),
            ("a pod, by DNAT", leg(&self.near, pod, SocketAddr::new(own, NODE_PORT)), 0),
            (STOLEN, leg(&self.near, worker, vxlan(own)), 0),
            ("a pod, masqueraded as its node", leg(&self.near, pod, vxlan(worker)), 0),
        ];
        let way = |(port, (name, (sender, from, to), length)): (u16, _)| Way {
            name,
            sender,
            from,
            to,
            port,
            origin: if name == STOLEN { Origin::Stolen } else { Origin::Own },
            datagram: self.frame(usize::from(to.ip() == worker), port, length),
        };
        (FIRST_PORT + 1..).zip(all).map(way).collect()
    }

    /// Where all hosts of the segment listen.
    fn everyone(&self) -> SocketAddr {
        match self.outer.gateway {
            IpNetwork::V4(net) => SocketAddr::new(net.broadcast().into(), VXLAN_PORT),
            IpNetwork::V6(_) => {
                let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
                let link = self.stranger.json("ip -j link show eth0").unwrap();
                let scope = link[0]["ifindex"].as_u64().unwrap().try_into().unwrap();
                std::net::SocketAddrV6::new(all_nodes, VXLAN_PORT, 0, scope).into()
            }
        }
    }

    /// The worker sends a frame to the gateway, as its own VXLAN link would.
    fn send_as_node(&self) {
        let to = SocketAddr::new(self.outer.gateway.ip(), VXLAN_PORT);
        let frame = self.frame(0, FIRST_PORT, 0);
        drive::datagram(&self.worker, self.outer.worker, to, &frame).unwrap();
    }

    /// VXLAN, Ethernet, IP and UDP to the pod of a node, with zeros up to a length behind.
    fn frame(&self, node: usize, port: u16, length: usize) -> Vec<u8> {
        let mut frame = vec![0x08, 0, 0, 0];
        frame.extend((VNI << 8).to_be_bytes());
        frame.extend(self.macs[node]);
        frame.extend(self.macs[1 - node]);
        frame.extend(packet(self.claimed, self.pods[node], port));
        frame.resize(frame.len().max(length), 0);
        frame
    }

    /// Frames by inner port, in both pods.
    fn arrived(&self) -> BTreeMap<u16, u64> {
        let mut arrived = BTreeMap::new();
        for pod in [&self.near, &self.far] {
            let counters = pod.json("nft -j list counters table inet seen").unwrap();
            for counter in counters["nftables"].as_array().unwrap() {
                let counter = &counter["counter"];
                let Some(name) = counter["name"].as_str() else { continue };
                let port = name[1..].parse().unwrap();
                *arrived.entry(port).or_default() += counter["packets"].as_u64().unwrap();
            }
        }
        arrived
    }

    fn arrive(&self, wanted: &[(u16, u64)]) {
        eventually(ARRIVAL, "the frames have arrived", || {
            let arrived = self.arrived();
            match wanted.iter().find(|(port, count)| arrived[port] < *count) {
                Some(missing) => Err(format!("{missing:?} of {arrived:?}")),
                None => Ok(()),
            }
        })
        .unwrap();
    }
}

fn leg_mac(node: &Host) -> [u8; 6] {
    let link = node.json("ip -j link show sealane-vx").unwrap();
    let text = link[0]["address"].as_str().unwrap();
    let bytes = text.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap());
    bytes.collect::<Vec<_>>().try_into().unwrap()
}

/// EtherType, IP and an empty UDP datagram.
fn packet(from: IpAddr, to: IpAddr, port: u16) -> Vec<u8> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => packet4(from, to, port),
        (IpAddr::V6(from), IpAddr::V6(to)) => packet6(from, to, port),
        other => panic!("of two families: {other:?}"),
    }
}

fn packet4(from: Ipv4Addr, to: Ipv4Addr, port: u16) -> Vec<u8> {
    let mut header = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0];
    header.extend(from.octets());
    header.extend(to.octets());
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut packet = vec![0x08, 0x00];
    packet.extend(header);
    packet.extend(udp(port));
    packet
}

fn packet6(from: Ipv6Addr, to: Ipv6Addr, port: u16) -> Vec<u8> {
    let mut udp = udp(port);
    let pseudo = [&from.octets()[..], &to.octets(), &[0, 0, 0, 8, 0, 0, 0, 17], &udp].concat();
    udp[6..].copy_from_slice(&checksum(&pseudo).to_be_bytes());
    let mut packet = vec![0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 17, 64];
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(udp);
    packet
}

fn udp(port: u16) -> [u8; 8] {
    let [high, low] = port.to_be_bytes();
    [0x1f, 0x40, high, low, 0, 8, 0, 0]
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}
