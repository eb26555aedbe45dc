//! Owns the question whether anything that a program says or shows holds a secret. Knows where
//! members keep theirs.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use sealane_api::token::Token;
use sealane_tests::lab::host::Host;
use sealane_tests::product::command;
use sealane_tests::product::page;

use crate::stage::Stage;

/// Fewer key files mean that this looks in the wrong place.
const FILES: usize = 3;

/// What a host shows of itself to whoever may ask.
const SHOWN: [&str; 7] = [
    "cat /proc/[0-9]*/cmdline | tr '\\0' '\\n'",
    "sealane status -o json || true",
    "sealane peers -o json || true",
    "sealane routes -o json || true",
    "curl -sS --unix-socket /run/sealane/agent.sock http://agent/v1/plan",
    "curl -sS --unix-socket /run/sealane/agent.sock http://agent/v1/world",
    "sealane identity show",
];

/// Looks for the secrets of every member in what every host has logged and shows.
#[track_caller]
pub(crate) fn are_kept(stage: &Stage) {
    let hosts: Vec<Host> = stage.hosts().into_iter().map(|(host, ..)| host).collect();
    let secrets: Vec<(String, String)> = hosts.iter().flat_map(of).collect();
    assert!(secrets.iter().all(|(name, secret)| secret.len() >= 20 || panic!("{name}")));
    let told: Vec<(String, String)> = hosts.iter().flat_map(told_by).collect();
    let others = [&stage.ground.broker, &stage.ground.admin];
    let logged = others.into_iter().flat_map(logs);
    for (place, text) in told.into_iter().chain(logged) {
        for (name, secret) in &secrets {
            assert!(!text.contains(secret.as_str()), "{place} holds {name}");
        }
    }
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

fn told_by(host: &Host) -> Vec<(String, String)> {
    let shown = SHOWN.into_iter().map(str::to_owned).chain([format!("curl -sS {}", page::URL)]);
    let shown = shown.map(|script| {
        let text = host.shell(&script).unwrap_or_else(|error| error.to_string());
        assert!(!text.is_empty(), "{}: `{script}` shows nothing", host.name());
        (format!("{}: `{script}`", host.name()), text)
    });
    shown.chain(logs(host)).collect()
}

fn logs(host: &Host) -> Vec<(String, String)> {
    let files = fs::read_dir(host.logs()).unwrap().map(|entry| entry.unwrap().path());
    files.map(|file| (file.display().to_string(), fs::read_to_string(&file).unwrap())).collect()
}
