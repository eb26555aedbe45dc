//! Owns the scene of the lies: three members on one internet, each a host with a network of its own,
//! joined and reaching each other; the broker; the administrator. Tells no lie.

use std::net::SocketAddr;
use std::time::Duration;

use ipnetwork::IpNetwork;
use sealane_api::kinds::AdvertisementSpec;
use sealane_api::token::Token;
use sealane_tests::lab::address::Family;
use sealane_tests::lab::host::Host;
use sealane_tests::lab::process::Outcome;
use sealane_tests::lab::segment::Segment;
use sealane_tests::product::broker::Broker;
use sealane_tests::product::ground::{Ground, ranges};
use sealane_tests::product::settings::{Networks, Settings};
use sealane_tests::product::{admin, agent, command};
use sealane_tests::traffic::drive::{self, Flow};
use sealane_tests::traffic::flow::Pace;
use serde_json::{Value, json};

/// Where the credential of the lying member is used.
pub(crate) const HER_KUBECONFIG: &str = "/etc/sealane/mallory.kubeconfig";

const ECHO_PORT: u16 = 9000;
const NAMES: [&str; 3] = ["alice", "bob", "mallory"];

/// A member: one host, which is its gateway, and the network behind it.
pub(crate) struct Member {
    pub(crate) host: Host,
    pub(crate) networks: Vec<IpNetwork>,
    address: SocketAddr,
}

/// Everybody.
pub(crate) struct Scene {
    pub(crate) alice: Member,
    pub(crate) bob: Member,
    pub(crate) mallory: Member,
    pub(crate) ground: Ground,
    _broker: Broker,
}

impl Scene {
    /// Three members that reach each other; echoes behind two of them.
    pub(crate) fn joined(name: &str, family: Family) -> Self {
        let ground = Ground::new(name, family).unwrap();
        let [alice, bob, mallory] = [1, 2, 3].map(|number| Member::new(&ground, number));
        let broker = admin::found(&ground).unwrap();
        let scene = Self { alice, bob, mallory, ground, _broker: broker };
        for member in scene.members() {
            member.join(&scene.ground);
        }
        for member in scene.members() {
            let own = member.host.name();
            let others: Vec<&str> = NAMES.into_iter().filter(|name| *name != own).collect();
            agent::comes_to_reach(&member.host, &others).unwrap();
        }
        for member in [&scene.bob, &scene.mallory] {
            drive::udp_echo(&member.host, ECHO_PORT).unwrap();
        }
        scene
    }

    fn members(&self) -> [&Member; 3] {
        [&self.alice, &self.bob, &self.mallory]
    }

    /// A thousand packets a second from alice, running when this returns.
    pub(crate) fn flow_to(&self, member: &Member) -> Flow {
        let (span, linger) = (Duration::from_secs(60), Duration::from_secs(1));
        let pace = Pace { rate: 1000, span, size: 100, linger };
        let flow = Flow::start(&self.alice.host, member.address, pace).unwrap();
        flow.flows().unwrap();
        flow
    }

    /// Gives the administrator's machine the credential out of mallory's token.
    pub(crate) fn steal_credential(&self) {
        let admin = &self.ground.admin;
        let token = Token::decode(&admin.read_file(command::token_file("mallory")).unwrap());
        let credential = token.unwrap().credential;
        let whole = admin.read_file(command::KUBECONFIG).unwrap();
        let hers = whole.lines().map(|line| match line.split_once("token: ") {
            Some((indent, _)) => format!("{indent}token: {}\n", credential.as_str()),
            None => format!("{line}\n"),
        });
        admin.write_file(HER_KUBECONFIG, &hers.collect::<String>()).unwrap();
    }

    /// Runs `kubectl` against the broker as whoever the kubeconfig is of.
    pub(crate) fn kubectl(&self, kubeconfig: &str, arguments: &str, input: &str) -> Outcome {
        let kubectl = self.ground.admin.command("kubectl").args(["--kubeconfig", kubeconfig]);
        kubectl.args(arguments.split_whitespace()).stdin(input).output().unwrap()
    }

    /// Writes an advertisement, whoever held it before.
    pub(crate) fn write(&self, kubeconfig: &str, name: &str, spec: &AdvertisementSpec) -> Outcome {
        let object = json!({
            "apiVersion": "sealane.dev/v1alpha1",
            "kind": "Advertisement",
            "metadata": { "name": name },
            "spec": spec,
        });
        let apply = "apply --server-side --force-conflicts --field-manager=mallory -f -";
        self.kubectl(kubeconfig, apply, &object.to_string())
    }

    /// The advertisement that the broker has.
    pub(crate) fn read(&self, name: &str) -> AdvertisementSpec {
        let get = format!("get advertisement {name} -o json");
        let text = self.kubectl(command::KUBECONFIG, &get, "").success().unwrap();
        let mut object: Value = serde_json::from_str(&text).unwrap();
        serde_json::from_value(object["spec"].take()).unwrap()
    }
}

impl Member {
    fn new(ground: &Ground, number: u8) -> Self {
        let name = NAMES[usize::from(number) - 1];
        let n = u16::from(number);
        let behind = ([10, 60 + number, 0, 0], 24);
        let networks = ranges(ground.family, behind, ([0xfd60, n, 0], 64)).unwrap();
        let host = ground.lab.host(name).unwrap();
        ground.internet.attach(&host, 10 + n).unwrap();
        host.default_via(&ground.isp).unwrap();
        let apps = format!("{name}-apps");
        let apps = Segment::new(&ground.lab, &apps, networks.clone()).unwrap();
        let inside = apps.attach(&host, 1).unwrap().addresses()[0];
        Self { host, networks, address: SocketAddr::new(inside, ECHO_PORT) }
    }

    fn join(&self, ground: &Ground) {
        admin::admit(ground, self.host.name(), &self.networks, &[&self.host]).unwrap();
        let networks = Networks { pods: self.networks.clone(), services: Vec::new() };
        let settings = Settings { gateway: true, networks, nodes: Vec::new() };
        agent::start(&self.host, &settings).unwrap();
        self.host.run(command::JOIN).unwrap();
    }
}
