//! Owns what the guest boots: a kernel of this machine's packages that has WireGuard, and a root of
//! a few programs, their libraries and the kernel's modules. Runs nothing in it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::assets;
use crate::interop::archive::Archive;
use crate::lab::error::{LabError, Step};

/// Programs of this machine that the guest has too.
const PROGRAMS: [&str; 5] = ["busybox", "ip", "wg", "ping", "nft"];

/// Modules that the guest loads, after those they need.
const MODULES: [&str; 10] = [
    "virtio_pci",
    "virtio_net",
    "virtio-rng",
    "wireguard",
    "veth",
    "vxlan",
    "tun",
    "nf_tables",
    "nft_fib_inet",
    "nft_masq",
];

/// Modules of the rules that our table has; loaded by the kernel where they are asked for elsewhere.
const RULES: [&str; 4] = ["nft_ct", "nft_chain_nat", "nft_nat", "nft_numgen"];

/// First process of the guest. Commands come by the second serial line, one a line in base64, and
/// are answered with their number, exit code and output.
const INIT: &str = r#"#!/usr/bin/busybox sh
/usr/bin/busybox mkdir -p /bin /sbin /usr/sbin
/usr/bin/busybox --install -s /bin
export PATH=/usr/bin:/usr/sbin:/sbin:/bin HOME=/
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/net /tmp /run/netns
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
for module in /modules/*; do insmod "$module"; done
ip link set lo up
stty -F /dev/ttyS1 raw -echo
exec 3<>/dev/ttyS1
echo ready >&3
while read -r number script <&3; do
    echo "$script" | base64 -d >/tmp/script
    sh -e /tmp/script >/tmp/output 2>&1 </dev/null && code=0 || code=$?
    { printf '%s %s ' "$number" "$code"; base64 /tmp/output | tr -d '\n'; echo; } >&3
done
"#;

/// A kernel and what it is given as its first root.
#[derive(Debug)]
pub struct Image {
    /// The kernel's file.
    pub kernel: PathBuf,
    /// The archive.
    pub initramfs: Vec<u8>,
}

impl Image {
    /// The image, with further programs by path here and name there.
    ///
    /// # Errors
    /// A package of `tests/scripts/setup.sh` is missing.
    pub fn build(further: &[(&Path, &str)]) -> Result<Self, LabError> {
        let Kernel { root, version } = Kernel::newest()?;
        let mut archive = Archive::default();
        let mut libraries = BTreeSet::new();
        for program in PROGRAMS {
            let path = which(program)?;
            archive.file(&format!("/usr/bin/{program}"), &read(&path)?);
            libraries.extend(libraries_of(&path)?);
        }
        for (path, name) in further {
            archive.file(&format!("/usr/bin/{name}"), &read(path)?);
            libraries.extend(libraries_of(path)?);
        }
        for library in libraries {
            archive.file(&library, &read(Path::new(&library))?);
        }
        for (number, module) in modules(&root, &version)?.iter().enumerate() {
            archive.file(&format!("/modules/{number:03}.ko"), &read(module)?);
        }
        for folder in ["/proc", "/sys", "/dev", "/tmp", "/run", "/etc"] {
            archive.folder(folder);
        }
        archive.file("/init", INIT.as_bytes());
        let kernel = root.join("boot").join(format!("vmlinuz-{version}"));
        Ok(Self { kernel, initramfs: archive.finish() })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, LabError> {
    fs::read(path).step(format!("read {}", path.display()))
}

/// A kernel, and the root below which it and its modules are.
struct Kernel {
    root: PathBuf,
    version: String,
}

impl Kernel {
    /// The newest for virtual machines, which is small and has what is needed: unpacked by
    /// `tests/scripts/setup.sh`, or installed.
    fn newest() -> Result<Self, LabError> {
        let roots = [assets::folder().join("guest"), PathBuf::from("/")];
        let mut kernels = Vec::new();
        for root in roots {
            let files = fs::read_dir(root.join("boot")).into_iter().flatten().flatten();
            for name in files.filter_map(|file| file.file_name().into_string().ok()) {
                let version = name.strip_prefix("vmlinuz-").filter(|v| v.ends_with("-cloud-amd64"));
                let (root, version) = (root.clone(), version.map(str::to_owned));
                kernels.extend(version.map(|version| Self { root, version }));
            }
        }
        let newest = kernels.into_iter().max_by_key(|kernel| numbers(&kernel.version));
        newest.ok_or_else(|| absent("a kernel for the guest", "linux-image-cloud-amd64"))
    }
}

/// The numbers of a version, for comparing.
fn numbers(version: &str) -> Vec<u32> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

fn absent(what: &str, package: &str) -> LabError {
    let cause = format!(
        "not there; tests/scripts/setup.sh brings it (package {package}); SEALANE_OFFLINE=1 skips what needs it"
    );
    LabError::Step { step: what.to_owned(), cause: io::Error::other(cause) }
}

/// Where a program of the system is. Links are left as they are: some programs look at their name.
fn which(program: &str) -> Result<PathBuf, LabError> {
    let folders = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let mut paths = folders.iter().map(|folder| Path::new(folder).join(program));
    let found = paths.find(|path| path.exists());
    found.ok_or_else(|| absent(program, program))
}

/// The libraries that a program loads, as `ldd` tells; none for one that has all in itself.
fn libraries_of(program: &Path) -> Result<Vec<String>, LabError> {
    let output = Command::new("ldd").arg(program).output().step("ldd")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = text.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(words.map(|word| word.trim_end_matches(':').to_owned()).collect())
}

/// The files of all modules, in the order in which they can be loaded.
fn modules(root: &Path, version: &str) -> Result<Vec<PathBuf>, LabError> {
    let mut files: Vec<PathBuf> = Vec::new();
    for module in MODULES.iter().chain(&RULES) {
        let output = Command::new(which("modprobe")?)
            .arg("-d")
            .arg(root)
            .args(["-S", version, "--show-depends", module])
            .output()
            .step("modprobe")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let cause = io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned());
            return Err(LabError::Step { step: format!("module {module} of {version}"), cause });
        }
        let lines = text.lines().filter_map(|line| line.strip_prefix("insmod "));
        for file in lines.filter_map(|line| line.split_whitespace().next()).map(PathBuf::from) {
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_is_told_by_its_numbers() {
        assert!(numbers("6.1.0-56-cloud-amd64") > numbers("6.1.0-9-cloud-amd64"));
        assert!(numbers("6.12.3-cloud-amd64") > numbers("6.2.0-1-cloud-amd64"));
    }
}
