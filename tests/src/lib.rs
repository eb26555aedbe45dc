//! Owns what tests of several rooms share: the lab, the traffic sent through it, the product as it
//! stands there, the demo, fuzzing, the simulation, and measurements. Owns no test.
#![doc = include_str!("../README.md")]

pub mod assets;
pub mod interop;
pub mod kubernetes;
pub mod booted;
pub mod lab;
pub mod traffic;
pub mod product;
pub mod demo;
pub mod fuzz;
pub mod sim;
pub mod bench;
