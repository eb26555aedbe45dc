//! Owns partitions: packets between two hosts of a segment that the switch drops, until healed.

use std::fmt::Write;

use crate::lab::error::LabError;
use crate::lab::host::Host;
use crate::lab::segment::Segment;

/// A partition between two hosts. Healed by [`Cut::heal`], or when dropped.
#[derive(Debug)]
#[must_use = "a cut heals when it is dropped"]
pub struct Cut {
    switch: Host,
    table: Option<String>,
}

impl Cut {
    /// Nothing passes between `a` and `b` on this segment, either way.
    ///
    /// # Errors
    /// A host that is not on the segment.
    pub fn between(segment: &Segment, a: &Host, b: &Host) -> Result<Self, LabError> {
        Self::drop_matching(segment, &[(a, b), (b, a)], "")
    }

    /// Nothing passes from `from` to `to`; the other way is open.
    ///
    /// # Errors
    /// A host that is not on the segment.
    pub fn one_way(segment: &Segment, from: &Host, to: &Host) -> Result<Self, LabError> {
        Self::drop_matching(segment, &[(from, to)], "")
    }

    /// Drops what passes from the first to the second of each pair and matches `expression`, in
    /// nftables' language: `udp dport 51820`, `ip6 daddr 2001:db8::1`; empty for everything.
    ///
    /// # Errors
    /// A host that is not on the segment, or an expression that nftables refuses.
    pub fn drop_matching(
        segment: &Segment,
        ways: &[(&Host, &Host)],
        expression: &str,
    ) -> Result<Self, LabError> {
        let mut rules = String::new();
        for (from, to) in ways {
            let (from, to) = (segment.port(from)?, segment.port(to)?);
            let _ = writeln!(rules, "iifname {from} oifname {to} {expression} counter drop");
        }
        let switch = segment.switch().clone();
        let table = segment.next_cut();
        switch.nft(&format!(
            "table bridge {table} {{\nchain forward {{\n\
             type filter hook forward priority filter; policy accept\n{rules}}}\n}}\n"
        ))?;
        Ok(Self { switch, table: Some(table) })
    }

    /// Lets everything pass again.
    ///
    /// # Errors
    /// The switch is gone.
    pub fn heal(mut self) -> Result<(), LabError> {
        self.mend()
    }

    fn mend(&mut self) -> Result<(), LabError> {
        match self.table.take() {
            Some(table) => self.switch.nft(&format!("delete table bridge {table}\n")),
            None => Ok(()),
        }
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        // Fails only where the lab is gone, and the cut with it.
        let _ = self.mend();
    }
}
