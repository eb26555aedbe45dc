//! Owns the Go tools that programs of others are built with: those of this machine, or where they
//! are too old, newer ones fetched by them. Does not own what is built.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::assets::{announce, low};

/// Release 1.N that everything here builds with.
const OLDEST: u32 = 26;
/// What is fetched where the machine has an older one: the same module that newer releases switch to
/// by themselves, its checksum held against the public log. Debian 12's 1.19 can fetch it.
const TOOLCHAIN: &str = "golang.org/toolchain@v0.0.1-go1.26.8";

/// Go tools that are new enough.
#[derive(Debug)]
pub struct Go {
    program: PathBuf,
}

impl Go {
    /// Those of the PATH, else fetched by those.
    ///
    /// # Errors
    /// A sentence: there is no `go`, or it could not fetch.
    pub fn find() -> Result<Self, String> {
        Self::starting_from(Path::new("go"))
    }

    /// The same from a certain `go`.
    ///
    /// # Errors
    /// As [`Go::find`].
    pub fn starting_from(program: &Path) -> Result<Self, String> {
        let here = Self { program: program.to_owned() };
        let version = here.answer(&["env", "GOVERSION"])?;
        if release(&version).is_some_and(|minor| minor >= OLDEST) {
            return Ok(here);
        }
        let (os, arch) = (here.answer(&["env", "GOOS"])?, here.answer(&["env", "GOARCH"])?);
        let module = format!("{TOOLCHAIN}.{os}-{arch}");
        announce(&format!("{version} is too old: fetching {module} (once, 70 MB)"));
        let answer = here.answer(&["mod", "download", "-json", &module])?;
        let fetched: Fetched = serde_json::from_str(&answer)
            .map_err(|fault| format!("{module}: {fault}: {answer}"))?;
        // A module has no modes; `go` before 1.21 does not know that these are programs.
        let tools = fetched.dir.join(format!("pkg/tool/{os}_{arch}"));
        for folder in [fetched.dir.join("bin"), tools] {
            runnable(&folder).map_err(|fault| format!("{}: {fault}", folder.display()))?;
        }
        Ok(Self { program: fetched.dir.join("bin/go") })
    }

    /// A command of these tools at low priority.
    pub fn build(&self) -> Command {
        let mut command = low(&self.program);
        settle(&mut command);
        command
    }

    fn answer(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(&self.program);
        settle(&mut command);
        let name = self.program.display();
        let output = command.args(arguments).stderr(Stdio::inherit()).output();
        let output = output.map_err(|fault| format!("{name}: {fault}"))?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if !output.status.success() {
            return Err(format!(
                "`{name} {}` ended with {}: {text}",
                arguments.join(" "),
                output.status
            ));
        }
        Ok(text)
    }
}

/// What a user has set for builds of their own does not count here.
fn settle(command: &mut Command) {
    command
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "")
        .env("GOTOOLCHAIN", "local")
        .env_remove("GOROOT")
        .stdin(Stdio::null())
        .current_dir("/");
}

#[derive(Deserialize)]
struct Fetched {
    #[serde(rename = "Dir")]
    dir: PathBuf,
}

/// The 24 of `go1.24.13`, `go1.24rc1` and `go1.24`.
fn release(version: &str) -> Option<u32> {
    let minor = version.strip_prefix("go1.")?;
    let end = minor.find(|one: char| !one.is_ascii_digit()).unwrap_or(minor.len());
    minor.get(..end)?.parse().ok()
}

fn runnable(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        fs::set_permissions(entry?.path(), Permissions::from_mode(0o555))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_told_apart() {
        let cases = [
            ("go1.19.8", Some(19)),
            ("go1.24", Some(24)),
            ("go1.26rc2", Some(26)),
            ("devel", None),
        ];
        for (version, expected) in cases {
            assert_eq!(release(version), expected, "{version}");
        }
    }
}
