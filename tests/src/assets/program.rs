//! Owns which programs of others tests run, at which version, and how each is built. Does not own the
//! Go tools.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::assets::go::Go;
use crate::assets::{announce, folder, low, offline};

/// A program of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    /// The name by which people know it.
    pub name: &'static str,
    /// As its registry writes it.
    pub version: &'static str,
    /// What is built.
    package: &'static str,
    /// What the tools call the outcome.
    output: &'static str,
    source: Source,
    /// What people are told to expect.
    takes: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// A Go module that can be built as it is published.
    Published,
    /// A module of ours below `tests/assets`, which says how theirs fit together; its `go.sum` holds
    /// the checksums.
    Ours(&'static str),
    /// A crate, with the versions of dependencies that it was published with.
    Crate,
}

/// wireguard-go as of 22 May 2026.
pub const WIREGUARD_GO: Program = Program {
    name: "wireguard-go",
    version: "v0.0.0-20260522210424-ecfc5a8d5446",
    package: "golang.zx2c4.com/wireguard",
    output: "wireguard",
    source: Source::Published,
    takes: "a minute",
};

/// Tailscale's fork of it as of 28 September 2026, which Tailscale 1.104 is built with.
pub const TAILSCALE: Program = Program {
    name: "tailscale-wireguard-go",
    version: "v0.0.0-20260928213032-417aef361226",
    package: "github.com/tailscale/wireguard-go",
    output: "wireguard-go",
    source: Source::Published,
    takes: "a minute",
};

/// Cloudflare's.
pub const BORINGTUN: Program = published_crate("boringtun-cli", "0.7.1", "bin/boringtun-cli");

/// Mullvad's.
pub const GOTATUN: Program = published_crate("gotatun-cli", "0.10.2", "bin/gotatun");

const fn published_crate(
    name: &'static str,
    version: &'static str,
    output: &'static str,
) -> Program {
    let takes = "three minutes on two cores";
    Program { name, version, package: name, output, source: Source::Crate, takes }
}

/// A Kubernetes API server.
pub const KUBE_APISERVER: Program =
    kubernetes("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver");

/// `kubectl` of the same release: what distributions package may be years older.
pub const KUBECTL: Program = kubernetes("kubectl", "k8s.io/kubernetes/cmd/kubectl");

/// Where an API server keeps its objects.
pub const ETCD: Program = Program {
    name: "etcd",
    version: "v3.6.7",
    package: ".",
    output: "etcd",
    source: Source::Ours("etcd"),
    takes: "a minute",
};

/// The release in `tests/assets/kubernetes/go.mod`.
const KUBERNETES: &str = "v1.34.4";
/// Kubernetes' own build says so by the linker too.
const KUBERNETES_LINKER: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.34.4 \
    -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=34";

const fn kubernetes(name: &'static str, package: &'static str) -> Program {
    Program {
        name,
        version: KUBERNETES,
        package,
        output: name,
        source: Source::Ours("kubernetes"),
        takes: "four minutes on two cores",
    }
}

/// Two tests that want the same program build it once.
static BUILDING: Mutex<()> = Mutex::new(());

/// Why a program is not to be had; with `SEALANE_OFFLINE=1` tests go without instead.
#[derive(Debug, thiserror::Error)]
#[error(
    "{program}: {cause}; it is looked for as {}, and else built, which takes {tools} and the network; \
     SEALANE_ASSETS names another folder, SEALANE_OFFLINE=1 skips what needs it",
    path.display()
)]
pub struct AssetError {
    program: &'static str,
    cause: String,
    path: PathBuf,
    tools: &'static str,
}

impl Program {
    /// Where it is, built on first use; `None`, said aloud, where that fails and `SEALANE_OFFLINE=1`.
    ///
    /// # Errors
    /// It is not there and cannot be built.
    pub fn obtain(&self) -> Result<Option<PathBuf>, AssetError> {
        let _one = BUILDING.lock();
        let path = folder().join(format!("{}-{}", self.name, self.version));
        if path.exists() {
            return Ok(Some(path));
        }
        match self.build(&path) {
            Ok(()) => Ok(Some(path)),
            Err(cause) if offline() => {
                announce(&format!("SKIPPED, as SEALANE_OFFLINE=1: no {}: {cause}", self.name));
                Ok(None)
            }
            Err(cause) => {
                Err(AssetError { program: self.name, cause, path, tools: self.source.tools() })
            }
        }
    }

    /// Builds beside the destination and moves into place, so that a half-built program never stands there.
    fn build(&self, path: &Path) -> Result<(), String> {
        let words = |fault: io::Error| fault.to_string();
        let mut command = self.command(path)?;
        let work = work(path);
        fs::create_dir_all(&work).map_err(words)?;
        announce(&format!("building {} {} (once, {})", self.name, self.version, self.takes));
        let outcome = match command.status() {
            Ok(status) if status.success() => {
                fs::rename(work.join(self.output), path).map_err(words)
            }
            Ok(status) => Err(format!("its build ended with {status}")),
            Err(fault) => Err(format!("{}: {fault}", self.source.tools())),
        };
        // What is left there is worth nothing.
        let _ = fs::remove_dir_all(&work);
        outcome
    }

    /// Says what is built as it is built.
    fn command(&self, path: &Path) -> Result<Command, String> {
        let work = work(path);
        let mut command = match self.source {
            Source::Published | Source::Ours(_) => Go::find()?.build(),
            Source::Crate => low("cargo"),
        };
        match self.source {
            Source::Published => {
                let module = format!("{}@{}", self.package, self.version);
                command.args(["install", "-v", "-trimpath", &module]).env("GOBIN", &work);
            }
            Source::Ours(folder) => {
                let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets").join(folder);
                let linker = if folder == "kubernetes" { KUBERNETES_LINKER } else { "-s -w" };
                command
                    .args(["build", "-v", "-trimpath", "-buildvcs=false", "-mod=readonly"])
                    .args(["-ldflags", linker, "-o"])
                    .arg(work.join(self.output))
                    .arg(self.package)
                    .current_dir(home);
            }
            Source::Crate => {
                command
                    .args(["install", "--locked", self.package, "--version", self.version])
                    .arg("--root")
                    .arg(&work)
                    .env("CARGO_TARGET_DIR", work.join("target"))
                    .current_dir("/");
            }
        }
        // Gigabytes, which `/tmp` may not have.
        command.env("GOTMPDIR", &work);
        Ok(command)
    }
}

impl Source {
    fn tools(self) -> &'static str {
        match self {
            Self::Published | Self::Ours(_) => "Go 1.19 or newer",
            Self::Crate => "cargo",
        }
    }
}

/// Where it is built.
fn work(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_are_those_of_our_modules() {
        for (program, module) in
            [(KUBE_APISERVER, "k8s.io/kubernetes"), (ETCD, "go.etcd.io/etcd/server/v3")]
        {
            let Source::Ours(folder) = program.source else { panic!("{program:?}") };
            let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets").join(folder);
            let text = fs::read_to_string(home.join("go.mod")).unwrap();
            let line = format!("require {module} {}\n", program.version);
            assert!(text.contains(&line), "{folder}/go.mod has no {line}");
        }
        assert!(KUBERNETES_LINKER.contains(&format!("gitVersion={KUBERNETES} ")));
    }
}
