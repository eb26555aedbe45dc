//! Owns the shape of `agent.toml`: its keys, their defaults, and what keys say together. Does not
//! read files or the environment; `config_value` owns single values.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use crate::config::{Config, Networks, Node, Paths, Role, Supervision, Tunnel};
use crate::config_nodes;
use crate::config_value::{FileProblem, Place, line_of};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    node: Option<Spanned<String>>,
    #[serde(default)]
    gateway: bool,
    #[serde(default)]
    token_file: Option<PathBuf>,
    #[serde(default)]
    networks: FileNetworks,
    #[serde(default)]
    nodes: Vec<FileNode>,
    #[serde(default)]
    tunnel: FileTunnel,
    #[serde(default)]
    paths: FilePaths,
    #[serde(default)]
    metrics: FileMetrics,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct FileNetworks {
    pods: Vec<Spanned<String>>,
    services: Vec<Spanned<String>>,
    external: Vec<Spanned<String>>,
    source: Vec<Spanned<String>>,
    probe: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileNode {
    pub(crate) name: Spanned<String>,
    pub(crate) addresses: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    pub(crate) pods: Vec<Spanned<String>>,
    #[serde(default)]
    pub(crate) gateway: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileTunnel {
    backend: Spanned<String>,
    supervision: Option<Spanned<String>>,
    listen_port: Spanned<u16>,
    mtu: Option<Spanned<u32>>,
    endpoints: Vec<Spanned<String>>,
    ignored_links: Vec<Spanned<String>>,
}

impl Default for FileTunnel {
    fn default() -> Self {
        Self {
            backend: Spanned::new(0..0, "auto".to_owned()),
            supervision: None,
            listen_port: Spanned::new(0..0, 51820),
            mtu: None,
            endpoints: Vec::new(),
            ignored_links: Vec::new(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FilePaths {
    state: PathBuf,
    runtime: PathBuf,
    socket: Option<PathBuf>,
    tunnel_program: Option<PathBuf>,
}

impl Default for FilePaths {
    fn default() -> Self {
        Self {
            state: "/var/lib/sealane".into(),
            runtime: "/run/sealane".into(),
            socket: None,
            tunnel_program: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileMetrics {
    listen: Spanned<String>,
}

impl Default for FileMetrics {
    fn default() -> Self {
        Self { listen: Spanned::new(0..0, "127.0.0.1:9182".to_owned()) }
    }
}

/// Reads the text of a configuration file.
///
/// An absent node name is left empty; `supervision` is used where the file names none.
///
/// # Errors
/// The first [`FileProblem`], in the order of the file's tables.
pub fn parse(text: &str, supervision: Supervision) -> Result<Config, FileProblem> {
    let file: File = toml::from_str(text).map_err(|error| syntax_problem(text, &error))?;
    let at = Place { text };
    let node = file.node.map(|name| at.node_name("node", &name)).transpose()?.unwrap_or_default();
    let runtime = file.paths.runtime;
    let nodes = file.nodes.iter().map(|node| node.checked(&at)).collect::<Result<Vec<_>, _>>()?;
    let networks = file.networks.checked(&at)?;
    config_nodes::check(&at, &file.nodes, &networks.pods)?;
    Ok(Config {
        node,
        role: role(file.gateway),
        token_file: file.token_file,
        networks,
        nodes,
        tunnel: file.tunnel.checked(&at, supervision)?,
        metrics: at.metrics(&file.metrics.listen)?,
        paths: Paths {
            state: file.paths.state,
            socket: file.paths.socket.unwrap_or_else(|| runtime.join("agent.sock")),
            runtime,
            tunnel_program: file.paths.tunnel_program,
        },
    })
}

fn role(gateway: bool) -> Role {
    if gateway { Role::Gateway } else { Role::Node }
}

fn syntax_problem(text: &str, error: &toml::de::Error) -> FileProblem {
    let start = error.span().map_or(0, |span| span.start);
    let line = line_of(text, start);
    let shown = text.lines().nth(line - 1).unwrap_or_default().trim();
    FileProblem {
        line,
        key: shown.split('=').next().unwrap_or_default().trim().to_owned(),
        cause: error.message().replace('\n', " "),
    }
}

impl FileNode {
    fn checked(&self, at: &Place<'_>) -> Result<Node, FileProblem> {
        let name = at.node_name("nodes.name", &self.name)?;
        let addresses = self.addresses.get_ref().iter();
        let addresses: Vec<IpAddr> =
            addresses.map(|text| at.address("nodes.addresses", text)).collect::<Result<_, _>>()?;
        if addresses.is_empty() {
            let cause = format!("node {name:?} has no address; give those the other nodes reach");
            return Err(at.problem("nodes.addresses", &self.addresses, cause));
        }
        let pods = at.networks("nodes.pods", &self.pods)?;
        Ok(Node { name, addresses, pods, role: role(self.gateway) })
    }
}

impl FileTunnel {
    fn checked(&self, at: &Place<'_>, supervision: Supervision) -> Result<Tunnel, FileProblem> {
        let named = self.supervision.as_ref().map(|text| at.supervision(text)).transpose()?;
        let endpoints = self.endpoints.iter().map(|text| at.socket("tunnel.endpoints", text));
        let ignored = self.ignored_links.iter().map(|text| at.link("tunnel.ignored_links", text));
        Ok(Tunnel {
            backend: at.backend(&self.backend)?,
            supervision: named.unwrap_or(supervision),
            listen_port: at.port(&self.listen_port)?,
            mtu: self.mtu.as_ref().map(|mtu| at.mtu(mtu)).transpose()?,
            endpoints: endpoints.collect::<Result<_, _>>()?,
            ignored_links: ignored.collect::<Result<_, _>>()?,
        })
    }
}

impl FileNetworks {
    fn checked(&self, at: &Place<'_>) -> Result<Networks, FileProblem> {
        let mut networks = Networks {
            pods: at.networks("networks.pods", &self.pods)?,
            services: at.networks("networks.services", &self.services)?,
            external: at.networks("networks.external", &self.external)?,
            source: BTreeSet::new(),
            probe: None,
        };
        for text in &self.source {
            let source = at.address("networks.source", text)?;
            // Others take Service addresses as destinations only.
            if !networks.pods.iter().chain(&networks.external).any(|net| net.contains(source)) {
                let cause = format!("{source} lies in none of pods and external");
                return Err(at.problem("networks.source", text, cause));
            }
            networks.source.insert(source);
        }
        networks.probe = self.probe.as_ref().map(|it| probe(at, it, &networks)).transpose()?;
        Ok(networks)
    }
}

/// An address that others may send to, so one of our own.
fn probe(
    at: &Place<'_>,
    text: &Spanned<String>,
    networks: &Networks,
) -> Result<Ipv4Addr, FileProblem> {
    let address = at.ipv4("networks.probe", text)?;
    let mut all = networks.pods.iter().chain(&networks.external);
    if !all.any(|net| net.contains(address.into())) {
        let cause = format!("{address} lies in none of pods and external");
        return Err(at.problem("networks.probe", text, cause));
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        let FileProblem { line, key, cause } = parse(text, Supervision::Agent).unwrap_err();
        format!("{line}: {key}: {cause}")
    }

    #[test]
    fn an_empty_file_is_a_node_with_defaults() {
        let config = parse("", Supervision::Agent).unwrap();
        assert_eq!(config.role, Role::Node);
        assert_eq!(config.tunnel.listen_port, 51820);
        assert_eq!(config.paths.socket, PathBuf::from("/run/sealane/agent.sock"));
        assert_eq!(config.metrics, Some("127.0.0.1:9182".parse().unwrap()));
    }

    #[test]
    fn every_family_can_be_announced() {
        let text = "gateway = true\n[networks]\npods = ['10.1.0.0/16', 'fd00:1::/48']\n";
        let config = parse(text, Supervision::Agent).unwrap();
        assert_eq!(config.role, Role::Gateway);
        assert_eq!(config.networks.pods.len(), 2);
    }

    #[test]
    fn errors_name_line_key_and_what_would_be_right() {
        let cases = [
            (
                "[networks]\npods = [\n  '10.1.0.1/16',\n]\n",
                "3: networks.pods: \"10.1.0.1/16\" has host bits set; did you mean 10.1.0.0/16?",
            ),
            (
                "[networks]\nservices = ['10.1']\n",
                "2: networks.services: \"10.1\": expected a CIDR such as 10.1.0.0/16 or fd00:1::/48",
            ),
            (
                "[tunnel]\nmtu = 900\n",
                "2: tunnel.mtu: 900 is outside 1280 to 65535 (IPv6 needs 1280)",
            ),
            (
                "[tunnel]\nbackend = 'go'\n",
                "2: tunnel.backend: \"go\" is not one of auto, kernel, userspace",
            ),
            (
                "\nnode = 'A_b'\n",
                "2: node: \"A_b\" is not a node name: lower-case letters, digits, '-', '.'",
            ),
            (
                "[networks]\nexternal = ['10.7.0.0/24']\nprobe = '10.8.0.255'\n",
                "3: networks.probe: 10.8.0.255 lies in none of pods and external",
            ),
            (
                "[networks]\nexternal = ['fd00:7::/48']\nprobe = 'fd00:7::1'\n",
                "3: networks.probe: \"fd00:7::1\" is not an IPv4 address",
            ),
            (
                "[networks]\nservices = ['10.7.0.0/24']\nsource = ['10.7.0.1']\n",
                "3: networks.source: 10.7.0.1 lies in none of pods and external",
            ),
            (
                "[[nodes]]\nname = 'a'\naddresses = []\n",
                "3: nodes.addresses: node \"a\" has no address; give those the other nodes reach",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(problem(text), expected);
        }
        assert!(problem("gatewy = true\n").contains("unknown field `gatewy`"));
    }

    #[test]
    fn sources_and_the_probe_address_lie_in_our_own_networks() {
        let text = "[networks]\npods = ['10.1.0.0/16', 'fd00:1::/48']\n\
                    source = ['10.1.0.9', 'fd00:1::9']\nprobe = '10.1.0.255'\n";
        let networks = parse(text, Supervision::Agent).unwrap().networks;
        assert_eq!(networks.source.len(), 2);
        assert_eq!(networks.probe, Some([10, 1, 0, 255].into()));
    }

    #[test]
    fn nodes_share_no_name_address_or_pods_and_have_pods_of_the_member() {
        let node = |name: &str, address: &str, pods: &str| {
            format!("[[nodes]]\nname = '{name}'\naddresses = ['{address}']\npods = ['{pods}']\n")
        };
        let file = |second: &str| {
            let first = node("a", "192.0.2.1", "10.1.1.0/24");
            format!("[networks]\npods = ['10.1.0.0/16']\n{first}{second}")
        };
        let good = parse(&file(&node("b", "192.0.2.2", "10.1.2.0/24")), Supervision::Agent);
        assert_eq!(good.unwrap().nodes.len(), 2);
        for (second, told) in [
            (
                node("a", "192.0.2.2", "10.1.2.0/24"),
                "8: nodes.name: \"a\" is that of node \"a\" too",
            ),
            (
                node("b", "192.0.2.1", "10.1.2.0/24"),
                "9: nodes.addresses: \"192.0.2.1\" is that of node \"a\" too",
            ),
            (
                node("b", "192.0.2.2", "10.1.1.0/24"),
                "10: nodes.pods: \"10.1.1.0/24\" is that of node \"a\" too",
            ),
            (
                node("b", "192.0.2.2", "10.2.0.0/24"),
                "10: nodes.pods: 10.2.0.0/24 lies in none of the member's networks.pods",
            ),
        ] {
            assert_eq!(problem(&file(&second)), told);
        }
    }
}
