//! Owns the tests that a member whose broker credential is replaced does not notice: not in its lanes, not in
//! its keys. A token of somebody else changes nothing.

use std::time::Duration;

use sealane_tests::lab::address::Family;
use sealane_tests::lab::host::Host;
use sealane_tests::lab::wait::{eventually, until};
use sealane_tests::product::agent::{self, LANES};
use sealane_tests::product::{admin, command};

use crate::stage::{RATE, Stage, alone};

on_each_family!(no_packet_is_lost_while_the_broker_credential_is_renewed);

const RENEWED: &str = "/etc/sealane/edge-renewed.token";
const ENDED: Duration = Duration::from_secs(15);

fn no_packet_is_lost_while_the_broker_credential_is_renewed(family: Family) {
    let _machine = alone();
    let stage = Stage::joined("renewal", family);
    let edge = &stage.edge.host;
    let (keys, tunnels) = (keys(edge), edge.find("sealane-tunnel").unwrap());
    let flows = stage.flows(RATE);

    refused_tokens(&stage);

    // The credential dies at once, open watches included: lanes do not care.
    let admin = &stage.ground.admin;
    let kubectl = format!("kubectl --kubeconfig {}", command::KUBECONFIG);
    admin.run(&format!("{kubectl} delete serviceaccount member-edge")).unwrap();
    until(ENDED, "the edge is cut off from the broker", || !is_connected(edge)).unwrap();
    let renew = format!(
        "sealane token renew --dir {} --kubeconfig {} --cluster edge --credential-valid-for 30d \
         --token-file {RENEWED}",
        command::CLUSTERSET,
        command::KUBECONFIG
    );
    admin.run(&renew).unwrap();
    admin::carry(&stage.ground, RENEWED, &[edge]).unwrap();
    let joined = edge.run(&format!("sealane join --token-file {}", command::TOKEN)).unwrap();
    assert!(joined.contains("identity, keys and lanes stay"), "{joined}");
    assert!(is_connected(edge));
    let broker = agent::status(edge).unwrap().broker.unwrap();
    let expected = agent::status(&stage.berlin.gateway.host).unwrap().broker.unwrap();
    let [renewed, of_berlin] = [&broker, &expected].map(|it| it.credential_expires_unix_seconds);
    assert!(renewed < of_berlin, "30 days, not a year: {renewed:?} {of_berlin:?}");

    // What the administrator says from now on is heard by the new credential.
    let before = version(edge);
    admin
        .run(&format!(
            "sealane clusterset sign --dir {} --kubeconfig {}",
            command::CLUSTERSET,
            command::KUBECONFIG
        ))
        .unwrap();
    eventually(LANES, "the edge hears of the next list", || {
        let heard = version(edge);
        if heard > before { Ok(()) } else { Err(format!("version {heard}")) }
    })
    .unwrap();
    for flow in flows {
        let report = flow.stop().unwrap();
        assert!(report.sent > 0, "{report:?}");
        assert_eq!(report.lost, 0, "{report:?}");
    }
    assert_eq!(self::keys(edge), keys);
    assert_eq!(edge.find("sealane-tunnel").unwrap(), tunnels);
}

/// Tokens of another member and of another clusterset, each with what it is refused for.
fn refused_tokens(stage: &Stage) {
    let (admin, edge) = (&stage.ground.admin, &stage.edge.host);
    let other = "/etc/sealane/other";
    admin.run(&format!(
        "sealane clusterset init --dir {other} --no-passphrase --recovery-file {other}.recovery \
         --broker {}",
        stage.broker.url
    ))
    .unwrap();
    let token = format!("{other}.token");
    admin.run(&format!(
        "sealane token create --dir {other} --cluster edge --cidr 10.99.0.0/16 --token-file {token}"
    ))
    .unwrap();
    let before = edge.read_file("/var/lib/sealane/membership.json").unwrap();
    for (token, reason) in [
        (command::token_file("berlin"), "the token is for berlin;"),
        (token, "the token is for edge of clusterset"),
    ] {
        admin::carry(&stage.ground, &token, &[edge]).unwrap();
        let refused = edge.run(command::JOIN).unwrap_err().to_string();
        assert!(refused.contains(reason) && refused.contains("`sealane leave`"), "{refused}");
    }
    assert_eq!(edge.read_file("/var/lib/sealane/membership.json").unwrap(), before);
    assert!(is_connected(edge));
}

fn is_connected(host: &Host) -> bool {
    agent::status(host).unwrap().broker.unwrap().connected
}

fn version(host: &Host) -> u64 {
    agent::status(host).unwrap().clusterset.unwrap().version
}

/// Sums of all key files.
fn keys(host: &Host) -> String {
    host.shell("cd /var/lib/sealane && sha256sum *.key").unwrap()
}
