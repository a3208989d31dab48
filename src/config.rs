//! What a mount was asked to be, after parsing and before anything is opened.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::owner::idmap::IdMap;

/// The layers of a union and how they are treated. Everything the engine needs; nothing about the mount.
#[derive(Debug, Clone)]
pub struct UnionConfig {
    /// Read-only layers, top-most first. Never empty. Relative paths are resolved against the current directory.
    pub lowers: Vec<PathBuf>,
    /// The writable layer. Without it the union is read-only.
    pub upper: Option<PathBuf>,
    /// Where changes are prepared; on the same mount as `upper`. `None`: made beside (or inside) `upper`.
    pub work: Option<PathBuf>,
    /// Whether renaming a lower or merged directory records an `overlay.redirect` instead of copying the tree up. `None`: yes
    /// where marks are `trusted.*`; the kernel's overlayfs does not follow redirects in `user.*` (overlayfs.rst, "userxattr").
    pub redirect_dir: Option<bool>,
    /// Whether copied-up hard links are recorded in the work directory's `index`, the kernel's format.
    pub index: bool,
    /// Which extended attribute namespace marks are written in. Both are always read.
    pub xattr_namespace: XattrNamespace,
    /// Whether copied-up data reaches the disk before its name is published.
    pub durability: Durability,
    /// Owners as stored in the layers against owners as shown in the union.
    pub id_map: IdMap,
    /// Whether the upperdir is only looked at, while another union may be changing it: nothing is made on disk, and nothing that
    /// was seen is taken to last.
    pub read_only: bool,
    /// Whether the union is a view, too, while another one that is to be seen writes to the upperdir; else it is refused.
    pub yields: bool,
    /// Whether reading leaves the access times of upper files alone; those of lower ones stay in any case.
    pub no_atime: bool,
}

impl UnionConfig {
    /// A union of `lowers` (top-most first) with every option at its default, read-only until `upper` is set.
    pub fn new(lowers: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        Self {
            lowers: lowers.into_iter().map(Into::into).collect(),
            upper: None,
            work: None,
            redirect_dir: None,
            index: true,
            xattr_namespace: XattrNamespace::Auto,
            durability: Durability::Synced,
            id_map: IdMap::default(),
            read_only: false,
            yields: false,
            no_atime: false,
        }
    }

    /// The same union, writable through `upper`, with changes prepared in `work`.
    #[must_use]
    pub fn with_upper(mut self, upper: impl Into<PathBuf>, work: Option<PathBuf>) -> Self {
        self.upper = Some(upper.into());
        self.work = work;
        self
    }
}

/// The namespace our marks (`overlay.opaque`, `overlay.redirect`, …) are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum XattrNamespace {
    /// `trusted.overlay.` when we may write it, else `user.overlay.`.
    #[default]
    Auto,
    /// `trusted.overlay.`, as the kernel's overlayfs does by default.
    Trusted,
    /// `user.overlay.`, as the kernel's overlayfs does with `userxattr`.
    User,
}

/// What a power cut may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Copied-up data is on disk before its name appears, and `fsync` reaches the disk: the kernel overlayfs' default.
    #[default]
    Synced,
    /// `fsync=0`: copy-up does not wait for the disk; an explicit `fsync` still does.
    Relaxed,
    /// `volatile`: nothing is ever synced; the work directory is marked so that a mount after a crash is refused.
    Volatile,
}

/// A union and where and how to mount it.
#[derive(Debug, Clone)]
pub struct MountConfig {
    /// The union itself.
    pub union: UnionConfig,
    /// Where to mount.
    pub mountpoint: PathBuf,
    /// What `findmnt` shows as the source.
    pub source: OsString,
    /// Whether the daemon stays in the foreground.
    pub foreground: bool,
    /// Whether debug logging was asked for.
    pub debug: bool,
    /// Flags and options of the mount itself.
    pub flags: MountFlags,
    /// How requests are served.
    pub session: SessionConfig,
    /// Whether the threads that serve are confined to the layers (`sys::sandbox`). `None`: where the kernel can.
    pub sandbox: Option<bool>,
}

impl MountConfig {
    /// A mount of `union` on the directory `mountpoint`, with every option at its default.
    pub fn new(union: UnionConfig, mountpoint: impl Into<PathBuf>) -> Self {
        Self {
            union,
            mountpoint: mountpoint.into(),
            source: OsString::from(env!("CARGO_PKG_NAME")),
            foreground: true,
            debug: false,
            flags: MountFlags::default(),
            session: SessionConfig::default(),
            sandbox: None,
        }
    }
}

/// Options the kernel (or fusermount3) applies to the mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MountFlags {
    /// Mount read-only. Always the case without an upperdir.
    pub read_only: bool,
    /// Let other users in. `None`: yes exactly when the daemon has the rights to give it (root).
    pub allow_other: Option<bool>,
    /// Honour device nodes. `None`: yes for root, no otherwise.
    pub dev: Option<bool>,
    /// Honour set-user-id bits. `None`: yes for root, no otherwise.
    pub suid: Option<bool>,
    /// `noexec`.
    pub no_exec: bool,
    /// `noatime`.
    pub no_atime: bool,
    /// `sync`.
    pub sync: bool,
    /// `dirsync`.
    pub dir_sync: bool,
}

/// How requests are served, and what the kernel may cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionConfig {
    /// Number of threads that wait for requests; 0 chooses by the machine.
    pub threads: usize,
    /// Whether a client that is alone is served on its own processor, if more than one thread serves.
    pub follow: bool,
    /// Whether directories are listed before the kernel asks, while somebody walks a tree. Not where things change unseen: with
    /// `cache_seconds` or `passthrough`.
    pub list_ahead: bool,
    /// Seconds the kernel may keep entries and attributes; `None`: without end (all changes come through the mount).
    pub cache_seconds: Option<u64>,
    /// Whether small writes are gathered in the kernel's page cache (`FUSE_WRITEBACK_CACHE`).
    pub writeback: bool,
    /// Whether the kernel reads and writes files in the layers by itself (`FUSE_PASSTHROUGH`); not together with `writeback`.
    pub passthrough: bool,
    /// Whether extended attributes exist at all in the union (`noxattr` turns them off).
    pub xattr: bool,
    /// Whether POSIX ACLs are honoured (`noacl` turns them off).
    pub acl: bool,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            threads: 0,
            follow: true,
            list_ahead: true,
            cache_seconds: None,
            writeback: false,
            passthrough: false,
            xattr: true,
            acl: true,
        }
    }
}
