//! Owns numbers of which some bits are known and others are not: marks.

/// A mark of which only some bits may be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bits {
    /// The known bits; the others are zero here.
    value: u32,
    /// Which bits are known.
    known: u32,
}

impl Bits {
    /// No bit is known.
    pub const UNKNOWN: Self = Self { value: 0, known: 0 };

    /// All bits are known.
    pub const fn exactly(value: u32) -> Self {
        Self { value, known: u32::MAX }
    }

    /// Returns the number when all bits are known.
    pub fn exact(self) -> Option<u32> {
        (self.known == u32::MAX).then_some(self.value)
    }

    /// Says whether the number is `value` in the bits of `mask`; `None` when that is not known.
    pub fn equals(self, value: u32, mask: u32) -> Option<bool> {
        if (self.value ^ value) & mask & self.known != 0 {
            return Some(false);
        }
        (self.known & mask == mask).then_some(true)
    }

    /// Returns the bits that are set in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let zero = (self.known & !self.value) | (other.known & !other.value);
        let value = self.value & other.value;
        Self { value, known: (self.known & other.known) | zero }
    }

    /// Returns the bits that are set in either.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let value = self.value | other.value;
        Self { value, known: (self.known & other.known) | value }
    }

    /// Returns the bits that are set in one of them.
    #[must_use]
    pub fn xor(self, other: Self) -> Self {
        let known = self.known & other.known;
        Self { value: (self.value ^ other.value) & known, known }
    }

    /// Returns what is known when it is either of the two.
    #[must_use]
    pub fn either(self, other: Self) -> Self {
        let known = self.known & other.known & !(self.value ^ other.value);
        Self { value: self.value & known, known }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_set_under_a_mask_is_known_in_that_mask_only() {
        let set = Bits::UNKNOWN.and(Bits::exactly(!0x307f)).or(Bits::exactly(0x1009));
        assert_eq!(set.equals(0x1009, 0x307f), Some(true));
        assert_eq!(set.equals(0x100a, 0x307f), Some(false));
        assert_eq!(set.equals(0x4000, 0x4000), None);
        assert_eq!(set.either(Bits::exactly(0x1008)).equals(0x1008, 0x1008), Some(true));
        assert_eq!(set.either(Bits::exactly(0x1008)).equals(1, 1), None);
    }
}
