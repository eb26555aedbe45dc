//! Owns the test that README.md is true: every command it shows is run, in its order and on hosts
//! that are as it says, with its own configuration files; a command that this test does not know
//! fails it. What starts builds, other tests or systemd is checked without being started.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command as Local;
use std::time::Duration;

use ipnetwork::IpNetwork;
use sealane_tests::lab::address::Family;
use sealane_tests::lab::cluster::{Cluster, ClusterSpec, Pod};
use sealane_tests::lab::host::Host;
use sealane_tests::lab::impair::nat::{Nat, Ports};
use sealane_tests::lab::segment::Segment;
use sealane_tests::lab::wait::eventually;
use sealane_tests::product::agent::{self, CONFIG};
use sealane_tests::product::ground::Ground;
use sealane_tests::traffic::drive;
use sealane_view::membership::NextIdentityDocument;
use serde_json::Value;
use tempfile::TempDir;

/// Where people type, on every host.
const DESK: &str = "/run/desk";
const START: Duration = Duration::from_secs(20);
/// What tells a command in the text from other words in code type.
const PROGRAMS: [&str; 5] = ["make", "sealane", "sealane-broker", "kubectl", "curl"];

#[test]
fn every_command_of_the_readme_does_what_it_says() {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let commands = commands(&text);
    let shown = commands.iter().filter(|command| command.starts_with("sealane")).count();
    assert!(shown >= 10, "README.md shows hardly a command: {commands:?}");
    let mut reader = Reader::new(&blocks(&text, "toml"));
    for command in &commands {
        reader.follow(command);
    }
    assert!(reader.knows_how_to_leave, "README.md does not say how to leave");
    reader.metrics_and_exit_codes_are(&text);
    at_desk(&reader.edge, "sealane leave");
    assert_eq!(agent::status(&reader.edge).unwrap().member, None);
    for command in &reader.at_the_end {
        reader.as_admin(command);
    }
}

/// A stranger with the machines that README.md speaks of.
struct Reader {
    ground: Ground,
    gateway: Host,
    worker: Host,
    edge: Host,
    pod: Pod,
    camera: Host,
    pin: String,
    knows_how_to_leave: bool,
    /// What only works when there is nothing left to show.
    at_the_end: Vec<String>,
    /// Stands for the machines that things are installed on; the lab's own `/run` is in memory.
    machines: TempDir,
}

impl Reader {
    fn new(files: &[String]) -> Self {
        let ground = Ground::new("readme", Family::Dual).unwrap();
        let mut cluster = Cluster::new(&ground.lab, cluster_a()).unwrap();
        let (gw, worker) = (cluster.node("gw").unwrap(), cluster.node("worker").unwrap());
        let uplink = ground.internet.attach(&gw.host, 11).unwrap();
        gw.host.default_via(&ground.isp).unwrap();
        worker.host.default_via(&gw.lan.addresses()).unwrap();
        Nat::hide(&gw.host, &uplink, Ports::Preserved).unwrap();
        let pod = cluster.pod(&worker, "pod").unwrap();

        let [edge, camera] = ["edge-1", "camera"].map(|name| ground.lab.host(name).unwrap());
        ground.internet.attach(&edge, 12).unwrap();
        edge.default_via(&ground.isp).unwrap();
        let lan = Segment::new(&ground.lab, "edge-lan", nets(&["192.168.7.0/24"])).unwrap();
        let inside = lan.attach(&edge, 1).unwrap();
        lan.attach(&camera, 20).unwrap();
        camera.default_via(&inside.addresses()).unwrap();

        let [edge_file, gateway_file] = files else { panic!("two files, not {files:?}") };
        let rest = gateway_file.strip_prefix("gateway = true\nnode = \"gw\"\n").unwrap();
        let worker_file = format!("node = \"worker\"\n{rest}");
        let (gateway, worker) = (gw.host, worker.host);
        for (host, file) in [(&edge, edge_file), (&gateway, gateway_file), (&worker, &worker_file)]
        {
            host.write_file(CONFIG, file).unwrap();
            host.run("sealane-agent --check").unwrap();
        }
        let pin = String::new();
        let (knows_how_to_leave, at_the_end) = (false, Vec::new());
        let machines = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let reader = Self {
            ground,
            gateway,
            worker,
            edge,
            pod,
            camera,
            pin,
            knows_how_to_leave,
            at_the_end,
            machines,
        };
        for host in [&reader.ground.admin, &reader.gateway, &reader.worker, &reader.edge] {
            let broker = reader.ground.broker_addresses[0];
            let known = format!("127.0.0.1 localhost\n{broker} broker.example.net\n");
            host.write_file("/etc/hosts", &known).unwrap();
            host.shell(&format!("mkdir -p {DESK}")).unwrap();
        }
        reader
    }

    /// Does what a command is for; fails where it does not work, or nobody knows what it is for.
    fn follow(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["make", "install", arguments @ ..] => self.install(arguments),
            ["make", "uninstall"] => self.uninstall(),
            ["make", arguments @ ..] => make(arguments),
            ["kubectl", "sealane"] => {
                let plugin = format!("{}/usr/local/bin/kubectl-sealane", self.machine(None));
                let help = self.gateway.run(&format!("{plugin} --help")).unwrap();
                assert!(help.contains("Usage: kubectl sealane"), "{help}");
            }
            ["mkdir", "-p", "/etc/sealane"] | ["echo", .., ">", "/etc/sealane/broker.env"] => {
                drop(self.ground.broker.shell(line).unwrap());
            }
            ["systemctl", "enable", "--now", "sealane-broker"] => self.try_broker_unit(),
            ["systemctl", "enable", "--now", "sealane-agent"] => self.start_agents(),
            // The agents that run here are no units.
            ["systemctl", "disable", "--now", "sealane-agent"] => {}
            ["sealane-broker", ..] => self.start_broker(line),
            ["sealane", "clusterset", "init", ..] => {
                self.as_admin(&line.replace("PIN", &self.pin));
            }
            ["sealane", "clusterset", "sign", ..] => self.pin_everybody(line),
            ["sealane", "token", "create", words @ ..] if words.contains(&"--rekey") => {
                self.at_the_end.push(line.to_owned());
            }
            ["sealane", "token", "create" | "renew", ..] => self.as_admin(line),
            ["sealane", "clusterset", "apply"] => {
                self.as_admin(&format!("{line} --dir clusterset --kubeconfig admin.kubeconfig"));
            }
            ["sealane", "join", "--token-file", "edge-1-renewed.token"] => self.renew(line),
            ["sealane", "join", "--token-file", "cluster-a.token"] => self.join(line),
            ["sealane", "identity", "show"] => {
                let identity = agent::status(&self.edge).unwrap().identity.unwrap();
                let told = at_desk(&self.edge, line);
                assert!(told.contains(&identity.fingerprint), "`{line}`: {told}");
            }
            ["sealane", "gateway", "rotate"] => {
                drop(at_desk(&self.gateway, line));
                agent::comes_to_reach(&self.gateway, &["edge-1"]).unwrap();
            }
            ["sealane", "gateway", "revoke", "NAME"] => {
                drop(at_desk(&self.gateway, &line.replace("NAME", "lost")));
            }
            ["sealane", "identity", "rotate"] => drop(self.next_identity()),
            ["sealane", "member", "update", "--add-identity"] => {
                let (key, list) = (self.next_identity(), "--dir clusterset --cluster edge-1");
                self.as_admin(&format!("{line} {key} {list} --kubeconfig admin.kubeconfig"));
            }
            ["sealane", "status" | "peers" | "routes"] if self.pin.is_empty() => {
                drop(self.gateway.run(&format!("{line} --help")).unwrap());
            }
            ["sealane", "status" | "peers" | "routes"] => {
                let told = at_desk(&self.gateway, line);
                assert!(told.contains("edge-1"), "`{line}`: {told}");
            }
            ["sealane", "trace"] => drop(self.gateway.run("sealane trace --help").unwrap()),
            ["sealane", "trace", from, to] => self.trace(line, from, to),
            ["sealane", "member", "remove", ..] => self.at_the_end.push(line.to_owned()),
            ["sealane", "ping", "edge-1", ..] => drop(at_desk(&self.gateway, line)),
            // The text speaks of it before it is time.
            ["sealane", "leave"] => self.knows_how_to_leave = true,
            ["curl", ..] => {
                let plan: Value = serde_json::from_str(&at_desk(&self.gateway, line)).unwrap();
                assert!(plan.is_object(), "{plan}");
            }
            _ => panic!("README.md shows `{line}`, which this test does not know how to run"),
        }
    }

    /// As the text says in passing.
    fn metrics_and_exit_codes_are(&self, text: &str) {
        let page = text.split('`').find(|it| it.ends_with("/metrics")).unwrap();
        let page = self.gateway.run(&format!("curl -sS http://{page}")).unwrap();
        assert!(page.contains("sealane_members{state=\"up\"} 1"), "{page}");
        let codes = |text: &str| -> Vec<u8> {
            let codes = text.split_once("Exit codes:").unwrap().1.split("\n\n").next().unwrap();
            codes.split_whitespace().filter_map(|word| word.parse().ok()).collect()
        };
        let help = self.gateway.run("sealane --help").unwrap();
        assert_eq!(codes(text), codes(&help), "{help}");
    }

    /// Not over this machine but below a folder of the lab; what is there then works.
    fn install(&self, arguments: &[&str]) {
        let given = |name: &str| arguments.iter().find_map(|it| it.strip_prefix(name));
        let prefix = given("PREFIX=").unwrap_or("/usr/local");
        let root = self.machine(given("DESTDIR="));
        self.make(&format!("install DESTDIR={root} PREFIX={prefix}"));
        let there = format!("{root}{prefix}");
        for program in ["sealane", "sealane-agent", "sealane-tunnel", "sealane-broker"] {
            self.gateway.run(&format!("{there}/bin/{program} --version")).unwrap();
        }
        let share = format!("{there}/share");
        self.gateway.run(&format!("bash -n {share}/bash-completion/completions/sealane")).unwrap();
        for page in ["sealane", "sealane-status", "sealane-token-create"] {
            let text = self.gateway.read_file(format!("{share}/man/man1/{page}.1")).unwrap();
            assert!(text.contains(".SH SYNOPSIS"), "{page}: {text}");
        }
        for unit in ["sealane-agent.service", "sealane-broker.service", "sealane-tunnel@.service"] {
            let text =
                self.gateway.read_file(format!("{there}/lib/systemd/system/{unit}")).unwrap();
            verify(unit, &text, prefix);
        }
        for file in [
            "systemd/system/sealane-tunnel@.path",
            "systemd/networkd.conf.d/50-sealane.conf",
            "systemd/network/05-sealane.network",
            "sysusers.d/sealane.conf",
            "tmpfiles.d/sealane.conf",
        ] {
            self.gateway.read_file(format!("{there}/lib/{file}")).unwrap();
        }
    }

    fn uninstall(&self) {
        let root = self.machine(None);
        self.make(&format!("uninstall DESTDIR={root}"));
        let left = self.gateway.shell(&format!("find {root} -not -type d")).unwrap();
        assert_eq!(left, "", "make uninstall left something");
    }

    /// The root of the machine that `make install` runs on, or of a folder that it fills.
    fn machine(&self, folder: Option<&str>) -> String {
        self.machines.path().join(folder.unwrap_or("machine")).display().to_string()
    }

    /// On the gateway, with the programs that the lab runs.
    fn make(&self, arguments: &str) {
        let root = root();
        let line = format!(
            "make -C {} BIN=$(dirname $(command -v sealane-agent)) {arguments}",
            root.display()
        );
        self.gateway.shell(&line).unwrap();
    }

    /// As systemd would start it, and stopped again: by hand is next.
    fn try_broker_unit(&self) {
        let unit = fs::read_to_string(root().join("systemd/sealane-broker.service")).unwrap();
        let file = unit.lines().find_map(|line| line.strip_prefix("EnvironmentFile=-")).unwrap();
        let script = format!("set -a; . {file}; exec sealane-broker");
        let broker = self.ground.broker.command("sh").args(["-ec", &script]).spawn().unwrap();
        broker.says("url   https://broker.example.net:6464", START).unwrap();
        broker.terminate(START).unwrap();
    }

    fn start_broker(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let broker = self.ground.broker.command(words.next().unwrap()).args(words);
        let broker = broker.spawn().unwrap();
        broker.says("try ", START).unwrap();
        let log = broker.log().unwrap();
        let pin = log.lines().find_map(|line| line.strip_prefix("pin ")).unwrap();
        pin.trim().clone_into(&mut self.pin);
        let kubeconfig = "/var/lib/sealane-broker/admin.kubeconfig";
        let kubeconfig = self.ground.broker.read_file(kubeconfig).unwrap();
        let there = format!("{DESK}/admin.kubeconfig");
        self.ground.admin.write_file(there, &kubeconfig).unwrap();
    }

    fn as_admin(&self, line: &str) {
        at_desk(&self.ground.admin, line);
    }

    fn hosts(&self) -> [(&Host, &'static str); 3] {
        [(&self.gateway, "cluster-a"), (&self.worker, "cluster-a"), (&self.edge, "edge-1")]
    }

    fn start_agents(&self) {
        for (host, _) in self.hosts() {
            agent::answers(&host.command("sealane-agent").spawn().unwrap()).unwrap();
        }
    }

    /// Each host with its own member's token.
    fn join(&self, line: &str) {
        for (host, member) in self.hosts() {
            let token = format!("{DESK}/{member}.token");
            host.write_file(token.as_str(), &self.ground.admin.read_file(token.as_str()).unwrap())
                .unwrap();
            at_desk(host, &line.replace("cluster-a", member));
        }
        for (host, member) in self.hosts() {
            let other = if member == "edge-1" { "cluster-a" } else { "edge-1" };
            agent::comes_to_reach(host, &[other]).unwrap();
        }
    }

    /// The key that the edge's identity is to have; the same each time until it is listed.
    fn next_identity(&self) -> String {
        agent::document::<NextIdentityDocument>(&self.edge, "identity rotate")
            .unwrap()
            .next_identity
    }

    /// The edge, which has joined, with a later token.
    fn renew(&self, line: &str) {
        let token = format!("{DESK}/edge-1-renewed.token");
        let text = self.ground.admin.read_file(token.as_str()).unwrap();
        self.edge.write_file(token.as_str(), &text).unwrap();
        let told = at_desk(&self.edge, line);
        assert!(told.contains("identity, keys and lanes stay"), "`{line}`: {told}");
    }

    /// At a terminal, which is where it asks.
    fn pin_everybody(&self, line: &str) {
        let terminal = format!("printf 'y\\ny\\n' | script -qec '{line}' /dev/null");
        let told = at_desk(&self.ground.admin, &terminal);
        for member in ["cluster-a", "edge-1"] {
            assert!(told.contains(&format!("{member} pinned to ")), "{told}");
        }
        eventually(START, "the edge knows that it is pinned", || {
            let identity = agent::status(&self.edge).unwrap().identity;
            if identity.as_ref().is_some_and(|it| it.pinned) {
                Ok(())
            } else {
                Err(format!("{identity:?}"))
            }
        })
        .unwrap();
    }

    /// The trace says that it arrives, and it does.
    fn trace(&self, line: &str, from: &str, to: &str) {
        let told = at_desk(&self.worker, line);
        let arrives = format!("{from} -> {to} is delivered at edge-1.edge-1 ");
        assert!(told.contains(&arrives), "`{line}`: {told}");
        assert!(told.ends_with("the answer comes back the same way\n"), "`{line}`: {told}");
        drive::http_server(&self.camera, 8080).unwrap();
        let server = SocketAddr::new(to.parse().unwrap(), 8080);
        let answer = drive::http_get(&self.pod.host, server).unwrap();
        assert_eq!((answer.peer.to_string().as_str(), answer.server.as_str()), (from, "camera"));
    }
}

/// As the second configuration file says; one pod is 10.1.2.10.
fn cluster_a() -> ClusterSpec {
    let spec = ClusterSpec::new("cluster-a", 1, Family::Dual).unwrap();
    let (lan, pods) = (nets(&["10.9.0.0/24"]), nets(&["10.1.0.0/16", "fd00:1::/48"]));
    ClusterSpec { lan, pods, services: Vec::new(), ..spec }
}

fn nets(texts: &[&str]) -> Vec<IpNetwork> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Types it; the passphrase is in the environment, as for people who have no terminal.
fn at_desk(host: &Host, line: &str) -> String {
    let shell = host.command("sh").args(["-ec", &format!("cd {DESK}; {line}")]);
    shell.env("SEALANE_PASSPHRASE", "correct horse").output().unwrap().success().unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The target is there; nothing is made.
fn make(arguments: &[&str]) {
    let made = Local::new("make").arg("-n").args(arguments).current_dir(root()).output().unwrap();
    assert!(
        made.status.success(),
        "make -n {arguments:?}: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    let made = String::from_utf8_lossy(&made.stdout);
    let line = match arguments {
        ["demo"] => "/demo ",
        ["demo", _] => "/demo --keep",
        ["demo-down"] => "/demo --down",
        ["test"] => "cargo test --locked --workspace",
        ["test-deep"] => "/fuzz --seconds",
        ["build"] => "cargo build --release --locked --workspace --bins",
        _ => ":",
    };
    assert!(format!("{made} ").replace('\n', " ").contains(line), "make {arguments:?}: {made}");
}

/// systemd takes the unit, with any program where the installed one is not on this machine.
fn verify(name: &str, text: &str, prefix: &str) {
    let program = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let program = program.split(' ').next().unwrap();
    let stem = name.split(['.', '@']).next().unwrap();
    assert_eq!(program, format!("{prefix}/bin/{stem}"), "{name}");
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join(name);
    fs::write(&copy, text.replace(&format!("={program}"), "=/bin/true")).unwrap();
    let Ok(told) = Local::new("systemd-analyze").args(["verify", "--man=no"]).arg(&copy).output()
    else {
        return; // Not a systemd machine.
    };
    let said = String::from_utf8_lossy(&told.stderr);
    let about_it = said.lines().filter(|line| line.contains(name));
    assert_eq!(about_it.collect::<Vec<_>>(), Vec::<&str>::new());
}

/// The commands of all shell blocks and of the text between, in order.
fn commands(text: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut fence = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), fence) {
            (Some(_), Some(_)) => fence = None,
            (Some(language), None) => fence = Some(language),
            (None, Some("sh")) => commands.push(line.to_owned()),
            (None, Some(_)) => {}
            (None, None) => {
                let spans = line.split('`').skip(1).step_by(2).filter(|span| {
                    let (program, rest) = span.split_once(' ').unwrap_or_default();
                    PROGRAMS.contains(&program) && !rest.is_empty()
                });
                commands.extend(spans.map(str::to_owned));
            }
        }
    }
    commands
}

/// The blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("\n```{language}\n");
    let parts = text.split(fence.as_str()).skip(1);
    parts.map(|part| format!("{}\n", part.split("\n```").next().unwrap())).collect()
}
