//! What the tests of the command line share: sample documents, an agent that only answers, and
//! running the program.
#![allow(dead_code, unreachable_pub, missing_docs)]

pub mod documents;
pub mod fake_agent;
pub mod program;
