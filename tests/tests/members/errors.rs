//! Owns the tests of what people read when something is wrong: one line that says what, where and
//! what to do next, and the documented exit code.

use sealane_tests::lab::address::Family;
use sealane_tests::lab::host::Host;
use sealane_tests::lab::wire::Exit;
use sealane_tests::product::agent::CONFIG;
use sealane_tests::product::{agent, command};

use crate::stage::{Stage, shared};

/// A command line, its exit code, and what its one line must name.
type Case<'a> = (&'a str, i32, &'a [&'a str]);

#[test]
fn a_wrong_configuration_is_one_line_that_names_file_line_and_key() {
    let _machine = shared();
    let lab = sealane_tests::lab::world::Lab::new("wrong-config").unwrap();
    let host = lab.host("edge").unwrap();
    for (text, named) in [
        ("gatewy = true\n", ["/etc/sealane/agent.toml:1", "gatewy"]),
        ("[networks]\npods = ['10.1.0.1/16']\n", [":2: networks.pods", "did you mean 10.1.0.0/16"]),
        ("[tunnel]\nlisten_port = 0\n", [":2: tunnel.listen_port", "51820"]),
        ("gateway = maybe\n", ["/etc/sealane/agent.toml:1", "gateway"]),
    ] {
        host.write_file(CONFIG, text).unwrap();
        says_in_one_line(&host, &("sealane-agent --check", 2, &named));
        says_in_one_line(&host, &("sealane-agent", 2, &named));
    }
    says_in_one_line(&host, &("sealane-agent --config /none.toml", 2, &["/none.toml", "--config"]));
    host.write_file(CONFIG, "gateway = true\n").unwrap();
    says_in_one_line(&host, &("sealane status", 3, &["/run/sealane/agent.sock", "sealane-agent"]));
}

#[test]
fn wrong_input_is_one_line_with_the_documented_exit_code() {
    let _machine = shared();
    let mut stage = Stage::bare("wrong-input", Family::Dual);
    stage.start_agents();
    stage.admit_edge();
    let (admin, edge) = (stage.ground.admin.clone(), stage.edge.host.clone());
    let token = edge.read_file(command::TOKEN).unwrap();
    edge.write_file("/run/cut.token", &token[..token.len() - 2]).unwrap();
    edge.write_file("/run/odd.token", "hello\n").unwrap();
    for case in [
        ("sealane join --token-file /run/none.token", 5, &["/run/none.token"][..]),
        ("sealane join --token-file /run/cut.token", 5, &["TokenDamaged", "copy the token again"]),
        ("sealane join --token-file /run/odd.token", 5, &["TokenDamaged"]),
        ("sealane leave", 1, &["in no clusterset"]),
        ("sealane status --socket /run/none.sock", 3, &["/run/none.sock"]),
    ] {
        says_in_one_line(&edge, &case);
    }
    let make =
        |arguments: &str| format!("sealane token create --dir {} {arguments}", command::CLUSTERSET);
    for (line, exit, named) in [
        (make("--cluster x --cidr 10.1.2.3/16"), 2, &["10.1.2.3/16"][..]),
        (make("--cluster X_ --cidr 10.9.0.0/16"), 2, &["X_"]),
        (make("--cluster edge --cidr 10.9.0.0/16"), 5, &["edge", "--rekey"]),
        ("sealane member list --dir /none".to_owned(), 5, &["/none", "clusterset init"]),
        (make("--cluster y --cidr 10.9.0.0/16 --kubeconfig /none"), 5, &["/none"]),
    ] {
        says_in_one_line(&admin, &(line.as_str(), exit, named));
    }
    stage.broker.process.kill().unwrap();
    let away = command::token("late", &["10.9.0.0/16".parse().unwrap()]);
    says_in_one_line(&admin, &(&away, 4, &["203.0.113.5"]));
    // Joining needs no broker; that there is none is in the status, with the reason.
    edge.run(command::JOIN).unwrap();
    let told = edge.command("sealane").arg("status").output().unwrap();
    assert_eq!(told.exit, Some(Exit::Code(1)), "{}", told.stdout);
    assert!(told.stdout.contains("203.0.113.5"), "{}", told.stdout);
    says_in_one_line(&edge, &(command::JOIN, 1, &["edge", "sealane leave"]));
    says_in_one_line(&edge, &(command::LEAVE, 4, &["--without-broker"]));
    edge.run("sealane leave --without-broker").unwrap();
    assert_eq!(agent::status(&edge).unwrap().member, None);
}

/// Standard error is one line which names all of that and shows no secret; the exit code fits.
fn says_in_one_line(host: &Host, (line, exit, named): &Case<'_>) {
    let mut words = line.split_whitespace();
    let command = host.command(words.next().unwrap()).args(words);
    let outcome = command.output().unwrap();
    let said = outcome.stderr.trim_end();
    assert_eq!(outcome.exit, Some(Exit::Code(*exit)), "`{line}` said: {said}");
    for name in *named {
        assert!(said.contains(name), "`{line}` does not name {name}: {said}");
    }
    // What clap says of wrong usage is its own form, with a hint below.
    assert!(*exit == 2 && line.starts_with("sealane ") || said.lines().count() == 1, "{said}");
    assert!(!said.contains("slj1.ey"), "a token is in: {said}");
}
