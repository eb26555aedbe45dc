//! Owns the proof that looks at a busy host stay cheap, and prints what they cost. Does not prove
//! what they show.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use sealane_state::host::HostState;
use sealane_state::link::{Backend, Link, LinkKind};
use sealane_state::name::LinkName;

use crate::common::devices::{Keys, device_with, peer_with};
use crate::common::namespace::{TestHost, node, sh};

/// Looks of each kind; the middle one counts.
const LOOKS: usize = 9;

#[test]
fn a_thousand_peers_and_ten_thousand_foreign_routes_are_read_in_time() {
    let mut host = TestHost::with_tunnels(env!("CARGO_BIN_EXE_sealane-tunnel"), Box::new(Keys));
    let lane: LinkName = "sealane0".parse().unwrap();
    let lanes = BTreeSet::from([lane.clone()]);
    for (peers, routes) in [(0, 0), (1_000, 0), (1_000, 10_000)] {
        let mut want = node();
        let kind = LinkKind::WireGuard(Backend::Userspace);
        want.links.insert(lane.clone(), Link { kind, mtu: 1380, up: true });
        let configured: Vec<_> = (0..peers)
            .map(|n| peer_with(&[&format!("10.{}.{}.0/24", 100 + n / 250, n % 250)]))
            .collect();
        want.devices.insert(lane.clone(), device_with(&configured));
        host.reach(&want);
        foreign_routes(routes);

        let whole = middle(|| assert_eq!(host.observe().ours.devices[&lane].peers.len(), peers));
        let light =
            middle(|| assert_eq!(host.host.devices(lanes.iter()).0[&lane].peers.len(), peers));
        eprintln!("{peers} peers, {routes} foreign routes: look {whole:?}, at peers {light:?}");
        let budget = Duration::from_millis(500);
        assert!(whole.processor < budget, "a look at the whole host: {whole:?}");
        assert!(light.processor < budget / 4, "a look at the peers: {light:?}");
    }
    host.reach(&HostState::default());
}

/// Has another daemon bring routes into the main table.
fn foreign_routes(count: usize) {
    let route = |n| format!("route add 172.16.{}.{}/32 dev up0 proto bgp\n", n / 256, n % 256);
    // `/run` is the test's own.
    std::fs::write("/run/routes", (0..count).map(route).collect::<String>()).unwrap();
    sh("ip -batch /run/routes");
}

/// What a look takes: by the clock, and of this thread's processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    processor: Duration,
    clock: Duration,
}

fn middle(mut look: impl FnMut()) -> Cost {
    let mut costs: Vec<_> = (0..LOOKS)
        .map(|_| {
            let (start, busy) = (Instant::now(), busy());
            look();
            Cost { processor: self::busy() - busy, clock: start.elapsed() }
        })
        .collect();
    costs.sort();
    costs[LOOKS / 2]
}

fn busy() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}
