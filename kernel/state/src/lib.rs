//! Owns the vocabulary of a Linux host: what it should look like, what it does look like, and the
//! changes between the two. Knows no netlink, no WireGuard protocol, no clusterset and no clock.

pub mod address;
pub mod change;
pub mod diff;
pub mod facts;
pub mod filter;
pub mod host;
pub mod link;
pub mod name;
pub mod neighbour;
pub mod nft_text;
pub mod nft_edit;
pub mod owner;
pub mod route;
pub mod rule;
pub mod sysctl;
pub mod text;
pub mod wireguard;
