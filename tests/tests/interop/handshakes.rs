//! Proves that lanes come up and carry both families, whoever calls first, over IPv4 and IPv6, with
//! and without a pre-shared key; and when both call at once.

use std::time::Duration;

use sealane_tests::interop::end::{End, Terms};
use sealane_tests::interop::pair::Pair;
use sealane_tests::lab::impair::relay::{Relay, Weather};
use sealane_tests::lab::wait::eventually;
use sealane_tests::traffic::relay::fate::Impairment;

use crate::stage::SOON;

against_each_partner!(
    either_end_calls_the_other,
    a_wrong_pre_shared_key_carries_nothing,
    both_call_at_once_and_one_session_comes_of_it,
);

const PSK: &str = "S3qjx/8NOVvTlvmDVKlgRpGh8SRTAHOZDSXbzXDYwQw=";
const OTHER_PSK: &str = "AAAAx/8NOVvTlvmDVKlgRpGh8SRTAHOZDSXbzXDYwQw=";

/// So long is each handshake message under way: each end calls before it hears the other, and is
/// answered before it calls again.
const LATE: Duration = Duration::from_secs(2);

/// Payload of a ping that fills the tunnel's MTU of 1420.
const FULL: [u16; 2] = [1420 - 28, 1420 - 48];

fn either_end_calls_the_other(pair: &Pair) {
    for outer in [0, 1] {
        for psk in [None, Some(PSK)] {
            for [caller, called] in [[&pair.near, &pair.far], [&pair.far, &pair.near]] {
                called.meet(caller, Terms { endpoint: None, psk }).unwrap();
                let endpoint = Some(called.outer[outer]);
                caller.meet(called, Terms { endpoint, psk }).unwrap();
                carries(caller, called);
                assert!(
                    called.shown("endpoints").unwrap().contains(&caller.outer[outer].to_string())
                );
            }
        }
    }
}

/// Both families inside, small and full packets, both ways, and a handshake that both ends tell of.
fn carries(caller: &End, called: &End) {
    for family in [0, 1] {
        caller.reaches(called.inner[family], SOON).unwrap();
        called.reaches(caller.inner[family], SOON).unwrap();
        caller.reaches_with(called.inner[family], FULL[family], SOON).unwrap();
        called.reaches_with(caller.inner[family], FULL[family], SOON).unwrap();
    }
    for end in [caller, called] {
        assert_ne!(end.shown("latest-handshakes").unwrap(), "0");
    }
}

fn a_wrong_pre_shared_key_carries_nothing(pair: &Pair) {
    pair.far.meet(&pair.near, Terms { endpoint: None, psk: Some(OTHER_PSK) }).unwrap();
    let endpoint = Some(pair.far.outer[0]);
    pair.near.meet(&pair.far, Terms { endpoint, psk: Some(PSK) }).unwrap();
    let ping = format!("ping -n -c 1 -W 1 {}", pair.far.inner[0]);
    eventually(SOON, "the far end has answered a handshake", || {
        assert!(pair.near.shell(&ping).is_err(), "a packet passed");
        let said = pair.said().unwrap();
        if said["far_response"] > 0 { Ok(()) } else { Err(format!("{said:?}")) }
    })
    .unwrap();
    assert!(pair.near.shell(&ping).is_err(), "a packet passed");
    assert_eq!(pair.near.shown("latest-handshakes").unwrap(), "0");
    // The same, with the right key, does.
    pair.far.meet(&pair.near, Terms { endpoint: None, psk: Some(PSK) }).unwrap();
    pair.near.reaches(pair.far.inner[0], SOON).unwrap();
}

fn both_call_at_once_and_one_session_comes_of_it(pair: &Pair) {
    let slow = Impairment { delay: LATE, ..Impairment::NONE };
    let weather = Weather { seed: 1, onward: slow, back: slow };
    let relay = Relay::start(&pair.router, [&pair.sides[0], &pair.sides[1]], weather).unwrap();
    let (near, far) = (&pair.near, &pair.far);
    for (end, other) in [(near, far), (far, near)] {
        end.meet(other, Terms { endpoint: Some(other.outer[0]), psk: Some(PSK) }).unwrap();
    }
    for (end, other) in [(far, near), (near, far)] {
        let ping = format!("ping -n -c 1 -W 60 {}", other.inner[0]);
        end.shell(&format!("rm -f /run/pinged; ({ping} && touch /run/pinged) >/dev/null 2>&1 &"))
            .unwrap();
    }
    let said = eventually(LATE, "both call", || {
        let said = pair.said().map_err(|error| error.to_string())?;
        let calls = [said["near_initiation"], said["far_initiation"]];
        if calls.contains(&0) { Err(format!("{said:?}")) } else { Ok(said) }
    })
    .unwrap();
    let heard = said["near_response"] + said["far_response"];
    assert_eq!(heard, 0, "one answered before the other called: {said:?}");
    for end in [near, far] {
        eventually(SOON, "the packet that waited got there and was answered", || {
            end.shell("test -e /run/pinged").map(drop)
        })
        .unwrap();
    }
    relay.stop().unwrap();
    pair.count_anew().unwrap();
    near.reaches(far.inner[1], SOON).unwrap();
    far.reaches(near.inner[1], SOON).unwrap();
    let said = pair.said().unwrap();
    assert_eq!(said["near_initiation"] + said["far_initiation"], 0, "not one session: {said:?}");
}
