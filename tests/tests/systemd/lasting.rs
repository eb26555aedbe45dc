//! Owns the tests of what outlives what: the tunnel its agent, the lanes both, and rules and routes
//! systemd-networkd; and of what stays when the host leaves, which is nothing.

use sealane_tests::lab::wait::eventually;

use crate::scene::{AGENT, SOON, Scene, TUNNEL};

#[test]
fn an_agent_that_restarts_or_hangs_costs_no_packet_and_its_tunnel_does_not_notice() {
    let scene = Scene::joined("unit-restart");
    let link = || scene.here.run("ip -o link show sealane0").unwrap();
    let (tunnel, before) = (scene.pid(TUNNEL), link());
    let flow = scene.flow();

    let agent = scene.pid(AGENT);
    scene.machine.run("systemctl restart sealane-agent").unwrap();
    assert_ne!(scene.pid(AGENT), agent);
    scene.await_lane();

    // As the unit, but that nobody has to wait half a minute.
    let folder = "/run/systemd/system/sealane-agent.service.d";
    scene.machine.run(&format!("mkdir -p {folder}")).unwrap();
    scene.machine.write_file(&format!("{folder}/soon.conf"), "[Service]\nWatchdogSec=2").unwrap();
    assert_eq!(scene.machine.property(AGENT, "WatchdogUSec").unwrap(), "30s");
    scene.machine.run("systemctl daemon-reload && systemctl restart sealane-agent").unwrap();
    let hung = scene.pid(AGENT);
    scene.machine.run(&format!("kill -s STOP {hung}")).unwrap();
    scene.comes_anew(AGENT, hung);
    assert!(scene.machine.journal(AGENT).contains("watchdog"), "{}", scene.machine.journal(AGENT));
    scene.await_lane();

    let report = flow.stop().unwrap();
    assert_eq!(report.lost, 0, "{report:?}");
    assert_eq!((scene.pid(TUNNEL), link()), (tunnel, before));
    let inside = scene.machine.run(&format!("cat /proc/{tunnel}/cgroup")).unwrap();
    assert!(inside.contains(TUNNEL) && !inside.contains(AGENT), "{inside}");
}

#[test]
fn a_tunnel_that_dies_hangs_or_loses_its_link_is_started_anew_and_filled_by_the_agent() {
    let scene = Scene::joined("unit-tunnel");
    let tunnel = scene.pid(TUNNEL);
    scene.machine.run(&format!("kill -s KILL {tunnel}")).unwrap();
    scene.comes_anew(TUNNEL, tunnel);
    scene.packets_flow();

    let tunnel = scene.pid(TUNNEL);
    scene.here.run("ip link delete sealane0").unwrap();
    scene.comes_anew(TUNNEL, tunnel);
    scene.packets_flow();

    let tunnel = scene.pid(TUNNEL);
    assert_eq!(scene.machine.property(TUNNEL, "WatchdogUSec").unwrap(), "10s");
    scene.machine.run(&format!("kill -s STOP {tunnel}")).unwrap();
    scene.comes_anew(TUNNEL, tunnel);
    scene.packets_flow();
}

#[test]
fn networkd_that_starts_takes_away_none_of_our_rules_and_routes() {
    let scene = Scene::joined("unit-networkd");
    let drop_in = "/usr/lib/systemd/networkd.conf.d/50-sealane.conf";
    let spare = "[Match]\nName=spare0\n\n[Network]\nLinkLocalAddressing=no\nIPv6AcceptRA=no";
    scene.machine.write_file("/etc/systemd/network/20-spare.network", spare).unwrap();
    scene.machine.run("systemctl stop sealane-agent").unwrap();
    let ours = || {
        let show = ["rule", "-6 rule", "route show table all", "-6 route show table all"];
        let shown = show.map(|what| scene.here.run(&format!("ip {what}")).unwrap()).concat();
        let ours = |line: &&str| line.contains("proto 82") || line.contains("518");
        shown.lines().filter(ours).map(str::to_owned).collect::<Vec<_>>()
    };
    let before = ours();
    assert!(before.iter().any(|line| line.contains("lookup")), "{before:?}");
    // What networkd writes of a link once it is done with it.
    let state = |link: &str| {
        let file = format!("/run/systemd/netif/links/$(cat /sys/class/net/{link}/ifindex)");
        scene.machine.run(&format!("cat {file}"))
    };
    let restart = || {
        scene.machine.run("systemctl restart systemd-networkd").unwrap();
        // Without udev it takes links for ready before it has looked at rules and routes, of which
        // it removes what it knows when it gets a link to manage: here one that comes later.
        let _ = scene.here.run("ip link delete spare0");
        let lines =
            ["link add spare0 type veth peer spare1", "link set spare0 up", "link set spare1 up"];
        scene.here.ip(&lines).unwrap();
        eventually(SOON, "networkd has done its work on its link", || match state("spare0") {
            Ok(told) if told.contains("ADMIN_STATE=configured") => Ok(()),
            told => Err(format!("{told:?}; {}", scene.machine.journal("systemd-networkd"))),
        })
        .unwrap();
    };
    restart();
    assert_eq!(ours(), before);
    let lane = state("sealane0").unwrap();
    assert!(lane.contains("ADMIN_STATE=unmanaged"), "{lane}");

    // Were it not for the drop-in.
    scene.machine.run(&format!("mv {drop_in} /root/")).unwrap();
    restart();
    eventually(SOON, "networkd without our drop-in removes rules", || {
        let left = ours();
        if left.len() < before.len() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .unwrap();
}

#[test]
fn a_host_that_leaves_keeps_no_link_rule_socket_or_running_tunnel() {
    let scene = Scene::joined("unit-leave");
    scene.machine.run("systemctl stop sealane-agent").unwrap();
    assert_eq!(scene.machine.property(TUNNEL, "ActiveState").unwrap(), "active");
    scene.packets_flow();

    scene.machine.run("systemctl start sealane-agent && sealane leave").unwrap();
    assert_eq!(scene.machine.property(TUNNEL, "ActiveState").unwrap(), "inactive");
    scene.machine.run("systemctl stop sealane-agent").unwrap();
    let left = scene.machine.run("find /run/wireguard /run/sealane -not -type d").unwrap();
    assert_eq!(left, "");
    for (what, mark) in [
        ("ip link", "sealane"),
        ("ip rule", "518"),
        ("ip -6 rule", "518"),
        ("ip route show table all", "proto 82"),
        ("ip -6 route show table all", "proto 82"),
        ("nft list ruleset", "sealane"),
    ] {
        let shown = scene.here.run(what).unwrap();
        assert!(!shown.contains(mark), "{what}: {shown}");
    }
    let path = scene.machine.property("sealane-tunnel@sealane0.path", "ActiveState").unwrap();
    assert_eq!(path, "inactive", "nobody is left who would ask");
}
