//! Commands that ask an agent: what it is asked, how the program ends, what is printed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use sealane_view::admin;
use serde_json::{Value, json};

use support::documents;
use support::fake_agent::{FakeAgent, nobody};
use support::program::{Desk, Run};

fn ask(agent: &FakeAgent, command: &str) -> Run {
    Desk::new().run(&format!("{command} --socket {}", agent.socket().display()))
}

#[test]
fn status_ends_with_zero_when_all_is_well_and_with_one_when_not() {
    let well = FakeAgent::with([(admin::STATUS, documents::good_status())]);
    let run = ask(&well, "status").ends(0);
    assert!(run.out.contains("cluster-b  up"), "{}", run.out);
    assert!(!run.out.contains('\u{1b}'), "colour without a terminal");
    let ill = FakeAgent::with([(admin::STATUS, documents::bad_status())]);
    let run = ask(&ill, "status").ends(1);
    assert!(run.out.contains("next: renumber eth0 or the member"), "{}", run.out);
}

#[test]
fn a_watched_status_is_shown_again_and_survives_an_agent_that_says_no() {
    use std::io::{BufRead as _, BufReader};
    let agent = FakeAgent::with([(admin::STATUS, documents::good_status())]);
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_sealane"))
        .args(["status", "--watch", "--interval", "1s", "--socket"])
        .arg(agent.socket())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let looks = lines.filter(|line| line.starts_with("cluster-b  up")).take(2).count();
    assert_eq!((looks, agent.asked().len()), (2, 2));
    child.kill().unwrap();
    child.wait().unwrap();
    let silent = std::process::Command::new("timeout")
        .args(["2", env!("CARGO_BIN_EXE_sealane"), "status", "--watch", "--socket", "nobody.sock"])
        .output()
        .unwrap();
    assert_eq!(silent.status.code(), Some(124), "it gave up on an agent that is away");
}

#[test]
fn each_single_fault_makes_status_end_with_one() {
    let faults: [(&str, Value); 6] = [
        ("/member", Value::Null),
        ("/clusterset/state", json!("held")),
        ("/broker/connected", json!(false)),
        ("/members/0/state", json!("degraded")),
        ("/members/0/state", json!("connecting")),
        (
            "/rejections",
            json!([{"object": "edge-1.host", "kind": "Advertisement", "member": "edge-1",
                    "reason": "CidrNotGranted", "explanation": "x", "sinceUnixSeconds": 1}]),
        ),
    ];
    for (place, value) in faults {
        let mut status = documents::good_status();
        if status.pointer(place).is_none() {
            status[place.trim_start_matches('/')] = value;
        } else {
            *status.pointer_mut(place).unwrap() = value;
        }
        let agent = FakeAgent::with([(admin::STATUS, status)]);
        assert_eq!(ask(&agent, "status").code, 1, "{place}");
    }
}

#[test]
fn documents_come_out_as_they_came_in() {
    let agent = FakeAgent::with([
        (admin::STATUS, documents::good_status()),
        (admin::PEERS, documents::peers()),
        (admin::ROUTES, documents::routes()),
    ]);
    for (command, place) in [
        ("status", "/members/0/member"),
        ("peers", "/peers/0/endpoint"),
        ("routes", "/routes/0/via"),
    ] {
        let run = ask(&agent, &format!("{command} -o json")).ends(0);
        let value: Value = serde_json::from_str(&run.out).unwrap();
        assert!(value.pointer(place).is_some(), "{command}: {}", run.out);
        let run = ask(&agent, &format!("{command} -o yaml")).ends(0);
        let again: Value = serde_saphyr::from_str(&run.out).unwrap();
        assert_eq!(again, value, "{command}");
    }
}

#[test]
fn trace_ends_with_one_when_the_packet_does_not_arrive() {
    for (outcome, code) in [("ok", 0), ("warn", 0), ("fail", 1)] {
        let agent = FakeAgent::with([(admin::TRACE, documents::trace(outcome))]);
        let run = ask(&agent, "trace 10.1.0.5 10.2.0.9").ends(code);
        assert!(run.out.trim_end().ends_with("does not answer"), "{}", run.out);
    }
}

#[test]
fn trace_asks_for_what_was_typed() {
    let agent = FakeAgent::with([(admin::TRACE, documents::trace("ok"))]);
    ask(&agent, "trace 10.1.0.5 10.2.0.9 --size 1500").ends(0);
    ask(&agent, "trace self fd00:2::9").ends(0);
    ask(&agent, "trace - fd00:2::9").ends(0);
    let bodies: Vec<Value> = agent.asked().into_iter().map(|(_, body)| body).collect();
    assert_eq!(
        bodies,
        [
            json!({"source": "10.1.0.5", "destination": "10.2.0.9", "sizeBytes": 1500}),
            json!({"destination": "fd00:2::9"}),
            json!({"destination": "fd00:2::9"}),
        ]
    );
}

#[test]
fn a_node_whose_gateways_answer_says_unknown_of_members_and_ends_well() {
    let mut status = documents::good_status();
    status["members"][0]["state"] = json!("unknown");
    status["members"][0]["reason"] = json!("our gateways answer");
    let run = ask(&FakeAgent::with([(admin::STATUS, status)]), "status").ends(0);
    let line = run.out.lines().find(|line| line.starts_with("cluster-b")).unwrap();
    assert!(line.contains("unknown") && line.ends_with("our gateways answer"), "{line}");
}

#[test]
fn a_broker_that_turns_us_away_is_not_shown_as_away() {
    let mut status = documents::bad_status();
    status["broker"]["refused"] = json!(true);
    let run = ask(&FakeAgent::with([(admin::STATUS, status)]), "status").ends(1);
    assert!(run.out.contains("turns us away for "), "{}", run.out);
}

#[test]
fn ping_of_an_address_says_who_answers_for_it_and_that_probes_were_too_large() {
    let agent = FakeAgent::with([(admin::PING, documents::ping(0))]);
    let run = ask(&agent, "ping 10.2.0.9 -i 200ms -s 1421").ends(1);
    let first = "10.2.0.9 is behind cluster-b.b, which is asked; ";
    assert!(run.out.starts_with(first), "{}", run.out);
    let last = "probes of 1421 bytes are larger than the path takes: 1420\n";
    assert!(run.out.ends_with(last), "{}", run.out);
    let run = ask(&agent, "ping cluster-b -s 1420").ends(1);
    assert!(run.out.starts_with("cluster-b.b at ") && !run.out.contains("larger"), "{}", run.out);
}

#[test]
fn ping_ends_with_one_only_when_nothing_is_answered() {
    for (received, code) in [(3, 0), (1, 0), (0, 1)] {
        let agent = FakeAgent::with([(admin::PING, documents::ping(received))]);
        ask(&agent, "ping cluster-b -c 3 -i 0.05 -s 1400").ends(code);
        let asked = json!({"target": "cluster-b", "count": 3, "intervalMilliseconds": 50, "sizeBytes": 1400});
        assert_eq!(agent.asked(), [(admin::PING.to_owned(), asked)]);
    }
}

#[test]
fn leave_tells_what_remains_and_what_to_do_without_a_broker() {
    let clean = json!({"member": "edge-1", "withdrawn": true, "remains": []});
    let agent = FakeAgent::with([(admin::LEAVE, clean)]);
    ask(&agent, "leave").ends(0);
    ask(&agent, "leave --without-broker").ends(0);
    let wishes: Vec<Value> =
        agent.asked().into_iter().map(|(_, body)| body["withoutBroker"].clone()).collect();
    assert_eq!(wishes, [json!("refuse"), json!("leave")]);
    let dirty = json!({"member": "edge-1", "withdrawn": false, "remains": ["link sealane0: busy"]});
    let run = ask(&FakeAgent::with([(admin::LEAVE, dirty)]), "leave").ends(1);
    assert!(run.out.contains("remains: link sealane0: busy"), "{}", run.out);
}

#[test]
fn identity_show_gives_the_fingerprint_to_compare() {
    let agent = FakeAgent::with([(admin::STATUS, documents::good_status())]);
    let run = ask(&agent, "identity show").ends(0);
    assert!(run.out.contains("2qtf-ab4x") && run.out.contains("no: have it pinned"), "{}", run.out);
    let worker = FakeAgent::with([(admin::STATUS, documents::bad_status())]);
    ask(&worker, "identity show").ends(1).complains(&["no identity key", "keeper"]);
}

#[test]
fn an_agent_that_does_not_answer_is_code_three_and_names_the_socket() {
    let desk = Desk::new();
    let socket = nobody(&desk.path(""));
    for command in
        ["status", "peers", "routes", "trace - 10.2.0.9", "ping b", "leave", "identity show"]
    {
        let run = desk.run(&format!("{command} --socket {}", socket.display())).ends(3);
        run.complains(&["nobody.sock", "systemctl start sealane-agent"]);
    }
    let old = FakeAgent::with([]);
    ask(&old, "status").ends(3).complains(&["404", "same version"]);
}

#[test]
fn what_the_agent_refuses_is_one_line_with_its_next_step() {
    let line = ["not done: because of this; do that"];
    for (command, path, status, code) in [
        ("leave", admin::LEAVE, 502, 4),
        ("leave", admin::LEAVE, 409, 1),
        ("ping nobody", admin::PING, 422, 1),
        ("trace - 10.2.0.9", admin::TRACE, 409, 1),
    ] {
        ask(&FakeAgent::refusing(path, status), command).ends(code).complains(&line);
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let agent = FakeAgent::with([(admin::STATUS, documents::good_status())]);
    let line = format!(
        "{} status -o json --socket {} | true; exit ${{PIPESTATUS[0]}}",
        env!("CARGO_BIN_EXE_sealane"),
        agent.socket().display()
    );
    let output = std::process::Command::new("bash").args(["-c", &line]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn wrong_arguments_are_code_two() {
    let desk = Desk::new();
    for line in [
        "",
        "statsu",
        "trace 10.1.0.5",
        "trace 10.1.0.5 fd00::1",
        "trace nonsense 10.2.0.9",
        "ping b -c 0",
        "ping b -i soon",
        "ping b -i 5ms",
        "trace self 10.2.0.9 -s 5",
        "ping b -c 1000 -i 1",
        "join",
        "join TOKEN",
        "status --interval 1s",
        "token create --cluster A_B --cidr 10.0.0.0/8",
        "clusterset init --no-passphrase --broker http://192.0.2.1",
        "clusterset init --no-passphrase --broker https://192.0.2.1 --broker-pin short",
        "clusterset init --broker-pin AAAA",
        "join --token-file a --no-wait --timeout 5s",
        "--socket agent.sock token inspect --token-file a",
        "-o json completions bash",
        "clusterset apply -o json",
        "-o csv status",
    ] {
        desk.run(line).ends(2);
    }
    assert!(!desk.path("clusterset").exists(), "a refused command left a folder");
}

#[test]
fn the_socket_and_the_form_stand_before_the_command_or_behind_it() {
    let agent = FakeAgent::with([(admin::STATUS, documents::good_status())]);
    let (desk, socket) = (Desk::new(), agent.socket());
    let socket = socket.display();
    let expected = desk.run(&format!("status -o json --socket {socket}")).ends(0).out;
    for line in [
        format!("--socket {socket} status -o json"),
        format!("-o json --socket {socket} status"),
        format!("--output=json status --socket={socket}"),
        format!("-o yaml status -o json --socket {socket}"),
    ] {
        assert_eq!(desk.run(&line).ends(0).out, expected, "{line}");
    }
    let run = desk.run(&format!("--socket {socket} identity -o json show")).ends(0);
    assert!(run.out.starts_with('{'), "{}", run.out);
}

#[test]
fn a_flag_before_a_command_that_does_not_use_it_is_refused_and_not_in_its_help() {
    let desk = Desk::new();
    let run = desk.run("--socket agent.sock clusterset show").ends(2);
    assert!(run.err.contains("`clusterset show` takes no --socket"), "{}", run.err);
    assert!(run.err.contains("Usage: sealane clusterset show"), "{}", run.err);
    assert!(!desk.run("clusterset show --help").ends(0).out.contains("--socket"));
    assert!(desk.run("status --help").ends(0).out.contains("--socket"));
}

#[test]
fn as_a_plugin_of_kubectl_it_calls_itself_so() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("kubectl-sealane");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_sealane"), &plugin).unwrap();
    let said = |arguments: &[&str]| {
        let output = std::process::Command::new(&plugin).args(arguments).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    assert!(
        said(&["--help"]).contains("Usage: kubectl sealane [OPTIONS] <COMMAND>"),
        "{}",
        said(&["--help"])
    );
    for line in [&["trace", "--help"][..], &["trace"][..]] {
        assert!(said(line).contains("Usage: kubectl sealane trace"), "{}", said(line));
    }
    let nested = said(&["token", "create", "--help"]);
    assert!(nested.contains("Usage: kubectl sealane token create"), "{nested}");
}

#[test]
fn the_help_of_every_command_has_an_example_and_that_of_all_the_exit_codes() {
    fn walk(desk: &Desk, words: &str) -> usize {
        let help = desk.run(&format!("{words} --help")).ends(0).out;
        let commands = help.split_once("Commands:\n").map_or("", |(_, rest)| rest);
        let names: Vec<&str> = commands
            .lines()
            .take_while(|line| !line.is_empty())
            .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
            .filter_map(|line| line.split_whitespace().next())
            .filter(|name| *name != "help")
            .collect();
        if names.is_empty() || words.is_empty() {
            assert!(help.contains("Example"), "`{words}` has no example:\n{help}");
        }
        names.iter().map(|name| walk(desk, &format!("{words} {name}"))).sum::<usize>() + 1
    }
    let desk = Desk::new();
    assert!(walk(&desk, "") > 20, "hardly a command was found");
    let help = desk.run("--help").ends(0).out;
    for code in 0..=5 {
        assert!(help.contains(&format!("\n  {code}  ")), "code {code} is not in:\n{help}");
    }
}
