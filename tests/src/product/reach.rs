//! Owns the question whether one place reaches another as itself: the server must have seen the
//! client's own address.

use std::net::{IpAddr, SocketAddr};

use crate::lab::cluster::Pod;
use crate::lab::host::Host;
use crate::lab::segment::Link;
use crate::product::site::{ClusterSite, EdgeSite, SERVER_PORT};
use crate::traffic::drive;

/// A place that asks and is asked: a host and the addresses by which other members know it.
#[derive(Debug, Clone)]
pub struct Place {
    /// Where the client runs.
    pub host: Host,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
}

impl Place {
    /// A pod, or an app of an edge.
    pub fn pod(pod: &Pod) -> Self {
        Self::on(&pod.host, &pod.link)
    }

    /// An edge host itself.
    pub fn edge(edge: &EdgeSite) -> Self {
        Self::on(&edge.host, &edge.inside)
    }

    fn on(host: &Host, link: &Link) -> Self {
        Self { host: host.clone(), addresses: link.addresses() }
    }

    /// Where its server listens.
    pub fn sockets(&self) -> Vec<SocketAddr> {
        self.addresses.iter().map(|address| SocketAddr::new(*address, SERVER_PORT)).collect()
    }
}

/// Pods of a cluster, the one on the gateway first.
pub fn pods(site: &ClusterSite) -> [Place; 2] {
    [Place::pod(&site.near), Place::pod(&site.far)]
}

/// Asks a server once; answers the address that it saw.
///
/// # Errors
/// No answer, or the server saw another address than the client's own.
pub fn ask(from: &Place, server: SocketAddr) -> Result<IpAddr, String> {
    let what = format!("{} -> {server}", from.host.name());
    let answer = drive::http_get(&from.host, server).map_err(|error| format!("{what}: {error}"))?;
    if from.addresses.contains(&answer.peer) {
        return Ok(answer.peer);
    }
    Err(format!("{what}: {} saw {}, not {:?}", answer.server, answer.peer, from.addresses))
}
