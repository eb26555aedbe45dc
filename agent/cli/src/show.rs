//! Owns how answers are shown: the form asked for, tables, units and colour. Knows no document.

pub mod text;
pub mod units;
pub mod palette;
pub mod table;
pub mod form;
