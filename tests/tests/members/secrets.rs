//! Owns the question whether anything that a program says, shows or leaves behind holds a secret. Knows
//! where members, broker and administrator keep theirs.

use std::fs;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use nix::sys::signal::Signal;
use sealane_api::token::Token;
use sealane_tests::lab::host::Host;
use sealane_tests::lab::process::Process;
use sealane_tests::lab::wait::eventually;
use sealane_tests::lab::world::Lab;
use sealane_tests::product::agent;
use sealane_tests::product::command;
use sealane_tests::product::page;
use serde_json::Value;

use crate::stage::{Stage, shared};

/// Fewer key files mean that this looks in the wrong place.
const FILES: usize = 3;

/// Prints the key of the broker's certificate authority.
const CA_KEY: &str = "cat /var/lib/sealane-broker/*.key";

/// What a host shows of itself to whoever may ask.
const SHOWN: [&str; 13] = [
    "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' || true",
    "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' || true",
    "sealane status || true",
    "sealane status -o json || true",
    "sealane status -o yaml || true",
    "sealane peers -o json || true",
    "sealane routes -o json || true",
    "sealane ping edge -c 1 -o json 2>&1 || true",
    "sealane trace 10.61.0.2 -o json 2>&1 || sealane trace fd60:1::2 -o json 2>&1 || true",
    "sealane token inspect --token-file /etc/sealane/token",
    "curl -fsS --unix-socket /run/sealane/agent.sock http://agent/v1/plan",
    "curl -fsS --unix-socket /run/sealane/agent.sock http://agent/v1/world",
    "sealane identity show 2>&1 || true",
];

/// Looks for the secrets of every member in what every host has logged and shows.
#[track_caller]
pub(crate) fn are_kept(stage: &Stage) {
    let hosts: Vec<Host> = stage.hosts().into_iter().map(|(host, ..)| host).collect();
    let secrets = hosts.iter().flat_map(of);
    let secrets: Vec<(String, String)> = secrets.chain(of_owners(stage)).collect();
    assert!(secrets.iter().all(|(name, secret)| secret.len() >= 20 || panic!("{name}")));
    // What is told is searched indeed: a program that tells a secret is found.
    let (_, credential) =
        secrets.iter().find(|(name, _)| name.starts_with("its credential")).unwrap();
    let teller = hosts[0].command("sleep").args(["60"]).env("LEAK", credential).spawn().unwrap();
    let found = leak(&told_by(&hosts[0]), &secrets);
    assert!(found.as_ref().is_some_and(|leak| leak.contains("environ")), "{found:?}");
    teller.kill().unwrap();
    let told: Vec<(String, String)> = hosts.iter().flat_map(told_by).collect();
    let others = [&stage.ground.broker, &stage.ground.admin];
    let logged = others.into_iter().flat_map(logs);
    let told: Vec<_> = told.into_iter().chain(logged).collect();
    assert_eq!(leak(&told, &secrets), None);
}

/// What holds which secret; nothing where all are kept.
fn leak(told: &[(String, String)], secrets: &[(String, String)]) -> Option<String> {
    told.iter().find_map(|(place, text)| {
        let (name, _) = secrets.iter().find(|(_, secret)| text.contains(secret.as_str()))?;
        Some(format!("{place} holds {name}"))
    })
}

fn of(host: &Host) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut add = |name: String, bytes: &[u8]| {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let list: Vec<String> = bytes.iter().map(ToString::to_string).collect();
        let forms = [
            STANDARD_NO_PAD.encode(bytes),
            URL_SAFE_NO_PAD.encode(bytes),
            hex,
            // As derived `Debug` shows an array.
            list.join(", "),
        ];
        found.extend(forms.map(|form| (format!("{name} of {}", host.name()), form)));
    };
    let files = host.shell("ls /var/lib/sealane/*.key 2>/dev/null || true").unwrap();
    let mut keys = 0;
    for file in files.lines() {
        let text = host.run(&format!("base64 -w0 {file}")).unwrap();
        add(file.to_owned(), &STANDARD.decode(text.trim()).unwrap());
        keys += 1;
    }
    let is_gateway = !host.find("sealane-tunnel").unwrap().is_empty();
    assert!(keys >= if is_gateway { FILES } else { 0 }, "{}: {files}", host.name());
    if is_gateway {
        let told =
            host.shell("wg show sealane0 private-key; wg show sealane0 preshared-keys").unwrap();
        for key in told.lines().filter_map(|line| line.split_whitespace().last()) {
            add("a key of sealane0".to_owned(), &STANDARD.decode(key).unwrap());
        }
    }
    let text = host.read_file(command::TOKEN).unwrap();
    let token = Token::decode(&text).unwrap();
    add("its join key".to_owned(), token.join.unwrap().expose());
    found.push(("its credential".to_owned(), token.credential.to_string()));
    found.push(("its token".to_owned(), text.trim().to_owned()));
    found
}

/// Those of the administrator and of the broker.
fn of_owners(stage: &Stage) -> Vec<(String, String)> {
    let (admin, broker) = (&stage.ground.admin, &stage.ground.broker);
    let root = admin.read_file(format!("{}/root.key", command::CLUSTERSET)).unwrap();
    let root: Value = serde_json::from_str(&root).unwrap();
    let kubeconfig = admin.read_file(command::KUBECONFIG).unwrap();
    let token = kubeconfig.lines().find_map(|line| line.trim().strip_prefix("token: ")).unwrap();
    let authority = broker.shell(CA_KEY).unwrap();
    let mut found = vec![
        ("the root key".to_owned(), root["seed"].as_str().unwrap().to_owned()),
        ("the administrator's credential".to_owned(), token.trim().to_owned()),
    ];
    for (name, text) in [
        ("the recovery key", admin.read_file(command::RECOVERY).unwrap()),
        ("the certificate authority's key", authority),
    ] {
        let lines = text.lines().map(str::trim).filter(|line| line.len() >= 20);
        let lines = lines.filter(|line| !line.starts_with(['#', '-']));
        let before = found.len();
        found.extend(lines.map(|line| (name.to_owned(), line.to_owned())));
        assert!(found.len() > before, "{name}: {}", text.len());
    }
    found
}

fn told_by(host: &Host) -> Vec<(String, String)> {
    let shown = SHOWN.into_iter().map(str::to_owned).chain([format!("curl -fsS {}", page::URL)]);
    let shown = shown.map(|script| {
        let text = host.shell(&script).unwrap_or_else(|error| panic!("{}: {error}", host.name()));
        assert!(!text.is_empty(), "{}: `{script}` shows nothing", host.name());
        (format!("{}: `{script}`", host.name()), text)
    });
    shown.chain(logs(host)).collect()
}

fn logs(host: &Host) -> Vec<(String, String)> {
    let files = fs::read_dir(host.logs()).unwrap().map(|entry| entry.unwrap().path());
    files.map(|file| (file.display().to_string(), fs::read_to_string(&file).unwrap())).collect()
}

/// How long a program may take to start, and to die.
const SOON: Duration = Duration::from_secs(10);
/// Where dumps would go: `core` is what the kernel calls them here unless a program takes them.
const DUMPS: &str = "/run/dumps";

/// A program that is allowed to leave a dump, started by a shell that tells whether it did.
struct Dumpable {
    shell: Process,
    program: &'static str,
}

impl Dumpable {
    fn start(host: &Host, program: &'static str, arguments: &str, ready: &str) -> Self {
        let script = format!(
            "mkdir -p {DUMPS}; cd {DUMPS}; ulimit -c unlimited; {program} {arguments}; echo over"
        );
        let shell = host.command("sh").args(["-c", &script]).spawn().unwrap();
        let begun = Self { shell, program };
        eventually(SOON, format!("{program} runs"), || {
            let log = begun.shell.log().map_err(|error| error.to_string())?;
            let runs = !host.find(program).map_err(|error| error.to_string())?.is_empty();
            if runs && log.contains(ready) { Ok(()) } else { Err(log) }
        })
        .unwrap();
        begun
    }

    /// Has it abort; says whether it left a dump.
    fn is_dumped(&self) -> bool {
        let host = self.shell.host();
        for pid in host.find(self.program).unwrap() {
            host.signal(pid, Signal::SIGABRT).unwrap();
        }
        self.shell.says("over", SOON).unwrap();
        let log = self.shell.log().unwrap();
        assert!(log.contains("Aborted"), "{}: {log}", self.program);
        log.contains("core dumped") || !host.run(&format!("ls {DUMPS}")).unwrap().is_empty()
    }
}

#[test]
fn a_program_that_holds_keys_leaves_no_core_dump() {
    let _machine = shared();
    let lab = Lab::new("dumps").unwrap();
    let host = lab.host("edge").unwrap();
    host.write_file(agent::CONFIG, "gateway = true\n").unwrap();
    for (program, arguments, ready) in [
        ("sealane-agent", "", ""),
        ("sealane-tunnel", "--foreground wg0", ""),
        ("sealane-broker", "--data-dir /run/broker", "try "),
    ] {
        let begun = Dumpable::start(&host, program, arguments, ready);
        if program == "sealane-agent" {
            eventually(SOON, "the agent answers", || agent::status(&host)).unwrap();
        }
        assert!(!begun.is_dumped(), "{program} left a dump");
    }
    // What keeps nothing secret does: the others' silence is their own.
    assert!(Dumpable::start(&host, "sleep", "60", "").is_dumped(), "nothing leaves dumps here");
}
