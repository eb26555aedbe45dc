//! The real program, killed at random instants.

use crate::support::*;
use kube::{
    Client, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// A `sealane-broker` process; killed when dropped.
pub(crate) struct Process(Child);

impl Process {
    /// Starts it and waits for its greeting.
    pub(crate) fn start(data_dir: &Path, listen: &str) -> Self {
        Self::start_with(data_dir, listen, |_| {})
    }

    fn start_with(data_dir: &Path, listen: &str, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealane-broker"));
        command
            .args(["--listen", listen, "--host", "127.0.0.1", "--request-rate", "100000"])
            .args(["--request-burst", "100000", "--data-dir"])
            .arg(data_dir)
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let greeted = lines.any(|line| line.unwrap().starts_with("try "));
        assert!(greeted, "the broker ended before it served");
        Self(child)
    }

    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: &str) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    pub(crate) fn exit_code(mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Acknowledged writes until the test ends.
const WRITES: usize = 1_000;
/// Acknowledged writes between two kills.
const BETWEEN: usize = 40;
const WRITERS: usize = 8;
/// Objects of one writer.
const OBJECTS: u64 = 6;
/// Overridden by `SEALANE_KILL_SEED`; the instants of kills and what is written follow from it.
const SEED: u64 = 1;

/// What one writer knows of one object: what it wrote and had acknowledged last, what it tried since
/// without an answer, and whether it ever had an answer.
#[derive(Debug, Clone, Default)]
struct Known {
    /// Version, and the word written there; no word where it was deleted.
    acknowledged: Option<(u64, Option<String>)>,
    tried: Vec<Option<String>>,
}

type Knowledge = Arc<Mutex<BTreeMap<String, Known>>>;

/// Writes and deletes its own objects until the broker is gone.
async fn write_on(
    client: Client,
    writer: usize,
    mut random: StdRng,
    knowledge: Knowledge,
    writes: Arc<AtomicUsize>,
) {
    let api = advertisements(&client);
    let apply = PatchParams::apply("test");
    loop {
        let gateway = format!("w{writer}n{}", random.random_range(0..OBJECTS));
        let name = format!("west.{gateway}");
        let word: u64 = random.random();
        let is_delete = random.random_range(0..8) == 0;
        let word = (!is_delete).then(|| format!("{word:016x}"));
        let known = |change: &mut dyn FnMut(&mut Known)| {
            change(knowledge.lock().unwrap().entry(name.clone()).or_default());
        };
        known(&mut |it| it.tried.push(word.clone()));
        let answered = match &word {
            Some(word) => {
                let object = advertisement("west", &gateway, word);
                api.patch(&name, &apply, &Patch::Apply(&object))
                    .await
                    .map(|stored| stored.metadata.resource_version.unwrap().parse::<u64>().unwrap())
            }
            None => api.delete(&name, &DeleteParams::default()).await.map(|_| 0),
        };
        let version = match answered {
            Ok(version) => version,
            // There was nothing to delete: an answer like any other.
            Err(kube::Error::Api(status)) if status.code == 404 && is_delete => 0,
            Err(kube::Error::Api(status)) => panic!("{status:?}"),
            Err(_) => return,
        };
        known(&mut |it| {
            let before = it.acknowledged.as_ref().map_or(0, |(version, _)| *version);
            assert!(is_delete || version > before, "{name}: {version} after {before}");
            *it = Known {
                acknowledged: Some((version.max(before), word.clone())),
                tried: Vec::new(),
            };
        });
        writes.fetch_add(1, Ordering::Relaxed);
    }
}

/// The word of an object, which stands in all its parts.
fn word_of(object: &DynamicObject) -> String {
    let spec = &object.data["spec"];
    let parts = ["cert", "signed"].map(|part| spec[part]["payload"].as_str().unwrap_or_default());
    assert_eq!(parts[0], parts[1], "half of a write: {spec}");
    let (name, gateway) = (object.name_any(), spec["gateway"].as_str().unwrap_or_default());
    assert_eq!(name, format!("west.{gateway}"), "half of a write: {spec}");
    assert_eq!(
        spec["view"]["networks"].as_array().map(Vec::len),
        Some(2),
        "half of a write: {spec}"
    );
    parts[0].to_owned()
}

/// Each object is what was acknowledged last, or what was tried after that; versions are where they were
/// or above.
fn nothing_is_lost(stored: &BTreeMap<String, (u64, String)>, knowledge: &Knowledge) {
    for (name, known) in knowledge.lock().unwrap().iter() {
        let found = stored.get(name).map(|(_, word)| word.clone());
        let acknowledged = known.acknowledged.as_ref().and_then(|(_, word)| word.clone());
        let may_be = found == acknowledged || known.tried.contains(&found);
        assert!(may_be, "{name} is {found:?}, and was {known:?}");
        if let (Some((version, word)), Some((last, Some(said)))) =
            (stored.get(name), &known.acknowledged)
        {
            assert!(
                version >= last && (version > last || word == said),
                "{name} {version} {known:?}"
            );
        }
    }
    for name in stored.keys() {
        assert!(knowledge.lock().unwrap().contains_key(name), "{name} was written by nobody");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_write_is_lost_when_the_broker_is_killed() {
    let seed = std::env::var("SEALANE_KILL_SEED").map_or(SEED, |seed| seed.parse().unwrap());
    let mut random = StdRng::seed_from_u64(seed);
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let (knowledge, writes) = (Knowledge::default(), Arc::new(AtomicUsize::new(0)));
    let (mut highest, mut kills) = (0, 0);
    loop {
        let process = Process::start(&data, "127.0.0.1:0");
        let admin = client(&data.join("admin.kubeconfig"), None).await;
        let list = advertisements(&admin).list(&ListParams::default()).await.unwrap();
        let version: u64 = list.metadata.resource_version.clone().unwrap().parse().unwrap();
        assert!(version >= highest, "the version went back from {highest} to {version}");
        let stored: BTreeMap<String, (u64, String)> = list
            .into_iter()
            .map(|object| {
                let own: u64 = object.metadata.resource_version.clone().unwrap().parse().unwrap();
                assert!(own <= version, "an object is ahead of its list");
                (object.name_any(), (own, word_of(&object)))
            })
            .collect();
        nothing_is_lost(&stored, &knowledge);
        highest = version;
        // The last kill has been judged as well.
        if writes.load(Ordering::Relaxed) >= WRITES {
            break;
        }
        // What nobody answered is decided: from here on it is what is there.
        for (name, known) in knowledge.lock().unwrap().iter_mut() {
            let (own, word) = stored.get(name).cloned().unzip();
            *known = Known { acknowledged: Some((own.unwrap_or(0), word)), tried: Vec::new() };
        }
        let until = writes.load(Ordering::Relaxed) + BETWEEN;
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (knowledge, writes) = (Arc::clone(&knowledge), Arc::clone(&writes));
                let random = StdRng::seed_from_u64(random.random());
                tokio::spawn(write_on(admin.clone(), writer, random, knowledge, writes))
            })
            .collect();
        let written = || async { writes.load(Ordering::Relaxed) >= until };
        eventually("some writes are acknowledged", written).await;
        // The instant is what the test is about, so this waits for time and not for a condition.
        tokio::time::sleep(Duration::from_micros(random.random_range(0..20_000))).await;
        process.kill();
        kills += 1;
        for writer in writers {
            writer.await.unwrap();
        }
        let known = knowledge.lock().unwrap();
        let versions = known.values().filter_map(|it| it.acknowledged.as_ref().map(|(at, _)| *at));
        highest = versions.max().unwrap_or(0).max(highest);
    }
    let writes = writes.load(Ordering::Relaxed);
    println!(
        "seed {seed}: {kills} kills, {writes} acknowledged writes, version {highest}, none lost"
    );
}

#[test]
fn a_terminated_broker_exits_in_order_and_a_misused_one_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::start(directory.path(), "127.0.0.1:0");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealane-broker"));
        let output = command.args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let data = directory.path().to_str().unwrap();
    let (code, message) = run(&["--data-dir", data, "--listen", "127.0.0.1:0"]);
    assert_eq!(code, Some(3), "{message}");
    let expected = format!(
        "sealane-broker: data directory {data}: another sealane-broker works with it; stop that one, \
         or choose another with --data-dir\n"
    );
    assert_eq!(message, expected);
    process.signal("-TERM");
    assert_eq!(process.exit_code(), Some(0));

    let (code, message) = run(&["--data-dir", data, "--namespace", "Not_A_Label"]);
    assert_eq!(code, Some(2), "{message}");
    let (code, message) = run(&["--data-dir", data, "--anchor", "nonsense"]);
    assert_eq!(code, Some(2), "{message}");
    let (code, message) = run(&["--data-dir", data, "--listen", "192.0.2.1:1"]);
    assert_eq!(code, Some(4), "{message}");
    assert!(message.contains("192.0.2.1:1"), "{message}");
    let (code, _) = run(&["--data-dir", "/proc/none"]);
    assert_eq!(code, Some(3));
}

#[tokio::test]
async fn a_lost_kubeconfig_is_made_again_and_the_old_token_ends() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    let process = Process::start(data, "127.0.0.1:0");
    let kubeconfig = data.join("admin.kubeconfig");
    let old = data.join("old");
    std::fs::rename(&kubeconfig, &old).unwrap();
    process.signal("-TERM");
    process.exit_code();
    let process = Process::start(data, "127.0.0.1:0");
    let token = std::fs::read_to_string(&old).unwrap();
    let token = token.lines().find_map(|line| line.trim().strip_prefix("token: ")).unwrap();
    let refused = advertisements(&client(&kubeconfig, Some(token)).await);
    assert_eq!(code(&refused.list(&ListParams::default()).await.unwrap_err()), 401);
    let admin = advertisements(&client(&kubeconfig, None).await);
    admin.list(&ListParams::default()).await.unwrap();
    drop(process);
}

#[tokio::test]
async fn one_socket_serves_ipv4_and_ipv6() {
    let directory = tempfile::tempdir().unwrap();
    let _process = Process::start(directory.path(), "[::]:0");
    let kubeconfig = std::fs::read_to_string(directory.path().join("admin.kubeconfig")).unwrap();
    for host in ["127.0.0.1", "[::1]", "localhost"] {
        let other = directory.path().join("other");
        let server = format!("https://{host}:");
        std::fs::write(&other, kubeconfig.replace("https://127.0.0.1:", &server)).unwrap();
        let api = advertisements(&client(&other, None).await);
        api.list(&ListParams::default()).await.unwrap_or_else(|error| panic!("{host}: {error}"));
    }
}

#[test]
fn systemd_is_told_when_it_serves_and_when_it_stops() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let process = Process::start_with(&directory.path().join("data"), "127.0.0.1:0", |command| {
        command.env("NOTIFY_SOCKET", &path);
    });
    let told = || {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert!(told().contains("READY=1"));
    process.signal("-TERM");
    assert!(told().contains("STOPPING=1"));
    assert_eq!(process.exit_code(), Some(0));
}
