//! Owns the test that a second agent on a host ends at once, says why, and disturbs nothing.

use std::time::Duration;

use sealane_tests::lab::address::Family;
use sealane_tests::lab::wire::Exit;
use sealane_tests::product::agent;
use sealane_tests::product::traces::Traces;

use crate::stage::{RATE, Stage, alone};

/// Within which the second one ends.
const END: Duration = Duration::from_secs(5);

/// One that shares the state, and one that shares the socket alone.
const SECONDS: [(&str, &str); 2] = [
    ("/etc/sealane/agent.toml", "/var/lib/sealane"),
    ("/etc/sealane/second.toml", "/run/sealane/agent.sock"),
];

#[test]
fn a_second_agent_on_a_host_names_the_first_and_disturbs_nothing() {
    let _machine = alone();
    let stage = Stage::joined("second-agent", Family::Dual);
    let flows = stage.flows(RATE);
    for (host, settings, member) in stage.hosts() {
        let elsewhere = format!("{}\n[paths]\nstate = '/run/second'\n", settings.text());
        host.write_file(SECONDS[1].0, &elsewhere).unwrap();
        stage.endpoints_are_saved(&host);
        let first = host.find("sealane-agent").unwrap();
        assert_eq!(first.len(), 1);
        let before = Traces::of(&host).unwrap();
        for (config, shared) in SECONDS {
            let second = host.command("sealane-agent").args(["--config", config]).timeout(END);
            let second = second.output().unwrap();
            assert_eq!(second.exit, Some(Exit::Code(1)), "{second:?}");
            let line = format!(
                "sealane-agent: {shared}: another sealane-agent, process {}, runs on this host; \
                 stop that one first\n",
                first[0]
            );
            assert_eq!(second.stderr, line);
        }
        before.same_as(&Traces::of(&host).unwrap()).unwrap();
        assert_eq!(host.find("sealane-agent").unwrap(), first);
        agent::reaches(&host, &stage.others(member)).unwrap();
    }
    for flow in flows {
        let report = flow.stop().unwrap();
        println!("second agent: {} of {} packets lost", report.lost, report.sent);
        assert_eq!(report.lost, 0, "{report:?}");
    }
}
