//! Owns the proof that size and bustle cost no correctness and only their share of time: ten thousand
//! routes, a thousand peers, five thousand foreign rules, hands that never rest. Prints what it takes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use sealane_kernel::netlink::monitor::Monitor;
use sealane_kernel::netlink::relevance::HostEvent;
use sealane_state::diff::diff;
use sealane_state::host::HostState;
use sealane_state::link::Backend;

use crate::common::devices::{Keys, device_with, peer_with};
use crate::common::namespace::{TestHost, gateway, key, lane, node, sh, via};

/// Routes of the smaller and the larger host.
const SIZES: [usize; 2] = [1_000, 10_000];
const FOREIGN_RULES: usize = 5_000;
/// Ten times as much may take this many times as long: linear, with room for a busy machine. What is
/// quadratic takes a hundred times as long.
const GROWTH: u32 = 40;
/// Times below this are not compared: at that size fixed costs count.
const NOTICEABLE: Duration = Duration::from_millis(2);
/// A receive buffer that a storm runs over. Unit: bytes.
const LITTLE: usize = 4096;
/// Within which what was lost is told of.
const TOLD: Duration = Duration::from_secs(10);

#[test]
fn ten_times_as_much_takes_about_ten_times_as_long() {
    let mut host = TestHost::with_tunnels(env!("CARGO_BIN_EXE_sealane-tunnel"), Box::new(Keys));
    foreign_rules();
    let costs = SIZES.map(|size| {
        let (want, objects) = sized(size);
        let (bare, _) = sized(0);
        host.reach(&bare);
        let (seen, look) = timed(|| host.observe().ours);
        let (changes, compare) = timed(|| diff(&want, &seen));
        assert_eq!(changes.len(), objects, "one change for each object, none for what is there");
        let (outcome, apply) = timed(|| host.host.apply(&changes, &Keys));
        assert!(outcome.errors.is_empty(), "{:?}", outcome.errors.first().map(ToString::to_string));
        let (seen, look_again) = timed(|| host.observe().ours);
        assert!(seen == want, "what was written is not what is read");
        let (rest, compare_again) = timed(|| diff(&want, &seen));
        assert_eq!(rest, vec![]);
        let costs = [
            ("observe before", look),
            ("diff", compare),
            ("apply", apply),
            ("observe after", look_again),
            ("diff of nothing", compare_again),
        ];
        for (what, cost) in costs {
            eprintln!("{size} routes, {} peers: {what}: {cost:?}", size / 10);
        }
        host.reach(&HostState::default());
        costs
    });
    for ((what, small), (_, large)) in costs[0].iter().zip(&costs[1]) {
        assert!(*large < GROWTH * (*small).max(NOTICEABLE), "{what}: {small:?}, then {large:?}");
    }
}

#[test]
fn a_look_misses_nothing_of_ours_while_another_hand_never_rests() {
    let mut host = TestHost::fresh();
    let mut want = node();
    for number in 0..2_000_u32 {
        want.routes.insert(key(5182, &format!("fd10:{number:x}::/32")), via("fe80::21"));
    }
    host.reach(&want);
    // Dumps of many reads, into which changes run: the kernel marks those of addresses.
    let addresses =
        (0..2_000).map(|n| format!("addr add 10.200.{}.{}/32 dev up0\n", n / 250, n % 250));
    batch(&addresses.collect::<String>());
    let mut hand = Restless::start();
    for _ in 0..30 {
        assert!(host.observe().ours == want, "something was missed");
    }
    assert!(hand.0.try_wait().unwrap().is_none(), "the other hand rests");
}

#[test]
fn what_is_lost_in_a_storm_is_told_of_and_put_back() {
    let mut host = TestHost::fresh();
    let mut want = node();
    for number in 0..2_000_u32 {
        want.routes.insert(key(5182, &format!("fd10:{number:x}::/32")), via("fe80::21"));
    }
    host.reach(&want);
    let (_monitor, mut events) = Monitor::start_with_buffer(0, LITTLE).unwrap();
    let storm = (0..10_000).map(|n| {
        let foreign = format!("route add 10.77.{}.{}/32 dev up0 proto bgp\n", n / 250, n % 250);
        let ours = format!("route del fd10:{:x}::/32 table 5182 proto 82\n", n / 10);
        if n % 10 == 0 { foreign + &ours } else { foreign }
    });
    batch(&storm.collect::<String>());
    let begin = Instant::now();
    while events.try_recv() != Ok(HostEvent::Resync) {
        assert!(begin.elapsed() < TOLD, "what was lost is not told of");
        std::thread::yield_now();
    }
    let missing = diff(&want, &host.observe().ours).len();
    assert_eq!(missing, 1_000, "what the storm took");
    host.reach(&want);
}

/// A gateway with this many routes besides, and a tenth as many peers; and how many objects that is
/// more than with none.
fn sized(size: usize) -> (HostState, usize) {
    let mut want = gateway(Backend::Userspace);
    for n in 0..size {
        let prefix = match n % 2 {
            0 => format!("10.{}.{}.0/24", 64 + n / 512, n / 2 % 256),
            _ => format!("fd20:{n:x}::/32"),
        };
        want.routes.insert(key(5182, &prefix), via("fe80::21"));
    }
    let peers: Vec<_> = (0..size / 10)
        .map(|n| peer_with(&[&format!("10.{}.{}.0/24", 100 + n / 250, n % 250)]))
        .collect();
    want.devices.insert(lane(), device_with(&peers));
    (want, size + size / 10)
}

/// Has another program keep a large table of its own.
fn foreign_rules() {
    let rules = (0..FOREIGN_RULES).map(|n| {
        format!(
            "add rule ip theirs services ip daddr 10.96.{}.{} tcp dport 80 accept\n",
            n / 250,
            n % 250
        )
    });
    let text =
        format!("add table ip theirs\nadd chain ip theirs services\n{}", rules.collect::<String>());
    std::fs::write("/run/rules", text).unwrap();
    sh("nft -f /run/rules");
}

/// Gives `ip` many commands at once.
fn batch(lines: &str) {
    use std::io::Write;
    let mut child = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// Another program that adds and removes addresses and routes, some thousand a second, until dropped.
struct Restless(Child);

impl Restless {
    fn start() -> Self {
        let script = "while :; do
            for n in 1 2 3 4 5 6 7 8; do
                echo addr add 10.201.0.$n/32 dev up0
                echo route add 10.202.$n.0/24 dev up0 proto bgp
                echo route add fd77:$n::/32 dev up0 proto bgp
            done
            for n in 1 2 3 4 5 6 7 8; do
                echo route del fd77:$n::/32 dev up0 proto bgp
                echo route del 10.202.$n.0/24 dev up0 proto bgp
                echo addr del 10.201.0.$n/32 dev up0
            done
            sleep 0.01
        done | ip -batch -";
        let shell = Command::new("setsid").args(["sh", "-c", script]).spawn();
        Self(shell.unwrap())
    }
}

impl Drop for Restless {
    fn drop(&mut self) {
        // `setsid` made it the leader of a group of its own: shell and `ip` end together.
        let group = nix::unistd::Pid::from_raw(self.0.id().try_into().unwrap());
        // One that ended by itself fails its test, not this.
        let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
        self.0.wait().unwrap();
    }
}

/// What a call answers, and the processor time it took.
fn timed<T>(call: impl FnOnce() -> T) -> (T, Duration) {
    let (busy, start) = (processor(), Instant::now());
    let answer = call();
    let cost = processor() - busy;
    // A call cannot have been busy longer than it lasted; a clock that says so is not to be believed.
    assert!(cost <= start.elapsed() + NOTICEABLE);
    (answer, cost)
}

fn processor() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}
