//! The real program, killed at random instants.

use crate::support::*;
use kube::{
    Client,
    api::{ListParams, Patch, PatchParams},
};
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

/// Name to the version that the broker said it has stored.
type Acknowledged = Arc<Mutex<BTreeMap<String, u64>>>;

/// Writes until the broker is gone.
async fn write_on(
    client: Client,
    writer: usize,
    round: usize,
    (acknowledged, writes): (Acknowledged, Arc<AtomicUsize>),
) {
    let api = advertisements(&client);
    for at in 0.. {
        let object =
            advertisement("west", &format!("w{writer}n{}", at % 30), &format!("{round}.{at}"));
        let name = object.metadata.name.clone().unwrap();
        let apply = PatchParams::apply("test");
        let stored = api.patch(&name, &apply, &Patch::Apply(&object)).await;
        match stored {
            Ok(stored) => {
                let version = stored.metadata.resource_version.unwrap().parse().unwrap();
                acknowledged.lock().unwrap().insert(name, version);
                writes.fetch_add(1, Ordering::Relaxed);
            }
            Err(kube::Error::Api(status)) => panic!("{status:?}"),
            Err(_) => return,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_write_is_lost_when_the_broker_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let acknowledged = Acknowledged::default();
    let writes = Arc::new(AtomicUsize::new(0));
    let mut highest = 0;
    for round in 0..6 {
        let process = Process::start(&data, "127.0.0.1:0");
        let admin = client(&data.join("admin.kubeconfig"), None).await;
        let list = advertisements(&admin).list(&ListParams::default()).await.unwrap();
        let version: u64 = list.metadata.resource_version.clone().unwrap().parse().unwrap();
        assert!(version >= highest, "the version went back from {highest} to {version}");
        let stored: BTreeMap<String, u64> = list
            .into_iter()
            .map(|object| {
                let version = object.metadata.resource_version.unwrap();
                (object.metadata.name.unwrap(), version.parse().unwrap())
            })
            .collect();
        for (name, version) in &*acknowledged.lock().unwrap() {
            assert!(stored.get(name).is_some_and(|stored| stored >= version), "{name} is lost");
        }
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let memory = (Arc::clone(&acknowledged), Arc::clone(&writes));
                tokio::spawn(write_on(admin.clone(), writer, round, memory))
            })
            .collect();
        let written = || async { writes.load(Ordering::Relaxed) >= 40 * (round + 1) };
        eventually("some writes are acknowledged", written).await;
        // The instant is what the test is about, so this waits for time and not for a condition.
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..200))).await;
        process.kill();
        for writer in writers {
            writer.await.unwrap();
        }
        highest = acknowledged.lock().unwrap().values().copied().max().unwrap_or(highest);
    }
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
