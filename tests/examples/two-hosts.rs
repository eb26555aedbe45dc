//! Owns the smallest lab, as a program: what a case looks like outside a test, and what the lab's own
//! tests kill, let panic, and keep. `cargo run -p sealane-tests --example two-hosts -- keep`

use std::env;
use std::time::Duration;

use anyhow::{Result, bail};
use sealane_tests::lab::address::Family;
use sealane_tests::lab::kept;
use sealane_tests::lab::segment::Segment;
use sealane_tests::lab::wait::eventually;
use sealane_tests::lab::world::Lab;

fn main() -> Result<()> {
    let mode = env::args().nth(1).unwrap_or_default();
    if mode == "remove" {
        println!("removed {}", kept::remove("two-hosts")?);
        return Ok(());
    }
    let lab = Lab::new("two-hosts")?;
    let subnets = Family::Dual.select("192.0.2.0/24".parse()?, "2001:db8::/64".parse()?);
    let lan = Segment::new(&lab, "lan", subnets)?;
    let (left, right) = (lab.host("left")?, lab.host("right")?);
    lan.attach(&left, 1)?;
    for address in lan.attach(&right, 2)?.addresses() {
        left.run(&format!("ping -n -c 1 -W 2 {address}"))?;
    }
    // Daemons that leave their parent must die with the lab as well.
    left.shell("setsid sleep 1000 >/dev/null 2>&1 &")?;
    println!("up {} {}", left.pid(), right.pid());
    match mode.as_str() {
        "" => Ok(()),
        "keep" => {
            println!("{}", lab.keep()?);
            Ok(())
        }
        #[expect(clippy::panic, clippy::expect_used, reason = "what this mode is for")]
        "panic" => {
            left.command("sh").args(["-c", "echo a log line"]).spawn()?;
            eventually(Duration::from_millis(200), "the moon is full", || {
                Err::<(), _>("it is a crescent")
            })
            .expect("a condition that never holds");
            panic!("the condition held");
        }
        "hang" => loop {
            std::thread::park();
        },
        other => bail!("{other:?}: not one of keep, remove, panic, hang"),
    }
}
