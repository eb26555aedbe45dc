//! Root keys that change: what the administrator types, and what the files are worth afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::os::unix::fs::PermissionsExt as _;

use sealane_view::admin;
use serde_json::{Value, json};

use support::fake_agent::FakeAgent;
use support::program::Desk;

const ROTATE: &str = "clusterset rotate-root --no-passphrase --recovery-file recovery --new-recovery-file recovery.2";

fn list(desk: &Desk) -> Value {
    serde_json::from_str(&desk.run("clusterset show -o json").ends(0).out).unwrap()
}

#[test]
fn a_new_root_key_signs_the_same_members_and_the_old_one_nothing_more() {
    let desk = Desk::with_clusterset();
    desk.run("token create --cluster a --cidr 10.1.0.0/16").ends(0);
    let (before, old) = (list(&desk), desk.read("clusterset/root.key"));
    desk.run(ROTATE).ends(0);
    let after = list(&desk);
    assert_eq!((&after["linkIndex"], &after["version"]), (&json!(1), &json!(1)));
    assert_eq!(after["members"], before["members"]);
    assert_eq!(after["clusterset"], before["clusterset"]);
    for file in ["recovery.2", "clusterset/root.key"] {
        let mode = std::fs::metadata(desk.path(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    desk.run("clusterset sign").ends(0);
    assert_eq!(list(&desk)["version"], json!(2));
    desk.write("clusterset/root.key", &old);
    desk.run("clusterset sign").ends(5).complains(&["ClusterSetBadSignature"]);
}

#[test]
fn each_rotation_needs_the_recovery_key_of_the_one_before() {
    let desk = Desk::with_clusterset();
    desk.run(ROTATE).ends(0);
    let again = ROTATE.replace("recovery.2", "recovery.3");
    desk.run(&again).ends(5).complains(&["not the recovery key in force"]);
    assert!(!desk.path("recovery.3").exists());
    desk.run(&again.replace("--recovery-file recovery ", "--recovery-file recovery.2 ")).ends(0);
    assert_eq!(list(&desk)["linkIndex"], json!(2));
}

#[test]
fn a_rotation_that_ended_before_its_key_was_kept_is_mended_by_the_newest_recovery_key() {
    let desk = Desk::with_clusterset();
    let old = desk.read("clusterset/root.key");
    desk.run(ROTATE).ends(0);
    desk.write("clusterset/root.key", &old);
    let again = "clusterset rotate-root --no-passphrase --recovery-file recovery.2 --new-recovery-file recovery.3";
    desk.run(again).ends(0);
    desk.run("clusterset sign").ends(0);
    assert_eq!((&list(&desk)["linkIndex"], &list(&desk)["version"]), (&json!(2), &json!(2)));
}

#[test]
fn a_lost_root_key_is_replaced_and_a_mistyped_recovery_key_changes_nothing() {
    let desk = Desk::with_clusterset();
    std::fs::remove_file(desk.path("clusterset/root.key")).unwrap();
    let text = desk.read("recovery");
    let typo =
        if text.starts_with('A') { text.replacen('A', "B", 1) } else { format!("A{}", &text[1..]) };
    desk.write("typo", &typo);
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(desk.path("typo"), private).unwrap();
    let mistyped = ROTATE.replace("--recovery-file recovery ", "--recovery-file typo ");
    desk.run(&mistyped).ends(5).complains(&["typo", "14 groups"]);
    assert_eq!(list(&desk)["linkIndex"], json!(0));
    // People type in lower case and leave dashes out.
    let loose = text.to_lowercase().replace('-', " ");
    let typed = ROTATE.replace("--recovery-file recovery ", "--recovery-file - ");
    desk.run_with(&typed, &loose).ends(0).hides(text.trim());
    desk.run("clusterset sign").ends(0);
}

#[test]
fn a_list_is_given_to_the_agent_by_hand() {
    let desk = Desk::with_clusterset();
    let answer = json!({"clusterset": "x", "linkIndex": 1, "version": 3, "accepted": true});
    let agent = FakeAgent::with([(admin::CLUSTERSET, answer)]);
    let line = format!(
        "clusterset accept-link --file clusterset/clusterset.yaml --socket {}",
        agent.socket().display()
    );
    let run = desk.run(&line).ends(0);
    assert!(run.out.contains("accepted") && run.out.contains('3'), "{}", run.out);
    desk.write("bent.yaml", &desk.read("clusterset/clusterset.yaml").replacen("eyJ", "eyK", 1));
    assert_eq!(agent.asked()[0].0, admin::CLUSTERSET);
    let bent = line.replace("clusterset/clusterset.yaml", "bent.yaml");
    desk.run(&bent).ends(5).complains(&["bent.yaml"]);
}

#[test]
fn an_identity_is_neither_added_to_nobodys_nor_made_the_only_one_unseen() {
    let desk = Desk::with_clusterset();
    desk.run("token create --cluster a --cidr 10.1.0.0/16").ends(0);
    let before = list(&desk);
    let update = |flags: &str| desk.run(&format!("member update --cluster a {flags}"));
    update("").ends(2).complains(&["no grant was given", "--add-identity"]);
    let bad = update("--add-identity nonsense").ends(2);
    assert!(bad.err.contains("43 characters"), "{}", bad.err);
    let weak = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let bad = update(&format!("--add-identity {weak}")).ends(2);
    assert!(bad.err.contains("small order"), "{}", bad.err);
    // One key in 64 begins with a hyphen, which is no flag then.
    for key in [keys().next().unwrap(), keys().find(|key| key.starts_with('-')).unwrap()] {
        update(&format!("--add-identity {key}")).ends(5).complains(&["pinned", "clusterset sign"]);
        update(&format!("--only-identity {key}"))
            .ends(5)
            .complains(&["not listed", "--add-identity"]);
        let both = update(&format!("--only-identity {key} --add-identity {key}")).ends(2);
        assert!(both.err.contains("cannot be used with"), "{}", both.err);
    }
    assert_eq!(list(&desk), before);
}

/// Public keys, as text.
fn keys() -> impl Iterator<Item = String> {
    (7..=u8::MAX).map(|byte| {
        let seed = sealane_api::keys::SigningSeed::from_bytes(zeroize::Zeroizing::new([byte; 32]));
        seed.public().to_string()
    })
}
