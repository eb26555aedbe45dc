//! Owns routers that hide what is behind them, as home and office routers do.

use std::time::Duration;

use crate::lab::error::LabError;
use crate::lab::host::Host;
use crate::lab::segment::Link;

/// How a router chooses the port that the outside sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// The same as inside, where free: most home routers.
    Preserved,
    /// Another one for each remote address and port: symmetric, the hardest to get through.
    Random,
}

/// A router that masquerades what leaves by one link and lets in only answers, both families.
#[derive(Debug, Clone)]
pub struct Nat {
    router: Host,
}

impl Nat {
    /// Makes `router` hide everything behind its link `outside`.
    ///
    /// # Errors
    /// nftables or a sysctl refused.
    pub fn hide(router: &Host, outside: &Link, ports: Ports) -> Result<Self, LabError> {
        let link = &outside.name;
        let how = match ports {
            Ports::Preserved => "masquerade",
            Ports::Random => "masquerade fully-random",
        };
        router.enable_forwarding()?;
        router.nft(&format!(
            "table inet nat {{\n\
             chain postrouting {{\ntype nat hook postrouting priority srcnat; policy accept\n\
             oifname {link} {how}\n}}\n\
             chain forward {{\ntype filter hook forward priority filter; policy accept\n\
             iifname {link} ct state established,related accept\niifname {link} drop\n}}\n}}\n"
        ))?;
        Ok(Self { router: router.clone() })
    }

    /// How long the router remembers a UDP flow that was not answered, and one that was. Whole seconds.
    ///
    /// # Errors
    /// A kernel without these sysctls.
    pub fn remember_udp(&self, unanswered: Duration, answered: Duration) -> Result<(), LabError> {
        let set = |name, span: Duration| {
            self.router.sysctl(&format!("net.netfilter.{name}"), &span.as_secs().to_string())
        };
        set("nf_conntrack_udp_timeout", unanswered)?;
        set("nf_conntrack_udp_timeout_stream", answered)
    }

    /// Forgets every flow, as a router that restarts.
    ///
    /// # Errors
    /// The tool `conntrack` is not installed.
    pub fn forget(&self) -> Result<(), LabError> {
        self.router.run("conntrack -F").map(drop)
    }
}
