//! A remote gateway as this host believes it: what a plan is made from. It is built in `receiver`.

use crate::advertisement::{Candidate, Networks, State};
use crate::cidr::Cidr;
use crate::keys::{PairKey, VerifyKey, WireguardKey};
use crate::names::GatewayId;
use crate::reason::Warning;
use crate::time::UnixTime;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What only this host knows, for judging what others say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalFacts {
    /// This host's member and gateway.
    pub own: GatewayId,
    /// This host's gateway key, once it has one.
    pub gateway_key: Option<VerifyKey>,
    /// This member's identity key, where this host knows it.
    pub identity: Option<VerifyKey>,
    /// WireGuard keys of this host's own tunnels.
    pub tunnel_keys: BTreeSet<WireguardKey>,
    /// Every address of this host.
    pub addresses: BTreeSet<IpAddr>,
    /// Prefixes of links that this host is connected to, the underlay included; no link of ours.
    pub links: Vec<Cidr>,
    /// Addresses that this host must reach outside the lanes: brokers and resolvers.
    pub reserved: BTreeSet<IpAddr>,
}

impl LocalFacts {
    /// Returns the facts of a host that knows its own name and nothing else yet.
    #[must_use]
    pub fn named(own: GatewayId) -> Self {
        Self {
            own,
            gateway_key: None,
            identity: None,
            tunnel_keys: BTreeSet::new(),
            addresses: BTreeSet::new(),
            links: Vec::new(),
            reserved: BTreeSet::new(),
        }
    }

    /// Says whether a network would take traffic that this host needs outside the lanes.
    #[must_use]
    pub fn needs(&self, network: &Cidr) -> bool {
        self.links.iter().any(|link| link.overlaps(network))
            || self.reserved.iter().any(|address| network.contains_address(*address))
    }
}

/// One WireGuard identity of a remote gateway: its proof is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteTunnel {
    /// WireGuard public key.
    pub key: WireguardKey,
    /// Pair key, for the lane's pre-shared key.
    pub pair: PairKey,
    /// Index of the interface for kernel WireGuard, 0 to 7; distinct within a gateway.
    pub slot: u8,
    /// Largest inner packet the gateway takes, 1280 to 65535. Unit: bytes.
    pub mtu: u16,
    /// Outer addresses worth trying, in the order advertised.
    pub candidates: Vec<Candidate>,
}

/// A remote gateway as believed by this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteGateway {
    /// Member and gateway.
    pub id: GatewayId,
    /// The member's identity key; [`VerifyKey::fingerprint`] is what people compare.
    pub identity: VerifyKey,
    /// The gateway's key.
    pub gateway_key: VerifyKey,
    /// Generation of its certificate.
    pub generation: u64,
    /// Sequence of its advertisement.
    pub sequence: u64,
    /// `Active` or `Draining`; withdrawn gateways are not listed.
    pub state: State,
    /// Networks to route to it: inside its grant, and not needed by this host outside the lanes.
    pub networks: Networks<Cidr>,
    /// Address that answers probes; belongs in its AllowedIPs as a /128.
    pub probe: Ipv6Addr,
    /// IPv4 address that answers probes; belongs in its AllowedIPs as a /32.
    pub probe4: Option<Ipv4Addr>,
    /// One or two WireGuard identities, by slot.
    pub tunnels: Vec<RemoteTunnel>,
    /// When the advertisement or its certificate ends, whichever is first.
    pub expires: UnixTime,
    /// When it is dropped if nobody renews it.
    pub held_until: UnixTime,
    /// Version of its agent. Hostile text without control characters, at most 32 bytes.
    pub agent: String,
    /// What this host leaves out or finds odd.
    pub warnings: Vec<Warning>,
}

impl RemoteGateway {
    /// Returns everything this gateway may send from and be sent: networks, then probe addresses.
    #[must_use]
    pub fn allowed_ips(&self) -> Vec<Cidr> {
        let mut allowed: Vec<Cidr> = self.networks.iter().copied().collect();
        allowed.push(Cidr::host(IpAddr::V6(self.probe)));
        allowed.extend(self.probe4.map(|address| Cidr::host(IpAddr::V4(address))));
        allowed.sort_unstable();
        allowed.dedup();
        allowed
    }
}
