//! Owns the nftables rules that other software puts on a node: the CNI's masquerade and kube-proxy's
//! Services. As text; applying is the caller's. They are what source addresses must survive.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use ipnetwork::IpNetwork;

use crate::lab::address::nft_family;
use crate::lab::cluster::ClusterSpec;

/// What the CNI does to source addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Masquerade {
    /// Nothing.
    Off,
    /// Pods' packets that leave the pod CIDRs take the node's address, as with nearly every CNI.
    Outbound,
    /// That, and foreign packets on their way to another node's pods do too, as with flannel.
    Flannel,
}

/// Which kube-proxy is stood in for. Either one masquerades what comes to a Service from outside the
/// pod CIDRs, as kubeadm configures it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KubeProxy {
    /// The nftables mode.
    Nftables,
    /// As the iptables mode: also drops forwarded packets that connection tracking calls invalid.
    Iptables,
}

/// A Service: its addresses, and where they lead.
#[derive(Debug, Clone)]
pub struct Service {
    /// One of each family of the cluster.
    pub addresses: Vec<IpAddr>,
    /// The Service's port, TCP and UDP.
    pub port: u16,
    /// The pods' port.
    pub target_port: u16,
    /// The pods' addresses, of all families.
    pub endpoints: Vec<IpAddr>,
}

impl Service {
    /// Its addresses with its port.
    pub fn sockets(&self) -> Vec<SocketAddr> {
        self.addresses.iter().map(|address| SocketAddr::new(*address, self.port)).collect()
    }
}

/// The CNI's rules on the node that has `local` of the pod CIDRs.
pub fn masquerade(spec: &ClusterSpec, local: &[IpNetwork]) -> String {
    let mut script = String::new();
    for pods in &spec.pods {
        let ip = nft_family(pods.ip());
        let mut rules = String::new();
        if spec.masquerade != Masquerade::Off {
            let _ = writeln!(rules, "{ip} saddr {pods} {ip} daddr {pods} return");
            let _ = writeln!(rules, "{ip} saddr {pods} masquerade fully-random");
        }
        if spec.masquerade == Masquerade::Flannel {
            for own in local.iter().filter(|own| own.is_ipv4() == pods.is_ipv4()) {
                let _ = writeln!(rules, "{ip} saddr != {pods} {ip} daddr {own} return");
            }
            let _ =
                writeln!(rules, "{ip} saddr != {pods} {ip} daddr {pods} masquerade fully-random");
        }
        let chain = format!(
            "chain postrouting {{\ntype nat hook postrouting priority srcnat; policy accept\n{rules}}}\n"
        );
        script.push_str(&fresh_table(ip, "cni", &chain));
    }
    script
}

/// kube-proxy's rules, the same on every node of a cluster.
pub fn kube_proxy(spec: &ClusterSpec, services: &[Service]) -> String {
    let mut script = String::new();
    for pods in &spec.pods {
        let ip = nft_family(pods.ip());
        let mut chains = String::from("chain services {\n");
        for service in services {
            chains.push_str(&service_rules(service, pods));
        }
        chains.push_str(
            "}\n\
             chain prerouting {\ntype nat hook prerouting priority dstnat; policy accept\njump services\n}\n\
             chain output {\ntype nat hook output priority -100; policy accept\njump services\n}\n\
             chain postrouting {\ntype nat hook postrouting priority srcnat; policy accept\n\
             meta mark and 0x4000 == 0x4000 meta mark set meta mark xor 0x4000 \
             masquerade fully-random\n",
        );
        chains.push_str(&hairpins(services, pods));
        chains.push_str("}\n");
        if spec.kube_proxy == KubeProxy::Iptables {
            chains.push_str(
                "chain forward {\ntype filter hook forward priority filter; policy accept\n\
                 ct state invalid drop\n}\n",
            );
        }
        script.push_str(&fresh_table(ip, "kube-proxy", &chains));
    }
    script
}

fn service_rules(service: &Service, pods: &IpNetwork) -> String {
    let mut rules = String::new();
    let same = |address: &&IpAddr| address.is_ipv4() == pods.is_ipv4();
    let endpoints: Vec<_> = service.endpoints.iter().filter(same).collect();
    for address in service.addresses.iter().filter(same) {
        let ip = nft_family(*address);
        for protocol in ["tcp", "udp"] {
            let matches = format!("{ip} daddr {address} {protocol} dport {}", service.port);
            if endpoints.is_empty() {
                let _ = writeln!(rules, "{matches} drop");
                continue;
            }
            let _ =
                writeln!(rules, "{matches} {ip} saddr != {pods} meta mark set meta mark or 0x4000");
            let map: Vec<_> = endpoints
                .iter()
                .enumerate()
                .map(|(n, endpoint)| format!("{n} : {endpoint} . {}", service.target_port))
                .collect();
            let (count, map) = (map.len(), map.join(", "));
            let _ = writeln!(rules, "{matches} dnat to numgen random mod {count} map {{ {map} }}");
        }
    }
    rules
}

/// A pod that reaches itself by its Service must see the node as its peer: it would answer itself
/// directly otherwise.
fn hairpins(services: &[Service], pods: &IpNetwork) -> String {
    let ip = nft_family(pods.ip());
    let same = |address: &&IpAddr| address.is_ipv4() == pods.is_ipv4();
    let endpoints = services.iter().flat_map(|service| service.endpoints.iter().filter(same));
    let endpoints: BTreeSet<_> = endpoints.collect();
    let rule =
        |own: &&IpAddr| format!("{ip} saddr {own} {ip} daddr {own} masquerade fully-random\n");
    endpoints.iter().map(rule).collect()
}

/// The table, whatever it was before.
fn fresh_table(ip: &str, name: &str, chains: &str) -> String {
    format!("table {ip} {name}\ndelete table {ip} {name}\ntable {ip} {name} {{\n{chains}}}\n")
}
