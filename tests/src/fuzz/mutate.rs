//! Owns the seeded making of new inputs from old ones. The same seed makes the same inputs.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Inputs do not grow beyond this. Unit: bytes.
const LARGEST: usize = 64 * 1024;
/// Texts that parsers of ours trip over, if over any.
const WORDS: &[&[u8]] = &[
    b"9007199254740992",
    b"-1",
    b"18446744073709551615",
    b"1e3",
    b"null",
    b"true",
    b"{}",
    b"[]",
    b"\"\"",
    b"{\"v\":1,",
    b"\\u0000",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\n\n",
    b"::ffff:0:0/96",
    b"0.0.0.0/0",
    b"::/0",
    b"[[[[[[[[[[",
    b"slj1.",
    b"\0",
];

/// Makes inputs.
pub struct Mutator(StdRng);

impl Mutator {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// Picks an index below `count`, which is not zero.
    pub fn pick(&mut self, count: usize) -> usize {
        self.0.random_range(0..count.max(1))
    }

    /// Returns `input` changed in one to eight places; parts of `other` may come into it.
    pub fn mutate(&mut self, input: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = input.to_vec();
        for _ in 0..=self.pick(8) {
            self.change(&mut bytes, other);
        }
        bytes.truncate(LARGEST);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let at = self.pick(bytes.len() + 1);
        let until = (at + 1 + self.pick(16)).min(bytes.len());
        match self.pick(9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.pick(8),
            1 if at < bytes.len() => bytes[at] = self.0.random(),
            2 if at < until => drop(bytes.drain(at..until)),
            3 => bytes.insert(at, self.0.random()),
            4 => {
                let word = WORDS[self.pick(WORDS.len())];
                self.insert(bytes, at, word);
            }
            5 if at < until => {
                let copy = bytes[at..until].to_vec();
                let to = self.pick(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            6 => bytes.truncate(at),
            7 if !other.is_empty() => {
                let from = self.pick(other.len());
                let part = &other[from..(from + 1 + self.pick(64)).min(other.len())];
                self.insert(bytes, at, part);
            }
            8 if at < bytes.len() => self.change_number(bytes, at),
            _ => {}
        }
    }

    fn insert(&mut self, bytes: &mut Vec<u8>, at: usize, part: &[u8]) {
        let end = if self.0.random() { (at + part.len()).min(bytes.len()) } else { at };
        bytes.splice(at..end, part.iter().copied());
    }

    /// Changes the run of digits at a place, which keeps texts well-formed.
    fn change_number(&mut self, bytes: &mut Vec<u8>, at: usize) {
        let is_digit = |byte: &u8| byte.is_ascii_digit();
        let start = at + bytes[at..].iter().position(is_digit).unwrap_or(0);
        let length = bytes[start..].iter().take_while(|byte| is_digit(byte)).count();
        let number: u64 = self.0.random_range(0..=u64::MAX) >> self.pick(64);
        bytes.splice(start..start + length, number.to_string().into_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_inputs_and_another_others() {
        let made = |seed| {
            let mut mutator = Mutator::new(seed);
            (0..100).map(|_| mutator.mutate(b"{\"v\":1,\"x\":[2]}", b"other")).collect::<Vec<_>>()
        };
        assert_eq!(made(1), made(1));
        assert_ne!(made(1), made(2));
    }
}
