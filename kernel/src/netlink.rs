//! Owns everything said to the kernel over rtnetlink: links, addresses, neighbours, forwarding
//! entries, routes and rules. Knows no nftables, no WireGuard configuration and no settings.

pub mod addresses;
pub mod channel;
pub mod links;
pub mod monitor;
pub mod neighbours;
pub mod refusal;
pub mod reply;
pub mod relevance;
pub mod routes;
pub mod rules;
pub mod seen;
pub mod snapshot;
pub mod vxlan;
