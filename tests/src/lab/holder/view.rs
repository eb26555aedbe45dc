//! Owns what one host sees of the file system: the machine's, with its own `/run`, `/etc` and
//! `/var/lib`, and `/proc` and `/sys` of its own namespaces. Nothing of it is visible outside.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::statvfs::{FsFlags, statvfs};

/// Names below `/etc` that a host has for itself instead of the machine's.
const OWN_ETC: [&str; 4] = ["hosts", "hostname", "resolv.conf", "sealane"];

/// Mounts the view of `host`, whose files live in `home`, in this process's mount namespace.
///
/// # Errors
/// The first mount or file refused.
pub fn mount_view(home: &Path, host: &str) -> io::Result<()> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    let etc = home.join("etc");
    fs::create_dir_all(&etc)?;
    fs::write(etc.join("hosts"), format!("127.0.0.1 localhost {host}\n::1 localhost {host}\n"))?;
    fs::write(etc.join("hostname"), format!("{host}\n"))?;
    fs::write(etc.join("resolv.conf"), "")?;
    overlay(home, "etc", &OWN_ETC)?;
    overlay(home, "var/lib", &["sealane"])?;
    let run = home.join("run");
    fs::create_dir_all(&run)?;
    bind(&run, Path::new("/run"))?;
    mount_sysfs()
}

/// Puts `home/WHAT` over `/WHAT` and fills it with links to the machine's own entries, read-only,
/// except those in `own`. Plain links and binds work where overlayfs does not, such as on overlayfs.
fn overlay(home: &Path, what: &str, own: &[&str]) -> io::Result<()> {
    let machine = Path::new("/").join(what);
    let (upper, lower) = (home.join(what), home.join("machine").join(what));
    fs::create_dir_all(&upper)?;
    fs::create_dir_all(&lower)?;
    bind(&machine, &lower)?;
    read_only(&lower)?;
    for entry in fs::read_dir(&machine)? {
        let name = entry?.file_name();
        if !own.iter().any(|own| name == *own) {
            symlink(lower.join(&name), upper.join(&name))?;
        }
    }
    bind(&upper, &machine)
}

fn bind(from: &Path, to: &Path) -> io::Result<()> {
    let none = None::<&str>;
    Ok(mount(Some(from), to, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)?)
}

/// In a user namespace the flags a mount already has are locked, so they are repeated.
fn read_only(at: &Path) -> io::Result<()> {
    let none = None::<&str>;
    let has = statvfs(at)?.flags();
    let kept = [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ];
    let locked = kept.iter().filter(|(fs, _)| has.contains(*fs)).map(|(_, ms)| *ms);
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    Ok(mount(none, at, none, locked.fold(flags, |all, one| all | one), none)?)
}

/// `/sys/class/net` of this host. Inside some containers a fresh sysfs is refused; then the machine's
/// stays, and only tools that read that folder see foreign links.
fn mount_sysfs() -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    match mount(Some("sysfs"), "/sys", Some("sysfs"), flags, None::<&str>) {
        Ok(()) | Err(Errno::EPERM) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
