//! Owns a shell that sweeps up after a test, however that ends: it waits for the end of its input,
//! which also comes when the test is killed. Does not own what there is to sweep.

use std::process::{Child, Command, Stdio};

/// Kills the tunnels in the network namespace that the shell is in.
const TUNNELS: &str = "ns=$(readlink /proc/self/ns/net)
for comm in $(grep -lx sealane-tunnel /proc/[0-9]*/comm); do
    pid=${comm#/proc/} pid=${pid%/comm}
    [ \"$(readlink /proc/$pid/ns/net)\" = \"$ns\" ] && kill -KILL $pid
done";

/// Sweeps when dropped, or when this process is gone.
pub(crate) struct Sweeper(Child);

impl Sweeper {
    /// Will kill the tunnels in the network namespace of this thread, those too that went into the
    /// background.
    pub(crate) fn of_tunnels() -> Self {
        Self::with(TUNNELS)
    }

    /// Will run a shell script. It is in a session of its own, so that what ends the tests does not
    /// end it.
    pub(crate) fn with(script: &str) -> Self {
        let script = format!("read -r _\n{script}");
        let shell = Command::new("setsid")
            .args(["sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(shell.unwrap())
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
