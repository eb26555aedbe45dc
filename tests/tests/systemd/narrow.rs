//! Owns the test of what the units may do: users, capabilities, modes, and systemd's own judgement.

use std::ops::RangeInclusive;

use sealane_tests::booted::Booted;

use crate::scene::{AGENT, BROKER, Scene, TUNNEL};

/// CAP_NET_ADMIN, as in `/proc/PID/status`.
const NET_ADMIN: &str = "0000000000001000";
/// Users that systemd makes for a unit with `DynamicUser=`.
const DYNAMIC: RangeInclusive<u32> = 61184..=65519;
const NONE: &str = "0000000000000000";

#[test]
fn the_units_run_with_no_more_than_they_need() {
    let scene = Scene::joined("unit-narrow");
    let machine = &scene.machine;
    let own: u32 = machine.run("id -u sealane").unwrap().trim().parse().unwrap();
    for (unit, users, capabilities, exposure) in [
        (AGENT, own..=own, NET_ADMIN, 20),
        (TUNNEL, own..=own, NET_ADMIN, 20),
        (BROKER, DYNAMIC, NONE, 15),
    ] {
        assert_eq!(machine.property(unit, "ActiveState").unwrap(), "active", "{unit}");
        assert_eq!(machine.property(unit, "Type").unwrap(), "notify", "{unit}");
        let pid = scene.pid(unit);
        let status = machine.run(&format!("cat /proc/{pid}/status")).unwrap();
        for set in ["CapEff", "CapPrm", "CapBnd"] {
            assert_eq!(field(&status, set), capabilities, "{unit}: {set}");
        }
        assert_eq!(field(&status, "NoNewPrivs"), "1", "{unit}");
        assert_eq!(field(&status, "Seccomp"), "2", "{unit}");
        let uid = field(&status, "Uid").split_whitespace().next().unwrap().parse().unwrap();
        assert!(users.contains(&uid), "{unit}: user {uid}");
        let name = unit.split_once('@').map_or(unit, |_| "sealane-tunnel@.service");
        let judge = "systemd-analyze security --no-pager --offline=yes";
        let judge = format!("{judge} --threshold={exposure} /usr/lib/systemd/system/{name}");
        machine.run(&judge).unwrap_or_else(|error| panic!("{unit}: {error}"));
    }
    files_are_nobody_elses(machine);
    what_faces_the_internet_sees_no_key(&scene);
    // Said on the way here: nothing that systemd or a seccomp filter refused.
    for unit in [AGENT, TUNNEL, BROKER] {
        let said = machine.journal(unit).to_lowercase();
        assert!(!said.contains("not permitted") && !said.contains("denied"), "{unit}: {said}");
    }
}

fn files_are_nobody_elses(machine: &Booted) {
    for (path, wanted) in [
        ("/etc/sealane", "750 root sealane"),
        ("/run/wireguard", "1775 root sealane"),
        ("/run/wireguard/sealane0.sock", "600 sealane sealane"),
        ("/run/sealane/agent.sock", "600 sealane sealane"),
        ("/var/lib/sealane", "700 sealane sealane"),
        ("/var/lib/sealane/identity.key", "600 sealane sealane"),
    ] {
        let there = machine.run(&format!("stat -L -c '%a %U %G' {path}")).unwrap();
        assert_eq!(there.trim(), wanted, "{path}");
    }
    let open = "find /var/lib/sealane /var/lib/sealane-broker/ -type f -perm /077 ! -name '*.crt'";
    assert_eq!(machine.run(open).unwrap(), "");
}

/// Agent and tunnel are one user; what keeps them apart is what they see.
fn what_faces_the_internet_sees_no_key(scene: &Scene) {
    let look = |unit: &str, file: &str| {
        scene.machine.run(&format!("nsenter --target {} --mount stat {file}", scene.pid(unit)))
    };
    for file in ["/var/lib/sealane/identity.key", "/etc/sealane/token", "/run/sealane/agent.sock"] {
        look(AGENT, file).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(look(TUNNEL, file).is_err(), "the tunnel sees {file}");
    }
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim()
}
