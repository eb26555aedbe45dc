//! Owns the four hosts: client, gateway, gateway and server on cables of their own, with a device of
//! every entrant between the gateways, of which one at a time is led through.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnetwork::IpNetwork;
use sealane_state::rule::Family;

use crate::bench::contest::entrant::Ready;
use crate::lab::error::LabError;
use crate::lab::host::Host;
use crate::lab::process::Process;
use crate::lab::segment::nodad;
use crate::lab::wait::eventually;
use crate::lab::world::Lab;
use crate::traffic::drive;

/// Port of the TCP sink.
const SINK: u16 = 5001;
/// UDP port of the first entrant's devices; the others have those behind it.
const FIRST_PORT: u16 = 51_820;
/// How long anything may take to come up.
const START: Duration = Duration::from_secs(20);

/// Where the contest is run.
#[derive(Debug)]
pub struct Course {
    /// Sends.
    pub client: Host,
    /// Receives.
    pub sink: Process,
    /// Where the sink listens.
    pub to: SocketAddr,
    /// By entrant: its programs on the client's gateway and on the server's.
    pub tunnels: Vec<[Process; 2]>,
    names: Vec<&'static str>,
    gateways: [Gateway; 2],
    _lab: Lab,
}

#[derive(Debug)]
struct Gateway {
    host: Host,
    /// Its address on the cable to the other.
    outer: IpAddr,
    /// What is behind it.
    network: IpNetwork,
    public_key: String,
}

/// Networks of the cables, each with two hosts, 1 and 2: client, between the gateways, server.
const NETWORKS: [[&str; 2]; 3] = [
    ["10.21.0.0/24", "fd21::/64"],
    ["192.0.2.0/24", "2001:db8::/64"],
    ["10.22.0.0/24", "fd22::/64"],
];

impl Course {
    /// Hosts, cables, and all devices; nothing is led through yet.
    ///
    /// # Errors
    /// The lab refuses, or a device does not come.
    pub fn build(family: Family, entrants: &[Ready]) -> Result<Self, LabError> {
        let lab = Lab::new("contest")?;
        let [client, left, right, server] =
            ["client", "gateway-a", "gateway-b", "server"].map(|name| lab.host(name));
        let (client, left, right, server) = (client?, left?, right?, server?);
        let [near, between, far] = NETWORKS.map(|pair| network(pair, family));
        let (near, between, far) = (near?, between?, far?);
        let [toward_client, address] = cable(&left, &client, near)?;
        route(&client, address, toward_client)?;
        let [left_outer, right_outer] = cable(&left, &right, between)?;
        let [toward_server, address] = cable(&right, &server, far)?;
        route(&server, address, toward_server)?;
        let to = SocketAddr::new(address, SINK);
        let gateways =
            [Gateway::new(left, left_outer, near)?, Gateway::new(right, right_outer, far)?];
        let mut tunnels = Vec::new();
        for (number, entrant) in entrants.iter().enumerate() {
            let [a, b] = &gateways;
            tunnels.push([a.start(entrant, number, b)?, b.start(entrant, number, a)?]);
        }
        let sink = drive::tcp_sink(&server, SINK)?;
        let names = entrants.iter().map(|entrant| entrant.name).collect();
        Ok(Self { client, sink, to, tunnels, names, gateways, _lab: lab })
    }

    /// Has packets go through the devices of entrant `number`, and waits until they do.
    ///
    /// # Errors
    /// They do not.
    pub fn lead_through(&self, number: usize) -> Result<(), LabError> {
        let [a, b] = &self.gateways;
        for (own, other) in [(a, b), (b, a)] {
            own.host.run(&format!("ip route replace {} dev {}", other.network, link(number)))?;
        }
        let what = format!("{}: the server answers through its tunnel", self.names[number]);
        let ping = format!("ping -n -c 1 -W 1 {}", self.to.ip());
        eventually(START, what, || self.client.run(&ping)).map(drop)
    }

    /// Resident memory of each entrant's larger program. Unit: KiB.
    ///
    /// # Errors
    /// It has ended.
    pub fn resident(&self) -> Result<Vec<(String, u64)>, LabError> {
        let of = |process: &Process| -> Result<u64, LabError> {
            let status = process.host().read_file(format!("/proc/{}/status", process.pid()))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let value = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
            value.ok_or_else(|| LabError::Topology(format!("process {} is gone", process.pid())))
        };
        self.names
            .iter()
            .zip(&self.tunnels)
            .map(|(name, [a, b])| Ok(((*name).to_owned(), of(a)?.max(of(b)?))))
            .collect()
    }
}

impl Gateway {
    fn new(host: Host, outer: IpAddr, network: IpNetwork) -> Result<Self, LabError> {
        host.enable_forwarding()?;
        let public_key =
            host.shell("umask 077; wg genkey >/run/key; wg pubkey </run/key")?.trim().to_owned();
        Ok(Self { host, outer, network, public_key })
    }

    /// Addresses are not needed on the device: packets are forwarded through it.
    fn start(&self, entrant: &Ready, number: usize, other: &Self) -> Result<Process, LabError> {
        let (host, link) = (&self.host, link(number));
        let process = entrant.command(host, &link).spawn()?;
        let what = format!("{}: {} makes {link}", host.name(), entrant.name);
        eventually(START, what, || {
            host.shell(&format!("test -S /var/run/wireguard/{link}.sock; ip link show {link}"))
        })?;
        let port = port(number);
        host.shell(&format!(
            "wg set {link} private-key /run/key listen-port {port} \
             peer {} endpoint {} allowed-ips {}\n\
             ip link set {link} mtu 1420 up",
            other.public_key,
            SocketAddr::new(other.outer, port),
            other.network
        ))?;
        Ok(process)
    }
}

fn link(number: usize) -> String {
    format!("wg{number}")
}

fn port(number: usize) -> u16 {
    u16::try_from(number).map_or(FIRST_PORT, |number| FIRST_PORT + number)
}

fn network([v4, v6]: [&str; 2], family: Family) -> Result<IpNetwork, LabError> {
    let text = if family == Family::V4 { v4 } else { v6 };
    text.parse().map_err(|_| LabError::Topology(format!("{text}: no network")))
}

/// Joins two hosts by a veth pair without a bridge; answers their addresses.
fn cable(one: &Host, two: &Host, network: IpNetwork) -> Result<[IpAddr; 2], LabError> {
    let (here, there) = (one.next_link(), two.next_link());
    let nets = [1, 2].map(|n| crate::lab::address::nth(&[network], n));
    let [first, second] = nets;
    let (first, second) = (first?[0], second?[0]);
    one.ip(&[
        format!("link add {here} type veth peer name {there} netns {}", two.lab_pid()),
        format!("addr add {first} dev {here} {}", nodad(&first)),
        format!("link set {here} up"),
    ])?;
    two.ip(&[
        format!("addr add {second} dev {there} {}", nodad(&second)),
        format!("link set {there} up"),
    ])?;
    Ok([first.ip(), second.ip()])
}

/// The default route of an end, with the tunnel's MTU: none has to find it out first.
fn route(host: &Host, own: IpAddr, gateway: IpAddr) -> Result<(), LabError> {
    let family = crate::lab::address::flag(own);
    host.run(&format!("ip {family} route add default via {gateway} mtu 1420")).map(drop)
}
