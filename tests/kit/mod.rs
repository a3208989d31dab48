//! The test kit: temporary layers, a union of them with and without a mount, stores that fail, and trees compared.

pub mod alone;
pub mod area;
pub mod bench;
pub mod case;
pub mod faulty;
pub mod kernel;
pub mod layer;
pub mod mapping;
pub mod mode;
pub mod mount;
pub mod op;
pub mod ours;
pub mod plain;
pub mod program;
pub mod recipe;
pub mod rig;
pub mod round;
pub mod run;
pub mod subject;
pub mod trace;
pub mod tree;
pub mod union_dirs;
pub mod watchdog;
pub mod watched;
