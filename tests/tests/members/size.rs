//! Owns the question whether packets of every size cross lanes and legs: full segments where no
//! router is heard, what routers say of packets that are too big, and fragments.

use std::net::IpAddr;
use std::time::Duration;

use sealane_tests::lab::cluster::Pod;
use sealane_tests::lab::process::Outcome;
use sealane_tests::lab::wire::Exit;
use sealane_tests::traffic::drive;

/// Where TCP is swallowed.
const SINK_PORT: u16 = 5001;
/// How long is sent.
const SPAN: Duration = Duration::from_millis(500);
/// Far more than a handshake and what buffers hold of a connection that is stuck.
const ENOUGH: u64 = 1_000_000;
/// What a pod's link takes.
pub(crate) const POD_LINK: u32 = 1500;
/// Links on the way, each of which may know a smaller size.
const LINKS: usize = 4;

/// A host that hears of no packet that was too big: only the segment size that was agreed on at the
/// beginning saves its connections.
const DEAF: &str = "table inet deaf {
    chain input {
        type filter hook input priority filter
        icmp type destination-unreachable drop
        icmpv6 type packet-too-big drop
    }
}";

/// Sends in a ring, from each pod to the next, by each family.
#[track_caller]
pub(crate) fn every_size_crosses(pods: &[&Pod]) {
    let ring = || pods.iter().zip(pods.iter().cycle().skip(1));
    for pod in pods {
        drive::tcp_sink(&pod.host, SINK_PORT).unwrap();
        pod.host.nft(DEAF).unwrap();
    }
    for (from, to) in ring() {
        full_segments_cross(from, to);
    }
    for pod in pods {
        pod.host.nft("delete table inet deaf").unwrap();
    }
    for (from, to) in ring() {
        for address in to.link.addresses() {
            too_big_is_told_and_what_was_told_fits(from, address);
        }
    }
}

/// Sends in a ring, as above, what has to be taken apart.
#[track_caller]
pub(crate) fn fragments_cross(pods: &[&Pod]) {
    for (from, to) in pods.iter().zip(pods.iter().cycle().skip(1)) {
        for address in to.link.addresses() {
            // Either end may have to learn the size of the way first.
            let outcome = ping(from, address, "-c 3 -s 4000");
            assert_eq!(outcome.exit, Some(Exit::Code(0)), "{address}: {outcome:?}");
        }
    }
}

#[track_caller]
fn full_segments_cross(from: &Pod, to: &Pod) {
    for address in to.link.addresses() {
        let report = drive::throughput(&from.host, (address, SINK_PORT).into(), SPAN);
        let what = format!("{} -> {address}", from.host.name());
        let report = report.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(report.bytes > ENOUGH, "{what}: {report:?}");
    }
}

/// Answers the size that got through whole.
#[track_caller]
pub(crate) fn too_big_is_told_and_what_was_told_fits(from: &Pod, to: IpAddr) -> u32 {
    let mut size = POD_LINK;
    for _ in 0..LINKS {
        // Twice: routers may tell a host no more than once a second.
        let outcome = ping(from, to, &format!("-c 2 -M do -s {}", payload(to, size)));
        if outcome.exit == Some(Exit::Code(0)) {
            assert!(size < POD_LINK, "a packet of {size} bytes crosses a lane whole");
            return size;
        }
        let told = told_mtu(&outcome);
        let told = told.unwrap_or_else(|| panic!("{size} bytes to {to}: silence: {outcome:?}"));
        assert!(told < size, "{size} bytes to {to}: {outcome:?}");
        size = told;
    }
    panic!("{to}: told {size}, and not even that fits")
}

fn ping(from: &Pod, to: IpAddr, how: &str) -> Outcome {
    let line = format!("-n -i 0.5 -W 2 {how} {to}");
    from.host.command("ping").args(line.split_whitespace()).output().unwrap()
}

/// Of an ICMP message from the way, or what the own kernel has kept of an earlier one.
fn told_mtu(outcome: &Outcome) -> Option<u32> {
    let said = format!("{} {}", outcome.stdout, outcome.stderr);
    let (_, rest) = said.split_once("mtu")?;
    let digits = rest.trim_start_matches([' ', '=', ':']);
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Less the headers of IP and ICMP.
fn payload(to: IpAddr, size: u32) -> u32 {
    size - if to.is_ipv4() { 28 } else { 48 }
}
