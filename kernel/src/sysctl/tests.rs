//! Owns the proof that settings come back as they were, on a folder that looks like `/proc/sys`.

use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;

#[test]
fn a_setting_is_given_back_as_it_was_before_the_first_write() {
    let host = Host::with("net/ipv4/ip_forward", "0\n");
    let key = SysctlKey::new(["net", "ipv4", "ip_forward"]);
    let mut ledger = host.ledger();
    ledger.set(&key, "1").unwrap();
    ledger.set(&key, "2").unwrap();
    assert_eq!(host.value("net/ipv4/ip_forward"), "2");
    let mut restarted = host.ledger();
    assert_eq!(restarted.restore(&key).unwrap(), Restored::Written);
    assert_eq!(host.value("net/ipv4/ip_forward"), "0");
    assert_eq!(restarted.restore(&key).unwrap(), Restored::NotHeld);
    assert!(!host.state.path().join(LEDGER_FILE).exists());
}

#[test]
fn the_former_value_is_on_the_disk_before_the_setting_changes() {
    let host = Host::with("net/a", "0");
    let key = SysctlKey::new(["net", "a"]);
    let mut ledger = host.ledger();
    // A state folder that cannot be made: a file stands where it should be.
    ledger.path = host.root.path().join("net/a/sysctl.json");
    assert!(matches!(ledger.set(&key, "1"), Err(SysctlError::Ledger { .. })));
    assert_eq!(host.value("net/a"), "0");
    let mut ledger = host.ledger();
    ledger.set(&key, "1").unwrap();
    let file = host.state.path().join(LEDGER_FILE).metadata().unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_forwarding_rewrites_is_as_it_was_when_forwarding_is_given_back() {
    let host = Host::with("net/ipv4/ip_forward", "0");
    host.put_all(&[("all/accept_redirects", "0"), ("default/forwarding", "1")]);
    host.put_all(&[("d0/forwarding", "1"), ("d1/forwarding", "0"), ("gone/forwarding", "1")]);
    host.put_all(&[("chosen/forwarding", "1")]);
    let key = SysctlKey::new(["net", "ipv4", "ip_forward"]);
    host.ledger().set(&key, "1").unwrap();
    // As the kernel does at "1", then at "0", which the plain files of this test do not.
    host.put_all(&[("d1/forwarding", "1")]);
    fs::remove_dir_all(host.root.path().join("net/ipv4/conf/gone")).unwrap();
    host.put_all(&[("all/accept_redirects", "1"), ("default/forwarding", "0")]);
    host.put_all(&[("d0/forwarding", "0"), ("d1/forwarding", "0"), ("new/forwarding", "0")]);
    // By a hand that chose a value that the kernel did not give.
    host.put_all(&[("chosen/forwarding", "7")]);
    assert_eq!(host.ledger().restore(&key).unwrap(), Restored::Written);
    let all = ["all/accept_redirects", "default/forwarding", "d0/forwarding", "d1/forwarding"];
    let values = all.map(|name| host.value(&format!("net/ipv4/conf/{name}")));
    assert_eq!(values, ["0", "1", "1", "0"]);
    assert_eq!(host.value("net/ipv4/conf/new/forwarding"), "0");
    assert_eq!(host.value("net/ipv4/conf/chosen/forwarding"), "7");
    assert!(!host.state.path().join(LEDGER_FILE).exists());
}

#[test]
fn links_with_an_advertised_router_heed_it_while_we_forward() {
    let host = Host::with("net/ipv6/conf/all/forwarding", "0");
    for (link, accept_ra, forwarding) in
        [("up0", "1", "0"), ("off0", "0", "0"), ("routes0", "1", "1"), ("other0", "1", "0")]
    {
        host.put(&format!("net/ipv6/conf/{link}/accept_ra"), accept_ra);
        host.put(&format!("net/ipv6/conf/{link}/forwarding"), forwarding);
    }
    let accept_ra = || {
        ["up0", "off0", "routes0", "other0"]
            .map(|link| host.value(&format!("net/ipv6/conf/{link}/accept_ra")))
    };
    let key = SysctlKey::new(["net", "ipv6", "conf", "all", "forwarding"]);
    let links = ["up0", "off0", "routes0", "gone0"].map(|link| link.parse().unwrap());
    host.ledger().set_keeping_routers(&key, "1", &links.into()).unwrap();
    assert_eq!(accept_ra(), ["2", "0", "1", "1"]);
    host.ledger().restore(&key).unwrap();
    assert_eq!(accept_ra(), ["1", "0", "1", "1"]);
}

#[test]
fn a_host_that_forwards_already_is_not_touched() {
    let host = Host::with("net/ipv6/conf/all/forwarding", "1");
    host.put("net/ipv6/conf/up0/accept_ra", "1");
    host.put("net/ipv6/conf/up0/forwarding", "0");
    let key = SysctlKey::new(["net", "ipv6", "conf", "all", "forwarding"]);
    let links = BTreeSet::from(["up0".parse().unwrap()]);
    host.ledger().set_keeping_routers(&key, "1", &links).unwrap();
    assert_eq!(host.value("net/ipv6/conf/up0/accept_ra"), "1");
    let written = || host.root.path().join(key.to_string()).metadata().unwrap().modified();
    let before = written().unwrap();
    assert_eq!(host.ledger().restore(&key).unwrap(), Restored::Written);
    assert_eq!(written().unwrap(), before, "written once more it would reach every link");
}

#[test]
fn what_someone_else_set_since_stays() {
    let host = Host::with("net/a", "0");
    let key = SysctlKey::new(["net", "a"]);
    let mut ledger = host.ledger();
    ledger.set(&key, "1").unwrap();
    host.put("net/a", "7");
    let outcome = Restored::ChangedSince { present: "7".to_owned() };
    assert_eq!(ledger.restore(&key).unwrap(), outcome);
    assert_eq!(host.value("net/a"), "7");
    assert_eq!(ledger.observe(&BTreeSet::new()).unwrap(), BTreeMap::new());
}

#[test]
fn a_value_that_someone_else_set_and_we_overrode_is_the_one_given_back() {
    let host = Host::with("net/a", "0");
    let key = SysctlKey::new(["net", "a"]);
    let mut ledger = host.ledger();
    ledger.set(&key, "1").unwrap();
    host.put("net/a", "7");
    ledger.set(&key, "1").unwrap();
    ledger.restore(&key).unwrap();
    assert_eq!(host.value("net/a"), "7");
}

#[test]
fn a_crash_between_ledger_and_write_loses_no_former_value() {
    let host = Host::with("net/a", "0");
    let key = SysctlKey::new(["net", "a"]);
    let mut ledger = host.ledger();
    ledger.set(&key, "1").unwrap();
    ledger.set(&key, "2").unwrap();
    // As if the second write had not reached the kernel.
    host.put("net/a", "1");
    let mut restarted = host.ledger();
    restarted.set(&key, "2").unwrap();
    restarted.restore(&key).unwrap();
    assert_eq!(host.value("net/a"), "0");
}

#[test]
fn settings_of_vanished_links_are_forgotten() {
    let host = Host::with("net/ipv4/conf/sealane0/rp_filter", "0");
    let key = SysctlKey::new(["net", "ipv4", "conf", "sealane0", "rp_filter"]);
    let mut ledger = host.ledger();
    ledger.set(&key, "2").unwrap();
    fs::remove_dir_all(host.root.path().join("net/ipv4/conf/sealane0")).unwrap();
    assert_eq!(ledger.observe(&BTreeSet::new()).unwrap(), BTreeMap::new());
    assert_eq!(ledger.restore(&key).unwrap(), Restored::Vanished);
    assert!(matches!(ledger.set(&key, "2"), Err(SysctlError::Missing { .. })));
}

#[test]
fn a_reboot_ends_what_we_hold() {
    let host = Host::with("net/a", "0");
    host.put("kernel/random/boot_id", "one\n");
    let key = SysctlKey::new(["net", "a"]);
    host.ledger().set(&key, "1").unwrap();
    host.put("kernel/random/boot_id", "two\n");
    assert_eq!(host.ledger().restore(&key).unwrap(), Restored::NotHeld);
}

#[test]
fn observed_are_the_held_and_the_asked_for_with_single_blanks() {
    let host = Host::with("net/ipv4/ports", "32768\t60999\n");
    host.put("net/a", "0");
    let held = SysctlKey::new(["net", "a"]);
    let asked = SysctlKey::new(["net", "ipv4", "ports"]);
    let absent = SysctlKey::new(["net", "ipv6", "off"]);
    let mut ledger = host.ledger();
    ledger.set(&held, "1").unwrap();
    let seen = ledger.observe(&BTreeSet::from([asked.clone(), absent])).unwrap();
    let expected = [(held, "1".to_owned()), (asked, "32768 60999".to_owned())];
    assert_eq!(seen, BTreeMap::from(expected));
}

#[test]
fn no_key_leads_out_of_the_settings() {
    let host = Host::with("net/a", "0");
    let mut ledger = host.ledger();
    for part in ["..", ".", "", "a/b", "../../etc"] {
        let key = SysctlKey::new(["net", part]);
        assert!(matches!(ledger.read(&key), Err(SysctlError::Key { .. })), "{part}");
        assert!(matches!(ledger.set(&key, "1"), Err(SysctlError::Key { .. })), "{part}");
    }
}

#[test]
fn a_damaged_ledger_is_an_error_that_names_the_file() {
    let host = Host::with("net/a", "0");
    fs::write(host.state.path().join(LEDGER_FILE), "{\"boot_id\":").unwrap();
    let fault = Ledger::below(host.root.path(), host.state.path()).unwrap_err().to_string();
    assert!(fault.contains(LEDGER_FILE), "{fault}");
}

/// A folder that looks like `/proc/sys`.
struct Host {
    root: TempDir,
    state: TempDir,
}

impl Host {
    fn with(name: &str, value: &str) -> Self {
        let host = Self { root: TempDir::new().unwrap(), state: TempDir::new().unwrap() };
        host.put(name, value);
        host
    }

    fn put(&self, name: &str, value: &str) {
        let file = self.root.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, value).unwrap();
    }

    fn put_all(&self, ipv4_conf: &[(&str, &str)]) {
        for (name, value) in ipv4_conf {
            self.put(&format!("net/ipv4/conf/{name}"), value);
        }
    }

    fn value(&self, name: &str) -> String {
        fs::read_to_string(self.root.path().join(name)).unwrap()
    }

    fn ledger(&self) -> Ledger {
        Ledger::below(self.root.path(), self.state.path()).unwrap()
    }
}
