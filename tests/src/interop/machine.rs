//! Owns a machine that runs beside the lab's hosts under QEMU, by software alone: its start, its cable
//! to the lab, and commands in it. What it boots is `image`'s.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::interop::image::Image;
use crate::lab::error::{LabError, Step};
use crate::lab::host::Host;
use crate::lab::process::Process;
use crate::lab::wait::eventually;

/// How long the start may take: about 5 s on an idle machine, 40 s seen under load.
const BOOT: Duration = Duration::from_secs(180);
/// How long one command may take.
const COMMAND: Duration = Duration::from_secs(120);

/// Devices and timers that an emulated machine does better without.
const HARDWARE: &str = "-M q35,hpet=off,smbus=off,sata=off,vmport=off,smm=off \
     -accel tcg,thread=multi,tb-size=256 -cpu Nehalem -smp 1 -m 768 \
     -nodefaults -no-user-config -display none -no-reboot -device virtio-rng-pci";
const KERNEL: &str = "console=ttyS0 quiet mitigations=off nokaslr audit=0 random.trust_cpu=on \
     tsc=reliable no_timer_check net.ifnames=0 panic=-1";

/// A running guest; it ends with the lab.
#[derive(Debug)]
pub struct Machine {
    name: String,
    process: Process,
    line: Mutex<Line>,
}

/// The serial line that commands go by.
#[derive(Debug)]
struct Line {
    reader: BufReader<UnixStream>,
    number: u32,
}

impl Machine {
    /// Boots a guest on a host; its `eth0` is the far end of the host's link `tap`, which is there.
    ///
    /// # Errors
    /// QEMU is not installed, or the guest does not come up; its console is in the error.
    pub fn boot(host: &Host, image: &Image, tap: &str) -> Result<Self, LabError> {
        let folder = host.logs();
        let initramfs = folder.join("initramfs");
        fs::write(&initramfs, &image.initramfs).step("write the initramfs")?;
        let (socket, console) = (folder.join("ttyS1"), folder.join("console.log"));
        let show = |path: &Path| path.display().to_string();
        let process = host
            .command("qemu-system-x86_64")
            .args(HARDWARE.split_whitespace())
            .args(["-kernel", &show(&image.kernel), "-initrd", &show(&initramfs)])
            .args(["-append", KERNEL])
            .args(["-netdev", &format!("tap,id=n,ifname={tap},script=no,downscript=no")])
            .args(["-device", "virtio-net-pci,netdev=n,romfile="])
            .args(["-serial", &format!("file:{}", show(&console))])
            .args(["-serial", &format!("unix:{},server=on,wait=off", show(&socket))])
            .spawn()?;
        let stream = eventually(BOOT, "QEMU listens", || match UnixStream::connect(&socket) {
            Ok(stream) => Ok(Ok(stream)),
            Err(_) if !process.is_running().unwrap_or(false) => {
                Ok(Err(guest_error(host.name(), "QEMU", &process.log().unwrap_or_default())))
            }
            Err(fault) => Err(fault.to_string()),
        })??;
        stream.set_read_timeout(Some(BOOT)).step("serial line")?;
        let mut reader = BufReader::new(stream);
        let mut hello = String::new();
        let read = reader.read_line(&mut hello);
        if read.is_err() || hello.trim() != "ready" {
            let said = fs::read_to_string(&console).unwrap_or_default();
            return Err(guest_error(host.name(), "boot", &format!("{read:?} {hello}; {said}")));
        }
        reader.get_ref().set_read_timeout(Some(COMMAND)).step("serial line")?;
        let line = Mutex::new(Line { reader, number: 0 });
        Ok(Self { name: format!("{}-guest", host.name()), process, line })
    }

    /// Runs a shell script (`sh -e`) and answers what it printed on either output.
    ///
    /// # Errors
    /// Anything but exit code 0, with what it said; no answer within two minutes.
    pub fn shell(&self, script: &str) -> Result<String, LabError> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let (code, text) = line.exchange(script).step(format!("{}: `{script}`", self.name))?;
        if code == 0 {
            return Ok(text);
        }
        Err(LabError::Command {
            host: self.name.clone(),
            command: script.to_owned(),
            outcome: format!("exit code {code}"),
            stderr: text,
        })
    }

    /// QEMU itself.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

impl Line {
    fn exchange(&mut self, script: &str) -> std::io::Result<(i32, String)> {
        let bad = |what: &str| std::io::Error::other(format!("answer of the guest: {what}"));
        self.number += 1;
        let order =
            format!("{} {}\n", self.number, data_encoding::BASE64.encode(script.as_bytes()));
        self.reader.get_mut().write_all(order.as_bytes())?;
        loop {
            let mut answer = String::new();
            self.reader.read_line(&mut answer)?;
            let mut words = answer.split_whitespace();
            let number = words.next().ok_or_else(|| bad("none"))?;
            // An answer that came too late for its command is not this one's.
            if number != self.number.to_string() {
                continue;
            }
            let code = words.next().and_then(|word| word.parse().ok());
            let output = data_encoding::BASE64.decode(words.next().unwrap_or_default().as_bytes());
            let output = output.map_err(|fault| bad(&fault.to_string()))?;
            let text = String::from_utf8_lossy(&output).into_owned();
            return Ok((code.ok_or_else(|| bad(&answer))?, text));
        }
    }
}

fn guest_error(host: &str, command: &str, said: &str) -> LabError {
    LabError::Command {
        host: host.to_owned(),
        command: command.to_owned(),
        outcome: "the guest did not start".to_owned(),
        stderr: said.trim().to_owned(),
    }
}
