//! Owns names that the kernel takes: link names. Does not know which links exist.

use std::fmt;
use std::str::FromStr;

/// A network interface name as the kernel accepts it.
///
/// Shape: 1 to 15 bytes of ASCII letters, digits, `-`, `_` or `.`, not `.` or `..`. The kernel
/// allows more (`dev_valid_name` in net/core/dev.c); what is left out here needs quoting in nft.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkName(String);

/// Why a text is not a [`LinkName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("link name {text:?}: must be 1 to 15 letters, digits, '-', '_' or '.'")]
pub struct BadLinkName {
    /// The text as it was given.
    pub text: String,
}

impl LinkName {
    /// Returns the name as the kernel spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LinkName {
    type Err = BadLinkName;

    fn from_str(text: &str) -> Result<Self, BadLinkName> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let sound = (1..=15).contains(&text.len())
            && text.bytes().all(allowed)
            && text != "."
            && text != "..";
        if sound { Ok(Self(text.to_owned())) } else { Err(BadLinkName { text: text.to_owned() }) }
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_need_quoting_are_refused() {
        for text in ["", "sixteen-bytes-ab", "a b", "a/b", "eth0\n", "..", "ü"] {
            assert!(text.parse::<LinkName>().is_err(), "{text:?} was accepted");
        }
        assert_eq!("sealane-vx".parse::<LinkName>().unwrap().as_str(), "sealane-vx");
    }
}
