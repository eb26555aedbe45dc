//! Owns the agent's settings: file, environment and flags become one validated [`Config`], once.
//! Does not own what a member may announce; the clusterset's grant does.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnetwork::IpNetwork;
use sealane_state::name::LinkName;

use crate::config_file;
use crate::config_value::{self, FileProblem};

/// Where the agent looks for its file when no flag names one.
pub const DEFAULT_FILE: &str = "/etc/sealane/agent.toml";

/// Everything the agent was told, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// This host's node name; the host name unless given.
    pub node: String,
    /// Whether this node carries tunnels.
    pub role: Role,
    /// A token to join with at start, if not joined yet.
    pub token_file: Option<PathBuf>,
    /// What this member announces.
    pub networks: Networks,
    /// The member's nodes, this one included, as long as no Kubernetes tells them.
    pub nodes: Vec<Node>,
    /// Tunnel settings.
    pub tunnel: Tunnel,
    /// Where things are on this host.
    pub paths: Paths,
    /// Where Prometheus finds the metrics; `None` is off.
    pub metrics: Option<SocketAddr>,
}

/// What a node does for its member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Carries tunnels to other members, and has the node role too.
    Gateway,
    /// Reaches other members through the member's gateways.
    Node,
}

/// Address ranges that this member announces; all canonical, host bits zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks {
    /// Pods, or the hosts and containers of an edge member.
    pub pods: Vec<IpNetwork>,
    /// Kubernetes Service addresses.
    pub services: Vec<IpNetwork>,
    /// Anything else behind this member.
    pub external: Vec<IpNetwork>,
    /// Sources of this host's own packets to other members, of either family, inside `pods` or
    /// `external`; empty lets the plan choose.
    pub source: BTreeSet<IpAddr>,
    /// Address inside `pods` or `external` at which other gateways probe this one over IPv4, for
    /// lanes with a host whose kernel has no IPv6. Nobody else may have it.
    pub probe: Option<Ipv4Addr>,
}

/// A node of this member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Node name.
    pub name: String,
    /// Underlay addresses, at least one.
    pub addresses: Vec<IpAddr>,
    /// Pod ranges on this node.
    pub pods: Vec<IpNetwork>,
    /// Whether it carries tunnels.
    pub role: Role,
}

/// Settings of the tunnels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// Who runs WireGuard.
    pub backend: BackendChoice,
    /// Who starts `sealane-tunnel`.
    pub supervision: Supervision,
    /// UDP port of the lanes.
    pub listen_port: u16,
    /// Largest inner packet in bytes; `None` derives it from the uplink.
    pub mtu: Option<u32>,
    /// Further addresses under which this gateway can be reached, such as a forwarded port.
    pub endpoints: Vec<SocketAddr>,
    /// Links whose addresses are not announced as ways to this gateway.
    pub ignored_links: Vec<LinkName>,
}

/// Which WireGuard implementation to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendChoice {
    /// The kernel's where it has one, else `sealane-tunnel`.
    Auto,
    /// The kernel's only.
    Kernel,
    /// `sealane-tunnel` only.
    Userspace,
}

/// Who starts `sealane-tunnel` and starts it again when it dies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Supervision {
    /// The agent, in a session of its own so that it outlives the agent.
    #[default]
    Agent,
    /// systemd, when the agent asks: `sealane-tunnel@.path` starts `sealane-tunnel@.service`.
    Systemd,
    /// Another supervisor, unasked; the agent only waits for it.
    External,
}

/// Where things are on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Keys and accepted objects; survives reboots.
    pub state: PathBuf,
    /// Sockets and logs; gone after a reboot.
    pub runtime: PathBuf,
    /// The admin socket.
    pub socket: PathBuf,
    /// Program of the userspace device; `None` looks beside the agent and in `PATH`.
    pub tunnel_program: Option<PathBuf>,
}

/// Why a configuration cannot be used; one line each, with the next step.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {cause}; name another with --config", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A key or value is wrong.
    #[error("{}:{}: {}: {}", path.display(), problem.line, problem.key, problem.cause)]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line, key and what is wrong.
        problem: FileProblem,
    },
    /// The file says two things of this node.
    #[error(
        "{}: `gateway` at the top and in [[nodes]] {node:?} differ; set both to the same",
        path.display()
    )]
    TwoRoles {
        /// This node.
        node: String,
        /// The file.
        path: PathBuf,
    },
    /// The file lists nodes, and this host is none of them.
    #[error(
        "{}: node {node:?} is none of [[nodes]]; list it there, or set `node` to the name it has there",
        path.display()
    )]
    NotListed {
        /// This node.
        node: String,
        /// The file.
        path: PathBuf,
    },
    /// The host has no usable name.
    #[error("host name {name:?} is not a node name; set `node` in {}", path.display())]
    NoNodeName {
        /// The host name.
        name: String,
        /// The file to put it in.
        path: PathBuf,
    },
}

/// What flags and environment say; they win over the file, but for `supervision`.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Node name.
    pub node: Option<String>,
    /// Token file.
    pub token_file: Option<PathBuf>,
    /// Admin socket.
    pub socket: Option<PathBuf>,
    /// Who starts `sealane-tunnel` where the file does not say.
    pub supervision: Supervision,
}

/// Reads and checks the configuration.
///
/// # Errors
/// [`ConfigError`] with file, line, key and cause; nothing is used of a file that has an error.
pub fn load(path: &Path, overrides: Overrides, host_name: &str) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|cause| ConfigError::Unreadable { path: path.to_owned(), cause })?;
    let mut config = config_file::parse(&text, overrides.supervision)
        .map_err(|problem| ConfigError::Invalid { path: path.to_owned(), problem })?;
    if let Some(node) = overrides.node {
        config.node = node;
    }
    if config.node.is_empty() {
        host_name.clone_into(&mut config.node);
    }
    if !config_value::is_node_name(&config.node) {
        return Err(ConfigError::NoNodeName { name: config.node, path: path.to_owned() });
    }
    if let Some(listed) = config.own_node().filter(|node| node.role != config.role) {
        return Err(ConfigError::TwoRoles { node: listed.name.clone(), path: path.to_owned() });
    }
    if !config.nodes.is_empty() && config.own_node().is_none() {
        return Err(ConfigError::NotListed { node: config.node, path: path.to_owned() });
    }
    config.token_file = overrides.token_file.or(config.token_file);
    if let Some(socket) = overrides.socket {
        config.paths.socket = socket;
    }
    Ok(config)
}

impl Config {
    /// Returns the entry of this node in the member's list, if the list has it.
    pub fn own_node(&self) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == self.node)
    }
}
