//! The only place with `unsafe`, raw file descriptors and bare system calls.
//!
//! `AsFd` in, owned descriptors and plain values out, and one [`Error`] per failed call that remembers the call and what it
//! was made on.

pub mod apart;
mod at;
pub mod creds;
pub mod dirent;
mod error;
pub mod file;
pub mod handle;
pub mod ioctl;
pub mod limits;
pub mod memo;
pub mod mount;
pub mod namei;
pub mod process;
#[cfg(feature = "mount")]
pub mod sandbox;
pub mod sched;
pub mod xattr;

pub use at::At;
pub use error::{Error, Result};
