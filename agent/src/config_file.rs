//! Owns the syntax of `agent.toml`: keys, defaults and checks, with line and key in every error.
//! Does not read files or the environment.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnetwork::IpNetwork;
use sealane_state::name::LinkName;
use serde::Deserialize;
use toml::Spanned;

use crate::config::{BackendChoice, Config, Networks, Node, Paths, Role, Supervision, Tunnel};

/// A fault in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileProblem {
    /// Line, from 1.
    pub line: usize,
    /// The key, with its table.
    pub key: String,
    /// What is wrong and what would be right.
    pub cause: String,
}

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
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileNode {
    name: Spanned<String>,
    addresses: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    pods: Vec<Spanned<String>>,
    #[serde(default)]
    gateway: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileTunnel {
    backend: Spanned<String>,
    supervision: Spanned<String>,
    listen_port: Spanned<u16>,
    mtu: Option<Spanned<u32>>,
    endpoints: Vec<Spanned<String>>,
    ignored_links: Vec<Spanned<String>>,
}

impl Default for FileTunnel {
    fn default() -> Self {
        Self {
            backend: Spanned::new(0..0, "auto".to_owned()),
            supervision: Spanned::new(0..0, "agent".to_owned()),
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
/// An absent node name is left empty.
///
/// # Errors
/// The first [`FileProblem`], in the order of the file's tables.
pub fn parse(text: &str) -> Result<Config, FileProblem> {
    let file: File = toml::from_str(text).map_err(|error| syntax_problem(text, &error))?;
    let at = Place { text };
    let node = file.node.map(|name| at.node_name("node", &name)).transpose()?.unwrap_or_default();
    let runtime = file.paths.runtime;
    let nodes = file.nodes.iter().map(|node| at.node(node)).collect::<Result<Vec<_>, _>>()?;
    at.distinct(&file.nodes)?;
    at.one_gateway(&file.nodes)?;
    Ok(Config {
        node,
        role: role(file.gateway),
        token_file: file.token_file,
        networks: Networks {
            pods: at.networks("networks.pods", &file.networks.pods)?,
            services: at.networks("networks.services", &file.networks.services)?,
            external: at.networks("networks.external", &file.networks.external)?,
        },
        nodes,
        tunnel: at.tunnel(&file.tunnel)?,
        metrics: at.metrics(&file.metrics.listen)?,
        paths: Paths {
            state: file.paths.state,
            socket: file.paths.socket.unwrap_or_else(|| runtime.join("agent.sock")),
            runtime,
            tunnel_program: file.paths.tunnel_program,
        },
    })
}

/// Tells whether a text is a node name: an RFC 1123 subdomain of at most 150 bytes.
pub fn is_node_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 150 && text.split('.').all(label)
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

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// The text that spans refer to.
struct Place<'a> {
    text: &'a str,
}

impl Place<'_> {
    fn problem<T>(&self, key: &str, value: &Spanned<T>, cause: String) -> FileProblem {
        FileProblem { line: line_of(self.text, value.span().start), key: key.to_owned(), cause }
    }

    fn node_name(&self, key: &str, name: &Spanned<String>) -> Result<String, FileProblem> {
        let text = name.get_ref();
        if is_node_name(text) {
            return Ok(text.clone());
        }
        let cause = format!("{text:?} is not a node name: lower-case letters, digits, '-', '.'");
        Err(self.problem(key, name, cause))
    }

    fn networks(
        &self,
        key: &str,
        texts: &[Spanned<String>],
    ) -> Result<Vec<IpNetwork>, FileProblem> {
        texts.iter().map(|text| self.network(key, text)).collect()
    }

    fn network(&self, key: &str, text: &Spanned<String>) -> Result<IpNetwork, FileProblem> {
        let given = text.get_ref();
        let expect = "expected a CIDR such as 10.1.0.0/16 or fd00:1::/48";
        let net: IpNetwork = given
            .parse()
            .ok()
            .filter(|_| given.contains('/'))
            .ok_or_else(|| self.problem(key, text, format!("{given:?}: {expect}")))?;
        if net.ip() != net.network() {
            let base = format!("{}/{}", net.network(), net.prefix());
            return Err(self.problem(
                key,
                text,
                format!("{given:?} has host bits set; did you mean {base}?"),
            ));
        }
        Ok(net)
    }

    fn node(&self, node: &FileNode) -> Result<Node, FileProblem> {
        let name = self.node_name("nodes.name", &node.name)?;
        let addresses = node
            .addresses
            .get_ref()
            .iter()
            .map(|text| self.address("nodes.addresses", text))
            .collect::<Result<Vec<IpAddr>, _>>()?;
        if addresses.is_empty() {
            let cause = format!("node {name:?} has no address; give those the other nodes reach");
            return Err(self.problem("nodes.addresses", &node.addresses, cause));
        }
        let pods = self.networks("nodes.pods", &node.pods)?;
        Ok(Node { name, addresses, pods, role: role(node.gateway) })
    }

    fn distinct(&self, nodes: &[FileNode]) -> Result<(), FileProblem> {
        for (position, node) in nodes.iter().enumerate() {
            let name = node.name.get_ref();
            if nodes[..position].iter().any(|earlier| earlier.name.get_ref() == name) {
                let cause = format!("{name:?} is listed twice");
                return Err(self.problem("nodes.name", &node.name, cause));
            }
        }
        Ok(())
    }

    /// Every gateway of a member needs a certificate by the one identity key of the member, and a
    /// host outside Kubernetes certifies no other.
    fn one_gateway(&self, nodes: &[FileNode]) -> Result<(), FileProblem> {
        match nodes.iter().filter(|node| node.gateway).nth(1) {
            Some(second) => {
                let cause = "a second gateway; a member whose nodes stand in this file has one";
                Err(self.problem("nodes.gateway", &second.name, cause.to_owned()))
            }
            None => Ok(()),
        }
    }

    fn address(&self, key: &str, text: &Spanned<String>) -> Result<IpAddr, FileProblem> {
        let given = text.get_ref();
        given
            .parse()
            .map_err(|_| self.problem(key, text, format!("{given:?} is not an IP address")))
    }

    fn tunnel(&self, tunnel: &FileTunnel) -> Result<Tunnel, FileProblem> {
        Ok(Tunnel {
            backend: self.backend(&tunnel.backend)?,
            supervision: self.supervision(&tunnel.supervision)?,
            listen_port: self.port(&tunnel.listen_port)?,
            mtu: tunnel.mtu.as_ref().map(|mtu| self.mtu(mtu)).transpose()?,
            endpoints: tunnel
                .endpoints
                .iter()
                .map(|text| self.socket("tunnel.endpoints", text))
                .collect::<Result<_, _>>()?,
            ignored_links: tunnel
                .ignored_links
                .iter()
                .map(|text| self.link("tunnel.ignored_links", text))
                .collect::<Result<_, _>>()?,
        })
    }

    fn backend(&self, text: &Spanned<String>) -> Result<BackendChoice, FileProblem> {
        match text.get_ref().as_str() {
            "auto" => Ok(BackendChoice::Auto),
            "kernel" => Ok(BackendChoice::Kernel),
            "userspace" => Ok(BackendChoice::Userspace),
            other => {
                let cause = format!("{other:?} is not one of auto, kernel, userspace");
                Err(self.problem("tunnel.backend", text, cause))
            }
        }
    }

    fn supervision(&self, text: &Spanned<String>) -> Result<Supervision, FileProblem> {
        match text.get_ref().as_str() {
            "agent" => Ok(Supervision::Agent),
            "external" => Ok(Supervision::External),
            other => {
                let cause = format!("{other:?} is not one of agent, external");
                Err(self.problem("tunnel.supervision", text, cause))
            }
        }
    }

    fn port(&self, port: &Spanned<u16>) -> Result<u16, FileProblem> {
        match *port.get_ref() {
            0 => {
                let cause = "0 is not a port that others can be told; the default is 51820";
                Err(self.problem("tunnel.listen_port", port, cause.to_owned()))
            }
            sound => Ok(sound),
        }
    }

    fn mtu(&self, mtu: &Spanned<u32>) -> Result<u32, FileProblem> {
        match *mtu.get_ref() {
            sound @ 1280..=65535 => Ok(sound),
            other => {
                let cause = format!("{other} is outside 1280 to 65535 (IPv6 needs 1280)");
                Err(self.problem("tunnel.mtu", mtu, cause))
            }
        }
    }

    fn socket(&self, key: &str, text: &Spanned<String>) -> Result<SocketAddr, FileProblem> {
        let given = text.get_ref();
        let expect = "expected ADDRESS:PORT such as 198.51.100.7:51820 or [2001:db8::7]:51820";
        given.parse().map_err(|_| self.problem(key, text, format!("{given:?}: {expect}")))
    }

    fn link(&self, key: &str, text: &Spanned<String>) -> Result<LinkName, FileProblem> {
        text.get_ref().parse().map_err(|error| self.problem(key, text, format!("{error}")))
    }

    fn metrics(&self, text: &Spanned<String>) -> Result<Option<SocketAddr>, FileProblem> {
        if text.get_ref() == "off" {
            return Ok(None);
        }
        self.socket("metrics.listen", text).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        let FileProblem { line, key, cause } = parse(text).unwrap_err();
        format!("{line}: {key}: {cause}")
    }

    #[test]
    fn an_empty_file_is_a_node_with_defaults() {
        let config = parse("").unwrap();
        assert_eq!(config.role, Role::Node);
        assert_eq!(config.tunnel.listen_port, 51820);
        assert_eq!(config.paths.socket, PathBuf::from("/run/sealane/agent.sock"));
        assert_eq!(config.metrics, Some("127.0.0.1:9182".parse().unwrap()));
    }

    #[test]
    fn every_family_can_be_announced() {
        let text = "gateway = true\n[networks]\npods = ['10.1.0.0/16', 'fd00:1::/48']\n";
        let config = parse(text).unwrap();
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
    fn a_node_is_listed_once() {
        let node = "[[nodes]]\nname = 'a'\naddresses = ['192.0.2.1']\n";
        assert!(problem(&format!("{node}{node}")).ends_with("\"a\" is listed twice"));
    }
}
