//! Owns the tests of what people read when something is wrong: one line that says what, where and
//! what to do next, and an exit code that `--help` documents. Every documented code is provoked.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::time::Duration;

use sealane_tests::lab::address::Family;
use sealane_tests::lab::host::Host;
use sealane_tests::lab::process::{Outcome, Process};
use sealane_tests::lab::wait::eventually;
use sealane_tests::lab::wire::Exit;
use sealane_tests::lab::world::Lab;
use sealane_tests::product::agent::{self, CONFIG};
use sealane_tests::product::ground::Ground;
use sealane_tests::product::settings::Settings;
use sealane_tests::product::{admin, command};

const END: Duration = Duration::from_secs(10);

#[test]
fn the_agent_names_file_line_and_key_or_what_the_host_lacks() {
    let lab = Lab::new("agent-errors").unwrap();
    let host = lab.host("edge").unwrap();
    let mut agent = Program::of(&host, "sealane-agent");
    for (text, named) in [
        ("gatewy = true\n", ["/etc/sealane/agent.toml:1", "gatewy"]),
        ("[networks]\npods = ['10.1.0.1/16']\n", [":2: networks.pods", "did you mean 10.1.0.0/16"]),
        ("\n[networks]\nexternal = ['10.1']\n", [":3: networks.external", "such as 10.1.0.0/16"]),
        ("[tunnel]\nlisten_port = 0\n", [":2: tunnel.listen_port", "51820"]),
        ("gateway = maybe\n", ["/etc/sealane/agent.toml:1", "gateway"]),
    ] {
        host.write_file(CONFIG, text).unwrap();
        agent.ends(2, "--check", &named);
        agent.ends(2, "", &named);
    }
    agent.ends(2, "--config /none.toml", &["/none.toml", "--config"]);
    host.write_file(CONFIG, "gateway = true\n").unwrap();
    agent.ends(0, "--check", &[]);

    host.write_file("/run/elsewhere.toml", "[paths]\nstate = '/proc/sealane'\n").unwrap();
    agent.ends(1, "--config /run/elsewhere.toml", &["/proc/sealane", "paths.state"]);
    let first = agent::start(&host, &Settings { gateway: true, ..Settings::default() }).unwrap();
    agent.ends(1, "", &["/var/lib/sealane", "another sealane-agent", "stop that one first"]);
    assert!(first.is_running().unwrap());
    agent.stops(&first);
    agent.has_shown_every_code();
}

#[test]
fn an_agent_without_nft_says_which_package_to_install() {
    let lab = Lab::new("no-nft").unwrap();
    let host = lab.host("edge").unwrap();
    host.write_file(CONFIG, "gateway = true\n").unwrap();
    let path = host.shell("command -v sealane-agent").unwrap();
    let told = host.command("env").args(["PATH=/nowhere", path.trim()]).output().unwrap();
    assert_eq!(told.exit, Some(Exit::Code(1)), "{}", told.stderr);
    assert!(told.stderr.contains("install the package nftables"), "{}", told.stderr);
}

#[test]
fn state_that_cannot_be_kept_or_read_is_named_and_left_alone() {
    let ground = Ground::new("bad-key", Family::V4).unwrap();
    let host = ground.lab.host("edge").unwrap();
    ground.internet.attach(&host, 11).unwrap();
    let broker = admin::found(&ground).unwrap();
    admin::admit(&ground, "edge", &["10.61.0.0/24".parse().unwrap()], &[&host]).unwrap();
    let mut sealane = Program::of(&host, "sealane");
    let mut agent = Program::of(&host, "sealane-agent");

    host.shell("mkdir /run/ro && mount -t tmpfs -o ro none /run/ro").unwrap();
    host.write_file("/run/readonly.toml", "gateway = true\n[paths]\nstate = '/run/ro'\n").unwrap();
    let start = host.command("sealane-agent").args(["--config", "/run/readonly.toml"]);
    let readonly = start.spawn().unwrap();
    agent::answers(&readonly).unwrap();
    sealane.ends(1, join(), &["/run/ro/", "Read-only", "paths.state"]);
    agent.stops(&readonly);

    let settings = Settings { gateway: true, ..Settings::default() };
    let first = agent::start(&host, &settings).unwrap();
    host.run(command::JOIN).unwrap();
    agent.stops(&first);
    host.write_file("/var/lib/sealane/tunnel.key", "short").unwrap();
    agent.ends(1, "", &["/var/lib/sealane/tunnel.key", "32 bytes", "restore it"]);
    assert_eq!(host.read_file("/var/lib/sealane/tunnel.key").unwrap(), "short");

    let mut sealane = Program::of(&ground.admin, "sealane");
    let root = format!("{}/root.key", command::CLUSTERSET);
    ground.admin.write_file(root.as_str(), "{}").unwrap();
    let sign = format!("clusterset sign --dir {}", command::CLUSTERSET);
    sealane.ends(5, &sign, &[&root, "from your copy"]);
    drop(broker);
}

#[test]
fn the_command_line_says_what_is_wrong_with_input_agent_or_broker() {
    let ground = Ground::new("wrong-input", Family::Dual).unwrap();
    let edge = ground.lab.host("edge").unwrap();
    ground.internet.attach(&edge, 11).unwrap();
    let broker = admin::found(&ground).unwrap();
    let networks = ["10.61.0.0/24".parse().unwrap()];
    admin::admit(&ground, "edge", &networks, &[&edge]).unwrap();
    ground.admin.run(&command::token("other", &["10.62.0.0/24".parse().unwrap()])).unwrap();

    let mut sealane = Program::of(&edge, "sealane");
    sealane.ends(3, "status", &["/run/sealane/agent.sock", "sealane-agent"]);
    agent::start(&edge, &Settings { gateway: true, ..Settings::default() }).unwrap();
    sealane.ends(3, "status --socket /run/none.sock", &["/run/none.sock"]);
    bent_tokens(&edge, &mut sealane);
    sealane.ends(1, "leave", &["in no clusterset"]);
    let mut admins = Program::of(&ground.admin, "sealane");
    wrong_grants(&mut admins);

    broker.process.kill().unwrap();
    let away = command::token("late", &["10.9.0.0/16".parse().unwrap()]);
    let away = away.strip_prefix("sealane ").unwrap();
    admins.ends(4, away, &["203.0.113.5", "check that it runs"]);
    // Joining needs no broker; that there is none is in the status, with the reason.
    edge.run(command::JOIN).unwrap();
    eventually(END, "the status names the broker that is away", || {
        let told = edge.command("sealane").arg("status").output().unwrap();
        let words = ["203.0.113.5", "away for", "Connection refused", "lanes go on"];
        let named = words.iter().all(|word| told.stdout.contains(word));
        if named && told.exit == Some(Exit::Code(1)) { Ok(()) } else { Err(told.stdout) }
    })
    .unwrap();
    admin::carry(&ground, &command::token_file("other"), &[&edge]).unwrap();
    sealane.ends(1, join(), &["edge", "is for other", "sealane leave"]);
    sealane.ends(4, "leave", &["--without-broker"]);
    sealane.ends(0, "leave --without-broker", &[]);
    assert_eq!(agent::status(&edge).unwrap().member, None);
    sealane.shown.append(&mut admins.shown);
    sealane.has_shown_every_code();
}

/// The arguments of joining.
fn join() -> &'static str {
    command::JOIN.strip_prefix("sealane ").unwrap()
}

fn bent_tokens(edge: &Host, sealane: &mut Program) {
    let token = edge.read_file(command::TOKEN).unwrap();
    let (body, sum) = token.trim().rsplit_once('.').unwrap();
    let flipped = if sum.starts_with('0') { '1' } else { '0' };
    edge.write_file("/run/cut.token", &token[..token.len() - 2]).unwrap();
    edge.write_file("/run/bent.token", &format!("{body}.{flipped}{}", &sum[1..])).unwrap();
    edge.write_file("/run/odd.token", "hello\n").unwrap();
    for (file, named) in [
        ("/run/none.token", &["/run/none.token"][..]),
        ("/run/cut.token", &["TokenDamaged", "copy the token again"]),
        ("/run/bent.token", &["TokenDamaged", "checksum", "copy the token again"]),
        ("/run/odd.token", &["TokenDamaged", "slj1"]),
    ] {
        sealane.ends(5, &format!("join --token-file {file}"), named);
    }
}

fn wrong_grants(sealane: &mut Program) {
    let dir = command::CLUSTERSET;
    let create = format!("token create --dir {dir}");
    for (exit, line, named) in [
        (
            2,
            format!("{create} --cluster x --cidr 10.1.2.3/16"),
            &["10.1.2.3/16", "host bits zero"][..],
        ),
        (2, format!("{create} --cluster X_ --cidr 10.9.0.0/16"), &["X_", "1 to 63 of a-z"]),
        (5, format!("{create} --cluster x --cidr 10.61.0.0/25"), &["10.61.0.0/25", "edge"]),
        (5, format!("{create} --cluster edge --cidr 10.9.0.0/16"), &["edge", "--rekey"]),
        (5, "member list --dir /none".to_owned(), &["/none", "clusterset init"]),
        (
            5,
            format!("{create} --cluster y --cidr 10.9.0.0/16 --kubeconfig /none"),
            &["/none", "name a working kubeconfig"],
        ),
    ] {
        sealane.ends(exit, &line, named);
    }
}

#[test]
fn the_broker_says_which_setting_directory_or_address_it_cannot_use() {
    let lab = Lab::new("broker-errors").unwrap();
    let host = lab.host("broker").unwrap();
    let mut broker = Program::of(&host, "sealane-broker");
    broker.ends(2, "--listen nonsense", &["--listen", "nonsense"]);
    broker.ends(2, "--namespace Not_One", &["Not_One", "--namespace"]);
    broker.ends(3, "--data-dir /proc/broker", &["/proc/broker", "--data-dir"]);
    broker.ends(4, "--listen 192.0.2.1:6464", &["192.0.2.1:6464", "--listen"]);
    let first = host.command("sealane-broker").spawn().unwrap();
    first.says("try ", END).unwrap();
    broker.ends(3, "", &["/var/lib/sealane-broker: another sealane-broker", "stop that one"]);
    broker.ends(4, "--data-dir /var/lib/second", &["[::]:6464", "--listen"]);
    broker.stops(&first);
    // Nothing on a working system provokes code 1.
    broker.shown.insert(1);
    broker.has_shown_every_code();
}

#[test]
fn the_tunnel_says_which_link_or_socket_it_cannot_have() {
    let lab = Lab::new("tunnel-errors").unwrap();
    let host = lab.host("edge").unwrap();
    let mut tunnel = Program::of(&host, "sealane-tunnel");
    tunnel.ends(2, "a-name-longer-than-links-have", &["a-name-longer-than-links-have"]);
    tunnel.ends(2, "wg0 --mtu 100", &["--mtu", "100"]);
    tunnel.ends(0, "wg0", &[]);
    tunnel.ends(1, "wg0", &["/run/wireguard/wg0.sock", "stop that one first"]);
    tunnel.ends(1, "wg0 --foreground", &["/run/wireguard/wg0.sock", "stop that one first"]);
    host.run("ip link add taken type bridge").unwrap();
    tunnel.ends(1, "taken", &["link taken exists already", "choose another name"]);
    tunnel.has_shown_every_code();
}

/// A program on a host, and what it has shown of itself.
struct Program {
    host: Host,
    name: &'static str,
    shown: BTreeSet<u8>,
}

impl Program {
    fn of(host: &Host, name: &'static str) -> Self {
        Self { host: host.clone(), name, shown: BTreeSet::new() }
    }

    /// Runs it to its end with words of a command line. A failure is one line on standard error
    /// that names all of that.
    #[track_caller]
    fn ends(&mut self, exit: u8, arguments: &str, named: &[&str]) {
        let command = self.host.command(self.name).args(arguments.split_whitespace());
        let outcome = command.timeout(END).output().unwrap();
        assert_eq!(outcome.exit, Some(Exit::Code(exit.into())), "{}", told(&outcome));
        self.shown.insert(exit);
        let said = error_line(&outcome, exit);
        for name in named {
            assert!(said.contains(name), "{name:?} is not in: {}", told(&outcome));
        }
    }

    /// Ends a running one by SIGTERM.
    #[track_caller]
    fn stops(&mut self, process: &Process) {
        assert_eq!(process.terminate(END).unwrap(), Exit::Code(0), "{}", process.log().unwrap());
        self.shown.insert(0);
    }

    /// Every exit code that its help documents was provoked, and no other.
    #[track_caller]
    fn has_shown_every_code(&self) {
        let help = self.host.run(&format!("{} --help", self.name)).unwrap();
        let codes = help.split_once("Exit codes:").unwrap().1;
        let codes = codes.split("\n\n").next().unwrap().split_whitespace();
        let documented: BTreeSet<u8> = codes.filter_map(|word| word.parse().ok()).collect();
        assert_eq!(self.shown, documented, "{help}");
    }
}

/// The one line of a failure. What clap says of wrong flags is one line of its own form, with a
/// hint below.
#[track_caller]
fn error_line(outcome: &Outcome, exit: u8) -> &str {
    let said = outcome.stderr.trim_end();
    assert!(!said.contains("slj1.e"), "a token is in: {said}");
    if exit == 0 {
        return said;
    }
    let first = said.lines().next().unwrap_or_default();
    let is_one_line = said == first || exit == 2 && first.starts_with("error: ");
    assert!(is_one_line && !first.is_empty(), "not one line: {}", told(outcome));
    first
}

fn told(outcome: &Outcome) -> String {
    let Outcome { command, exit, stdout, stderr, .. } = outcome;
    format!("`{command}` ended with {exit:?}\nstandard error: {stderr}\nstandard output: {stdout}")
}
