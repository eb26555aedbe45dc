//! A believed advertisement, parsed, and how this host sees its gateway. It decides nothing.

use crate::advertisement::{Networks, State, Tunnel};
use crate::candidate;
use crate::cidr::{Cidr, Ownership, clip};
use crate::keys::VerifyKey;
use crate::kinds::AdvertisementView;
use crate::names::{ClusterSetId, GatewayId};
use crate::probe_address;
use crate::reason::Warning;
use crate::remote::{LocalFacts, RemoteGateway, RemoteTunnel};
use crate::time::{HOLD_SECONDS, UnixTime};
use crate::verify::identity::Identity;
use std::net::{IpAddr, Ipv4Addr};

/// An advertisement that passed every step, before it is cut to the grant and this host.
#[derive(Clone, Debug)]
pub struct Believed {
    /// Whose word it is.
    pub identity: Identity,
    /// The gateway's key.
    pub gateway_key: VerifyKey,
    /// Generation of its certificate.
    pub generation: u64,
    /// Its sequence.
    pub sequence: u64,
    /// What the gateway means to do.
    pub state: State,
    /// Networks as advertised.
    pub networks: Networks<Cidr>,
    /// IPv4 address that answers probes, as advertised.
    pub probe4: Option<Ipv4Addr>,
    /// WireGuard identities, by slot.
    pub tunnels: Vec<Tunnel>,
    /// When it or its certificate ends, whichever is first.
    pub expires: UnixTime,
    /// Version of its agent.
    pub agent: String,
    /// What its readable view should say.
    pub view: AdvertisementView,
}

/// What a believed advertisement is cut to.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// The clusterset.
    pub id: &'a ClusterSetId,
    /// Networks of every member.
    pub grants: &'a Ownership,
    /// This host.
    pub facts: &'a LocalFacts,
}

impl Believed {
    /// Returns the gateway as `sight` sees it: inside `grant`, without what the host itself needs.
    /// `view` is what the object showed people.
    #[must_use]
    pub fn seen(
        &self,
        sight: Sight<'_>,
        gateway: &GatewayId,
        grant: &[Cidr],
        view: Option<&AdvertisementView>,
    ) -> RemoteGateway {
        let mut warnings = Vec::new();
        let cut = |networks: &[Cidr], warnings: &mut Vec<Warning>| {
            let (left_out, kept): (Vec<Cidr>, Vec<Cidr>) =
                clip(networks, grant).into_iter().partition(|network| sight.facts.needs(network));
            warnings.extend(left_out.into_iter().map(|network| Warning::OverlapsHost { network }));
            kept
        };
        let networks = Networks {
            pods: cut(&self.networks.pods, &mut warnings),
            services: cut(&self.networks.services, &mut warnings),
            external: cut(&self.networks.external, &mut warnings),
        };
        let probe4 = self.probe4.filter(|address| {
            let host = Cidr::host(IpAddr::V4(*address));
            !clip(&[host], grant).is_empty() && !sight.facts.needs(&host)
        });
        if view.is_some_and(|view| *view != self.view) {
            warnings.push(Warning::ViewMismatch);
        }
        let tunnels = self.tunnels.iter().map(|tunnel| seen_tunnel(tunnel, sight, &mut warnings));
        RemoteGateway {
            id: gateway.clone(),
            identity: self.identity.key,
            gateway_key: self.gateway_key,
            generation: self.generation,
            sequence: self.sequence,
            state: self.state,
            networks,
            probe: probe_address::of(sight.id, gateway),
            probe4,
            tunnels: tunnels.collect(),
            expires: self.expires,
            held_until: self.expires.plus_seconds(HOLD_SECONDS),
            agent: self.agent.clone(),
            warnings,
        }
    }
}

fn seen_tunnel(tunnel: &Tunnel, sight: Sight<'_>, warnings: &mut Vec<Warning>) -> RemoteTunnel {
    let (candidates, ignored) = candidate::filter(&tunnel.candidates, sight.grants, sight.facts);
    warnings.extend(ignored);
    RemoteTunnel {
        key: tunnel.key.wireguard(),
        pair: tunnel.pair,
        slot: tunnel.slot,
        mtu: tunnel.mtu,
        candidates,
    }
}
