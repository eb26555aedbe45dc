//! Owns the test that the commands which README.md shows do what it says.
