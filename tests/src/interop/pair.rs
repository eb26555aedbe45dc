//! Owns two ends with a router between them, which counts what WireGuard says and may be rough, and
//! a stranger. The near end is ours; the far end is a partner of any make.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::assets;
use crate::assets::program::{AssetError, WIREGUARD_GO};
use crate::interop::end::{End, Ground, Make};
use crate::interop::image::Image;
use crate::interop::machine::Machine;
use crate::lab::address::Family;
use crate::lab::error::LabError;
use crate::lab::host::Host;
use crate::lab::segment::{Link, Segment, nodad};
use crate::lab::world::Lab;

/// Who is at the far end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partner {
    /// `sealane-tunnel` as well.
    Itself,
    /// `wireguard-go`.
    WireguardGo,
    /// Kernel WireGuard, in a guest.
    Kernel,
}

/// Why there is no pair.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// The partner's program.
    #[error(transparent)]
    Asset(#[from] AssetError),
    /// Everything else.
    #[error(transparent)]
    Lab(#[from] LabError),
}

/// The scene of all interop cases.
#[derive(Debug)]
pub struct Pair {
    /// Ours.
    pub near: End,
    /// The partner's.
    pub far: End,
    /// On the far end's segment.
    pub stranger: Host,
    /// Between the ends.
    pub router: Host,
    /// The router's links: to the near end, to the far end.
    pub sides: [Link; 2],
    /// The segments of the ends.
    pub segments: [Segment; 2],
    lab: Lab,
}

/// Rules that count messages by what they are: `udp length` is 8 more than the message. The last 16
/// bytes of a handshake message are MAC2, zero unless its sender has a cookie.
const MESSAGES: [(&str, &str); 4] = [
    ("initiation", "udp length 156 @th,64,8 1"),
    ("response", "udp length 100 @th,64,8 2"),
    ("cookie", "udp length 72 @th,64,8 3"),
    ("proved", "udp length 156 @th,64,8 1 @th,1120,32 != 0"),
];

impl Pair {
    /// Both ends, without devices; `None`, said aloud, where the partner cannot be had and
    /// `SEALANE_OFFLINE=1`.
    ///
    /// # Errors
    /// The partner cannot be had, or the lab refuses.
    pub fn with(partner: Partner) -> Result<Option<Self>, PairError> {
        let make = match partner {
            Partner::Itself => Make::Ours,
            Partner::Kernel => Make::Kernel,
            Partner::WireguardGo => match WIREGUARD_GO.obtain()? {
                Some(path) => Make::WireguardGo(path),
                None => return Ok(None),
            },
        };
        let image = match partner {
            Partner::Kernel => match Image::build(&[]) {
                Ok(image) => Some(image),
                Err(fault) if assets::offline() => {
                    assets::announce(&format!("SKIPPED, as SEALANE_OFFLINE=1: no guest: {fault}"));
                    return Ok(None);
                }
                Err(fault) => return Err(fault.into()),
            },
            _ => None,
        };
        Ok(Some(Self::build(make, image.as_ref())?))
    }

    fn build(make: Make, image: Option<&Image>) -> Result<Self, LabError> {
        let lab = Lab::new("interop")?;
        let segments = [segment(&lab, "near", 1)?, segment(&lab, "far", 2)?];
        let [near, router, far, stranger] =
            ["near", "router", "far", "stranger"].map(|name| lab.host(name));
        let (near, router, far, stranger) = (near?, router?, far?, stranger?);
        router.enable_forwarding()?;
        let sides = [segments[0].attach(&router, 1)?, segments[1].attach(&router, 1)?];
        let near_link = segments[0].attach(&near, 2)?;
        near.default_via(&sides[0].addresses())?;
        segments[1].attach(&stranger, 9)?;
        stranger.default_via(&sides[1].addresses())?;
        let far_link = segments[1].attach(&far, 2)?;
        let keys = near.clone();
        let ground = match image {
            None => {
                far.default_via(&sides[1].addresses())?;
                Ground::Host(far)
            }
            Some(image) => Ground::Guest(guest(&far, &far_link, image, &sides[1])?),
        };
        let near = (Ground::Host(near), Make::Ours);
        let near = End::new(near, &near_link.addresses(), 1, &keys)?;
        let far = End::new((ground, make), &far_link.addresses(), 2, &keys)?;
        Ok(Self { near, far, stranger, router, sides, segments, lab })
    }

    /// New devices, nothing counted, the addresses they began with.
    ///
    /// # Errors
    /// A device does not come.
    pub fn renew(&self) -> Result<(), LabError> {
        self.near.renew(&self.far)?;
        self.far.renew(&self.near)?;
        self.count_anew()
    }

    /// Counts from zero what comes to the router from either end, whoever carries it on.
    ///
    /// # Errors
    /// nftables refuses.
    pub fn count_anew(&self) -> Result<(), LabError> {
        let mut rules = String::new();
        for (from, side) in ["near", "far"].iter().zip(&self.sides) {
            for (what, matches) in MESSAGES {
                let link = &side.name;
                rules.push_str(&format!(
                    "add counter inet said {from}_{what}\n\
                     add rule inet said prerouting iifname {link} {matches} counter name {from}_{what}\n"
                ));
            }
        }
        self.router.nft(&format!(
            "add table inet said\ndelete table inet said\nadd table inet said\n\
             add chain inet said prerouting {{ type filter hook prerouting priority raw; }}\n{rules}"
        ))
    }

    /// Messages counted so far, by `END_WHAT`: end `near` or `far`; what `initiation`, `response`,
    /// `cookie` or `proved`, an initiation with MAC2.
    ///
    /// # Errors
    /// nftables refuses.
    pub fn said(&self) -> Result<BTreeMap<String, u64>, LabError> {
        let listed = self.router.json("nft -j list counters table inet said")?;
        let counters = listed["nftables"].as_array().into_iter().flatten();
        let counter = |entry: &serde_json::Value| {
            let counter = &entry["counter"];
            Some((counter["name"].as_str()?.to_owned(), counter["packets"].as_u64()?))
        };
        Ok(counters.filter_map(counter).collect())
    }

    /// A further address for an end: number `number` of its segment, IPv4 or IPv6.
    ///
    /// # Errors
    /// No such number.
    pub fn address(&self, side: usize, number: u16, family: usize) -> Result<IpNetwork, LabError> {
        Ok(crate::lab::address::nth(self.segments[side].subnets(), number)?[family])
    }

    /// Everything about the lab's hosts, for a failure.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }
}

fn segment(lab: &Lab, name: &str, number: u8) -> Result<Segment, LabError> {
    let bad = |_| LabError::Topology(format!("segment {number}"));
    let v4 = format!("198.51.{number}.0/24").parse().map_err(bad)?;
    let v6 = format!("2001:db8:{number}::/64").parse().map_err(bad)?;
    Segment::new(lab, name, Family::Dual.select(v4, v6))
}

/// Boots a guest that stands on the segment in its host's place, with the host's addresses there.
fn guest(host: &Host, link: &Link, image: &Image, router: &Link) -> Result<Machine, LabError> {
    let port = &link.name;
    host.ip(&[
        format!("addr flush dev {port}"),
        "link add br0 type bridge mcast_snooping 0".to_owned(),
        format!("link set {port} master br0"),
        "tuntap add tap0 mode tap".to_owned(),
        "link set tap0 master br0".to_owned(),
        "link set tap0 up".to_owned(),
        "link set br0 up".to_owned(),
    ])?;
    let machine = Machine::boot(host, image, "tap0")?;
    let mut script = "ip link set eth0 up\n".to_owned();
    for net in &link.networks {
        script.push_str(&format!("ip addr add {net} dev eth0 {}\n", nodad(net)));
    }
    for gateway in router.addresses() {
        let family = if IpAddr::is_ipv4(&gateway) { "-4" } else { "-6" };
        script.push_str(&format!("ip {family} route add default via {gateway}\n"));
    }
    machine.shell(&script)?;
    Ok(machine)
}
