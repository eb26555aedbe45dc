//! Owns which programs of others tests run, at which version, and how each is built. Does not own the
//! Go tools.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::assets::go::Go;
use crate::assets::{announce, folder, offline};

/// A program of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    /// The name by which people know it.
    pub name: &'static str,
    /// As the Go tools write it.
    pub version: &'static str,
    /// What is built.
    package: &'static str,
    /// What the Go tools call the outcome.
    output: &'static str,
    source: Source,
    /// What people are told to expect.
    takes: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// A module that can be built as it is published.
    Published,
    /// A module of ours below `tests/assets`, which says how theirs fit together; its `go.sum` holds
    /// the checksums.
    Ours(&'static str),
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
    "{program}: {cause}; it is looked for as {}, and else built, which takes Go 1.19 or newer and the network; \
     SEALANE_ASSETS names another folder, SEALANE_OFFLINE=1 skips what needs it",
    path.display()
)]
pub struct AssetError {
    program: &'static str,
    cause: String,
    path: PathBuf,
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
            Err(cause) => Err(AssetError { program: self.name, cause, path }),
        }
    }

    /// Builds beside the destination and moves into place, so that a half-built program never stands there.
    fn build(&self, path: &Path) -> Result<(), String> {
        let words = |fault: io::Error| fault.to_string();
        let go = Go::find()?;
        let work = path.with_extension(format!("{}.part", std::process::id()));
        fs::create_dir_all(&work).map_err(words)?;
        announce(&format!("building {} {} (once, {})", self.name, self.version, self.takes));
        let mut command = self.command(&go, &work);
        let outcome = match command.status() {
            Ok(status) if status.success() => {
                fs::rename(work.join(self.output), path).map_err(words)
            }
            Ok(status) => Err(format!("its build ended with {status}")),
            Err(fault) => Err(format!("go: {fault}")),
        };
        // What is left there is worth nothing.
        let _ = fs::remove_dir_all(&work);
        outcome
    }

    /// `-v`: each package is named as it is built.
    fn command(&self, go: &Go, work: &Path) -> Command {
        let mut command = go.build();
        // Gigabytes, which `/tmp` may not have.
        command.env("GOTMPDIR", work);
        match self.source {
            Source::Published => {
                let module = format!("{}@{}", self.package, self.version);
                command.args(["install", "-v", "-trimpath", &module]).env("GOBIN", work);
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
        }
        command
    }
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
