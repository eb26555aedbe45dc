//! Owns what tests of several rooms share: the lab and the traffic sent through it. Owns no test.
#![doc = include_str!("../README.md")]

pub mod lab;
pub mod traffic;
