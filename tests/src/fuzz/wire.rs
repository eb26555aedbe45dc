//! Owns the targets that read what the kernel, other programs, other agents' datagrams and operators
//! wrote: probes, UAPI, netlink, traces, configuration.

use std::mem::discriminant;
use std::time::Duration;

use netlink_packet_core::{NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage, link::LinkMessage};
use sealane_agent::config::Supervision;
use sealane_agent::config_file;
use sealane_kernel::netlink::links::LinkTable;
use sealane_kernel::netlink::relevance::{self, Relevance};
use sealane_kernel::netlink::seen;
use sealane_probe::datagram::{Datagram, Digest, Kind};
use sealane_probe::time::Time;
use sealane_trace::wire;
use sealane_tunnel::uapi::{self, Request};

use crate::fuzz::target::{Outcome, Seed};

/// A probe. Law: what is accepted is written again as it was.
pub fn probe(bytes: &[u8]) -> Outcome {
    match Datagram::parse(bytes) {
        Ok(datagram) => {
            assert!(datagram.encode() == bytes, "a probe with two forms");
            assert!(datagram.reply(None).len() <= bytes.len(), "a reply larger than its request");
            Outcome::accepted((datagram.kind == Kind::Request, datagram.digest.is_some()))
        }
        Err(malformed) => Outcome::refused(discriminant(&malformed)),
    }
}

/// A request and a reply, with and without a digest.
pub fn probes() -> Vec<Seed> {
    let digest = Digest { link_index: 1, version: 2, hash: [3; 8], positions: [4; 8] };
    let datagram = |kind, digest| {
        let sent = Time::from_origin(Duration::from_secs(9));
        Datagram { kind, size: 100, sequence: 7, nonce: 8, sent, digest }.encode()
    };
    vec![
        ("request", datagram(Kind::Request, None)),
        ("request-digest", datagram(Kind::Request, Some(digest))),
        ("reply-digest", datagram(Kind::Reply, Some(digest))),
        ("short", vec![0x5e, 0xa1, 1]),
    ]
}

/// A request on the UAPI socket.
pub fn uapi(bytes: &[u8]) -> Outcome {
    let length = uapi::request_len(bytes);
    assert!(length.is_none_or(|length| length <= bytes.len()));
    let Ok(text) = std::str::from_utf8(bytes) else { return Outcome::refused("utf-8") };
    match uapi::parse(text) {
        Ok(Request::Get) => Outcome::accepted("get"),
        Ok(Request::Version) => Outcome::accepted("version"),
        Ok(Request::Set(device)) => {
            let peers = device.peers.iter().map(|peer| (peer.remove, peer.allowed_ips.len()));
            Outcome::accepted((device.replace_peers, peers.collect::<Vec<_>>()))
        }
        Err(error) => Outcome::refused((discriminant(&error), error.errno())),
    }
}

/// What `wg` sends.
pub fn uapis() -> Vec<Seed> {
    let key = "11".repeat(32);
    let set = format!(
        "set=1\nprivate_key={key}\nlisten_port=51820\nfwmark=1\nreplace_peers=true\n\
         public_key={key}\npreshared_key={key}\nendpoint=[2001:db8::1]:51820\n\
         persistent_keepalive_interval=25\nreplace_allowed_ips=true\nallowed_ip=10.0.0.0/8\n\
         allowed_ip=fd00::/8\nprotocol_version=1\n\n"
    );
    let remove = format!("set=1\npublic_key={key}\nremove=true\nupdate_only=true\n\n");
    vec![
        ("get", b"get=1\n\n".to_vec()),
        ("set", set.into_bytes()),
        ("remove", remove.into_bytes()),
        ("odd", b"set=1\nlisten_port=99999\n\n".to_vec()),
    ]
}

/// An rtnetlink message, header included, as a notice and as an answer.
pub fn netlink(bytes: &[u8]) -> Outcome {
    let kind = bytes.get(4..6).map_or(0, |kind| u16::from_ne_bytes([kind[0], kind[1]]));
    let notice = Relevance::default().of_route_message(kind, 0, bytes);
    let decoded = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes);
    let Ok(NetlinkMessage { payload: NetlinkPayload::InnerMessage(message), .. }) = decoded else {
        return Outcome::refused((notice.is_some(), kind));
    };
    if let RouteNetlinkMessage::NewRoute(route) = &message {
        let read = seen::route(route, &LinkTable::default());
        return Outcome::accepted((read.is_some(), route.attributes.len()));
    }
    Outcome::accepted((notice.is_some(), discriminant(&message)))
}

/// A route of each family, and a link.
pub fn netlinks() -> Vec<Seed> {
    let message = |payload: RouteNetlinkMessage| {
        let payload = NetlinkPayload::InnerMessage(payload);
        let mut message = NetlinkMessage::new(NetlinkHeader::default(), payload);
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    };
    let route = |family, length, destination| {
        let mut route = RouteMessage::default();
        route.header.address_family = family;
        route.header.destination_prefix_length = length;
        route.attributes.push(RouteAttribute::Destination(destination));
        route.attributes.push(RouteAttribute::Table(5182));
        route.attributes.push(RouteAttribute::Priority(7));
        message(RouteNetlinkMessage::NewRoute(route))
    };
    vec![
        ("route4", route(AddressFamily::Inet, 8, RouteAddress::Inet([10, 0, 0, 0].into()))),
        ("route6", route(AddressFamily::Inet6, 64, RouteAddress::Inet6(1_u128.into()))),
        ("link", message(RouteNetlinkMessage::NewLink(LinkMessage::default()))),
        ("short", vec![16, 0, 0, 0]),
    ]
}

/// A netfilter notice, header included.
pub fn netfilter(bytes: &[u8]) -> Outcome {
    let kind = bytes.get(4..6).map_or(0, |kind| u16::from_ne_bytes([kind[0], kind[1]]));
    match relevance::of_filter_message(kind, bytes) {
        Some(_) => Outcome::accepted(kind),
        None => Outcome::refused((kind.to_be_bytes()[0], bytes.len().min(64))),
    }
}

/// Notices of a new rule: in our table and in another.
pub fn netfilters() -> Vec<Seed> {
    let notice = |table: &[u8]| {
        let attribute = [u16::try_from(table.len() + 4).unwrap_or(4), 1];
        let attribute = attribute.iter().flat_map(|word| word.to_ne_bytes());
        // NFT_MSG_NEWRULE of the nftables subsystem, family inet.
        let mut bytes = vec![0; 16];
        bytes[4..6].copy_from_slice(&0x0a06_u16.to_ne_bytes());
        bytes.extend([1, 0, 0, 0]);
        bytes.extend(attribute);
        bytes.extend(table);
        let length = u32::try_from(bytes.len()).unwrap_or(0);
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes
    };
    vec![("ours", notice(b"sealane\0")), ("theirs", notice(b"filter\0\0"))]
}

/// A question of another agent, and an answer to ours.
pub fn trace(bytes: &[u8]) -> Outcome {
    let question = wire::read_question(bytes);
    let answer = wire::read_answer(bytes, "gateway of b", "gw");
    let way = (question.is_ok(), answer.is_ok());
    if way.0 || way.1 { Outcome::accepted(way) } else { Outcome::refused(bytes.first()) }
}

/// What agents ask and answer.
pub fn traces() -> Vec<Seed> {
    let question = serde_json::json!({
        "version": 1, "source": "10.1.0.1", "destination": "10.2.0.1", "choice": 0, "hopsLeft": 3,
    });
    vec![("question", question.to_string().into_bytes()), ("empty", b"{}".to_vec())]
}

/// A configuration file.
pub fn config(bytes: &[u8]) -> Outcome {
    let Ok(text) = std::str::from_utf8(bytes) else { return Outcome::refused("utf-8") };
    match config_file::parse(text, Supervision::Agent) {
        Ok(config) => Outcome::accepted((config.nodes.len(), config.tunnel.mtu.is_some())),
        Err(problem) => {
            assert!(!problem.cause.is_empty(), "a problem without a word");
            let lines = text.lines().count().max(1);
            assert!((1..=lines + 1).contains(&problem.line), "a problem on line {}", problem.line);
            // Without quoted values, which would make every input a way of its own.
            let why = problem.cause.split(['"', '`']).next().unwrap_or_default();
            Outcome::refused((problem.key, why.to_owned()))
        }
    }
}

/// Files of the README.
pub fn configs() -> Vec<Seed> {
    let edge = "gateway = true\n\n[networks]\nexternal = [\"192.168.7.0/24\"]\n";
    let cluster = "gateway = true\nnode = \"gw\"\n\n[networks]\npods = [\"10.1.0.0/16\", \"fd00:1::/48\"]\n\n\
        [tunnel]\nlisten_port = 51820\nmtu = 1400\nbackend = \"auto\"\n\n[metrics]\nlisten = \"127.0.0.1:9182\"\n\n\
        [[nodes]]\nname = \"gw\"\naddresses = [\"10.9.0.1\"]\npods = [\"10.1.1.0/24\"]\ngateway = true\n\n\
        [[nodes]]\nname = \"worker\"\naddresses = [\"10.9.0.2\"]\npods = [\"10.1.2.0/24\"]\n";
    vec![
        ("edge", edge.as_bytes().to_vec()),
        ("cluster", cluster.as_bytes().to_vec()),
        ("odd", b"networks = 1\n[tunnel\n".to_vec()),
    ]
}
