//! Owns the test of an agent as systemd runs it: what it is told by its environment, and what it
//! tells systemd.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use sealane_tests::lab::address::Family;
use sealane_tests::lab::host::Host;
use sealane_tests::lab::process::Process;
use sealane_tests::lab::wait::eventually;
use sealane_tests::lab::wire::Exit;
use sealane_tests::product::agent::CONFIG;
use sealane_tests::product::ground::Ground;
use sealane_tests::product::settings::{Networks, Settings};
use sealane_tests::product::{admin, command};
use sealane_view::status::StatusDocument;
use serde_json::Value;

use crate::stage::shared;

const SOCKET: &str = "/run/elsewhere/agent.sock";
/// What a unit's `WatchdogSec=` allows.
const WATCHDOG: Duration = Duration::from_secs(2);
const END: Duration = Duration::from_secs(10);

#[test]
fn an_agent_joins_by_its_environment_and_tells_systemd_how_it_is() {
    let _machine = shared();
    let ground = Ground::new("unit", Family::Dual).unwrap();
    let host = ground.lab.host("edge").unwrap();
    ground.internet.attach(&host, 11).unwrap();
    let _broker = admin::found(&ground).unwrap();
    let networks = vec!["10.61.0.0/24".parse().unwrap()];
    admin::admit(&ground, "edge", &networks, &[&host]).unwrap();
    let networks = Networks { pods: networks, services: Vec::new() };
    let settings = Settings { gateway: true, networks, nodes: Vec::new() };
    host.write_file(
        CONFIG,
        &format!("{}\n[metrics]\nlisten = '127.0.0.1:9500'\n", settings.text()),
    )
    .unwrap();

    let systemd = Systemd::new();
    let agent = systemd.start(&host, "/etc/sealane/none.token");
    assert!(systemd.hears("READY=1").contains("not a member"));
    agent.says("not joined", END).unwrap();
    assert!(agent.log().unwrap().contains("/etc/sealane/none.token"));
    assert_eq!(status(&host).member, None);
    systemd.is_fed();
    agent.signal(Signal::SIGTERM).unwrap();
    systemd.hears("STOPPING=1");
    assert_eq!(agent.wait(END).unwrap(), Exit::Code(0));

    for _ in 0..2 {
        // The second time it is a member already, and asks for no second membership.
        let agent = systemd.start(&host, command::TOKEN);
        systemd.hears("READY=1");
        eventually(END, "it has joined", || match status(&host).member.as_deref() {
            Some("edge") => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .unwrap();
        let line = "STATUS=edge.edge: 0 of 0 members reached, 0 problems";
        systemd.hears(line);
        eventually(END, "the page is where the configuration says", || {
            let page = host.run("curl -sS http://127.0.0.1:9500/metrics").unwrap();
            if page.contains("sealane_clusterset_version 2") { Ok(()) } else { Err(page) }
        })
        .unwrap();
        agent.terminate(END).unwrap();
        let log = agent.log().unwrap();
        assert!(!log.contains("not joined") && !log.is_empty(), "{log}");
        for line in log.lines() {
            let told: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            assert!(told["level"].is_string() && told["timestamp"].is_string(), "{line}");
        }
        systemd.drain();
    }
}

fn status(host: &Host) -> StatusDocument {
    let words = ["status", "-o", "json", "--socket", SOCKET];
    let told = host.command("sealane").args(words).output().unwrap();
    serde_json::from_str(&told.stdout).unwrap_or_else(|error| panic!("{error}: {told:?}"))
}

/// The other end of what an agent notifies.
struct Systemd {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Systemd {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(END)).unwrap();
        Self { socket, folder }
    }

    fn start(&self, host: &Host, token: &str) -> Process {
        let agent = host.command("sealane-agent");
        let agent = agent.env("NOTIFY_SOCKET", self.folder.path().join("notify").display());
        let agent = agent.env("WATCHDOG_USEC", WATCHDOG.as_micros());
        let agent = agent.env("SEALANE_SOCKET", SOCKET).env("SEALANE_TOKEN_FILE", token);
        let agent = agent.env("SEALANE_LOG_FORMAT", "json").env("SEALANE_LOG", "debug");
        agent.spawn().unwrap()
    }

    fn next(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("nothing is told to systemd");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// Waits for a line; answers the whole notification.
    fn hears(&self, line: &str) -> String {
        let begin = Instant::now();
        loop {
            let told = self.next();
            if told.lines().any(|it| it == line) {
                return told;
            }
            assert!(begin.elapsed() < END, "{line} is not told; last: {told}");
        }
    }

    /// Signs of life come often enough for a unit that waits for them no longer than it allows.
    fn is_fed(&self) {
        self.hears("WATCHDOG=1");
        for _ in 0..3 {
            let begin = Instant::now();
            self.hears("WATCHDOG=1");
            assert!(begin.elapsed() < WATCHDOG, "{:?}", begin.elapsed());
        }
    }

    fn drain(&self) {
        self.socket.set_nonblocking(true).unwrap();
        while self.socket.recv(&mut [0; 4096]).is_ok() {}
        self.socket.set_nonblocking(false).unwrap();
    }
}
