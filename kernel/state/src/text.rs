//! Owns how a host state and its changes read: one line for each thing, in the words of `ip`, `wg`,
//! `bridge`, `sysctl` and `nft`. Stable, because golden files hold it. Does not own parsing.

pub mod nft;
pub mod routing;

use std::fmt::{self, Display, Formatter};

use crate::address::Address;
use crate::change::Change;
use crate::filter::FilterTable;
use crate::host::HostState;
use crate::link::{Backend, Link, LinkKind};
use crate::name::LinkName;
use crate::neighbour::{Fdb, Neighbour};
use crate::owner;
use crate::wireguard::{Device, Peer, PublicKey};

impl Display for HostState {
    /// Prints every object on a line of its own, kinds in order of application, no line when empty.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (key, value) in &self.sysctls {
            writeln!(f, "sysctl {key} = {value}")?;
        }
        for (name, link) in &self.links {
            writeln!(f, "{}", LinkLine(name, link))?;
        }
        for (name, device) in &self.devices {
            writeln!(f, "{}", DeviceLine(name, device))?;
            for (key, peer) in &device.peers {
                writeln!(f, "{}", PeerLine(name, key, peer))?;
            }
        }
        self.addresses.iter().try_for_each(|address| writeln!(f, "{address}"))?;
        self.neighbours.iter().try_for_each(|neighbour| writeln!(f, "{neighbour}"))?;
        self.fdb.iter().try_for_each(|entry| writeln!(f, "{entry}"))?;
        for (key, route) in &self.routes {
            writeln!(f, "{}", routing::RouteLine(key, route))?;
        }
        self.rules.iter().try_for_each(|rule| writeln!(f, "{rule}"))?;
        self.filter.iter().try_for_each(|table| f.write_str(&nft::table_text(table)))
    }
}

impl Display for Change {
    /// Prints one line: `+` adds or replaces, `-` takes away, `~` alters in place.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetSysctl(key, value) => write!(f, "+ sysctl {key} = {value}"),
            Self::RestoreSysctl(key) => write!(f, "- sysctl {key}"),
            Self::AddLink(name, link) => write!(f, "+ {}", LinkLine(name, link)),
            Self::SetLink(name, link) => write!(f, "~ {}", LinkLine(name, link)),
            Self::DeleteLink(name) => write!(f, "- link {name}"),
            Self::SetDevice(name, device) => write!(f, "~ {}", DeviceLine(name, device)),
            Self::PutPeer(name, key, peer) => write!(f, "+ {}", PeerLine(name, key, peer)),
            Self::DeletePeer(name, key) => write!(f, "- peer {key} dev {name}"),
            Self::AddAddress(address) => write!(f, "+ {address}"),
            Self::DeleteAddress(address) => write!(f, "- {address}"),
            Self::PutNeighbour(neighbour) => write!(f, "+ {neighbour}"),
            Self::DeleteNeighbour(neighbour) => write!(f, "- {neighbour}"),
            Self::PutFdb(entry) => write!(f, "+ {entry}"),
            Self::DeleteFdb(entry) => write!(f, "- {entry}"),
            Self::PutRoute(key, route) => write!(f, "+ {}", routing::RouteLine(key, route)),
            Self::DeleteRoute(key) => write!(f, "- {key}"),
            Self::AddRule(rule) => write!(f, "+ {rule}"),
            Self::DeleteRule(rule) => write!(f, "- {rule}"),
            Self::ReplaceFilter(table) => write!(f, "~ {}", FilterLine(table)),
            Self::DeleteFilter => write!(f, "- table inet {}", owner::FILTER_TABLE),
        }
    }
}

/// A link as one line.
#[derive(Debug, Clone, Copy)]
pub struct LinkLine<'a>(pub &'a LinkName, pub &'a Link);

impl Display for LinkLine<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(name, link) = self;
        match &link.kind {
            LinkKind::WireGuard(backend) => write!(f, "link {name} type wireguard ({backend})")?,
            LinkKind::Vxlan(vxlan) => {
                let (vni, port, local) = (vxlan.vni, vxlan.port, vxlan.local);
                let (underlay, mac) = (&vxlan.underlay, vxlan.mac);
                write!(f, "link {name} type vxlan id {vni} dstport {port} ")?;
                write!(f, "local {local} dev {underlay} address {mac}")?;
            }
        }
        write!(f, " mtu {}{}", link.mtu, if link.up { "" } else { " down" })
    }
}

impl Display for Backend {
    /// Prints the word that the configuration uses for it.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::Userspace => "userspace",
        })
    }
}

/// A WireGuard device without its peers as one line.
#[derive(Debug, Clone, Copy)]
pub struct DeviceLine<'a>(pub &'a LinkName, pub &'a Device);

impl Display for DeviceLine<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(name, device) = self;
        write!(f, "wireguard {name} public-key {} ", device.key)?;
        write!(f, "listen-port {} fwmark {:#x}", device.listen_port, device.mark)
    }
}

/// A WireGuard peer as one line.
#[derive(Debug, Clone, Copy)]
pub struct PeerLine<'a>(pub &'a LinkName, pub &'a PublicKey, pub &'a Peer);

impl Display for PeerLine<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(name, key, peer) = self;
        write!(f, "peer {key} dev {name}")?;
        peer.psk.iter().try_for_each(|psk| write!(f, " preshared-key #{psk}"))?;
        peer.endpoint.iter().try_for_each(|endpoint| write!(f, " endpoint {endpoint}"))?;
        peer.keepalive.iter().try_for_each(|s| write!(f, " persistent-keepalive {s}"))?;
        write!(f, " allowed-ips {}", list(&peer.allowed_ips))?;
        if !peer.accepted_sources.is_empty() {
            write!(f, " accepted-sources {}", list(&peer.accepted_sources))?;
        }
        Ok(())
    }
}

fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "(none)".to_owned() } else { items.join(",") }
}

impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "address {} dev {}", self.net, self.link)
    }
}

impl Display for Neighbour {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "neigh {} lladdr {} dev {} permanent", self.address, self.mac, self.link)
    }
}

impl Display for Fdb {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "fdb {} dev {} dst {} self permanent", self.mac, self.link, self.remote)
    }
}

/// Our nftables table as one line: how much it holds, not what.
struct FilterLine<'a>(&'a FilterTable);

impl Display for FilterLine<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let rules: usize = self.0.chains.values().map(|chain| chain.rules.len()).sum();
        let (sets, chains) = (self.0.sets.len(), self.0.chains.len());
        let name = owner::FILTER_TABLE;
        write!(f, "table inet {name} (sets {sets}, chains {chains}, rules {rules})")
    }
}
