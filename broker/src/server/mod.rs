//! Owns the embedded broker: our kinds over the Kubernetes REST and watch protocol, from one
//! process with one file. Does not own the client of a broker, nor what members believe.

pub mod config;
pub mod serve;

// What is served, and by what rules.
mod access;
mod account;
pub mod gate;
pub mod signature_gate;
mod patch;
mod resource;
mod review;
mod tokens;
mod write;

// Reads.
mod discovery;
mod large;
mod list;
mod namespaces;
mod query;
mod rendering;
mod selector;
mod watch;

// State.
pub mod disk;
mod draft;
pub mod history;
mod name;
mod object;
mod store;

// HTTP and TLS.
mod app;
mod call;
pub mod certificate;
mod clock;
mod endpoint;
mod failure;
mod files;
mod kubeconfig;
pub mod limit;
mod listen;
mod metrics;
mod protobuf;
mod rest;
mod strangers;
