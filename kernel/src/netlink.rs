//! Owns everything said to the kernel over rtnetlink: links, addresses, neighbours, forwarding
//! entries, routes and rules. Knows no nftables, no WireGuard configuration and no settings.

pub mod channel;
pub mod reply;
pub mod refusal;
pub mod links;
pub mod own_links;
pub mod vxlan;
pub mod addresses;
pub mod neighbours;
pub mod routes;
pub mod rules;
pub mod seen;
pub mod snapshot;
pub mod relevance;
pub mod monitor;
