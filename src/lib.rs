//! unionfuse: overlay semantics in userspace.
//!
//! The crate is a library first. [`Union`] is the whole engine and works on directories without any mount, so it can be embedded and
//! tested as it is:
//!
//! ```
//! use unionfuse::types::{Name, NodeId};
//! use unionfuse::{Union, UnionConfig};
//!
//! let union = Union::open(&UnionConfig::new(["/usr", "/etc"]), None)?;
//! let found = union.lookup(NodeId::ROOT, Name::new("bin".as_ref())?)?;
//! if let Some(entry) = found {
//!     println!("bin has number {} and mode {:o}", entry.attr.node.0, entry.attr.perm);
//!     // Until the entry is dropped, its number finds the node.
//!     let target = union.getattr(entry.node.id())?;
//!     assert_eq!(target.kind, entry.attr.kind);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Mount`] puts it behind `/dev/fuse`, where programs see it; the `unionfuse` binary is a thin command line over both. `examples/` has
//! three programs that use them.
//!
//! Features: `fuse` has the session on a FUSE device, `mount` (which needs it) the mounting, `cli` (which needs both, and is the default)
//! the command line. The engine alone needs neither `fuser` nor `clap`.

#![cfg_attr(
    not(feature = "cli"),
    allow(dead_code, unused_imports, reason = "some of the engine is there for those who mount it")
)]

#[cfg(feature = "cli")]
mod cli;
pub mod config;
#[cfg(feature = "cli")]
mod daemon;
mod error;
mod format;
#[cfg(feature = "fuse")]
mod fuse;
mod layer;
#[cfg(feature = "mount")]
mod mount;
mod namespace;
mod ops;
mod owner;
mod sys;
#[doc(hidden)]
pub mod testing;
pub mod types;

/// The target of log records that are no warnings, and yet to be told to users who have not asked for more.
pub const NOTICE: &str = "unionfuse::notice";

#[cfg(feature = "cli")]
pub use cli::run as main;
#[cfg(feature = "mount")]
pub use config::MountConfig;
pub use config::UnionConfig;
pub use error::{Error, Result, SetupError};
#[cfg(feature = "fuse")]
pub use fuse::{NotStarted, Session, SessionHandle, SessionState};
pub use layer::stack::LayerInfo;
#[cfg(feature = "mount")]
pub use mount::{Failure, Mount, remount, umount};
pub use namespace::changes::{Change, Changes, Stamp};
pub use namespace::refs::{Entry, KeptRef, NodeRef};
pub use ops::effects::{Done, Effect, Effects};
pub use ops::{Data, Union, Visit, Work};
pub use sys::mount::Mountpoint;
