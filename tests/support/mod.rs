//! The harness of the mount tests.

pub mod alone;
pub mod area;
pub mod case;
pub mod kernel;
pub mod layer;
pub mod mapping;
pub mod mode;
pub mod mount;
pub mod op;
pub mod ours;
pub mod plain;
pub mod program;
pub mod round;
pub mod run;
pub mod subject;
pub mod trace;
pub mod tree;
pub mod watchdog;
