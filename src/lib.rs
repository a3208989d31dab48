//! unionfuse: overlay semantics in userspace.
//!
//! The crate is a library first: [`Union`] is the whole engine and works on directories without any mount, so it can be
//! embedded and tested as it is. [`fuse`] puts it behind `/dev/fuse`; the `unionfuse` binary is a thin command line over both.
//!
//! Data flows one way: `format`, `config` -> `layer` -> `namespace` -> `ops` -> `fuse`; every system call goes through `sys`.

pub mod cli;
pub mod config;
pub mod daemon;
pub mod error;
pub mod format;
pub mod fuse;
pub mod idmap;
pub mod layer;
pub mod mount;
pub mod namespace;
pub mod ops;
pub mod sys;
pub mod types;

/// The target of log records that are no warnings, and yet to be told to users who have not asked for more.
pub const NOTICE: &str = "unionfuse::notice";

pub use config::{MountConfig, UnionConfig};
pub use error::{Error, Result, SetupError};
pub use mount::Mount;
pub use ops::Union;
