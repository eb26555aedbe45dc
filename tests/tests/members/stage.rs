//! Owns the scene that tests of members begin with: members that have joined and reach each other.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use sealane_tests::lab::address::Family;
use sealane_tests::lab::host::Host;
use sealane_tests::lab::process::{Command, Process};
use sealane_tests::lab::wait::until;
use sealane_tests::product::broker::Broker;
use sealane_tests::product::ground::Ground;
use sealane_tests::product::reach::{self, Place};
use sealane_tests::product::settings::Settings;
use sealane_tests::product::site::{ClusterSite, EdgeSite, SERVER_PORT};
use sealane_tests::product::{admin, agent, command};
use sealane_tests::traffic::drive::{self, Flow};
use sealane_tests::traffic::flow::Pace;

/// Where UDP is echoed in every pod and app.
pub(crate) const ECHO_PORT: u16 = 9000;

/// Packets a second of the flow that must not be hurt.
pub(crate) const RATE: u32 = 10_000;

/// Long enough to see that packets flow.
pub(crate) const BRIEF: Duration = Duration::from_millis(500);

/// Longer than any test: a flow that is stopped by it.
pub(crate) const ENDLESS: Duration = Duration::from_secs(300);

/// Prints our table: its sets, then its chains, by name, since the kernel lists them as they came.
pub(crate) const TABLE: &str = "nft -s list table inet sealane | sed '1d;$d' | tr '\\n' '\\r' | \
                                sed 's/\\r\\r/\\n/g; s/\\r$//' | sort | tr '\\r' '\\n'";

/// Tests that count packets have the machine for themselves; the others share it.
static MACHINE: RwLock<()> = RwLock::new(());

/// Shares the machine with other tests.
pub(crate) fn shared() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

/// Has the machine for this test alone.
pub(crate) fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}

/// A cluster and an edge host behind NAT; more where a test asks.
pub(crate) struct Stage {
    pub(crate) broker: Broker,
    pub(crate) agents: BTreeMap<String, Process>,
    pub(crate) berlin: ClusterSite,
    pub(crate) tokyo: Option<ClusterSite>,
    pub(crate) edge: EdgeSite,
    pub(crate) ground: Ground,
    /// Behind the edge, once there is a flow.
    echo: OnceCell<Process>,
}

impl Stage {
    /// Networks, broker and clusterset; nobody has joined.
    pub(crate) fn bare(name: &str, family: Family) -> Self {
        let ground = Ground::new(name, family).unwrap();
        let berlin = ClusterSite::new(&ground, "berlin", 1).unwrap();
        let edge = EdgeSite::new(&ground, "edge", 1).unwrap();
        let broker = admin::found(&ground).unwrap();
        Self {
            broker,
            agents: BTreeMap::new(),
            berlin,
            tokyo: None,
            edge,
            ground,
            echo: OnceCell::new(),
        }
    }

    /// Cluster and edge, joined and reaching each other.
    pub(crate) fn joined(name: &str, family: Family) -> Self {
        let mut stage = Self::bare(name, family);
        stage.start_agents();
        stage.join_berlin();
        stage.join_edge();
        stage.await_lanes();
        stage
    }

    /// Two clusters and the edge, joined and reaching each other.
    pub(crate) fn all_joined(name: &str, family: Family) -> Self {
        let mut stage = Self::bare(name, family);
        stage.tokyo = Some(ClusterSite::new(&stage.ground, "tokyo", 2).unwrap());
        stage.start_agents();
        stage.join_berlin();
        stage.join_edge();
        stage.join(stage.tokyo.as_ref().unwrap());
        stage.await_lanes();
        stage
    }

    /// Starts every agent; none is a member yet.
    pub(crate) fn start_agents(&mut self) {
        for (host, settings, _) in self.hosts() {
            let process = agent::start(&host, &settings).unwrap();
            self.agents.insert(host.name().to_owned(), process);
        }
    }

    /// Starts every agent by a command that the test completes.
    pub(crate) fn start_agents_by(&mut self, complete: impl Fn(&Host, Command) -> Command) {
        for (host, settings, _) in self.hosts() {
            host.write_file(agent::CONFIG, &settings.text()).unwrap();
            let process = complete(&host, host.command("sealane-agent")).spawn().unwrap();
            agent::answers(&process).unwrap();
            self.agents.insert(host.name().to_owned(), process);
        }
    }

    /// Starts every agent with a log that leaves nothing out.
    pub(crate) fn start_talkative_agents(&mut self) {
        let words = ["--log-format", "json", "--log-level", "trace"];
        self.start_agents_by(|_, agent| agent.args(words));
    }

    /// Makes the cluster a member.
    pub(crate) fn join_berlin(&self) {
        self.join(&self.berlin);
    }

    /// Makes the edge a member.
    pub(crate) fn join_edge(&self) {
        self.admit_edge();
        self.edge.host.run(command::JOIN).unwrap();
    }

    /// Makes the edge's token and carries it there.
    pub(crate) fn admit_edge(&self) {
        admin::admit(&self.ground, "edge", &self.edge.networks(), &[&self.edge.host]).unwrap();
    }

    /// Makes a cluster a member.
    pub(crate) fn join(&self, site: &ClusterSite) {
        let hosts = [&site.gateway.host, &site.worker.host];
        admin::admit(&self.ground, &site.name, &site.networks(), &hosts).unwrap();
        for host in hosts {
            host.run(command::JOIN).unwrap();
        }
    }

    /// Waits until every host reaches every other member.
    pub(crate) fn await_lanes(&self) {
        for (host, _, member) in self.hosts() {
            agent::comes_to_reach(&host, &self.others(member)).unwrap();
        }
    }

    /// Waits until a gateway's disk has where its lanes work, so that the next start is first to call.
    pub(crate) fn endpoints_are_saved(&self, host: &Host) {
        let is_gateway = !host.find("sealane-tunnel").unwrap().is_empty();
        until(Duration::from_secs(15), "where lanes work is on the disk", || {
            let known = host.read_file("/var/lib/sealane/endpoints.json");
            !is_gateway || known.is_ok_and(|known| known.contains(':'))
        })
        .unwrap();
    }

    /// The members other than `own`.
    pub(crate) fn others(&self, own: &str) -> Vec<&'static str> {
        let tokyo = self.tokyo.as_ref().map(|_| "tokyo");
        let all = ["berlin", "edge"].into_iter().chain(tokyo);
        all.filter(|member| *member != own).collect()
    }

    /// The agent on a host.
    pub(crate) fn agent(&mut self, host: &Host) -> &mut Process {
        self.agents.get_mut(host.name()).unwrap()
    }

    /// Hosts with an agent, their settings, their member.
    pub(crate) fn hosts(&self) -> Vec<(Host, Settings, &'static str)> {
        let mut hosts = Vec::new();
        let clusters = [(Some(&self.berlin), "berlin"), (self.tokyo.as_ref(), "tokyo")];
        for (site, member) in clusters {
            let Some(site) = site else { continue };
            hosts.push((site.gateway.host.clone(), site.gateway_settings(), member));
            hosts.push((site.worker.host.clone(), site.worker_settings(), member));
        }
        hosts.push((self.edge.host.clone(), self.edge.settings(), "edge"));
        hosts
    }

    /// Pods, apps and the edge itself, with an HTTP server on each.
    pub(crate) fn places(&self) -> Vec<Place> {
        let sites = [Some(&self.berlin), self.tokyo.as_ref()];
        let mut places: Vec<Place> = sites.into_iter().flatten().flat_map(reach::pods).collect();
        places.extend([Place::edge(&self.edge), Place::pod(&self.edge.app)]);
        places
    }

    /// Starts the servers of all places.
    pub(crate) fn serve(&self) {
        for place in self.places() {
            drive::http_server(&place.host, SERVER_PORT).unwrap();
        }
    }

    /// Flows from the pod behind the worker to the app behind the edge, one by each family, until
    /// they are stopped; they run when this returns. They share the rate.
    pub(crate) fn flows(&self, rate: u32) -> Vec<Flow> {
        let addresses = self.edge.app.link.addresses();
        let rate = rate / u32::try_from(addresses.len()).unwrap();
        let flows = addresses.into_iter().map(|to| self.flow_by(to, rate, ENDLESS));
        let flows: Vec<Flow> = flows.collect();
        flows.iter().for_each(|flow| flow.flows().unwrap());
        flows
    }

    /// Sends for a short while by each family; every packet comes back.
    #[track_caller]
    pub(crate) fn loses_nothing(&self) {
        self.is_whole().unwrap();
    }

    /// Sends for a short while by each family, and says what was lost.
    pub(crate) fn is_whole(&self) -> Result<(), String> {
        self.edge.app.link.addresses().into_iter().try_for_each(|to| {
            let flow = self.flow_by(to, 1000, BRIEF);
            flow.flows().map_err(|error| error.to_string())?;
            let report = flow.finish().map_err(|error| error.to_string())?;
            if report.lost == 0 { Ok(()) } else { Err(format!("{to}: {report:?}")) }
        })
    }

    /// A flow from the pod behind the worker to the app behind the edge, by the first family; runs
    /// when this returns.
    pub(crate) fn flow(&self, rate: u32, span: Duration) -> Flow {
        let flow = self.flow_to_come(rate, span);
        flow.flows().unwrap();
        flow
    }

    /// The same, whether packets come back or not.
    pub(crate) fn flow_to_come(&self, rate: u32, span: Duration) -> Flow {
        self.flow_by(self.edge.app.link.addresses()[0], rate, span)
    }

    /// A flow to an address of the app behind the edge, whether packets come back or not.
    pub(crate) fn flow_by(&self, to: IpAddr, rate: u32, span: Duration) -> Flow {
        self.echo.get_or_init(|| drive::udp_echo(&self.edge.app.host, ECHO_PORT).unwrap());
        let linger = Duration::from_secs(1);
        let pace = Pace { rate, span, size: 100, linger };
        Flow::start(&self.berlin.far.host, SocketAddr::new(to, ECHO_PORT), pace).unwrap()
    }
}
