//! Owns who plays in the demo: the networks and every program that runs in them.

use std::collections::BTreeMap;

use crate::lab::address::Family;
use crate::lab::error::LabError;
use crate::lab::host::Host;
use crate::lab::process::Process;
use crate::product::broker::Broker;
use crate::product::ground::Ground;
use crate::product::reach::{self, Place};
use crate::product::settings::Settings;
use crate::product::site::{ClusterSite, EdgeSite, SERVER_PORT};
use crate::traffic::drive;

/// Where UDP is echoed, on every place.
pub const ECHO_PORT: u16 = 9000;
/// Where TCP is swallowed, on every place.
pub const SINK_PORT: u16 = 5001;

/// The members' networks.
#[derive(Debug)]
pub struct Cast {
    /// Broker and administrator.
    pub ground: Ground,
    /// A cluster.
    pub berlin: ClusterSite,
    /// Another.
    pub tokyo: ClusterSite,
    /// An edge host behind NAT.
    pub edge: EdgeSite,
}

/// The programs that a member's life is about.
#[derive(Debug)]
pub struct Programs {
    /// The broker.
    pub broker: Broker,
    /// Agents by host.
    pub agents: BTreeMap<String, Process>,
}

impl Cast {
    /// Builds all networks; starts the servers that pods run.
    ///
    /// # Errors
    /// Those of the lab.
    pub fn new() -> Result<Self, LabError> {
        let ground = Ground::new("demo", Family::Dual)?;
        let berlin = ClusterSite::new(&ground, "berlin", 1)?;
        let tokyo = ClusterSite::new(&ground, "tokyo", 2)?;
        let edge = EdgeSite::new(&ground, "edge", 1)?;
        let cast = Self { ground, berlin, tokyo, edge };
        for place in cast.places() {
            drive::http_server(&place.host, SERVER_PORT)?;
            drive::udp_echo(&place.host, ECHO_PORT)?;
            drive::tcp_sink(&place.host, SINK_PORT)?;
        }
        Ok(cast)
    }

    /// Every place that asks or is asked.
    pub fn places(&self) -> Vec<Place> {
        let mut places = Vec::from(reach::pods(&self.berlin));
        places.extend(reach::pods(&self.tokyo));
        places.extend([Place::edge(&self.edge), Place::pod(&self.edge.app)]);
        places
    }

    /// Hosts with an agent, their settings, and the member each belongs to.
    pub fn hosts(&self) -> Vec<(Host, Settings, &'static str)> {
        let mut hosts = Vec::new();
        for (site, member) in [(&self.berlin, "berlin"), (&self.tokyo, "tokyo")] {
            hosts.push((site.gateway.host.clone(), site.gateway_settings(), member));
            hosts.push((site.worker.host.clone(), site.worker_settings(), member));
        }
        hosts.push((self.edge.host.clone(), self.edge.settings(), "edge"));
        hosts
    }
}
