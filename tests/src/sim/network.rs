//! Owns the network between hosts: sites, NAT, loss, delay, duplication, partition. Knows datagrams by
//! their addresses and size alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::chance::Chance;

/// Where a host stands.
#[derive(Debug, Clone)]
pub struct Site {
    /// Addresses of its uplink.
    pub addresses: Vec<IpAddr>,
    /// The router that hides it, if one does.
    pub nat: Option<Nat>,
    /// Largest outer packet, in bytes.
    pub mtu: usize,
}

/// A router that maps each inner port to an outer one, and lets in only who was sent to.
#[derive(Debug, Clone)]
pub struct Nat {
    /// Its address outside.
    pub outside: IpAddr,
    next_port: u16,
    ports: BTreeMap<u16, u16>,
    open: BTreeMap<u16, BTreeSet<SocketAddr>>,
}

impl Nat {
    /// A router that has seen nothing yet.
    #[must_use]
    pub fn at(outside: IpAddr) -> Self {
        Self { outside, next_port: 20_000, ports: BTreeMap::new(), open: BTreeMap::new() }
    }

    /// Forgets every mapping; the next packets leave by other ports.
    pub fn rebind(&mut self) {
        self.ports.clear();
        self.open.clear();
    }

    fn leave(&mut self, port: u16, to: SocketAddr) -> SocketAddr {
        let next = &mut self.next_port;
        let outer = *self.ports.entry(port).or_insert_with(|| {
            *next += 1;
            *next
        });
        self.open.entry(outer).or_default().insert(to);
        SocketAddr::new(self.outside, outer)
    }

    fn enter(&self, port: u16, from: SocketAddr) -> Option<u16> {
        self.open.get(&port).filter(|known| known.contains(&from))?;
        self.ports.iter().find(|(_, outer)| **outer == port).map(|(inner, _)| *inner)
    }
}

/// How packets fare.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// Lost, of 1000.
    pub loss: u32,
    /// Delivered twice, of 1000.
    pub doubled: u32,
    /// Least time on the way.
    pub delay: Duration,
    /// What is added to that, at most: more than the time between two packets reorders them.
    pub jitter: Duration,
}

impl Weather {
    /// Nothing is lost, and each packet takes five to seven milliseconds.
    pub const FAIR: Self = Self {
        loss: 0,
        doubled: 0,
        delay: Duration::from_millis(5),
        jitter: Duration::from_millis(2),
    };
}

/// A datagram on its way.
#[derive(Debug, Clone, Copy)]
pub struct Hop {
    /// Host that sends, by number.
    pub from: usize,
    /// Its UDP port.
    pub port: u16,
    /// Where to.
    pub to: SocketAddr,
    /// Outer bytes.
    pub size: usize,
}

/// A datagram's end: host, its port, the source as seen there, and the time it takes.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// Host, by number.
    pub host: usize,
    /// Its UDP port.
    pub port: u16,
    /// Source as the host sees it.
    pub source: SocketAddr,
    /// Time on the way.
    pub after: Duration,
}

/// All sites, and what is wrong between them.
pub struct Network {
    /// By host number.
    pub sites: Vec<Site>,
    /// How packets fare.
    pub weather: Weather,
    /// Pairs of hosts that cannot reach each other, the smaller number first.
    pub cuts: BTreeSet<(usize, usize)>,
}

impl Network {
    /// Carries a datagram; nothing when it is lost, once or twice otherwise.
    pub fn carry(&mut self, hop: Hop, chance: &mut Chance) -> Vec<Arrival> {
        let Some(source) = self.leave(hop) else { return Vec::new() };
        let Some((host, port)) = self.find(hop.to, source) else { return Vec::new() };
        let pair = (hop.from.min(host), hop.from.max(host));
        let mtu = self.sites[hop.from].mtu.min(self.sites[host].mtu);
        if self.cuts.contains(&pair) || hop.size > mtu || chance.hits(self.weather.loss) {
            return Vec::new();
        }
        let copies = if chance.hits(self.weather.doubled) { 2 } else { 1 };
        let Weather { delay, jitter, .. } = self.weather;
        let arrive = |after| Arrival { host, port, source, after };
        (0..copies).map(|_| arrive(chance.between(delay, delay + jitter))).collect()
    }

    fn leave(&mut self, hop: Hop) -> Option<SocketAddr> {
        let site = self.sites.get_mut(hop.from)?;
        let own = site.addresses.iter().find(|own| own.is_ipv4() == hop.to.is_ipv4())?;
        Some(match &mut site.nat {
            Some(nat) => nat.leave(hop.port, hop.to),
            None => SocketAddr::new(*own, hop.port),
        })
    }

    fn find(&self, to: SocketAddr, source: SocketAddr) -> Option<(usize, u16)> {
        let ends = self.sites.iter().enumerate();
        let mut ends = ends.filter_map(|(number, site)| match &site.nat {
            Some(nat) if nat.outside == to.ip() => Some((number, nat.enter(to.port(), source)?)),
            Some(_) => None,
            None => site.addresses.contains(&to.ip()).then_some((number, to.port())),
        });
        ends.next()
    }
}
