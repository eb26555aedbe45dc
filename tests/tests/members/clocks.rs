//! Owns the test that a wall clock which is set a day ahead or back, on one host or on all, costs no
//! packet and no lane, and keeps no agent from its broker.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sealane_tests::lab::address::Family;
use sealane_tests::lab::host::Host;
use sealane_tests::lab::wait::{throughout, until};
use sealane_tests::product::agent;

use crate::stage::{Stage, alone};

const DAY: i64 = 24 * 3600;
/// How long a clock stays wrong: agents look at theirs every second.
const WRONG: Duration = Duration::from_secs(4);
/// Within which agents find a broker that began anew.
const FOUND: Duration = Duration::from_secs(15);

/// Wall clocks of programs that a test sets. No namespace has a wall clock of its own, so the C library
/// of these programs is told to add what stands in a file.
struct Clocks {
    folder: tempfile::TempDir,
}

impl Clocks {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/clock/clock.c");
        let library = folder.path().join("clock.so");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]);
        let built = compiler.arg(&library).arg(source).status().unwrap();
        assert!(built.success(), "cc: {built}");
        Self { folder }
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("clock.so")
    }

    /// The file of a host, made with a clock that is right.
    fn file(&self, host: &str) -> PathBuf {
        let file = self.folder.path().join(host);
        if !file.exists() {
            fs::write(&file, 0i64.to_ne_bytes()).unwrap();
        }
        file
    }

    /// Sets the clocks of the programs on a host, so many seconds off.
    fn set(&self, host: &str, off: i64) {
        let file = File::options().write(true).open(self.file(host)).unwrap();
        file.write_all_at(&off.to_ne_bytes(), 0).unwrap();
    }
}

#[test]
fn a_clock_that_is_set_a_day_ahead_or_back_costs_no_packet_and_no_lane() {
    let _machine = alone();
    let clocks = Clocks::new();
    let mut stage = Stage::bare("clocks", Family::Dual);
    stage.start_agents_by(|host, agent| {
        let file = clocks.file(host.name());
        agent.env("LD_PRELOAD", clocks.library().display()).env("LAB_CLOCK", file.display())
    });
    stage.join_berlin();
    stage.join_edge();
    stage.await_lanes();
    let names: Vec<String> =
        stage.hosts().iter().map(|(host, ..)| host.name().to_owned()).collect();
    let gateway = stage.berlin.gateway.host.name().to_owned();

    let flows = stage.flows(1000);
    for (who, off) in [
        (vec![gateway.clone()], DAY),
        (vec![gateway.clone()], 0),
        (vec![gateway.clone()], -DAY),
        (vec![gateway], DAY),
        (names.clone(), DAY),
        (names.clone(), -DAY),
    ] {
        who.iter().for_each(|host| clocks.set(host, off));
        throughout(WRONG, "no lane is given up", || {
            let hosts = stage.hosts();
            hosts.iter().try_for_each(|(host, _, own)| agent::reaches(host, &stage.others(own)))
        })
        .unwrap();
        if who.len() > 1 {
            the_broker_is_found_again(&mut stage);
        }
    }
    for (host, ..) in stage.hosts() {
        let log = stage.agent(&host).log().unwrap();
        assert!(log.contains("wall clock was set"), "{}: it took no notice", host.name());
    }
    names.iter().for_each(|host| clocks.set(host, 0));
    stage.await_lanes();
    for flow in flows {
        let report = flow.stop().unwrap();
        println!("clocks: {} of {} packets lost", report.lost, report.sent);
        assert_eq!(report.lost, 0, "{report:?}");
    }
}

/// The broker ends, is missed, begins anew, and every agent connects to it by the clock that it has.
fn the_broker_is_found_again(stage: &mut Stage) {
    let is_connected = |host: &Host| agent::status(host).unwrap().broker.unwrap().connected;
    stage.broker.process.kill().unwrap();
    for (host, ..) in stage.hosts() {
        until(FOUND, format!("{} misses the broker", host.name()), || !is_connected(&host))
            .unwrap();
    }
    stage.broker.restart().unwrap();
    for (host, ..) in stage.hosts() {
        until(FOUND, format!("{} finds the broker by a wrong clock", host.name()), || {
            is_connected(&host)
        })
        .unwrap();
    }
}
