//! The program itself: flags, environment, exit codes. It is never let near the host.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn agent(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealane-agent"));
    let variables = [
        "SEALANE_CONFIG",
        "SEALANE_NODE",
        "SEALANE_TOKEN_FILE",
        "SEALANE_SOCKET",
        "SEALANE_LOG",
        "SEALANE_LOG_FORMAT",
        "NOTIFY_SOCKET",
    ];
    for name in variables {
        command.env_remove(name);
    }
    command.args(arguments);
    command
}

fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

fn file(place: &Path, name: &str, text: &str) -> PathBuf {
    let path = place.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_sound_file_is_called_sound_and_nothing_is_touched() {
    let place = tempfile::tempdir().unwrap();
    let state = place.path().join("state");
    let text = format!("node = 'a'\n[paths]\nstate = '{0}'\nruntime = '{0}'\n", state.display());
    let path = file(place.path(), "agent.toml", &text);
    let path = path.to_str().unwrap();
    let (code, out, err) = run(&mut agent(&["--config", path, "--check"]));
    assert_eq!((code, out, err), (Some(0), format!("{path}: sound\n"), String::new()));
    assert!(!state.exists());
}

#[test]
fn a_wrong_file_is_exit_two_and_one_line_with_file_line_and_key() {
    let place = tempfile::tempdir().unwrap();
    let path = file(place.path(), "agent.toml", "node = 'a'\n[tunnel]\nmtu = 9\n");
    for check in [&["--check"][..], &[]] {
        let mut command = agent(&["--config", path.to_str().unwrap()]);
        let (code, out, err) = run(command.args(check));
        assert_eq!((code, out.as_str()), (Some(2), ""));
        let expected = format!(
            "sealane-agent: {}:3: tunnel.mtu: 9 is outside 1280 to 65535 (IPv6 needs 1280)\n",
            path.display()
        );
        assert_eq!(err, expected);
    }
    let missing = place.path().join("missing.toml");
    let (code, _, err) = run(&mut agent(&["--check", "--config", missing.to_str().unwrap()]));
    assert_eq!((code, err.lines().count()), (Some(2), 1), "{err}");
    assert!(err.contains("name another with --config"), "{err}");
}

#[test]
fn unknown_flags_and_log_levels_are_exit_two() {
    let (code, _, err) = run(&mut agent(&["--chekc"]));
    assert_eq!(code, Some(2));
    assert!(err.contains("--chekc") && err.contains("--check"), "{err}");
    let place = tempfile::tempdir().unwrap();
    let path = file(place.path(), "agent.toml", "node = 'a'\n");
    let flags = ["--config", path.to_str().unwrap(), "--log-level", "sealane_agent=loud"];
    let (code, _, err) = run(&mut agent(&flags));
    assert_eq!((code, err.lines().count()), (Some(2), 1), "{err}");
    assert!(err.contains("sealane_agent=loud"), "{err}");
}

#[test]
fn a_flag_wins_over_the_environment() {
    let place = tempfile::tempdir().unwrap();
    let sound = file(place.path(), "sound.toml", "node = 'a'\n");
    let wrong = file(place.path(), "wrong.toml", "nod = 'a'\n");
    let mut by_environment = agent(&["--check"]);
    let (code, _, err) = run(by_environment.env("SEALANE_CONFIG", &wrong));
    assert_eq!(code, Some(2), "{err}");
    let mut by_flag = agent(&["--check", "--config", sound.to_str().unwrap()]);
    let (code, out, err) = run(by_flag.env("SEALANE_CONFIG", &wrong));
    assert_eq!(code, Some(0), "{out}{err}");
    let mut named = agent(&["--check", "--config", sound.to_str().unwrap()]);
    let (code, _, err) = run(named.env("SEALANE_NODE", "Not A Node"));
    assert_eq!(code, Some(2));
    assert!(err.contains("\"Not A Node\""), "{err}");
    let mut over = agent(&["--check", "--node", "b", "--config", sound.to_str().unwrap()]);
    let (code, _, err) = run(over.env("SEALANE_NODE", "Not A Node"));
    assert_eq!(code, Some(0), "{err}");
}

#[test]
fn a_host_that_refuses_is_exit_one_with_one_line() {
    let place = tempfile::tempdir().unwrap();
    let blocked = file(place.path(), "blocked", "a file where a folder should be");
    let text = format!("node = 'a'\n[paths]\nstate = '{}/state'\n", blocked.display());
    let path = file(place.path(), "agent.toml", &text);
    let (code, _, err) = run(&mut agent(&["--config", path.to_str().unwrap()]));
    assert_eq!((code, err.lines().count()), (Some(1), 1), "{err}");
    assert!(err.contains("blocked/state"), "{err}");
}

#[test]
fn a_host_without_nft_is_told_what_to_install_and_keeps_no_socket() {
    let place = tempfile::tempdir().unwrap();
    let at = place.path().display();
    let text = format!(
        "node = 'a'\n[paths]\nstate = '{at}/state'\nruntime = '{at}/run'\n[metrics]\nlisten = 'off'\n"
    );
    let path = file(place.path(), "agent.toml", &text);
    let mut command = agent(&["--config", path.to_str().unwrap()]);
    let (code, _, err) = run(command.env("PATH", place.path()));
    assert_eq!((code, err.lines().count()), (Some(1), 1), "{err}");
    assert!(err.contains("nft not found; install the package nftables"), "{err}");
    assert!(!place.path().join("run/agent.sock").exists());
}

#[test]
fn help_shows_an_example_and_the_exit_codes() {
    let (code, out, _) = run(&mut agent(&["--help"]));
    assert_eq!(code, Some(0));
    assert!(out.contains("Example:\n  sealane-agent --config"), "{out}");
    assert!(out.contains("Exit codes: 0 "), "{out}");
    assert!(!out.contains("reload"), "settings are read once: {out}");
}
