//! Owns the tests of the units in `systemd/`: systemd boots in a machine, `make install` puts the product
//! there, and what the units promise is looked for in processes, files, links and traffic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod scene;

mod lasting;
mod narrow;
