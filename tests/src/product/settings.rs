//! Owns the text of an `agent.toml` as labs need it. Knows no key that they do not set.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::Serialize;

/// A configuration file.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Settings {
    /// Whether this node carries lanes.
    pub gateway: bool,
    /// What the member announces.
    pub networks: Networks,
    /// The member's nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeEntry>,
}

/// What a member announces.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Networks {
    /// Pod ranges, or those of an edge's apps.
    pub pods: Vec<IpNetwork>,
    /// Service ranges.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<IpNetwork>,
}

/// A node of the member.
#[derive(Debug, Clone, Serialize)]
pub struct NodeEntry {
    /// Node name.
    pub name: String,
    /// Addresses by which the other nodes reach it.
    pub addresses: Vec<IpAddr>,
    /// Its pods.
    pub pods: Vec<IpNetwork>,
    /// Whether it carries lanes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub gateway: bool,
}

impl Settings {
    /// The file's text.
    pub fn text(&self) -> String {
        // Strings, lists and flags always serialise.
        toml::to_string(self).unwrap_or_default()
    }
}
