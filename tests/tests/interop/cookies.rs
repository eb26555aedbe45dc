//! Proves cookies both ways: a device under a flood of initiations asks a caller to prove its
//! address, the caller does, and the lane comes up while the flood goes on.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sealane_tests::interop::end::{End, Make, PORT, Terms};
use sealane_tests::interop::pair::Pair;
use sealane_tests::lab::process::Process;
use sealane_tests::lab::wait::eventually;

against_each_partner!(
    a_partner_under_load_has_us_prove_our_address,
    we_under_load_have_a_partner_prove_its_address
);

/// Initiations a second that are more than a device answers. The guest's emulated processor is slow,
/// and has to do other things besides.
fn more_than_answered(make: &Make) -> u32 {
    match make {
        Make::Ours => 3_000,
        Make::WireguardGo(_) => 20_000,
        Make::Kernel => 3_000,
    }
}

/// A caller repeats its initiation after 5 s, now with the cookie; calls may be dropped before that.
const PROOF: Duration = Duration::from_secs(120);

fn a_partner_under_load_has_us_prove_our_address(pair: &Pair) {
    proves(pair, [&pair.near, &pair.far], ["near", "far"]);
}

fn we_under_load_have_a_partner_prove_its_address(pair: &Pair) {
    proves(pair, [&pair.far, &pair.near], ["far", "near"]);
}

/// One flood at a time: two are more than a small machine has processors for.
static FLOOD: Mutex<()> = Mutex::new(());

fn proves(pair: &Pair, [caller, called]: [&End; 2], [calling, asking]: [&str; 2]) {
    let _one = FLOOD.lock().unwrap_or_else(PoisonError::into_inner);
    let flood = flood(pair, called);
    let ping = format!("ping -n -c 1 -W 1 {}", called.inner[0]);
    let call = || {
        called.meet(caller, Terms::default()).unwrap();
        caller.meet(called, Terms { endpoint: Some(called.outer[0]), psk: None }).unwrap();
        pair.count_anew().unwrap();
        eventually(Duration::from_secs(20), "an answer", || caller.shell(&ping)).map(drop)
    };
    // The first calls may come before the device knows that it is under load.
    eventually(PROOF, "the lane comes up with a cookie", || {
        call().map_err(|fault| fault.to_string())?;
        let said = pair.said().unwrap();
        let with_cookie =
            said[&format!("{asking}_cookie")] > 0 && said[&format!("{calling}_proved")] > 0;
        if with_cookie { Ok(()) } else { Err(format!("{said:?}")) }
    })
    .unwrap();
    assert!(flood.is_running().unwrap(), "the flood goes on");
    flood.kill().unwrap();
    caller.reaches(called.inner[1], PROOF).unwrap();
}

fn flood(pair: &Pair, to: &End) -> Process {
    let command = pair.stranger.command("lab-traffic").args(["initiations", "--rate"]);
    let command = command.arg(more_than_answered(to.make()));
    let command = command.args(["--public-key", &to.public_key]);
    command.arg(SocketAddr::new(to.outer[0], PORT)).spawn().unwrap()
}
