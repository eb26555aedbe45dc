//! Owns the choice of offloads: what the user asked for, what this kernel is known to get wrong,
//! and what has failed at run time.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the user wants of one offload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Where this kernel does it well.
    #[default]
    Auto,
    /// Even where kernels of this version have a known defect.
    On,
    /// Never.
    Off,
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "on" => Ok(Self::On),
            "off" => Ok(Self::Off),
            _ => Err("one of auto, on, off is wanted".to_owned()),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::On => "on",
            Self::Off => "off",
        })
    }
}

/// All four choices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// TCP superpackets from and to the TUN device.
    pub tun_tso: Choice,
    /// UDP superpackets from and to the TUN device.
    pub tun_uso: Choice,
    /// Many datagrams in one send (UDP_SEGMENT).
    pub udp_gso: Choice,
    /// Many datagrams in one receive (UDP_GRO).
    pub udp_gro: Choice,
}

/// A kernel release, such as 6.8.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release(pub u32, pub u32, pub u32);

impl Release {
    /// Reads the numbers that start a release string; what is missing is 0.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        Self(next(), next(), next())
    }
}

/// How trains of datagrams may be sent in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trains {
    /// Never.
    No,
    /// Only with a shorter datagram at the end: kernels 7.0 to 7.1.4 garble even ones.
    Uneven,
    /// Always.
    Yes,
}

/// What is tried on this kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloads {
    /// TCP superpackets at the TUN device.
    pub tso: bool,
    /// UDP superpackets at the TUN device.
    pub uso: bool,
    /// UDP_SEGMENT.
    pub gso: Trains,
    /// UDP_GRO.
    pub gro: bool,
}

impl Offloads {
    /// Decides by kernel release: USO needs 6.2 and before 6.8.5 joined datagrams were dropped on
    /// their way into VXLAN; UDP_GRO is used from 5.12 on.
    #[must_use]
    pub fn decide(choices: Choices, release: Release) -> Self {
        let even_trains_break = (Release(7, 0, 0)..=Release(7, 1, 4)).contains(&release);
        let auto = |choice, good| match choice {
            Choice::Auto => good,
            Choice::On => true,
            Choice::Off => false,
        };
        Self {
            tso: auto(choices.tun_tso, true),
            uso: auto(choices.tun_uso, release >= Release(6, 8, 5) && !even_trains_break),
            gso: match choices.udp_gso {
                Choice::Off => Trains::No,
                Choice::Auto if even_trains_break => Trains::Uneven,
                Choice::Auto | Choice::On => Trains::Yes,
            },
            gro: auto(choices.udp_gro, release >= Release(5, 12, 0)),
        }
    }
}

/// An offload that is used until the kernel refuses it once.
pub struct Fuse(AtomicBool);

impl Fuse {
    /// A fuse that is whole, or blown from the start.
    #[must_use]
    pub const fn new(whole: bool) -> Self {
        Self(AtomicBool::new(whole))
    }

    /// Whether the offload may be used.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Gives the offload up; true the first time.
    pub fn blow(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auto(release: &str) -> Offloads {
        Offloads::decide(Choices::default(), Release::parse(release))
    }

    #[test]
    fn releases_are_read_as_distributions_write_them() {
        assert_eq!(Release::parse("6.8.0-45-generic"), Release(6, 8, 0));
        assert_eq!(Release::parse("5.15.167.4-microsoft-standard"), Release(5, 15, 167));
        assert_eq!(Release::parse("7.1"), Release(7, 1, 0));
        assert_eq!(Release::parse(""), Release(0, 0, 0));
    }

    #[test]
    fn defective_kernels_are_spared() {
        assert!(!auto("6.8.4").uso);
        assert!(auto("6.8.5").uso);
        assert_eq!(auto("7.1.4").gso, Trains::Uneven);
        assert_eq!(auto("7.1.5").gso, Trains::Yes);
        assert!(!auto("7.0.0").uso);
        assert!(!auto("5.10.0").gro);
    }

    #[test]
    fn a_choice_beats_the_table() {
        let on = Choices {
            tun_tso: Choice::Off,
            tun_uso: Choice::On,
            udp_gso: Choice::On,
            udp_gro: Choice::Off,
        };
        let decided = Offloads::decide(on, Release(7, 0, 0));
        assert_eq!(decided, Offloads { tso: false, uso: true, gso: Trains::Yes, gro: false });
    }
}
