//! Owns the tests that keys and names of gateways are replaced and revoked without loss, and for good.

use std::time::Duration;

use sealane_tests::lab::address::Family;
use sealane_tests::lab::host::Host;
use sealane_tests::lab::wait::{eventually, until};
use sealane_tests::product::agent::{self, LANES};
use sealane_tests::product::command;
use sealane_view::gateway::{Replacement, TunnelKeyView};
use sealane_view::membership::NextIdentityDocument;
use sealane_view::peers::PeersDocument;

use crate::stage::{RATE, Stage, alone};

/// A replacement waits twice for 5 s, and moves lanes in between.
const REPLACED: Duration = Duration::from_secs(60);

on_each_family!(
    no_packet_is_lost_while_a_member_gets_another_identity,
    no_packet_is_lost_while_both_gateways_replace_their_keys_one_after_the_other,
    a_revoked_gateway_is_dead_everywhere_while_its_member_goes_on,
);

fn key(host: &Host) -> TunnelKeyView {
    agent::status(host).unwrap().tunnel_key.unwrap()
}

/// Public keys of the gateways that a host has lanes with.
fn remote_keys(host: &Host) -> Vec<String> {
    let told: PeersDocument = agent::document(host, "peers").unwrap();
    told.peers.into_iter().map(|peer| peer.public_key).collect()
}

fn no_packet_is_lost_while_both_gateways_replace_their_keys_one_after_the_other(family: Family) {
    let _machine = alone();
    let mut stage = Stage::joined("rotated", family);
    let (berlin, edge) = (stage.berlin.gateway.host.clone(), stage.edge.host.clone());
    let flows = stage.flows(RATE);
    for (host, other) in [(&berlin, &edge), (&edge, &berlin)] {
        let before = key(host);
        host.run("sealane gateway rotate").unwrap();
        let again = host.command("sealane").args(["gateway", "rotate"]).output().unwrap();
        assert!(again.stderr.contains("under way already"), "{again:?}");
        until(REPLACED, "the next key is in use", || {
            key(host).replacement == Some(Replacement::Moving)
        })
        .unwrap();
        // Wherever it stands, a restart goes on from there.
        stage.agent(host).kill().unwrap();
        stage.agent(host).restart().unwrap();
        agent::answers(stage.agent(host)).unwrap();
        until(REPLACED, "the key is replaced", || {
            agent::status(host)
                .is_ok_and(|status| status.tunnel_key.is_some_and(|key| key.replacement.is_none()))
        })
        .unwrap();
        let after = key(host);
        assert_ne!(before.public_key, after.public_key);
        eventually(LANES, "the other end knows the new key alone", || {
            let keys = remote_keys(other);
            if keys == [after.public_key.clone()] { Ok(()) } else { Err(format!("{keys:?}")) }
        })
        .unwrap();
        let peers = other.run("wg show sealane0 peers").unwrap();
        assert!(!peers.contains(&before.public_key), "{peers}");
        let files = host.run("ls /var/lib/sealane").unwrap();
        assert!(!files.contains("next"), "the old keys are gone: {files}");
    }
    for flow in flows {
        let report = flow.stop().unwrap();
        println!("rotation: {} of {} packets lost", report.lost, report.sent);
        assert_eq!(report.lost, 0, "{report:?}");
    }
    for host in [&berlin, &edge] {
        let status = agent::status(host).unwrap();
        assert_eq!((status.problems.len(), status.rejections.len()), (0, 0), "{status:?}");
    }
}

/// What the broker holds under a name, and back again under whatever stands there then.
fn kubectl(line: &str) -> String {
    format!("kubectl --kubeconfig {} {line}", command::KUBECONFIG)
}

fn a_revoked_gateway_is_dead_everywhere_while_its_member_goes_on(family: Family) {
    const STOLEN: &str = "/etc/sealane/stolen.json";
    let _machine = alone();
    let mut stage = Stage::joined("revoked", family);
    let (berlin, edge) = (stage.berlin.gateway.host.clone(), stage.edge.host.clone());
    let admin = stage.ground.admin.clone();
    admin.shell(&kubectl(&format!("get advertisement edge.edge -o json > {STOLEN}"))).unwrap();

    // The host takes another name, as after its disk went into another machine.
    let renamed = format!("node = \"edge-2\"\n{}", stage.edge.settings().text());
    edge.write_file(agent::CONFIG, &renamed).unwrap();
    stage.agent(&edge).kill().unwrap();
    stage.agent(&edge).restart().unwrap();
    agent::answers(stage.agent(&edge)).unwrap();
    let has_moved = || {
        let told: PeersDocument = agent::document(&berlin, "peers").unwrap();
        let names: Vec<&str> = told.peers.iter().map(|peer| peer.gateway.as_str()).collect();
        if names == ["edge-2"] { Ok(()) } else { Err(format!("{names:?}")) }
    };
    eventually(LANES, "the other member goes by the new name", has_moved).unwrap();
    agent::comes_to_reach(&berlin, &["edge"]).unwrap();
    let told = admin.run(&kubectl("get advertisements")).unwrap();
    let line = told.lines().find(|line| line.starts_with("edge.edge ")).unwrap();
    assert!(line.contains("withdrawn"), "{told}");

    let flow = stage.flow(1000, Duration::from_secs(4));
    let version = || {
        let line = "get advertisement edge.edge-2 -o jsonpath={.metadata.resourceVersion}";
        admin.run(&kubectl(line)).unwrap()
    };
    let before = version();
    let revoked = edge.run("sealane gateway revoke edge").unwrap();
    assert!(revoked.contains("edge.edge revoked"), "{revoked}");
    // What is replayed before it is told is refused as older than the withdrawal.
    eventually(LANES, "the broker has the certificate that revokes", || {
        if version() == before { Err(before.clone()) } else { Ok(()) }
    })
    .unwrap();
    let replay = format!(
        "sed -i '/resourceVersion/d' {STOLEN}; {}",
        kubectl(&format!("replace -f {STOLEN}"))
    );
    admin.shell(&replay).unwrap();
    eventually(LANES, "the stolen word is refused as revoked", || {
        // Not in the status for long: the keeper writes over it.
        let told = berlin.run("curl -s http://127.0.0.1:9182/metrics").unwrap();
        let counts = |line: &str| {
            line.starts_with("sealane_rejected_total{") && line.contains("\"GatewayRevoked\"")
        };
        if told.lines().any(counts) { Ok(()) } else { Err("not counted".to_owned()) }
    })
    .unwrap();
    let report = flow.finish().unwrap();
    assert_eq!(report.lost, 0, "{report:?}");
    eventually(LANES, "the keeper writes over it", || {
        let refused = agent::status(&berlin).unwrap().rejections;
        if refused.is_empty() { Ok(()) } else { Err(format!("{refused:?}")) }
    })
    .unwrap();
    agent::reaches(&berlin, &["edge"]).unwrap();
}

fn no_packet_is_lost_while_a_member_gets_another_identity(family: Family) {
    let _machine = alone();
    let stage = Stage::joined("identity", family);
    let (berlin, edge) = (stage.berlin.gateway.host.clone(), stage.edge.host.clone());
    let admin = &stage.ground.admin;
    let signed = format!("--dir {} --kubeconfig {}", command::CLUSTERSET, command::KUBECONFIG);
    let fingerprint = || agent::status(&edge).unwrap().identity.unwrap();
    let first = fingerprint();
    let next: NextIdentityDocument = agent::document(&edge, "identity rotate").unwrap();
    let update = |flag: &str| {
        let key = &next.next_identity;
        admin
            .command("sealane")
            .args(["member", "update", "--cluster", "edge", flag, key])
            .args(signed.split_whitespace())
            .output()
            .unwrap()
    };
    let early = update("--add-identity");
    assert!(early.stderr.contains("no identity of it is pinned"), "{early:?}");
    admin
        .run(&format!("sealane clusterset sign {signed} --pin edge={}", first.fingerprint))
        .unwrap();
    let early = update("--only-identity");
    assert!(early.stderr.contains("not listed yet"), "{early:?}");
    until(LANES, "the present identity is pinned", || fingerprint().pinned).unwrap();

    let flows = stage.flows(RATE);
    update("--add-identity").success().unwrap();
    until(LANES, "the next identity is in use", || {
        let identity = fingerprint();
        identity.fingerprint == next.next_fingerprint && identity.pinned
    })
    .unwrap();
    let certified = kubectl("get advertisement edge.edge -o jsonpath={.spec.cert.signature}");
    let before = admin.run(&certified).unwrap();
    update("--only-identity").success().unwrap();
    let version = agent::status(&edge).unwrap().clusterset.unwrap().version;
    until(LANES, "the other member goes by the list without the first one", || {
        agent::status(&berlin).unwrap().clusterset.unwrap().version >= version
    })
    .unwrap();
    for flow in flows {
        let report = flow.stop().unwrap();
        println!("identity: {} of {} packets lost", report.lost, report.sent);
        assert_eq!(report.lost, 0, "{report:?}");
    }
    assert_eq!(admin.run(&certified).unwrap(), before);
    assert_eq!(agent::status(&berlin).unwrap().rejections, []);
    agent::reaches(&berlin, &["edge"]).unwrap();
    stage.loses_nothing();
}
