//! The on-disk format of layers: what marks and names mean, and which layer wins. No system call is made here, so tools that never
//! mount anything can use it.
//!
//! It is that of the kernel's overlayfs (Documentation/filesystems/overlayfs.rst), with the names of AUFS and OCI layers and the
//! attributes of fuse-overlayfs beside it; docs/on-disk-format.md has all of it.

pub mod aufs;
pub mod marks;
pub mod namespace;
pub mod nlink;
pub mod origin;
pub mod recorded;
pub mod redirect;
pub mod resolve;
