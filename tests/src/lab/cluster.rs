//! Owns clusters as their network sees them: nodes, pods, and routes between them. No API server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use crate::lab::address::{Family, flag, nth, single};
use crate::lab::error::LabError;
use crate::lab::host::Host;
use crate::lab::rules::{self, KubeProxy, Masquerade, Service};
use crate::lab::segment::{Link, Segment, nodad};
use crate::lab::world::Lab;

/// The first pod's number in its node's subnet; 1 is the node.
const FIRST_POD: u16 = 10;

/// The first Service's number in the service range.
const FIRST_SERVICE: u16 = 10;

/// How pods hang on their node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodWiring {
    /// On a bridge `cni0`, as flannel and the reference plugins do.
    Bridge,
    /// Each by its own link and host route, as Calico, Cilium and kindnet do.
    PointToPoint,
}

/// What a cluster is made of; [`ClusterSpec::new`] gives what most have, fields are for changing.
#[derive(Debug, Clone)]
pub struct ClusterSpec {
    /// Starts the name of each of its hosts.
    pub name: String,
    /// The subnets of its nodes.
    pub lan: Vec<IpNetwork>,
    /// The pod CIDRs; node number n has the nth /24 or /64 of each.
    pub pods: Vec<IpNetwork>,
    /// The service CIDRs.
    pub services: Vec<IpNetwork>,
    /// How pods hang on their node.
    pub wiring: PodWiring,
    /// What the CNI does to the source of pods' packets.
    pub masquerade: Masquerade,
    /// Which kube-proxy is stood in for.
    pub kube_proxy: KubeProxy,
}

impl ClusterSpec {
    /// Nodes in 192.168.N.0/24 and fd00:N::/64, pods in 10.(40+N).0.0/16 and fd40:N::/48, services
    /// in 10.(140+N).0.0/16 and fd80:N::/112; a bridge CNI that masquerades, kube-proxy by nftables.
    ///
    /// # Errors
    /// `number` is not 1 to 99.
    pub fn new(name: &str, number: u8, family: Family) -> Result<Self, LabError> {
        if !(1..=99).contains(&number) {
            return Err(LabError::Topology(format!("cluster number {number}: not 1 to 99")));
        }
        let range = |v4: [u8; 4], v4_prefix, v6: u16, v6_prefix| {
            let v6 = [v6, number.into(), 0, 0, 0, 0, 0, 0];
            let v4 = Ipv4Network::new(v4.into(), v4_prefix);
            let v6 = Ipv6Network::new(v6.into(), v6_prefix);
            match (v4, v6) {
                (Ok(v4), Ok(v6)) => Ok(family.select(v4, v6)),
                _ => Err(LabError::Topology("prefix length out of range".to_owned())),
            }
        };
        Ok(Self {
            name: name.to_owned(),
            lan: range([192, 168, number, 0], 24, 0xfd00, 64)?,
            pods: range([10, 40 + number, 0, 0], 16, 0xfd40, 48)?,
            services: range([10, 140 + number, 0, 0], 16, 0xfd80, 112)?,
            wiring: PodWiring::Bridge,
            masquerade: Masquerade::Outbound,
            kube_proxy: KubeProxy::Nftables,
        })
    }
}

/// Nodes on one LAN, each with a route to the pods of the others.
#[derive(Debug)]
pub struct Cluster {
    lab: Lab,
    spec: ClusterSpec,
    lan: Segment,
    nodes: Vec<Node>,
    services: Vec<Service>,
}

/// A node: the host, its link to the cluster's LAN, its part of the pod CIDRs.
#[derive(Debug, Clone)]
pub struct Node {
    /// For everything else about it.
    pub host: Host,
    /// On the cluster's LAN.
    pub lan: Link,
    /// Its pods' subnets.
    pub pod_subnets: Vec<IpNetwork>,
    pods: Arc<AtomicU16>,
}

/// A pod: a host of its own, with its addresses.
#[derive(Debug, Clone)]
pub struct Pod {
    /// For everything else about it.
    pub host: Host,
    /// Its link to the node.
    pub link: Link,
}

impl Cluster {
    /// A cluster without nodes.
    ///
    /// # Errors
    /// The switch refuses.
    pub fn new(lab: &Lab, spec: ClusterSpec) -> Result<Self, LabError> {
        let lan = Segment::new(lab, &format!("{}-lan", spec.name), spec.lan.clone())?;
        Ok(Self { lab: lab.clone(), spec, lan, nodes: Vec::new(), services: Vec::new() })
    }

    /// What it was built from.
    pub fn spec(&self) -> &ClusterSpec {
        &self.spec
    }

    /// The segment of its nodes.
    pub fn lan(&self) -> &Segment {
        &self.lan
    }

    /// Its nodes, in the order they came.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Adds a node; its host is called `CLUSTER-NAME`.
    ///
    /// # Errors
    /// A name in use, or a command that fails on the node.
    pub fn node(&mut self, name: &str) -> Result<Node, LabError> {
        let number = u16::try_from(self.nodes.len() + 1).unwrap_or(u16::MAX);
        let host = self.lab.host(&format!("{}-{name}", self.spec.name))?;
        let lan = self.lan.attach(&host, number)?;
        let pod_subnets = self
            .spec
            .pods
            .iter()
            .map(|cidr| node_subnet(*cidr, number))
            .collect::<Result<_, _>>()?;
        let node = Node { host, lan, pod_subnets, pods: Arc::new(AtomicU16::new(0)) };
        node.host.enable_forwarding()?;
        if self.spec.wiring == PodWiring::Bridge {
            node.add_bridge()?;
        }
        for other in &self.nodes {
            node.route_to_pods_of(other)?;
            other.route_to_pods_of(&node)?;
        }
        node.host.nft(&rules::masquerade(&self.spec, &node.pod_subnets))?;
        node.host.nft(&rules::kube_proxy(&self.spec, &self.services))?;
        self.nodes.push(node.clone());
        Ok(node)
    }

    /// Adds a pod to a node; its host is called `CLUSTER-NAME`.
    ///
    /// # Errors
    /// A name in use, or a command that fails on the node or in the pod.
    pub fn pod(&self, node: &Node, name: &str) -> Result<Pod, LabError> {
        let host = self.lab.host(&format!("{}-{name}", self.spec.name))?;
        let number = node.pods.fetch_add(1, Ordering::Relaxed);
        let addresses = nth(&node.pod_subnets, FIRST_POD + number)?;
        let (outer, name) = (format!("veth{number}"), host.next_link());
        node.host.ip(&[
            format!("link add {outer} type veth peer name {name} netns {}", host.lab_pid()),
            format!("link set {outer} up"),
        ])?;
        let networks = match self.spec.wiring {
            PodWiring::Bridge => wire_to_bridge(node, &host, &outer, &name, addresses)?,
            PodWiring::PointToPoint => wire_by_routes(node, &host, &outer, &name, addresses)?,
        };
        Ok(Pod { host, link: Link { name, networks } })
    }

    /// Adds a Service, TCP and UDP: `port` of its addresses leads to `target_port` of one of the pods.
    ///
    /// # Errors
    /// nftables refuses on a node.
    pub fn service(
        &mut self,
        port: u16,
        target_port: u16,
        pods: &[&Pod],
    ) -> Result<Service, LabError> {
        let number = FIRST_SERVICE + u16::try_from(self.services.len()).unwrap_or(u16::MAX);
        let networks = nth(&self.spec.services, number)?;
        let service = Service {
            addresses: networks.iter().map(IpNetwork::ip).collect(),
            port,
            target_port,
            endpoints: pods.iter().flat_map(|pod| pod.link.addresses()).collect(),
        };
        self.services.push(service.clone());
        for node in &self.nodes {
            node.host.nft(&rules::kube_proxy(&self.spec, &self.services))?;
        }
        Ok(service)
    }
}

impl Node {
    fn add_bridge(&self) -> Result<(), LabError> {
        let mut lines = vec!["link add cni0 type bridge".to_owned()];
        for net in nth(&self.pod_subnets, 1)? {
            lines.push(format!("addr add {net} dev cni0 {}", nodad(&net)));
        }
        lines.push("link set cni0 up".to_owned());
        self.host.ip(&lines)
    }

    fn route_to_pods_of(&self, other: &Self) -> Result<(), LabError> {
        for (subnet, via) in pairs(&other.pod_subnets, &other.lan.networks) {
            let family = flag(via.ip());
            self.host.run(&format!("ip {family} route add {subnet} via {}", via.ip()))?;
        }
        Ok(())
    }
}

fn wire_to_bridge(
    node: &Node,
    pod: &Host,
    outer: &str,
    inner: &str,
    addresses: Vec<IpNetwork>,
) -> Result<Vec<IpNetwork>, LabError> {
    // Hairpin: a pod that reaches itself by its Service gets its packet back by the same port.
    node.host.ip(&[
        format!("link set {outer} master cni0"),
        format!("link set {outer} type bridge_slave hairpin on"),
    ])?;
    let mut lines: Vec<String> =
        addresses.iter().map(|net| format!("addr add {net} dev {inner} {}", nodad(net))).collect();
    lines.push(format!("link set {inner} up"));
    pod.ip(&lines)?;
    let gateways: Vec<_> = nth(&node.pod_subnets, 1)?.iter().map(IpNetwork::ip).collect();
    pod.default_via(&gateways)?;
    Ok(addresses)
}

fn wire_by_routes(
    node: &Node,
    pod: &Host,
    outer: &str,
    inner: &str,
    addresses: Vec<IpNetwork>,
) -> Result<Vec<IpNetwork>, LabError> {
    pod.ip(&[format!("link set {inner} up")])?;
    let addresses: Vec<_> = addresses.iter().map(|net| single(net.ip())).collect();
    for net in &addresses {
        // The node has the same link-local address on each of these links: no subnet is spent on them.
        let (family, gateway) =
            (flag(net.ip()), if net.is_ipv4() { "169.254.1.1" } else { "fe80::1" });
        let scope = if net.is_ipv4() { "32 scope link" } else { "64 nodad" };
        let own = node.lan.networks.iter().find(|lan| lan.is_ipv4() == net.is_ipv4());
        let source = own.map_or_else(String::new, |lan| format!("src {}", lan.ip()));
        node.host.run(&format!("ip address add {gateway}/{scope} dev {outer}"))?;
        node.host.run(&format!("ip {family} route add {net} dev {outer} {source}"))?;
        pod.run(&format!("ip address add {net} dev {inner} {}", nodad(net)))?;
        if net.is_ipv4() {
            pod.run(&format!("ip route add {gateway} dev {inner} scope link"))?;
        }
        pod.run(&format!("ip {family} route add default via {gateway} dev {inner}"))?;
    }
    Ok(addresses)
}

/// Each of `left` with the first of `right` of its family.
fn pairs<'a>(
    left: &'a [IpNetwork],
    right: &'a [IpNetwork],
) -> impl Iterator<Item = (&'a IpNetwork, &'a IpNetwork)> {
    left.iter().filter_map(|l| Some((l, right.iter().find(|r| r.is_ipv4() == l.is_ipv4())?)))
}

/// The /24 or /64 numbered `number` in a pod CIDR.
fn node_subnet(cidr: IpNetwork, number: u16) -> Result<IpNetwork, LabError> {
    let fail = || LabError::Topology(format!("{cidr}: has no node subnet number {number}"));
    let subnet: IpNetwork = match cidr {
        IpNetwork::V4(net) => {
            let base = net.network().to_bits().wrapping_add(u32::from(number) << 8);
            Ipv4Network::new(base.into(), 24).map_err(|_| fail())?.into()
        }
        IpNetwork::V6(net) => {
            let base = net.network().to_bits().wrapping_add(u128::from(number) << 64);
            Ipv6Network::new(base.into(), 64).map_err(|_| fail())?.into()
        }
    };
    if cidr.contains(subnet.ip()) { Ok(subnet) } else { Err(fail()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_of_other_numbers_do_not_overlap() {
        let a = ClusterSpec::new("a", 1, Family::Dual).unwrap();
        let b = ClusterSpec::new("b", 2, Family::Dual).unwrap();
        let all = |spec: &ClusterSpec| [&spec.lan[..], &spec.pods[..], &spec.services[..]].concat();
        for (one, two) in all(&a).iter().zip(all(&b)) {
            assert!(!one.contains(two.ip()) && !two.contains(one.ip()), "{one} {two}");
        }
    }

    #[test]
    fn a_node_has_its_own_part_of_each_pod_cidr() {
        let spec = ClusterSpec::new("a", 3, Family::Dual).unwrap();
        let subnets: Vec<_> =
            spec.pods.iter().map(|cidr| node_subnet(*cidr, 2).unwrap().to_string()).collect();
        assert_eq!(subnets, ["10.43.2.0/24", "fd40:3:0:2::/64"]);
    }
}
