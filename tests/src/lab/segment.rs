//! Owns L2 segments: a bridge on the switch, hosts attached to it, cables pulled and put back.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ipnetwork::IpNetwork;

use crate::lab::address::nth;
use crate::lab::error::LabError;
use crate::lab::host::Host;
use crate::lab::world::Lab;

/// A broadcast domain with its subnets. Clones are handles.
#[derive(Debug, Clone)]
pub struct Segment {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    switch: Host,
    bridge: String,
    serial: u32,
    cuts: AtomicU32,
    subnets: Vec<IpNetwork>,
    /// Port on the switch by host.
    ports: Mutex<BTreeMap<String, String>>,
}

/// A host's link to a segment, or a pod's to its node.
#[derive(Debug, Clone)]
pub struct Link {
    /// As the host calls it.
    pub name: String,
    /// With the segment's prefix length.
    pub networks: Vec<IpNetwork>,
}

impl Link {
    /// The addresses alone, IPv4 first where there are both.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.networks.iter().map(IpNetwork::ip).collect()
    }
}

impl Segment {
    /// A new segment; [`Segment::attach`] numbers hosts within `subnets`.
    ///
    /// # Errors
    /// The switch refuses.
    pub fn new(lab: &Lab, name: &str, subnets: Vec<IpNetwork>) -> Result<Self, LabError> {
        let (switch, serial) = (lab.switch()?, lab.serial());
        let bridge = format!("seg{serial}");
        switch.ip(&[
            format!("link add {bridge} type bridge mcast_snooping 0"),
            format!("link set {bridge} up"),
        ])?;
        let inner = Inner {
            name: name.to_owned(),
            switch,
            bridge,
            serial,
            cuts: AtomicU32::new(0),
            subnets,
            ports: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its subnets.
    pub fn subnets(&self) -> &[IpNetwork] {
        &self.inner.subnets
    }

    /// Where its bridge is.
    pub fn switch(&self) -> &Host {
        &self.inner.switch
    }

    /// Gives the host a link with address number `number` of each subnet.
    ///
    /// # Errors
    /// A number too big for a subnet, or a host that is attached already.
    pub fn attach(&self, host: &Host, number: u16) -> Result<Link, LabError> {
        let networks = nth(&self.inner.subnets, number)?;
        let name = host.next_link();
        let port = self.claim_port(host)?;
        self.inner.switch.ip(&[
            format!("link add {port} type veth peer name {name} netns {}", host.lab_pid()),
            format!("link set {port} master {} up", self.inner.bridge),
        ])?;
        let mut lines: Vec<String> = networks
            .iter()
            .map(|net| format!("addr add {net} dev {name} {}", nodad(net)))
            .collect();
        lines.push(format!("link set {name} up"));
        host.ip(&lines)?;
        Ok(Link { name, networks })
    }

    /// The switch's name for the cable to that host.
    ///
    /// # Errors
    /// The host is not attached.
    pub fn port(&self, host: &Host) -> Result<String, LabError> {
        let missing = || LabError::Topology(format!("{}: not on {}", host.name(), self.name()));
        let ports = self.inner.ports.lock().unwrap_or_else(PoisonError::into_inner);
        ports.get(host.name()).cloned().ok_or_else(missing)
    }

    /// Pulls the host's cable: its link loses the carrier.
    ///
    /// # Errors
    /// The host is not attached.
    pub fn unplug(&self, host: &Host) -> Result<(), LabError> {
        self.inner.switch.ip(&[format!("link set {} down", self.port(host)?)])
    }

    /// Puts the host's cable back.
    ///
    /// # Errors
    /// The host is not attached.
    pub fn plug(&self, host: &Host) -> Result<(), LabError> {
        self.inner.switch.ip(&[format!("link set {} up", self.port(host)?)])
    }

    /// A name for nftables on the switch that no other segment or cut has.
    pub fn next_cut(&self) -> String {
        let cut = self.inner.cuts.fetch_add(1, Ordering::Relaxed);
        format!("{}c{cut}", self.inner.bridge)
    }

    fn claim_port(&self, host: &Host) -> Result<String, LabError> {
        let mut ports = self.inner.ports.lock().unwrap_or_else(PoisonError::into_inner);
        if ports.contains_key(host.name()) {
            return Err(LabError::Topology(format!("{}: on {} twice", host.name(), self.name())));
        }
        let port = format!("seg{}p{}", self.inner.serial, ports.len());
        ports.insert(host.name().to_owned(), port.clone());
        Ok(port)
    }
}

/// Only IPv6 knows duplicate address detection.
pub fn nodad(network: &IpNetwork) -> &'static str {
    if network.is_ipv6() { "nodad" } else { "" }
}
