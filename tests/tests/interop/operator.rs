//! Proves that an operator's tools do with `sealane-tunnel` what they do with others: what `wg` sets it
//! shows, `wg syncconf` leaves lanes alone that stay, and a lane made by `wg-quick` carries.

use std::collections::BTreeSet;

use sealane_tests::interop::end::{End, Ground, LINK, PORT, Terms};
use sealane_tests::interop::pair::Pair;
use sealane_tests::lab::wait::until;

use crate::stage::SOON;

against_each_partner!(
    wg_shows_the_same_of_either_end,
    syncconf_keeps_the_lanes_that_stay,
    a_lane_made_by_wg_quick_carries,
);

fn wg_shows_the_same_of_either_end(pair: &Pair) {
    for (end, other) in [(&pair.near, &pair.far), (&pair.far, &pair.near)] {
        end.meet(other, Terms { endpoint: Some(other.outer[1]), psk: None }).unwrap();
        let set = format!(
            "wg set {LINK} fwmark 0x1234 peer {} persistent-keepalive 25",
            other.public_key
        );
        end.shell(&set).unwrap();
    }
    pair.near.reaches(pair.far.inner[1], SOON).unwrap();
    let fields = |end: &End| -> BTreeSet<String> {
        let text = end.shell(&format!("wg show {LINK}")).unwrap();
        let names = text.lines().filter_map(|line| line.split_once(':'));
        names.map(|(name, _)| name.trim().to_owned()).collect()
    };
    assert_eq!(fields(&pair.near), fields(&pair.far));
    for (end, other) in [(&pair.near, &pair.far), (&pair.far, &pair.near)] {
        let text = end.shell(&format!("wg show {LINK}")).unwrap();
        let (key, own, port) = (&other.public_key, &end.public_key, PORT);
        for line in [
            format!("public key: {own}"),
            format!("listening port: {port}"),
            "fwmark: 0x1234".to_owned(),
            format!("peer: {key}"),
            format!("endpoint: [{}]:{port}", other.outer[1]),
            format!("allowed ips: {}/32, {}/128", other.inner[0], other.inner[1]),
            "persistent keepalive: every 25 seconds".to_owned(),
        ] {
            assert!(text.contains(&line), "{line}: not in\n{text}");
        }
    }
}

fn syncconf_keeps_the_lanes_that_stay(pair: &Pair) {
    let (near, far) = (&pair.near, &pair.far);
    far.meet(near, Terms::default()).unwrap();
    near.meet(far, Terms { endpoint: Some(far.outer[0]), psk: None }).unwrap();
    near.reaches(far.inner[0], SOON).unwrap();
    pair.count_anew().unwrap();
    // A file that has the peer as it is, and one more; then without that one.
    let more = near.shell("wg genkey | wg pubkey").unwrap();
    let more = more.trim();
    near.shell(&format!(
        "wg showconf {LINK} >/run/one\n\
         {{ cat /run/one; printf '[Peer]\\nPublicKey = {more}\\nAllowedIPs = 10.8.0.0/16\\n'; }} >/run/two\n\
         wg syncconf {LINK} /run/two"
    ))
    .unwrap();
    let peers = |end: &End| end.shell(&format!("wg show {LINK} peers")).unwrap();
    assert!(peers(near).contains(more) && peers(near).contains(&far.public_key));
    near.reaches(far.inner[1], SOON).unwrap();
    near.shell(&format!("wg syncconf {LINK} /run/one")).unwrap();
    assert_eq!(peers(near).trim(), far.public_key);
    far.reaches(near.inner[0], SOON).unwrap();
    let said = pair.said().unwrap();
    assert_eq!(
        said["near_initiation"] + said["far_initiation"],
        0,
        "the session went on: {said:?}"
    );
}

fn a_lane_made_by_wg_quick_carries(pair: &Pair) {
    let (near, far) = (&pair.near, &pair.far);
    let Ground::Host(host) = &near.ground else { panic!("ours is on a host of the lab") };
    far.meet(near, Terms::default()).unwrap();
    near.remove().unwrap();
    let private = host.read_file("/run/key").unwrap();
    host.write_file(
        format!("/run/{LINK}.conf"),
        &format!(
            "[Interface]\nPrivateKey = {private}ListenPort = {PORT}\nAddress = {}/32, {}/128\nMTU = 1420\n\
             [Peer]\nPublicKey = {}\nAllowedIPs = {}/32, {}/128\nEndpoint = {}:{PORT}\n",
            near.inner[0], near.inner[1], far.public_key, far.inner[0], far.inner[1], far.outer[0],
        ),
    )
    .unwrap();
    let program = sealane_tests::lab::world::built("sealane-tunnel").unwrap();
    let quick = |way: &str| {
        let command = host.command("wg-quick").args([way, &format!("/run/{LINK}.conf")]);
        let command = command.env("WG_QUICK_USERSPACE_IMPLEMENTATION", program.display());
        command.output().unwrap().success().unwrap()
    };
    quick("up");
    near.reaches(far.inner[0], SOON).unwrap();
    far.reaches(near.inner[1], SOON).unwrap();
    quick("down");
    until(SOON, "the tunnel is gone", || host.find("sealane-tunnel").unwrap().is_empty()).unwrap();
}
