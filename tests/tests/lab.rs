//! Owns the tests of the lab's hosts, clusters and faults: that a lab is the network it claims to be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use sealane_tests::lab::address::Family;
use sealane_tests::lab::cluster::{Cluster, ClusterSpec, PodWiring};
use sealane_tests::lab::host::Host;
use sealane_tests::lab::impair::cut::Cut;
use sealane_tests::lab::impair::nat::{Nat, Ports};
use sealane_tests::lab::impair::relay::{Relay, Weather};
use sealane_tests::lab::rules::{KubeProxy, Masquerade};
use sealane_tests::lab::segment::{Link, Segment};
use sealane_tests::lab::wait::eventually;
use sealane_tests::lab::wire::Exit;
use sealane_tests::lab::world::Lab;
use sealane_tests::traffic::drive;
use sealane_tests::traffic::flow::Pace;
use sealane_tests::traffic::relay::fate::Impairment;
use sealane_tests::traffic::report::FlowReport;

const SOON: Duration = Duration::from_secs(10);

fn segment(lab: &Lab, name: &str, number: u8, family: Family) -> Segment {
    let v4 = format!("198.51.{number}.0/24").parse().unwrap();
    let v6 = format!("2001:db8:{number}::/64").parse().unwrap();
    Segment::new(lab, name, family.select(v4, v6)).unwrap()
}

fn ping(from: &Host, to: IpAddr) -> Result<(), String> {
    let pinged = from.run(&format!("ping -n -c 1 -W 1 {to}"));
    pinged.map(drop).map_err(|error| error.to_string())
}

/// Who the server says it saw, for each of the server's addresses.
fn seen(client: &Host, server: &[IpAddr], port: u16) -> Vec<IpAddr> {
    let get = |address: &IpAddr| drive::http_get(client, SocketAddr::new(*address, port)).unwrap();
    server.iter().map(|address| get(address).peer).collect()
}

/// left - router - right, with routes.
struct Routed {
    lab: Lab,
    left: (Host, Link),
    router: Host,
    sides: [Link; 2],
    right: (Host, Link),
}

fn routed(name: &str, family: Family) -> Routed {
    let lab = Lab::new(name).unwrap();
    let (inside, outside) = (segment(&lab, "in", 1, family), segment(&lab, "out", 2, family));
    let [left, router, right] = ["left", "router", "right"].map(|name| lab.host(name).unwrap());
    router.enable_forwarding().unwrap();
    let sides = [inside.attach(&router, 1).unwrap(), outside.attach(&router, 1).unwrap()];
    let left_link = inside.attach(&left, 2).unwrap();
    let right_link = outside.attach(&right, 2).unwrap();
    left.default_via(&sides[0].addresses()).unwrap();
    right.default_via(&sides[1].addresses()).unwrap();
    Routed { lab, left: (left, left_link), router, sides, right: (right, right_link) }
}

fn flow(from: &Host, to: IpAddr, rate: u32, millis: u64) -> FlowReport {
    let (span, linger) = (Duration::from_millis(millis), Duration::from_millis(500));
    let pace = Pace { rate, span, size: 100, linger };
    drive::Flow::start(from, SocketAddr::new(to, 9000), pace).unwrap().finish().unwrap()
}

#[test]
fn two_hosts_on_a_segment_reach_each_other() {
    for family in Family::ALL {
        let lab = Lab::new("ping").unwrap();
        let lan = segment(&lab, "lan", 1, family);
        let (a, b) = (lab.host("a").unwrap(), lab.host("b").unwrap());
        lan.attach(&a, 1).unwrap();
        for address in lan.attach(&b, 2).unwrap().addresses() {
            ping(&a, address).unwrap();
        }
    }
}

#[test]
fn a_host_has_its_own_name_files_and_settings() {
    let lab = Lab::new("private").unwrap();
    let (a, b) = (lab.host("a").unwrap(), lab.host("b").unwrap());
    assert_eq!(a.run("hostname").unwrap().trim(), "a");
    let own = ["/etc/sealane", "/var/lib/sealane", "/run/sealane", "/var/run/wireguard"];
    for folder in own {
        let file = Path::new(folder).join("lab-test");
        a.write_file(&file, "of a").unwrap();
        assert_eq!(a.read_file(&file).unwrap(), "of a");
        assert!(b.read_file(&file).is_err(), "{} on b", file.display());
        assert!(!file.exists(), "{} on the machine", file.display());
    }
    let machine = std::fs::read_to_string("/etc/passwd").unwrap();
    assert_eq!(a.read_file("/etc/passwd").unwrap(), machine);
    assert!(a.write_file("/etc/passwd", &machine).is_err(), "the machine's files are read-only");
    a.sysctl("net.ipv4.ip_forward", "1").unwrap();
    b.sysctl("net.ipv4.ip_forward", "0").unwrap();
    assert_eq!(a.sysctl_value("net.ipv4.ip_forward").unwrap(), "1");
}

#[test]
fn processes_are_logged_found_ended_and_restarted() {
    let lab = Lab::new("process").unwrap();
    let (a, b) = (lab.host("a").unwrap(), lab.host("b").unwrap());
    let mut sleep = a.command("sleep").arg(1000).spawn().unwrap();
    b.command("sleep").arg(1000).spawn().unwrap();
    eventually(SOON, "sleep runs on a", || match a.find("sleep").unwrap() {
        pids if pids == [sleep.pid()] => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .unwrap();
    let before = sleep.pid();
    sleep.restart().unwrap();
    assert_ne!(sleep.pid(), before);
    assert!(sleep.is_running().unwrap());
    assert_eq!(sleep.terminate(SOON).unwrap(), Exit::Signal(15));
    assert!(a.find("sleep").unwrap().is_empty());
    assert_eq!(b.find("sleep").unwrap().len(), 1);

    let mut shell = a.command("sh").args(["-c", "echo said; exit 3"]).spawn().unwrap();
    assert_eq!(shell.wait(SOON).unwrap(), Exit::Code(3));
    shell.restart().unwrap();
    shell.wait(SOON).unwrap();
    assert_eq!(shell.log().unwrap(), "said\nsaid\n");
    shell.says("said", SOON).unwrap();
    let error = shell.says("unsaid", SOON).unwrap_err().to_string();
    assert!(error.contains("it ended with exit code 3; it said: said"), "{error}");
    let error = a.run("ip link show nothing").unwrap_err().to_string();
    assert!(error.starts_with("a: `ip link show nothing`: exit code 1"), "{error}");
    let error = a.run("no-such-program").unwrap_err().to_string();
    assert!(error.starts_with("a: no-such-program: neither built"), "{error}");
}

#[test]
fn pods_reach_pods_and_services_and_keep_their_addresses() {
    for (family, wiring) in [
        (Family::Dual, PodWiring::Bridge),
        (Family::Dual, PodWiring::PointToPoint),
        (Family::V6, PodWiring::Bridge),
    ] {
        let lab = Lab::new("cluster").unwrap();
        let spec = ClusterSpec { wiring, ..ClusterSpec::new("a", 1, family).unwrap() };
        let mut cluster = Cluster::new(&lab, spec).unwrap();
        let (one, two) = (cluster.node("n1").unwrap(), cluster.node("n2").unwrap());
        let client = cluster.pod(&one, "client").unwrap();
        let near = cluster.pod(&one, "near").unwrap();
        let far = cluster.pod(&two, "far").unwrap();
        let web = cluster.service(80, 8080, &[&near, &far]).unwrap();
        let mut servers = Vec::new();
        for pod in [&near, &far] {
            servers.push(drive::http_server(&pod.host, 8080).unwrap());
            let peers = seen(&client.host, &pod.link.addresses(), 8080);
            assert_eq!(peers, client.link.addresses(), "{family:?} {wiring:?}");
        }
        for pod in [&client, &near] {
            let mut answered = BTreeSet::new();
            eventually(SOON, "both pods answer for the Service", || {
                for socket in web.sockets() {
                    let answer = drive::http_get(&pod.host, socket).unwrap();
                    // Only a pod that reaches itself is hidden, behind its node.
                    let kept = pod.link.addresses().contains(&answer.peer);
                    assert_eq!(kept, answer.server != pod.host.name(), "{answer:?}");
                    answered.insert(answer.server);
                }
                if answered.len() == 2 { Ok(()) } else { Err(format!("only {answered:?}")) }
            })
            .unwrap();
        }
        // From the node itself, which the output hook serves; as everywhere, it needs some route.
        one.host.default_via(&two.lan.addresses()).unwrap();
        for socket in web.sockets() {
            drive::http_get(&one.host, socket).unwrap();
        }
    }
}

#[test]
fn cni_and_kube_proxy_hide_sources_as_real_ones_do() {
    let lab = Lab::new("masquerade").unwrap();
    let outside = segment(&lab, "outside", 9, Family::Dual);
    let client = lab.host("client").unwrap();
    let mut saw = Vec::new();
    for (number, masquerade) in [(1, Masquerade::Outbound), (2, Masquerade::Off)] {
        let name = format!("c{number}");
        let spec = ClusterSpec::new(&name, number, Family::Dual).unwrap();
        let spec = ClusterSpec { masquerade, kube_proxy: KubeProxy::Iptables, ..spec };
        let mut cluster = Cluster::new(&lab, spec).unwrap();
        let (gate, other) = (cluster.node("gate").unwrap(), cluster.node("other").unwrap());
        let gate_link = outside.attach(&gate.host, number.into()).unwrap();
        other.host.default_via(&gate.lan.addresses()).unwrap();
        let pod = cluster.pod(&gate, "pod").unwrap();
        saw.push((cluster, gate, gate_link, pod));
    }
    let client_link = outside.attach(&client, 100).unwrap();
    let mut servers = vec![drive::http_server(&client, 80).unwrap()];
    for (cluster, gate, gate_link, pod) in &mut saw {
        let masquerades = cluster.spec().masquerade == Masquerade::Outbound;
        for (net, via) in cluster.spec().pods.iter().zip(gate_link.addresses()) {
            client.run(&format!("ip route add {net} via {via}")).unwrap();
        }
        for (net, via) in cluster.spec().services.iter().zip(gate_link.addresses()) {
            client.run(&format!("ip route add {net} via {via}")).unwrap();
        }
        let peers = seen(&pod.host, &client_link.addresses(), 80);
        let expected = if masquerades { gate_link.addresses() } else { pod.link.addresses() };
        assert_eq!(peers, expected, "pod to outside");

        servers.push(drive::http_server(&pod.host, 8080).unwrap());
        let peers = seen(&client, &pod.link.addresses(), 8080);
        assert_eq!(peers, client_link.addresses(), "outside to pod");
        let web = cluster.service(80, 8080, &[&*pod]).unwrap();
        for (socket, node) in web.sockets().iter().zip(&gate.lan.networks) {
            let peer = drive::http_get(&client, *socket).unwrap().peer;
            assert_eq!(peer.is_ipv4(), node.is_ipv4());
            assert!(!client_link.addresses().contains(&peer), "outside to Service: {peer}");
        }
    }
}

#[test]
fn a_nat_router_hides_what_is_behind_it() {
    for ports in [Ports::Preserved, Ports::Random] {
        let net = routed("nat", Family::Dual);
        let nat = Nat::hide(&net.router, &net.sides[1], ports).unwrap();
        nat.remember_udp(Duration::from_secs(5), Duration::from_secs(10)).unwrap();
        let _server = drive::http_server(&net.right.0, 80).unwrap();
        let peers = seen(&net.left.0, &net.right.1.addresses(), 80);
        assert_eq!(peers, net.sides[1].addresses(), "the router's own addresses");
        for inside in net.left.1.addresses() {
            assert!(ping(&net.right.0, inside).is_err(), "{inside} from outside");
        }
        nat.forget().unwrap();
        drop(net.lab);
    }
}

#[test]
fn a_relay_loses_what_its_seed_decides_and_no_more() {
    let net = routed("loss", Family::Dual);
    let _echo = drive::udp_echo(&net.right.0, 9000).unwrap();
    let weather = |seed, loss| Weather {
        seed,
        onward: Impairment { loss, ..Impairment::NONE },
        back: Impairment::NONE,
    };
    let links = [&net.sides[0], &net.sides[1]];
    let mut relay = Relay::start(&net.router, links, weather(1, 0.0)).unwrap();
    for address in net.right.1.addresses() {
        relay.change(weather(1, 0.0)).unwrap();
        let clear = flow(&net.left.0, address, 2000, 1000);
        assert_eq!((clear.sent, clear.lost, clear.duplicates), (2000, 0, 0), "{clear:?}");
        let mut lost = Vec::new();
        for seed in [5, 5, 6] {
            relay.change(weather(seed, 0.1)).unwrap();
            lost.push(flow(&net.left.0, address, 2000, 1000).lost);
        }
        assert!(lost.iter().all(|lost| (140..260).contains(lost)), "{lost:?} of 2000");
        assert_eq!(lost[0], lost[1], "the same seed");
        assert_ne!(lost[0], lost[2], "another seed");
    }
    relay.stop().unwrap();
    let after = flow(&net.left.0, net.right.1.addresses()[0], 2000, 200);
    assert_eq!(after.lost, 0, "{after:?}");
}

#[test]
fn a_relay_delays_reorders_and_doubles_each_way_on_its_own() {
    let net = routed("rough", Family::V4);
    let _echo = drive::udp_echo(&net.right.0, 9000).unwrap();
    let delay = Duration::from_millis(30);
    let rough = Impairment { delay, reorder: 0.05, duplicate: 0.2, ..Impairment::NONE };
    let weather = Weather { seed: 3, onward: Impairment::NONE, back: rough };
    let _relay = Relay::start(&net.router, [&net.sides[0], &net.sides[1]], weather).unwrap();
    let report = flow(&net.left.0, net.right.1.addresses()[0], 1000, 1000);
    assert_eq!(report.lost, 0, "{report:?}");
    assert!((150..250).contains(&report.duplicates), "{report:?}");
    assert!((25..100).contains(&report.reordered), "{report:?}");
    assert!(report.rtt_p50_ms >= 30.0 && report.rtt_p50_ms < 60.0, "{report:?}");
}

#[test]
fn a_cut_parts_two_hosts_until_it_is_healed() {
    let lab = Lab::new("cut").unwrap();
    let lan = segment(&lab, "lan", 1, Family::Dual);
    let [a, b, c] = ["a", "b", "c"].map(|name| lab.host(name).unwrap());
    lan.attach(&a, 1).unwrap();
    let (of_b, of_c) = (lan.attach(&b, 2).unwrap(), lan.attach(&c, 3).unwrap());
    let before = b.run("nft list ruleset").unwrap();
    let cut = Cut::between(&lan, &a, &b).unwrap();
    for (of_b, of_c) in of_b.addresses().into_iter().zip(of_c.addresses()) {
        assert!(ping(&a, of_b).is_err(), "{of_b}");
        ping(&a, of_c).unwrap();
    }
    assert_eq!(b.run("nft list ruleset").unwrap(), before, "a host does not see the cut");
    cut.heal().unwrap();
    for address in of_b.addresses() {
        eventually(SOON, "healed", || ping(&a, address)).unwrap();
    }
    let only_udp = Cut::drop_matching(&lan, &[(&a, &b)], "udp dport 9000").unwrap();
    let _echo = drive::udp_echo(&b, 9000).unwrap();
    for address in of_b.addresses() {
        ping(&a, address).unwrap();
        assert_eq!(flow(&a, address, 100, 100).received, 0);
    }
    drop(only_udp);
    lan.unplug(&b).unwrap();
    assert!(ping(&a, of_b.addresses()[0]).is_err());
    lan.plug(&b).unwrap();
    eventually(SOON, "plugged in", || ping(&a, of_b.addresses()[0])).unwrap();
}

#[test]
fn a_flow_of_ten_thousand_packets_a_second_is_paced_and_whole() {
    let lab = Lab::new("pace").unwrap();
    let lan = segment(&lab, "lan", 1, Family::V6);
    let (a, b) = (lab.host("a").unwrap(), lab.host("b").unwrap());
    lan.attach(&a, 1).unwrap();
    let address = lan.attach(&b, 2).unwrap().addresses()[0];
    let _echo = drive::udp_echo(&b, 9000).unwrap();
    let report = flow(&a, address, 10_000, 2_000);
    assert_eq!((report.sent, report.lost, report.duplicates), (20_000, 0, 0), "{report:?}");
    assert!((1.99..2.2).contains(&report.seconds), "{report:?}");
    let _sink = drive::tcp_sink(&b, 9001).unwrap();
    let sink = SocketAddr::new(address, 9001);
    let bulk = drive::throughput(&a, sink, Duration::from_millis(300)).unwrap();
    assert!(bulk.bytes > 1_000_000 && bulk.gbit_per_s > 0.1, "{bulk:?}");
}

#[test]
fn an_ended_flow_tells_how_long_it_was_silent() {
    let lab = Lab::new("gap").unwrap();
    let lan = segment(&lab, "lan", 1, Family::V4);
    let (a, b) = (lab.host("a").unwrap(), lab.host("b").unwrap());
    lan.attach(&a, 1).unwrap();
    let address = lan.attach(&b, 2).unwrap().addresses()[0];
    let mut echo = drive::udp_echo(&b, 9000).unwrap();
    let (span, linger) = (Duration::from_secs(60), Duration::from_millis(300));
    let pace = Pace { rate: 1000, span, size: 64, linger };
    let running = drive::Flow::start(&a, SocketAddr::new(address, 9000), pace).unwrap();
    let packets = || {
        let seen = b.json("ip -j -s link show eth0").unwrap();
        seen[0]["stats64"]["rx"]["packets"].as_u64().unwrap()
    };
    let flows_until = |count| {
        eventually(SOON, "packets arrive", || match packets() {
            now if now >= count => Ok(()),
            now => Err(format!("{now} of {count}")),
        })
    };
    flows_until(300).unwrap();
    echo.kill().unwrap();
    flows_until(packets() + 500).unwrap();
    echo.restart().unwrap();
    flows_until(packets() + 300).unwrap();
    let report = running.stop().unwrap();
    assert!(report.lost >= 400 && report.received >= 300, "{report:?}");
    assert!(report.longest_gap_ms >= 400.0 && report.longest_gap_ms < 10_000.0, "{report:?}");
}
