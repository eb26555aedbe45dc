//! Proves that our hand on kernel WireGuard (`sealane_kernel::wireguard`) does what the one on
//! `sealane-tunnel` does: the same cases, run by this very program inside the guest.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use sealane_kernel::wireguard::process::{Supervision, Tunnels};
use sealane_kernel::wireguard::uapi::Sockets;
use sealane_kernel::wireguard::{Devices, WireguardError};
use sealane_state::host::HostState;
use sealane_state::link::Backend;
use sealane_state::name::LinkName;
use sealane_state::wireguard::Peer;
use sealane_tests::assets;
use sealane_tests::interop::image::Image;
use sealane_tests::interop::machine::Machine;
use sealane_tests::lab::world::Lab;

use crate::common::device_cases;
use crate::common::devices::{Keys, device_with, full_peer, key_of, link, peer_with};
use crate::common::namespace::{
    TestHost, assert_same, enter_network, everything, gateway, lane, sh,
};

/// Says to this program that it is in the guest.
const INSIDE: &str = "SEALANE_IN_GUEST";

/// Runs each case inside the guest.
macro_rules! in_the_guest {
    ($($name:ident),+ $(,)?) => {
        mod guest { $(#[test] fn $name() { super::inside(stringify!($name), super::$name); })+ }
    };
}

in_the_guest!(
    a_device_reads_back_as_it_was_written,
    peers_of_a_device_change_move_and_go,
    a_thousand_peers_and_twenty_thousand_prefixes_are_written_and_read_without_loss,
    a_session_survives_a_change_of_its_peer,
    a_peer_with_accepted_sources_is_refused_and_the_others_are_done,
    a_link_of_another_kind_is_no_device,
    a_whole_gateway_reads_back_as_wanted_and_leaves_no_trace,
    a_lane_that_a_foreign_hand_deletes_comes_back_with_its_peers,
);

fn a_device_reads_back_as_it_was_written() {
    let mut devices = fresh_device();
    device_cases::it_reads_back_as_it_was_written(&devices, full());
    assert!(devices.backends().contains(&Backend::Kernel));
}

fn peers_of_a_device_change_move_and_go() {
    device_cases::peers_change_move_and_go(&fresh_device(), full());
}

fn a_thousand_peers_and_twenty_thousand_prefixes_are_written_and_read_without_loss() {
    device_cases::a_thousand_peers_pass_without_loss(&fresh_device(), 10_000);
}

fn a_session_survives_a_change_of_its_peer() {
    let devices = fresh_device();
    let remote: LinkName = "sealane8".parse().unwrap();
    sh("ip link add sealane8 type wireguard");
    device_cases::a_session_survives_a_change_of_its_peer(&devices, &remote);
}

fn a_peer_with_accepted_sources_is_refused_and_the_others_are_done() {
    let devices = fresh_device();
    let wanted = device_with(&[full_peer(), peer_with(&["10.9.0.0/16"])]);
    devices.set_device(&link(), &wanted, &Keys).unwrap();
    let refused = devices.put_peers(&link(), &wanted.peers, &Keys).unwrap();
    assert!(matches!(refused[&key_of(1)], WireguardError::AcceptedSources { .. }));
    let (seen, _) = devices.observe(&link()).unwrap();
    assert_eq!(seen.peers.keys().collect::<Vec<_>>(), [&key_of(2)]);
}

fn a_link_of_another_kind_is_no_device() {
    let devices = fresh_device();
    let fault = devices.observe(&"lo".parse().unwrap()).unwrap_err();
    assert!(matches!(fault, WireguardError::NoDevice { .. }), "{fault}");
}

fn a_whole_gateway_reads_back_as_wanted_and_leaves_no_trace() {
    let mut host = TestHost::with_keys(Box::new(Keys));
    let before = everything();
    host.reach(&gateway(Backend::Kernel));
    let facts = host.observe().facts;
    assert_eq!(facts.peers[&lane()].len(), 1);
    assert!(facts.backends.contains(&Backend::Kernel));
    host.reach(&HostState::default());
    assert_same(&before, &everything());
}

fn a_lane_that_a_foreign_hand_deletes_comes_back_with_its_peers() {
    let mut host = TestHost::with_keys(Box::new(Keys));
    host.reach(&gateway(Backend::Kernel));
    sh("ip link del sealane0");
    host.reach(&gateway(Backend::Kernel));
    sh("wg set sealane0 listen-port 1");
    host.reach(&gateway(Backend::Kernel));
    host.reach(&HostState::default());
}

/// A peer with all that kernel WireGuard has.
fn full() -> Peer {
    Peer { accepted_sources: [].into(), ..full_peer() }
}

/// A fresh namespace with one WireGuard link and nothing else.
fn fresh_device() -> Devices {
    enter_network();
    sh(&format!("ip link add {} type wireguard", link()));
    let nowhere = Path::new("/nonexistent");
    Devices::new(Tunnels::new(Sockets::below(nowhere), Supervision::Ours, nowhere))
}

/// The guest of all cases, and the lab that it is in.
static GUEST: Mutex<Option<(Lab, Machine)>> = Mutex::new(None);

/// Runs a case: here if this is the guest, else there, by its name.
fn inside(name: &str, case: fn()) {
    if std::env::var_os(INSIDE).is_some() {
        return case();
    }
    let mut slot = GUEST.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(guest) = slot.take().or_else(boot) else { return };
    let test = format!("kernel_backend::guest::{name}");
    let told = guest.1.shell(&format!("{INSIDE}=1 interop --exact {test} --nocapture")).unwrap();
    assert!(told.contains("1 passed"), "{test} is not among the guest's tests: {told}");
    *slot = Some(guest);
}

fn boot() -> Option<(Lab, Machine)> {
    let own = std::env::current_exe().unwrap();
    let image = match Image::build(&[(&own, "interop")]) {
        Ok(image) => image,
        Err(fault) if assets::offline() => {
            assets::announce(&format!("SKIPPED, as SEALANE_OFFLINE=1: no guest: {fault}"));
            return None;
        }
        Err(fault) => panic!("{fault}"),
    };
    let lab = Lab::new("kernel-backend").unwrap();
    let host = lab.host("host").unwrap();
    host.run("ip tuntap add tap0 mode tap").unwrap();
    let machine = Machine::boot(&host, &image, "tap0").unwrap();
    Some((lab, machine))
}
