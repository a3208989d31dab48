//! Hostile input: layers, arguments and callers that mean harm.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failing test panics")]

#[path = "hostile/any_bytes.rs"]
mod any_bytes;
#[path = "hostile/engine.rs"]
mod engine;
#[path = "hostile/guard.rs"]
mod guard;
#[path = "hostile/properties.rs"]
mod properties;
#[path = "hostile/store.rs"]
mod store;
