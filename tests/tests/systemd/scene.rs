//! Owns the scene: a machine that systemd boots, with broker and agent as units, and a second member
//! that is no machine but a host of the lab.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnetwork::IpNetwork;
use sealane_tests::booted::Booted;
use sealane_tests::lab::address::Family;
use sealane_tests::lab::host::Host;
use sealane_tests::lab::process::Process;
use sealane_tests::lab::wait::eventually;
use sealane_tests::product::ground::Ground;
use sealane_tests::product::settings::{Networks, Settings};
use sealane_tests::product::{admin, agent, command};
use sealane_tests::traffic::drive::{self, Flow};
use sealane_tests::traffic::flow::Pace;
use sealane_view::status::{MemberState, StatusDocument};

/// A deadline for what takes a second on an idle machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// What carries the lanes where the kernel has no WireGuard.
pub(crate) const TUNNEL: &str = "sealane-tunnel@sealane0.service";
pub(crate) const AGENT: &str = "sealane-agent.service";
pub(crate) const BROKER: &str = "sealane-broker.service";

const HERE: [&str; 2] = ["10.61.0.0/24", "fd00:61::/48"];
const THERE: [&str; 2] = ["10.62.0.0/24", "fd00:62::/48"];
const ECHO: u16 = 9000;

/// Packets are counted: one scene at a time.
static MACHINE: Mutex<()> = Mutex::new(());

/// Two members.
pub(crate) struct Scene {
    pub(crate) machine: Booted,
    /// The network that the machine is in.
    pub(crate) here: Host,
    /// The other member.
    pub(crate) there: Host,
    _agent: Process,
    _echo: Process,
    _ground: Ground,
    _alone: MutexGuard<'static, ()>,
}

impl Scene {
    /// Both have joined and reach each other.
    pub(crate) fn joined(name: &str) -> Self {
        let alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
        let ground = Ground::new(name, Family::Dual).unwrap();
        let [here, there] = ["here", "there"].map(|host| ground.lab.host(host).unwrap());
        let address = ground.internet.attach(&here, 11).unwrap().addresses()[0];
        ground.internet.attach(&there, 12).unwrap();
        here.ip(&["address add 10.61.0.1/32 dev lo", "address add fd00:61::1/128 dev lo"]).unwrap();
        there
            .ip(&["address add 10.62.0.1/32 dev lo", "address add fd00:62::1/128 dev lo"])
            .unwrap();

        let machine = Booted::start(&here).unwrap();
        found(&ground, &machine, &address.to_string());
        admin::admit(&ground, "here", &networks(HERE), &[]).unwrap();
        admin::admit(&ground, "there", &networks(THERE), &[&there]).unwrap();

        let text = format!("{}\n[tunnel]\nbackend = 'userspace'\n", settings(HERE).text());
        machine.write_file(agent::CONFIG, &text).unwrap();
        let token = ground.admin.read_file(command::token_file("here")).unwrap();
        machine.write_file(command::TOKEN, &token).unwrap();
        machine.run("systemctl start sealane-agent").unwrap();
        machine.run(command::JOIN).unwrap();
        let process = agent::start(&there, &settings(THERE)).unwrap();
        there.run(command::JOIN).unwrap();
        let echo = drive::udp_echo(&here, ECHO).unwrap();
        let scene = Self {
            machine,
            here,
            there,
            _agent: process,
            _echo: echo,
            _ground: ground,
            _alone: alone,
        };
        scene.await_lane();
        scene
    }

    /// Waits until each says that it reaches the other.
    pub(crate) fn await_lane(&self) {
        agent::comes_to_reach(&self.there, &["here"]).unwrap();
        eventually(SOON, "the machine reaches the other member", || self.reaches()).unwrap();
    }

    fn reaches(&self) -> Result<(), String> {
        let status = self.machine.document::<StatusDocument>("status");
        let status = status.map_err(|error| error.to_string())?;
        let up = status.members.iter().any(|member| member.state == MemberState::Up);
        if up { Ok(()) } else { Err(format!("{status:?}; {}", self.machine.journal(AGENT))) }
    }

    /// A flow between the members until it is stopped; runs when this returns.
    pub(crate) fn flow(&self) -> Flow {
        let to = SocketAddr::new("10.61.0.1".parse().unwrap(), ECHO);
        let pace = Pace {
            rate: 1000,
            span: Duration::from_secs(300),
            size: 100,
            linger: Duration::from_secs(1),
        };
        let flow = Flow::start(&self.there, to, pace).unwrap();
        flow.flows().unwrap();
        flow
    }

    /// Waits until packets come back.
    pub(crate) fn packets_flow(&self) {
        let report = self.flow().stop().unwrap();
        assert!(report.received > 0, "{report:?}");
    }

    /// The main process of a unit, as the machine counts.
    pub(crate) fn pid(&self, unit: &str) -> u32 {
        self.machine.property(unit, "MainPID").unwrap().parse().unwrap()
    }

    /// Waits until a unit has another main process than `before`, and systemd was told that it works.
    pub(crate) fn comes_anew(&self, unit: &str, before: u32) {
        eventually(SOON, format!("{unit} is started anew"), || {
            let state = self.machine.property(unit, "ActiveState").map_err(|e| e.to_string())?;
            match self.pid(unit) {
                pid if pid != 0 && pid != before && state == "active" => Ok(()),
                pid => Err(format!("{state}, process {pid}; {}", self.machine.journal(unit))),
            }
        })
        .unwrap();
    }
}

/// Starts the broker's unit and makes the clusterset.
fn found(ground: &Ground, machine: &Booted, address: &str) {
    machine
        .write_file("/etc/sealane/broker.env", &format!("SEALANE_BROKER_HOST={address}"))
        .unwrap();
    machine.run("systemctl start sealane-broker").unwrap();
    let said = machine.journal(BROKER);
    let told = |key: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap_or_else(|| panic!("no {key:?} in {said}")).trim().to_owned()
    };
    let kubeconfig = machine.run("cat /var/lib/sealane-broker/admin.kubeconfig").unwrap();
    ground.admin.write_file(command::KUBECONFIG, &kubeconfig).unwrap();
    ground.admin.run(&command::init(&told("url "), &told("pin "))).unwrap();
}

fn settings(ranges: [&str; 2]) -> Settings {
    let networks = Networks { pods: networks(ranges), services: Vec::new() };
    Settings { gateway: true, networks, nodes: Vec::new() }
}

fn networks(ranges: [&str; 2]) -> Vec<IpNetwork> {
    ranges.map(|range| range.parse().unwrap()).to_vec()
}
