//! Two network namespaces with a cable between them, and a real `sealane-tunnel` in each. Removes
//! all it made when dropped.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::sweeper::Sweeper;

static LABS: AtomicU32 = AtomicU32::new(0);

/// Which family the tunnel's own packets use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outer {
    V4,
    V6,
}

/// One end.
pub struct End {
    pub namespace: String,
    pub link: String,
    pub outer: [&'static str; 2],
    pub inner: [&'static str; 2],
    pub public: String,
    key: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

/// Both ends.
pub struct Lab {
    pub a: End,
    pub b: End,
    directory: tempfile::TempDir,
    _sweeper: Sweeper,
}

/// Runs a program and gives what it wrote; panics with its complaint if it fails.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a program that may fail, and gives whether it did, and its complaint.
pub fn attempt(program: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program).args(arguments).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Waits until something holds; panics after ten seconds.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 10 s: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

impl Lab {
    /// Namespaces and cable, no tunnels yet.
    pub fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "named network namespaces and TUN: run as root");
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let tag = format!("{}x{number}", std::process::id() % 100_000);
        let directory = tempfile::tempdir().unwrap();
        let end = |side: &str, outer, inner| {
            let key = directory.path().join(format!("{side}.key"));
            let private = run("wg", &["genkey"]);
            fs::write(&key, &private).unwrap();
            let mut pubkey = Command::new("wg")
                .arg("pubkey")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            pubkey.stdin.take().unwrap().write_all(private.as_bytes()).unwrap();
            let public = pubkey.wait_with_output().unwrap().stdout;
            End {
                namespace: format!("slt{tag}{side}"),
                link: format!("slt{tag}{side}"),
                outer,
                inner,
                public: String::from_utf8(public).unwrap().trim().to_owned(),
                key,
                log: directory.path().join(format!("{side}.log")),
                child: None,
            }
        };
        let a = end("a", ["192.0.2.1", "2001:db8::1"], ["10.9.1.1", "fd09:1::1"]);
        let b = end("b", ["192.0.2.2", "2001:db8::2"], ["10.9.2.1", "fd09:2::1"]);
        let sweep = |end: &End| {
            let (namespace, socket) = (&end.namespace, end.socket());
            format!(
                "ip netns pids {namespace} | xargs -r kill -KILL
                ip netns delete {namespace}
                rm -f {}\n",
                socket.display()
            )
        };
        let sweeper = Sweeper::with(&(sweep(&a) + &sweep(&b)));
        let lab = Self { a, b, directory, _sweeper: sweeper };
        lab.wire();
        lab
    }

    fn wire(&self) {
        for end in [&self.a, &self.b] {
            run("ip", &["netns", "add", &end.namespace]);
            end.ip("link set lo up");
        }
        let (a, b) = (&self.a.namespace, &self.b.namespace);
        let peer = ["type", "veth", "peer", "name", "cable", "netns", b];
        run("ip", &[&["link", "add", "cable", "netns", a][..], &peer].concat());
        for end in [&self.a, &self.b] {
            end.ip(&format!("address add {}/24 dev cable", end.outer[0]));
            end.ip(&format!("address add {}/64 dev cable nodad", end.outer[1]));
            end.ip("link set cable up");
        }
    }

    /// A lab whose tunnels are up and know each other.
    pub fn connected(outer: Outer, arguments: [&[&str]; 2]) -> Self {
        let mut lab = Self::new();
        lab.a.start(arguments[0]);
        lab.b.start(arguments[1]);
        lab.introduce(outer);
        lab
    }

    /// Gives both tunnels keys, each other as peers, addresses and routes.
    pub fn introduce(&self, outer: Outer) {
        for (end, other) in [(&self.a, &self.b), (&self.b, &self.a)] {
            end.wg(&format!(
                "private-key {} listen-port 51820 peer {} allowed-ips {}/32,{}/128 endpoint {}",
                end.key.display(),
                other.public,
                other.inner[0],
                other.inner[1],
                match outer {
                    Outer::V4 => format!("{}:51820", other.outer[0]),
                    Outer::V6 => format!("[{}]:51820", other.outer[1]),
                }
            ));
            end.ip(&format!("address add {}/32 dev {}", end.inner[0], end.link));
            end.ip(&format!("address add {}/128 dev {} nodad", end.inner[1], end.link));
            end.ip(&format!("link set {} up", end.link));
            end.ip(&format!("route add {}/32 dev {}", other.inner[0], end.link));
            end.ip(&format!("route add {}/128 dev {}", other.inner[1], end.link));
        }
    }

    /// A place for files, gone with the lab.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for end in [&mut self.a, &mut self.b] {
            if let Some(mut child) = end.child.take() {
                let _ = child.kill();
                let _ = child.wait();
                if thread::panicking() {
                    eprintln!("log of {}:\n{}", end.link, fs::read_to_string(&end.log).unwrap());
                }
            }
        }
    }
}

impl End {
    /// The command that starts a tunnel in this end's namespace.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, env!("CARGO_BIN_EXE_sealane-tunnel")]);
        command.args(arguments).arg(&self.link);
        command
    }

    /// Starts the tunnel in the foreground and waits for its socket.
    pub fn start(&mut self, arguments: &[&str]) {
        self.start_with(arguments, &[]);
    }

    /// Starts the tunnel with further environment variables.
    pub fn start_with(&mut self, arguments: &[&str], environment: &[(&str, &str)]) {
        let log = File::create(&self.log).unwrap();
        let command = [&["--foreground", "--log-level", "debug"][..], arguments].concat();
        let mut command = self.command(&command);
        command.envs(environment.iter().copied()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        until("the tunnel is ready", || self.log().contains("tunnel is ready"));
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn socket(&self) -> PathBuf {
        format!("/var/run/wireguard/{}.sock", self.link).into()
    }

    /// The running tunnel. `ip netns exec` becomes the program it runs.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.as_ref().unwrap().id().try_into().unwrap())
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits for the tunnel's end.
    pub fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let mut status = None;
        until("the tunnel has ended", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    pub fn has_link(&self) -> bool {
        attempt("ip", &["-n", &self.namespace, "link", "show", "dev", &self.link]).0
    }

    pub fn ip(&self, command: &str) -> String {
        let arguments: Vec<&str> = command.split(' ').collect();
        run("ip", &[&["-n", &self.namespace][..], &arguments].concat())
    }

    pub fn wg(&self, settings: &str) {
        let arguments: Vec<&str> = settings.split(' ').collect();
        run("wg", &[&["set", &self.link][..], &arguments].concat());
    }

    pub fn show(&self, what: &str) -> String {
        run("wg", &["show", &self.link, what]).trim().to_owned()
    }

    /// Whether one ping of this many bytes comes back, tried until the deadline.
    pub fn pings(&self, address: &str, size: usize) {
        let size = size.to_string();
        until(&format!("{address} answers"), || {
            let arguments =
                ["netns", "exec", &self.namespace, "ping", "-c1", "-W1", "-Mdo", "-s", &size];
            attempt("ip", &[&arguments[..], &[address]].concat()).0
        });
    }

    /// Says something on the UAPI socket and gives the whole answer.
    pub fn uapi(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Runs a closure on a thread inside this end's namespace.
    pub fn inside<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> thread::JoinHandle<T> {
        let namespace = File::open(format!("/run/netns/{}", self.namespace)).unwrap();
        thread::spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            body()
        })
    }
}
