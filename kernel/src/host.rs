//! Owns the host as a whole: one look at it, one way to change it, and word of its changes. Does
//! not decide anything: what is wanted comes in as changes.
//!
//! All calls block; none lasts longer than the kernel, `nft` or a tunnel takes to answer. Programs
//! with an event loop give the host a thread of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use sealane_state::change::Change;
use sealane_state::facts::{
    HostFacts, LinkFacts, Observation, PeerFacts, RouteAnswer, RouteQuestion, RoutingSnapshot,
    SeenAction, SeenRule,
};
use sealane_state::host::HostState;
use sealane_state::link::{Backend, Link, LinkKind};
use sealane_state::name::LinkName;
use sealane_state::owner;
use sealane_state::route::{Route, RouteKey};
use sealane_state::rule::Family;
use sealane_state::sysctl::SysctlKey;
use sealane_state::wireguard::{Device, PublicKey};
use tokio::sync::mpsc;

use crate::keyring::Keyring;
use crate::netlink::addresses::{self, SeenAddress};
use crate::netlink::channel::Channel;
use crate::netlink::links::LinkTable;
use crate::netlink::monitor::Monitor;
use crate::netlink::refusal::Refusal;
use crate::netlink::relevance::HostEvent;
use crate::netlink::{neighbours, routes, rules, snapshot};
use crate::nft::{Nft, NftError};
use crate::outcome::Outcome;
use crate::perform::Performer;
use crate::sysctl::{Ledger, SysctlError};
use crate::wireguard::Devices;
use crate::wireguard::process::Tunnels;

/// Tables that packets reach without a rule of anyone's making: main and default.
const STANDING_TABLES: [u32; 2] = [254, 253];
/// The table of local addresses; no route of interest is in it.
const TABLE_LOCAL: u32 = 255;

/// The host that this program runs on, in the network namespace that it was opened in.
#[derive(Debug)]
pub struct Host {
    pub(crate) channel: Channel,
    pub(crate) nft: Nft,
    pub(crate) ledger: Ledger,
    pub(crate) devices: Devices,
    monitor: Option<Monitor>,
}

/// Devices by link, and what each says of its peers.
pub type Readings =
    (BTreeMap<LinkName, Device>, BTreeMap<LinkName, BTreeMap<PublicKey, PeerFacts>>);

/// Why a host was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The state folder cannot be made.
    #[error("state folder {path}: {fault}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        fault: std::io::Error,
    },
    /// The kernel refuses rtnetlink.
    #[error("rtnetlink: {0}")]
    Netlink(Refusal),
    /// The ledger of former settings is damaged.
    #[error(transparent)]
    Settings(#[from] SysctlError),
}

/// Why a host was not read; nothing may be changed on the ground of half a look. Retrying helps
/// unless a program is missing.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// rtnetlink refused.
    #[error("reading {what}: {refusal}")]
    Netlink {
        /// What was read.
        what: &'static str,
        /// What the kernel says.
        refusal: Refusal,
    },
    /// Our nftables table cannot be read.
    #[error(transparent)]
    Filter(#[from] NftError),
    /// Settings cannot be read.
    #[error(transparent)]
    Settings(#[from] SysctlError),
}

impl Host {
    /// Opens the host. `state_dir` holds what must outlive the program: former settings and the
    /// text of our nftables table; it is made if need be. `tunnels` says how userspace WireGuard
    /// runs.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(state_dir: &Path, tunnels: Tunnels) -> Result<Self, OpenError> {
        std::fs::create_dir_all(state_dir)
            .map_err(|fault| OpenError::Folder { path: state_dir.to_owned(), fault })?;
        Ok(Self {
            channel: Channel::open().map_err(OpenError::Netlink)?,
            nft: Nft::open(state_dir),
            ledger: Ledger::open(state_dir)?,
            devices: Devices::new(tunnels),
            monitor: None,
        })
    }

    /// Looks at the host: what is ours, and the facts that decisions need. `settings` are those
    /// that a plan may want; their present values are among the facts.
    ///
    /// # Errors
    /// [`ObserveError`]. A WireGuard device that does not answer is no error: it is left out, so
    /// that a plan sets it up again.
    pub fn observe(&mut self, settings: &BTreeSet<SysctlKey>) -> Result<Observation, ObserveError> {
        self.devices.tunnels().reap();
        let channel = &mut self.channel;
        let links = LinkTable::read(channel).map_err(reading("links"))?;
        if links.unreadable > 0 {
            tracing::debug!(count = links.unreadable, "links of an unknown form");
        }
        let seen_addresses = addresses::read(channel).map_err(reading("addresses"))?;
        let seen_rules = rules::read(channel).map_err(reading("rules"))?;
        let mut ours = HostState {
            links: links.own_state(),
            addresses: addresses::own_state(&seen_addresses, &links),
            neighbours: neighbours::read(channel, &links).map_err(reading("neighbours"))?,
            fdb: neighbours::read_fdb(channel, &links).map_err(reading("forwarding entries"))?,
            routes: routes::read_own(channel, &links).map_err(reading("routes"))?,
            rules: rules::own_state(&seen_rules),
            filter: self.nft.observe()?,
            sysctls: self.ledger.observe(&BTreeSet::new())?,
            devices: BTreeMap::new(),
        };
        let standing: BTreeSet<_> = ours.links.values().filter_map(backend).collect();
        let mut facts = HostFacts {
            links: link_facts(&links, &seen_addresses),
            routes: foreign_routes(channel, &links, &seen_rules).map_err(reading("routes"))?,
            sysctls: self.ledger.observe(settings)?,
            // A missing program or device node stops no tunnel that runs.
            backends: self.devices.backends().union(&standing).copied().collect(),
            standing,
            families: families(),
            peers: BTreeMap::new(),
            tunnels: BTreeMap::new(),
        };
        let lanes = ours.links.iter().filter_map(|(name, link)| Some((name, backend(link)?)));
        for (name, backend) in lanes {
            match self.devices.observe(name) {
                Ok((device, peers)) => {
                    ours.devices.insert(name.clone(), device);
                    facts.peers.insert(name.clone(), peers);
                    if backend == Backend::Userspace {
                        let version = self.devices.tunnels().sockets().version(name);
                        facts.tunnels.insert(name.clone(), version);
                    }
                }
                Err(error) => tracing::debug!(%error, "device left out of the look at the host"),
            }
        }
        Ok(Observation { ours, facts })
    }

    /// Looks at the devices behind these lane links alone, which no monitor speaks of: their
    /// configuration, and what they say of their peers. It costs one request to each; one that does not
    /// answer is left out.
    pub fn devices<'l>(&mut self, links: impl Iterator<Item = &'l LinkName>) -> Readings {
        let mut readings = Readings::default();
        for link in links {
            match self.devices.observe(link) {
                Ok((device, peers)) => {
                    readings.0.insert(link.clone(), device);
                    readings.1.insert(link.clone(), peers);
                }
                Err(error) => tracing::debug!(%error, "device left out of the look at devices"),
            }
        }
        readings
    }

    /// Applies changes in the order given, consecutive ones of a kind together. One that fails
    /// does not stop the others.
    pub fn apply(&mut self, changes: &[Change], keyring: &dyn Keyring) -> Outcome {
        Performer::new(self, keyring).perform(changes)
    }

    /// Starts to listen for changes that others make; listening ends with the host, or when this
    /// is called again. After any event the whole host is to be looked at anew.
    ///
    /// # Errors
    /// What the sockets or a first dump report.
    pub fn events(&mut self) -> Result<mpsc::Receiver<HostEvent>, Refusal> {
        let (monitor, events) = Monitor::start(self.channel.port())?;
        self.monitor = Some(monitor);
        Ok(events)
    }

    /// Reads every rule and route, foreign ones too.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn routing(&mut self) -> Result<RoutingSnapshot, Refusal> {
        snapshot::read(&mut self.channel)
    }

    /// Reads all nftables tables, foreign ones too, in libnftables' JSON.
    ///
    /// # Errors
    /// [`NftError`] when the program is missing or refuses.
    pub fn ruleset(&self) -> Result<String, NftError> {
        self.nft.ruleset()
    }

    /// Asks the kernel which way a packet takes now.
    ///
    /// # Errors
    /// The kernel's refusal, which is an answer too; see [`snapshot::route_of`].
    pub fn route_of(&mut self, question: &RouteQuestion) -> Result<RouteAnswer, Refusal> {
        snapshot::route_of(&mut self.channel, question)
    }
}

fn reading(what: &'static str) -> impl Fn(Refusal) -> ObserveError {
    move |refusal| ObserveError::Netlink { what, refusal }
}

/// The backend of a lane link.
fn backend(link: &Link) -> Option<Backend> {
    match link.kind {
        LinkKind::WireGuard(backend) => Some(backend),
        LinkKind::Vxlan(_) => None,
    }
}

fn link_facts(links: &LinkTable, seen: &[SeenAddress]) -> BTreeMap<LinkName, LinkFacts> {
    let mut addresses = addresses::facts(seen);
    let fact = |link: &crate::netlink::links::SeenLink| {
        let addresses = addresses.remove(&link.facts.index).unwrap_or_default();
        (link.name.clone(), LinkFacts { addresses, ours: link.ours, ..link.facts.clone() })
    };
    links.all().map(fact).collect()
}

/// Reads the tables that packets can reach without us.
fn foreign_routes(
    channel: &mut Channel,
    links: &LinkTable,
    seen: &[SeenRule],
) -> Result<BTreeMap<RouteKey, Route>, Refusal> {
    let looked_up = seen.iter().filter_map(|rule| match rule.action {
        SeenAction::Lookup(table) => Some(table),
        _ => None,
    });
    let foreign = |table: &u32| *table != TABLE_LOCAL && !owner::TABLES.contains(table);
    let tables: BTreeSet<u32> = looked_up.chain(STANDING_TABLES).filter(foreign).collect();
    let mut routes = BTreeMap::new();
    for table in tables {
        let read = routes::read_table(channel, links, table)?;
        routes.extend(read.iter().map(|read| (read.key(), read.fact())));
    }
    Ok(routes)
}

/// The file is missing when IPv6 was switched off at boot.
fn families() -> BTreeSet<Family> {
    let v6 = Path::new("/proc/thread-self/net/if_inet6").exists();
    [Some(Family::V4), v6.then_some(Family::V6)].into_iter().flatten().collect()
}
