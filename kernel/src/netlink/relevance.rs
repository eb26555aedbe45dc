//! Owns which of the kernel's notices can change a plan: our own objects, and the links and
//! addresses of the host. Does not read sockets.

use std::collections::{BTreeMap, BTreeSet};

use ipnetwork::IpNetwork;
use netlink_packet_core::{NetlinkMessage, NetlinkPayload, NlasIterator};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAttribute, RouteMessage};
use netlink_packet_route::rule::{RuleAttribute, RuleMessage};
use sealane_state::owner;

use crate::netlink::addresses::SeenAddress;
use crate::netlink::links::{LinkTable, SeenLink};

/// Something on the host is not what it was when it was last read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostEvent {
    /// A link came, went, or changed name, MTU, state or owner.
    LinksChanged,
    /// An address came, went, or became usable.
    AddressesChanged,
    /// A route of a table of ours, or a default route of the main table.
    RoutesChanged,
    /// A rule in our priority range.
    RulesChanged,
    /// A neighbour or forwarding entry of a link of ours.
    NeighboursChanged,
    /// Our nftables table.
    FilterChanged,
    /// A host-wide network setting, or one of a link of ours.
    SettingsChanged,
    /// Notices were lost; anything may have changed.
    Resync,
}

/// Bytes of `struct nlmsghdr`.
const HEADER_BYTES: usize = 16;
/// Bytes of `struct ndmsg` before `ndm_ifindex`.
const NEIGHBOUR_INDEX_OFFSET: usize = 4;
/// `RTM_NEWROUTE`, `RTM_DELROUTE`, `RTM_NEWNEIGH`, `RTM_DELNEIGH`, `RTM_NEWNETCONF` and
/// `RTM_DELNETCONF` in linux/rtnetlink.h.
const RTM_ROUTES: [u16; 2] = [24, 25];
const RTM_NEIGHBOURS: [u16; 2] = [28, 29];
const RTM_NETCONF: [u16; 2] = [80, 81];
/// Table in `struct rtmsg` when the number is above 255 (`RT_TABLE_COMPAT`), and the main table.
const TABLE_IN_ATTRIBUTE: u8 = 252;
const TABLE_MAIN: u32 = 254;
/// `NETCONFA_IFINDEX` and its values for `all` and `default` in linux/netconf.h.
const NETCONF_INDEX: u16 = 1;
const NETCONF_ALL: i32 = -1;
const NETCONF_DEFAULT: i32 = -2;
/// Netfilter subsystem of nftables (`NFNL_SUBSYS_NFTABLES`), its message that only counts
/// generations (`NFT_MSG_NEWGEN`), and the family `inet` (`NFPROTO_INET`).
const SUBSYSTEM_NFTABLES: u16 = 10;
const NFT_NEWGEN: u8 = 15;
const NFPROTO_INET: u8 = 1;
/// The table's name is attribute 1 of every nftables object.
const NFT_TABLE_NAME: u16 = 1;

/// What is known of the host, as far as it takes to tell news from noise.
#[derive(Debug, Default)]
pub struct Relevance {
    links: BTreeMap<u32, KnownLink>,
    addresses: BTreeSet<(u32, IpNetwork)>,
    own_port: u32,
}

/// What must change of a link to be news.
#[derive(Debug, Clone, PartialEq, Eq)]
struct KnownLink {
    name: sealane_state::name::LinkName,
    mtu: u32,
    up: bool,
    running: bool,
    ours: bool,
}

impl From<&SeenLink> for KnownLink {
    fn from(link: &SeenLink) -> Self {
        let (mtu, running) = (link.facts.mtu, link.facts.running);
        Self { name: link.name.clone(), mtu, up: link.up, running, ours: link.ours }
    }
}

impl Relevance {
    /// Starts from what a first dump showed; notices of the socket with `own_port` are no news.
    pub fn new(links: &LinkTable, addresses: &[SeenAddress], own_port: u32) -> Self {
        let links = links.all().map(|link| (link.facts.index, KnownLink::from(link))).collect();
        let usable = addresses.iter().filter(|address| address.usable);
        let addresses = usable.map(|address| (address.link, address.net)).collect();
        Self { links, addresses, own_port }
    }

    /// Judges one rtnetlink message, header included; `sender` is the port of who caused it.
    pub fn of_route_message(
        &mut self,
        kind: u16,
        sender: u32,
        message: &[u8],
    ) -> Option<HostEvent> {
        let body = message.get(HEADER_BYTES..)?;
        // The links and addresses known here must follow our own changes too.
        let by_us = sender == self.own_port;
        if RTM_NETCONF.contains(&kind) {
            return self.of_netconf(body).filter(|_| !by_us);
        }
        // Busy hosts tell of thousands of foreign routes and neighbours: look before decoding.
        let noise = (RTM_ROUTES.contains(&kind) && is_foreign_table(body))
            || (RTM_NEIGHBOURS.contains(&kind) && !self.is_own_neighbour(body));
        if noise {
            return None;
        }
        let decoded = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message);
        let Ok(NetlinkMessage { payload: NetlinkPayload::InnerMessage(inner), .. }) = decoded
        else {
            return None;
        };
        self.of_decoded(&inner).filter(|_| !by_us)
    }

    fn of_decoded(&mut self, message: &RouteNetlinkMessage) -> Option<HostEvent> {
        match message {
            RouteNetlinkMessage::NewLink(message) => {
                let link = SeenLink::from_message(message)?;
                let known = KnownLink::from(&link);
                let before = self.links.insert(link.facts.index, known.clone());
                (before != Some(known)).then_some(HostEvent::LinksChanged)
            }
            RouteNetlinkMessage::DelLink(message) => {
                self.links.remove(&message.header.index).map(|_| HostEvent::LinksChanged)
            }
            RouteNetlinkMessage::NewAddress(message) => {
                let address = SeenAddress::from_message(message)?;
                let key = (address.link, address.net);
                let news = if address.usable {
                    self.addresses.insert(key)
                } else {
                    self.addresses.remove(&key)
                };
                news.then_some(HostEvent::AddressesChanged)
            }
            RouteNetlinkMessage::DelAddress(message) => {
                let address = SeenAddress::from_message(message)?;
                let known = self.addresses.remove(&(address.link, address.net));
                known.then_some(HostEvent::AddressesChanged)
            }
            RouteNetlinkMessage::NewRoute(message) | RouteNetlinkMessage::DelRoute(message) => {
                is_relevant_route(message).then_some(HostEvent::RoutesChanged)
            }
            RouteNetlinkMessage::NewRule(message) | RouteNetlinkMessage::DelRule(message) => {
                is_own_rule(message).then_some(HostEvent::RulesChanged)
            }
            RouteNetlinkMessage::NewNeighbour(_) | RouteNetlinkMessage::DelNeighbour(_) => {
                Some(HostEvent::NeighboursChanged)
            }
            _ => None,
        }
    }

    fn is_own_neighbour(&self, body: &[u8]) -> bool {
        let bytes = body.get(NEIGHBOUR_INDEX_OFFSET..NEIGHBOUR_INDEX_OFFSET + 4);
        let index = bytes.and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes);
        index.is_some_and(|index| self.is_ours(index))
    }

    fn is_ours(&self, index: u32) -> bool {
        self.links.get(&index).is_some_and(|link| link.ours)
    }

    fn of_netconf(&self, body: &[u8]) -> Option<HostEvent> {
        const FAMILY_BYTES: usize = 4;
        let index = attribute(body.get(FAMILY_BYTES..)?, NETCONF_INDEX)?;
        let index = i32::from_ne_bytes(index.try_into().ok()?);
        let host_wide = [NETCONF_ALL, NETCONF_DEFAULT].contains(&index);
        let relevant = host_wide || u32::try_from(index).is_ok_and(|index| self.is_ours(index));
        relevant.then_some(HostEvent::SettingsChanged)
    }
}

/// Judges one netfilter message, header included: only our own table is news.
pub fn of_filter_message(kind: u16, message: &[u8]) -> Option<HostEvent> {
    const FAMILY_BYTES: usize = 4;
    let [subsystem, code] = kind.to_be_bytes();
    let body = message.get(HEADER_BYTES..)?;
    if u16::from(subsystem) != SUBSYSTEM_NFTABLES || code == NFT_NEWGEN {
        return None;
    }
    let name = attribute(body.get(FAMILY_BYTES..)?, NFT_TABLE_NAME)?;
    let name = name.strip_suffix(&[0]).unwrap_or(&name);
    let ours = body.first() == Some(&NFPROTO_INET) && name == owner::FILTER_TABLE.as_bytes();
    ours.then_some(HostEvent::FilterChanged)
}

fn attribute(attributes: &[u8], kind: u16) -> Option<Vec<u8>> {
    let readable = NlasIterator::new(attributes).map_while(Result::ok);
    let mut wanted = readable.filter(|attribute| attribute.kind() == kind);
    wanted.next().map(|attribute| attribute.value().to_vec())
}

/// Whether a route message cannot be about a table of ours or a default route of the main table.
fn is_foreign_table(body: &[u8]) -> bool {
    // struct rtmsg: family, destination length, source length, type of service, table.
    match body {
        [_, length, _, _, table, ..] => {
            *table != TABLE_IN_ATTRIBUTE && (u32::from(*table) != TABLE_MAIN || *length != 0)
        }
        _ => true,
    }
}

/// Any route in a table of ours counts, whoever made it: a foreign "replace" tells of the new
/// route only, not of ours that it took away.
fn is_relevant_route(message: &RouteMessage) -> bool {
    let table = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    let table = table.unwrap_or_else(|| u32::from(message.header.table));
    let default = table == TABLE_MAIN && message.header.destination_prefix_length == 0;
    owner::TABLES.contains(&table) || default
}

fn is_own_rule(message: &RuleMessage) -> bool {
    message.attributes.iter().any(|attribute| match attribute {
        RuleAttribute::Priority(priority) => owner::RULES.contains(priority),
        _ => false,
    })
}
