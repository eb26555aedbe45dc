//! Owns the members of a lab as networks: a cluster with a gateway and a worker, an edge host behind
//! NAT. Runs no program of ours on them.

use ipnetwork::IpNetwork;

use crate::lab::address::nft_family;
use crate::lab::cluster::{Cluster, ClusterSpec, Node, Pod};
use crate::lab::error::LabError;
use crate::lab::host::Host;
use crate::lab::impair::cut::Cut;
use crate::lab::impair::nat::{Nat, Ports};
use crate::lab::rules::Service;
use crate::lab::segment::{Link, Segment};
use crate::product::ground::{Ground, ranges};
use crate::product::settings::{Networks, NodeEntry, Settings};

/// Where the servers of pods and edges listen.
pub const SERVER_PORT: u16 = 8080;
/// The Service's port.
pub const SERVICE_PORT: u16 = 80;

/// A cluster: a gateway on the internet, a worker behind it, a pod on each, a Service before both.
#[derive(Debug)]
pub struct ClusterSite {
    /// Its name, also the member's.
    pub name: String,
    /// Nodes, pods, Services.
    pub cluster: Cluster,
    /// The node that carries lanes.
    pub gateway: Node,
    /// A node without.
    pub worker: Node,
    /// The pod on the gateway.
    pub near: Pod,
    /// The pod on the worker.
    pub far: Pod,
    /// TCP and UDP [`SERVICE_PORT`] to [`SERVER_PORT`] of either pod.
    pub web: Service,
    /// The nodes' network carries no packet between a pod and another member, as in most clouds:
    /// what reaches the worker's pods from there has come by the leg.
    pub fabric: Vec<Cut>,
}

/// An edge host behind a router that hides it, with a network of apps of its own.
#[derive(Debug)]
pub struct EdgeSite {
    /// The member's name.
    pub name: String,
    /// The host.
    pub host: Host,
    /// Its link to its apps; the addresses by which other members know the host.
    pub inside: Link,
    /// An app, as a container would be: a host of its own.
    pub app: Pod,
    /// The router.
    pub router: Host,
    /// What the router does.
    pub nat: Nat,
    networks: Vec<IpNetwork>,
}

impl ClusterSite {
    /// A cluster of the address plan of [`ClusterSpec::new`], the gateway at number 10 + `number`.
    ///
    /// # Errors
    /// Those of the lab.
    pub fn new(ground: &Ground, name: &str, number: u8) -> Result<Self, LabError> {
        let spec = ClusterSpec::new(name, number, ground.family)?;
        let mut cluster = Cluster::new(&ground.lab, spec)?;
        let (gateway, worker) = (cluster.node("gw")?, cluster.node("worker")?);
        let uplink = ground.internet.attach(&gateway.host, 10 + u16::from(number))?;
        gateway.host.default_via(&ground.isp)?;
        worker.host.default_via(&gateway.lan.addresses())?;
        // The worker fetches from the broker by the gateway, as by any office router.
        Nat::hide(&gateway.host, &uplink, Ports::Preserved)?;
        let near = cluster.pod(&gateway, "near")?;
        let far = cluster.pod(&worker, "far")?;
        let web = cluster.service(SERVICE_PORT, SERVER_PORT, &[&near, &far])?;
        let fabric = refuse_strangers(&cluster, [&gateway.host, &worker.host])?;
        Ok(Self { name: name.to_owned(), cluster, gateway, worker, near, far, web, fabric })
    }

    /// What it is to be granted.
    pub fn networks(&self) -> Vec<IpNetwork> {
        let spec = self.cluster.spec();
        [&spec.pods[..], &spec.services[..]].concat()
    }

    /// `agent.toml` of its gateway.
    pub fn gateway_settings(&self) -> Settings {
        Settings { gateway: true, ..self.worker_settings() }
    }

    /// `agent.toml` of its worker.
    pub fn worker_settings(&self) -> Settings {
        let spec = self.cluster.spec();
        let entry = |node: &Node, gateway| NodeEntry {
            name: node.host.name().to_owned(),
            addresses: node.lan.addresses(),
            pods: node.pod_subnets.clone(),
            gateway,
        };
        Settings {
            gateway: false,
            networks: Networks { pods: spec.pods.clone(), services: spec.services.clone() },
            nodes: vec![entry(&self.gateway, true), entry(&self.worker, false)],
        }
    }
}

impl EdgeSite {
    /// An edge whose apps are in 10.(60+N).0.0/24 and fd60:N::/64, its router at number 20 + `number`.
    ///
    /// # Errors
    /// Those of the lab.
    pub fn new(ground: &Ground, name: &str, number: u8) -> Result<Self, LabError> {
        let n = u16::from(number);
        let home = ranges(ground.family, ([192, 168, 100 + number, 0], 24), ([0xfd10, n, 0], 64))?;
        let networks = ranges(ground.family, ([10, 60 + number, 0, 0], 24), ([0xfd60, n, 0], 64))?;
        let lab = &ground.lab;
        let home = Segment::new(lab, &format!("{name}-home"), home)?;
        let apps = Segment::new(lab, &format!("{name}-apps"), networks.clone())?;
        let (router, host) = (lab.host(&format!("{name}-router"))?, lab.host(name)?);
        let lan = home.attach(&router, 1)?;
        let outside = ground.internet.attach(&router, 20 + n)?;
        home.attach(&host, 2)?;
        router.default_via(&ground.isp)?;
        host.default_via(&lan.addresses())?;
        let nat = Nat::hide(&router, &outside, Ports::Preserved)?;
        let inside = apps.attach(&host, 1)?;
        let app = lab.host(&format!("{name}-app"))?;
        let link = apps.attach(&app, 2)?;
        app.default_via(&inside.addresses())?;
        let app = Pod { host: app, link };
        Ok(Self { name: name.to_owned(), host, inside, app, router, nat, networks })
    }

    /// What it is to be granted.
    pub fn networks(&self) -> Vec<IpNetwork> {
        self.networks.clone()
    }

    /// Its `agent.toml`.
    pub fn settings(&self) -> Settings {
        let networks = Networks { pods: self.networks(), services: Vec::new() };
        Settings { gateway: true, networks, nodes: Vec::new() }
    }
}

fn refuse_strangers(cluster: &Cluster, [one, other]: [&Host; 2]) -> Result<Vec<Cut>, LabError> {
    let ways = [(one, other), (other, one)];
    let spec = cluster.spec();
    let ends = spec.pods.iter().zip(&spec.lan).flat_map(|(pods, lan)| {
        let ip = nft_family(pods.ip());
        let [to, from] = ["daddr", "saddr"].map(|end| format!("{ip} {end} != {{ {pods}, {lan} }}"));
        [format!("{ip} saddr {pods} {to}"), format!("{ip} daddr {pods} {from}")]
    });
    ends.map(|end| Cut::drop_matching(cluster.lan(), &ways, &end)).collect()
}
