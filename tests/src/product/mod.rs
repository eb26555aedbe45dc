//! Owns the product as it stands in a lab: who is where, which files it has, what people type. Owns
//! no expectation; tests and the demo have those.

pub mod ground;
pub mod site;
pub mod settings;
pub mod command;
pub mod broker;
pub mod agent;
pub mod admin;
pub mod reach;
pub mod traces;
pub mod page;
