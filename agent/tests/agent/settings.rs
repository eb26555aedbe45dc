//! Where settings come from, and what is said of wrong ones.

use std::path::PathBuf;

use sealane_agent::config::{Config, ConfigError, Overrides, Supervision, load};

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("agent.toml");
    std::fs::write(&path, text).unwrap();
    (place, path)
}

#[test]
fn what_flags_say_wins_over_the_file_and_the_file_over_the_host() {
    let text = "node = 'from-file'\ntoken_file = '/file/token'\n[paths]\nsocket = '/file/sock'\n";
    let (_place, path) = file(text);
    let plain = load(&path, Overrides::default(), "from-host").unwrap();
    assert_eq!(plain.node, "from-file");
    assert_eq!(plain.token_file, Some("/file/token".into()));
    assert_eq!(plain.paths.socket, PathBuf::from("/file/sock"));

    let overrides = Overrides {
        node: Some("from-flag".to_owned()),
        token_file: Some("/flag/token".into()),
        socket: Some("/flag/sock".into()),
        supervision: Supervision::Agent,
    };
    let over = load(&path, overrides, "from-host").unwrap();
    assert_eq!(over.node, "from-flag");
    assert_eq!(over.token_file, Some("/flag/token".into()));
    assert_eq!(over.paths.socket, PathBuf::from("/flag/sock"));

    let (_place, empty) = file("");
    assert_eq!(load(&empty, Overrides::default(), "from-host").unwrap().node, "from-host");
}

#[test]
fn the_example_has_every_key_and_says_its_default() {
    let example = include_str!("../../agent.toml.example");
    let is_setting = |line: &str| {
        line.split_once(" = ")
            .is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
    };
    let all: Vec<&str> = example
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|it| is_setting(it)).unwrap_or(line))
        .collect();
    let (_place, path) = file(&all.join("\n"));
    let all_set = load(&path, Overrides::default(), "host").unwrap();
    let (_place, path) = file(example);
    let as_it_is = load(&path, Overrides::default(), "host").unwrap();
    assert_eq!(all_set.metrics, as_it_is.metrics);
    assert_eq!(all_set.tunnel.backend, as_it_is.tunnel.backend);
    assert_eq!(all_set.tunnel.listen_port, as_it_is.tunnel.listen_port);
    assert_eq!(all_set.tunnel.supervision, as_it_is.tunnel.supervision);
    let paths = |config: &Config| {
        (config.paths.state.clone(), config.paths.runtime.clone(), config.paths.socket.clone())
    };
    assert_eq!(paths(&all_set), paths(&as_it_is));

    let shape = include_str!("../../src/config_file.rs");
    let structs = shape.split("struct File").skip(1).map(|it| it.split_once('}').unwrap().0);
    let keys = structs
        .flat_map(|it| it.lines().skip(1))
        .filter_map(|line| line.trim().trim_start_matches("pub(crate) ").split_once(": "));
    for (key, _) in keys {
        let is_there = |line: &&str| {
            line.starts_with(&format!("{key} = ")) || line.trim_matches(['[', ']']) == key
        };
        assert!(all.iter().any(is_there), "{key} is not in agent.toml.example");
    }
}

#[test]
fn a_file_that_is_not_there_is_named_with_the_way_out() {
    let path = PathBuf::from("/nonexistent/agent.toml");
    let error = load(&path, Overrides::default(), "host").unwrap_err();
    assert!(matches!(error, ConfigError::Unreadable { .. }));
    let told = error.to_string();
    assert!(told.starts_with("/nonexistent/agent.toml: "), "{told}");
    assert!(told.ends_with("name another with --config"), "{told}");
}

#[test]
fn a_host_or_flag_without_a_usable_node_name_says_where_to_set_one() {
    let (_place, path) = file("");
    for name in ["", "Upper", "under_score", "-a", "a..b"] {
        let error = load(&path, Overrides::default(), name).unwrap_err().to_string();
        assert!(error.contains(&format!("{name:?}")) && error.contains("set `node`"), "{error}");
    }
    let overrides = Overrides { node: Some("Upper".to_owned()), ..Overrides::default() };
    assert!(load(&path, overrides, "host").is_err());
}

#[test]
fn a_host_that_is_none_of_the_listed_nodes_is_told() {
    let nodes = "[networks]\npods = ['10.1.0.0/16']\n\
                 [[nodes]]\nname = 'gw'\naddresses = ['192.0.2.1']\npods = ['10.1.1.0/24']\n";
    let (_place, path) = file(nodes);
    let error = load(&path, Overrides::default(), "other").unwrap_err().to_string();
    assert!(error.contains("node \"other\" is none of [[nodes]]"), "{error}");
    load(&path, Overrides::default(), "gw").unwrap();
}

#[test]
fn the_file_says_who_starts_tunnels_before_the_unit_does() {
    let unit = || Overrides { supervision: Supervision::Systemd, ..Overrides::default() };
    let started_by = |text: &str, overrides| {
        let (_place, path) = file(text);
        load(&path, overrides, "host").unwrap().tunnel.supervision
    };
    assert_eq!(started_by("", Overrides::default()), Supervision::Agent);
    assert_eq!(started_by("", unit()), Supervision::Systemd);
    let external = "[tunnel]\nsupervision = 'external'";
    assert_eq!(started_by(external, unit()), Supervision::External);
    let systemd = "[tunnel]\nsupervision = 'systemd'";
    assert_eq!(started_by(systemd, Overrides::default()), Supervision::Systemd);
}
