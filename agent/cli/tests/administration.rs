//! Commands for the administrator of a clusterset, without a broker: files, signatures, secrets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::os::unix::fs::PermissionsExt as _;

use sealane_api::token::Token;
use sealane_view::admin;
use serde_json::{Value, json};

use support::fake_agent::FakeAgent;
use support::program::{Desk, Run};

const CREATE: &str = "token create --cluster cluster-a --cidr 10.1.0.0/16 --cidr fd00:1::/48";

fn list(desk: &Desk) -> Value {
    serde_json::from_str(&desk.run("clusterset show -o json").ends(0).out).unwrap()
}

fn mode(desk: &Desk, name: &str) -> u32 {
    std::fs::metadata(desk.path(name)).unwrap().permissions().mode() & 0o777
}

#[test]
fn init_makes_a_list_that_verifies_and_secrets_that_only_the_owner_reads() {
    let desk = Desk::with_clusterset();
    assert_eq!(mode(&desk, "clusterset/root.key"), 0o600);
    assert_eq!(mode(&desk, "recovery"), 0o600);
    assert_eq!(desk.read("recovery").trim().split('-').count(), 14);
    let list = list(&desk);
    assert_eq!(list["version"], json!(1));
    assert_eq!(list["clusterset"].as_str().unwrap().len(), 32);
    assert_eq!(list["brokers"][0]["url"], json!("https://192.0.2.1:6464"));
}

#[test]
fn init_shows_the_recovery_key_once_and_replaces_nothing() {
    let desk = Desk::new();
    let run = desk.run("clusterset init --no-passphrase").ends(0);
    assert_eq!(run.out.trim().split('-').count(), 14, "{}", run.out);
    let before = desk.read("clusterset/root.key");
    let run = desk.run("clusterset init --no-passphrase").ends(5);
    run.complains(&["root.key", "exists already"]);
    assert_eq!(desk.read("clusterset/root.key"), before);
}

#[test]
fn a_root_key_under_a_passphrase_signs_with_it_only() {
    let desk = Desk::new();
    desk.write("right", "correct horse\n");
    desk.write("wrong", "battery staple\n");
    desk.write("short", "abc\n");
    desk.run("clusterset init --passphrase-file short").ends(5).complains(&["8 characters"]);
    desk.run("clusterset init --recovery-file r --passphrase-file right").ends(0);
    let refused = desk.run("clusterset sign --passphrase-file wrong").ends(5);
    refused.complains(&["root.key", "passphrase is wrong"]);
    desk.run("clusterset sign").ends(5).complains(&["no terminal", "SEALANE_PASSPHRASE"]);
    assert_eq!(list(&desk)["version"], json!(1));
    desk.run("clusterset sign --passphrase-file right").ends(0);
    assert_eq!(list(&desk)["version"], json!(2));
}

#[test]
fn a_token_goes_from_create_to_inspect() {
    let desk = Desk::with_clusterset();
    desk.run(&format!("{CREATE} --token-file a.token")).ends(0);
    assert_eq!(mode(&desk, "a.token"), 0o600);
    let run = desk.run("token inspect --token-file a.token -o json").ends(0);
    let shown: Value = serde_json::from_str(&run.out).unwrap();
    let list = list(&desk);
    assert_eq!(shown["member"], json!("cluster-a"));
    assert_eq!(shown["clusterset"], list["clusterset"]);
    assert_eq!(shown["minimumVersion"], list["version"]);
    assert_eq!(shown["brokers"], json!(["https://192.0.2.1:6464"]));
    assert_eq!(shown["hasBrokerCredential"], json!(false));
    assert_eq!(list["members"][0]["cidrs"], json!(["10.1.0.0/16", "fd00:1::/48"]));
    let text = desk.read("a.token");
    let piped = desk.run_with("token inspect --token-file - -o json", &text).ends(0);
    assert_eq!(piped.out, run.out);
}

#[test]
fn a_credential_from_a_file_travels_in_the_token() {
    let desk = Desk::with_clusterset();
    desk.write("credential", "bearer-of-cluster-a\n");
    let run = desk.run(&format!("{CREATE} --credential-file credential")).ends(0);
    let token = Token::decode(&run.out).unwrap();
    assert_eq!(token.credential.as_str(), "bearer-of-cluster-a");
    assert!(token.join.is_some());
}

#[test]
fn no_output_but_the_token_itself_holds_a_secret() {
    let desk = Desk::with_clusterset();
    desk.write("credential", "bearer-of-cluster-a\n");
    let root: Value = serde_json::from_str(&desk.read("clusterset/root.key")).unwrap();
    let recovery = desk.read("recovery").trim().to_owned();
    let create =
        desk.run(&format!("{CREATE} --credential-file credential --token-file a.token")).ends(0);
    let token = desk.read("a.token").trim().to_owned();
    let agent = FakeAgent::with([(
        admin::JOIN,
        json!({"clusterset": "c", "member": "cluster-a", "node": "n", "fingerprint": "f", "next": []}),
    )]);
    let join = format!("join --no-wait --token-file a.token --socket {}", agent.socket().display());
    let runs: Vec<Run> = [
        "token inspect --token-file a.token",
        "token inspect --token-file a.token -o yaml",
        "clusterset show -o json",
        "member list",
        "clusterset sign",
        join.as_str(),
    ]
    .into_iter()
    .map(|line| desk.run(line).ends(0))
    .chain([create])
    .collect();
    let seed = root["seed"].as_str().unwrap();
    let body = token.split('.').nth(1).unwrap();
    for run in &runs {
        for secret in [seed, &recovery, body, "bearer-of-cluster-a"] {
            run.hides(secret);
        }
    }
    assert!(!desk.read("clusterset/clusterset.yaml").contains(seed));
    assert_eq!(agent.asked(), [(admin::JOIN.to_owned(), json!({ "token": token }))]);
}

#[test]
fn join_refuses_a_damaged_token_before_the_agent_sees_it() {
    let desk = Desk::with_clusterset();
    desk.run(&format!("{CREATE} --token-file a.token")).ends(0);
    let damaged = desk.read("a.token").replace("slj1.e", "slj1.f");
    desk.write("damaged.token", &damaged);
    let agent = FakeAgent::refusing(admin::JOIN, 422);
    let socket = agent.socket();
    let join = |file: &str| {
        desk.run(&format!("join --no-wait --token-file {file} --socket {}", socket.display()))
    };
    let run = join("damaged.token").ends(5);
    assert!(run.err.contains("TokenDamaged"), "{}", run.err);
    run.hides(damaged.trim());
    join("missing.token").ends(5).complains(&["missing.token", "No such file"]);
    assert_eq!(agent.asked(), []);
    join("a.token").ends(5).complains(&["not done: because of this; do that"]);
}

#[test]
fn a_token_file_that_others_can_read_is_warned_about() {
    let desk = Desk::with_clusterset();
    desk.run(&format!("{CREATE} --token-file a.token")).ends(0);
    std::fs::set_permissions(desk.path("a.token"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let run = desk.run("token inspect --token-file a.token").ends(0);
    run.complains(&["warning", "a.token", "644", "chmod 600"]);
}

#[test]
fn a_grant_that_breaks_a_rule_is_refused_and_changes_nothing() {
    let desk = Desk::with_clusterset();
    desk.run(&format!("{CREATE} --token-file a.token")).ends(0);
    let before = desk.read("clusterset/clusterset.yaml");
    for (line, code, word) in [
        ("--cluster b --cidr 10.1.128.0/17", 5, "ClusterSetOverlap"),
        ("--cluster b --cidr 127.0.0.0/8", 5, "CidrForbidden"),
        ("--cluster b --cidr 10.1.0.1/16", 2, "canonical"),
        ("--cluster b", 2, "--cidr"),
        ("--cluster b --cidr 10.2.0.0/16 --namespace-grant Not_A_Name", 5, "BadName"),
        ("--cluster b --cidr 10.2.0.0/16 --valid-for 91d", 2, "90d"),
        ("--cluster cluster-a --cidr 10.1.0.0/16", 5, "--rekey"),
        ("--cluster b --cidr 10.2.0.0/16 --rekey", 5, "not on the list"),
        ("--cluster b --cidr 10.2.0.0/16 --token-file a.token", 5, "exists already"),
    ] {
        let run = desk.run(&format!("token create {line}")).ends(code);
        assert!(run.err.contains(word), "{line}: {}", run.err);
        assert!(run.out.is_empty(), "{line} printed a token");
    }
    assert_eq!(desk.read("clusterset/clusterset.yaml"), before);
}

#[test]
fn a_member_is_updated_rekeyed_and_removed_each_as_a_version() {
    let desk = Desk::with_clusterset();
    desk.run(&format!("{CREATE} --token-file a.token")).ends(0);
    desk.run(
        "member update --cluster cluster-a --cidr 10.4.0.0/16 --gateways 2 --namespace-grant shop",
    )
    .ends(0);
    let member = list(&desk)["members"][0].clone();
    assert_eq!(member["cidrs"], json!(["10.4.0.0/16"]));
    assert_eq!((&member["gateways"], &member["namespaces"]), (&json!(2), &json!(["shop"])));
    desk.run("token create --cluster cluster-a --rekey --token-file b.token").ends(0);
    let (old, new) = (desk.read("a.token"), desk.read("b.token"));
    let key = |text: &str| Token::decode(text).unwrap().join.unwrap().public();
    assert_ne!(key(&old), key(&new));
    assert_eq!(list(&desk)["members"][0]["cidrs"], json!(["10.4.0.0/16"]), "rekey kept the grant");
    desk.run("member remove --cluster cluster-a").ends(0);
    assert_eq!((&list(&desk)["members"], &list(&desk)["version"]), (&json!([]), &json!(5)));
    desk.run("member remove --cluster cluster-a")
        .ends(5)
        .complains(&["cluster-a", "not on the list"]);
    desk.run("member update --cluster cluster-a").ends(2).complains(&["no grant"]);
}

#[test]
fn a_list_that_was_tampered_with_is_not_built_upon() {
    let desk = Desk::with_clusterset();
    desk.run(&format!("{CREATE} --token-file a.token")).ends(0);
    let good = desk.read("clusterset/clusterset.yaml");
    let other = Desk::with_clusterset();
    let payload = good.lines().find(|line| line.trim_start().starts_with("eyJ")).unwrap().trim();
    let forged = good.replace(payload, &payload.replace("eyJ2IjoxLCJ", "eyJ2IjoxLAJ"));
    assert_ne!(forged, good);
    for (text, word) in [
        (forged.as_str(), "ClusterSetBadSignature"),
        (&other.read("clusterset/clusterset.yaml"), "another root key"),
        ("kind: Pod\napiVersion: v1\n", "expected a ClusterSet"),
        ("{", "not a ClusterSet manifest"),
    ] {
        desk.write("clusterset/clusterset.yaml", text);
        let run = desk.run("token create --cluster b --cidr 10.2.0.0/16").ends(5);
        run.complains(&["clusterset.yaml", word, "Git"]);
    }
}

#[test]
fn the_manifest_is_what_kubectl_takes() {
    let desk = Desk::with_clusterset();
    let object: Value = serde_saphyr::from_str(&desk.read("clusterset/clusterset.yaml")).unwrap();
    assert_eq!(object["apiVersion"], json!("sealane.dev/v1alpha1"));
    assert_eq!(object["kind"], json!("ClusterSet"));
    assert_eq!(object["metadata"], json!({"name": "sealane", "namespace": "sealane-system"}));
    assert!(object["spec"]["signed"]["payload"].is_string());
}

#[test]
fn brokers_and_life_change_with_a_signature() {
    let desk = Desk::with_clusterset();
    let pin = "A".repeat(43);
    let line = format!("clusterset sign --broker https://b.example.net,{pin} --valid-for 30d");
    desk.run(&line).ends(0);
    let list = list(&desk);
    assert_eq!(list["brokers"][0]["url"], json!("https://b.example.net"));
    assert_eq!(list["brokers"][0]["pins"], json!([pin]));
    let life =
        list["expiresUnixSeconds"].as_u64().unwrap() - list["issuedUnixSeconds"].as_u64().unwrap();
    assert_eq!(life, 30 * 86_400);
}

#[test]
fn a_missing_folder_says_how_to_name_or_make_one() {
    let run = Desk::new().run("member list").ends(5);
    run.complains(&["no such folder", "--dir", "clusterset init"]);
}

#[test]
fn completions_exist_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = Desk::new().run(&format!("completions {shell}")).ends(0);
        assert!(run.out.contains("clusterset"), "{shell}");
    }
}

#[test]
fn as_a_kubectl_plugin_it_calls_itself_kubectl_sealane() {
    let desk = Desk::new();
    let plugin = desk.path("kubectl-sealane");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_sealane"), &plugin).unwrap();
    let output = std::process::Command::new(plugin).args(["trace", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(help.contains("Usage: kubectl sealane trace"), "{help}");
}

#[test]
fn a_network_that_is_not_written_canonically_is_answered_with_the_one_that_was_meant() {
    let desk = Desk::with_clusterset();
    for (typed, meant) in [
        ("10.1.2.3/16", "10.1.0.0/16"),
        ("FD00:1::/48", "fd00:1::/48"),
        ("fd00:1:0::7/048", "fd00:1::/48"),
        ("192.0.2.7", "192.0.2.7/32"),
    ] {
        let run = desk.run(&format!("token create --cluster a --cidr {typed}")).ends(2);
        assert!(run.err.contains(&format!("did you mean {meant}")), "{typed}: {}", run.err);
    }
    let run = desk.run("token create --cluster a --cidr 10.1/16").ends(2);
    assert!(!run.err.contains("did you mean"), "{}", run.err);
}

#[test]
fn a_pin_may_begin_with_a_hyphen() {
    let pin = format!("-{}", "A".repeat(42));
    let desk = Desk::new();
    let init = "clusterset init --no-passphrase --recovery-file r --broker https://192.0.2.1";
    desk.run(&format!("{init} --broker-pin {pin}")).ends(0);
    assert!(desk.run("clusterset show -o json").ends(0).out.contains(&pin));
}

#[test]
fn completions_and_manual_are_made_for_every_command() {
    let desk = Desk::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = desk.run(&format!("completions {shell}")).ends(0).out;
        assert!(script.contains("sealane") && script.contains("token-file"), "{shell}");
    }
    std::fs::create_dir(desk.path("man1")).unwrap();
    desk.run("man man1").ends(0);
    for page in ["sealane", "sealane-status", "sealane-clusterset-init"] {
        let text = desk.read(&format!("man1/{page}.1"));
        assert!(text.contains(".SH SYNOPSIS") && text.contains("Example"), "{page}:\n{text}");
    }
    desk.run("man nowhere").ends(5).complains(&["nowhere", "name a folder"]);
}

#[test]
fn the_end_of_a_service_accounts_token_is_read_from_it() {
    let desk = Desk::with_clusterset();
    let claims = "eyJleHAiOjE4MDAwMDAwMDAsInN1YiI6Im1lbWJlci1hIn0"; // {"exp":1800000000,"sub":"member-a"}
    for (at, (credential, shown)) in [
        (format!("e30.{claims}.c2ln"), "in the token, good until 2027-01-15 08:00 UTC"),
        ("e30.bm9uZQ.c2ln".to_owned(), "in the token"),
        ("opaque".to_owned(), "in the token"),
    ]
    .into_iter()
    .enumerate()
    {
        desk.write("credential", &credential);
        let file = format!("{at}.token");
        let create =
            format!("token create --cluster m{at} --cidr 10.{}.0.0/16 --token-file {file}", at + 1);
        std::fs::set_permissions(desk.path("credential"), std::fs::Permissions::from_mode(0o600))
            .unwrap();
        desk.run(&format!("{create} --credential-file credential")).ends(0);
        let run = desk.run(&format!("token inspect --token-file {file}")).ends(0);
        let line = run.out.lines().find(|line| line.starts_with("credential")).unwrap();
        assert_eq!(line.split_once("  ").unwrap().1.trim(), shown);
    }
}
