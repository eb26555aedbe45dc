//! Owns the rules by which sealed datagrams form one UDP_SEGMENT send: one destination, one mark,
//! equal lengths but the last, and the kernel's limits. Sends nothing.

/// Datagrams in one send; newer kernels take 128.
pub const MAX_DATAGRAMS: usize = 64;
/// Bytes in one send, over IPv4: what an IP length field leaves for UDP payload.
pub const MAX_BYTES: usize = 65_507;

/// The shape of a train that is being filled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Train {
    stride: usize,
    bytes: usize,
    count: usize,
    closed: bool,
}

impl Train {
    /// Whether a datagram of this length may follow.
    #[must_use]
    pub const fn takes(&self, len: usize) -> bool {
        self.count == 0
            || !self.closed
                && len <= self.stride
                && self.count < MAX_DATAGRAMS
                && self.bytes + len <= MAX_BYTES
    }

    /// Adds a datagram that [`Train::takes`] allows.
    pub const fn add(&mut self, len: usize) {
        if self.count == 0 {
            self.stride = len;
        }
        self.closed = len < self.stride;
        self.bytes += len;
        self.count += 1;
    }

    /// Length of every datagram but the last.
    #[must_use]
    pub const fn stride(&self) -> usize {
        self.stride
    }

    /// All bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many datagrams.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Whether all datagrams have one length.
    #[must_use]
    pub const fn is_even(&self) -> bool {
        !self.closed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_train_is_what_the_kernel_cuts_back_into_its_datagrams(
            lens in proptest::collection::vec(32usize..4000, 1..200)
        ) {
            let mut train = Train::default();
            let mut taken = Vec::new();
            for len in lens {
                if train.takes(len) {
                    train.add(len);
                    taken.push(len);
                }
            }
            prop_assert!(train.count() <= MAX_DATAGRAMS && train.bytes() <= MAX_BYTES);
            let mut cut = Vec::new();
            let mut left = train.bytes();
            while left > 0 {
                cut.push(left.min(train.stride()));
                left -= left.min(train.stride());
            }
            prop_assert_eq!(cut, taken);
        }
    }
}
