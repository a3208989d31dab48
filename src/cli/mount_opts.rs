//! The options of `-o`: what each one means. One function per kind of option; the last of two contradicting ones wins, as
//! mount(8) expects when it appends the command line's options to those of fstab.

use std::ffi::OsString;
use std::path::PathBuf;

use log::Level;

use super::error::{UsageError, show};
use super::layers::parse_layers;
use super::split::{RawOption, split_options, unescape};
use crate::config::{Durability, MountFlags, SessionConfig};
use crate::owner::idmap::{IdMap, IdRanges, parse_id};

/// More threads than any machine has a use for; a larger number is a typing error.
const MAX_THREADS: usize = 1024;

/// Something to tell about a command line that is not an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// How loud to be.
    pub level: Level,
    /// What to say.
    pub text: String,
}

/// Everything the options of a mount can say. `None` where the default depends on how the program was called.
#[derive(Debug, Clone, Default)]
pub struct MountOpts {
    /// `remount`: change the flags of a mount instead of making one.
    pub remount: bool,
    /// `lowerdir=`, `lowerdir+=`: top-most first.
    pub lowers: Vec<PathBuf>,
    /// `upperdir=`.
    pub upper: Option<PathBuf>,
    /// `workdir=`.
    pub work: Option<PathBuf>,
    /// `fsname=`.
    pub source: Option<OsString>,
    /// `redirect_dir=`.
    pub redirect_dir: Option<bool>,
    /// `index=`.
    pub index: Option<bool>,
    /// `userxattr`.
    pub user_xattr: bool,
    /// `volatile`, `fsync=`.
    pub durability: Durability,
    /// `uidmapping=`, `gidmapping=`, `squash_to_*`.
    pub id_map: IdMap,
    /// Options of the mount itself.
    pub flags: MountFlags,
    /// How requests are served.
    pub session: SessionConfig,
    /// `sandbox=`.
    pub sandbox: Option<bool>,
    /// `setuid=`, `drop_privileges`: mount.fuse3 takes them out before it runs us.
    pub privileges_to_drop: Option<&'static str>,
    /// What to tell the user once logging works.
    pub notes: Vec<Note>,
}

impl MountOpts {
    /// Applies an `-o` string.
    ///
    /// # Errors
    /// A bad value of a known option. Unknown options are noted, never refused: callers pass options of other programs.
    pub fn apply(&mut self, text: &[u8]) -> Result<(), UsageError> {
        split_options(text).into_iter().try_for_each(|option| self.apply_one(option))
    }

    fn apply_one(&mut self, option: RawOption<'_>) -> Result<(), UsageError> {
        let known = self.layer_option(option)?
            || self.format_option(option)?
            || self.owner_option(option)?
            || self.session_option(option)?
            || self.mount_flag(option)
            || self.option_without_effect(option);
        if !known {
            self.warn(format!("option '{}' is unknown and ignored", show(option.name)));
        }
        Ok(())
    }

    fn layer_option(&mut self, option: RawOption<'_>) -> Result<bool, UsageError> {
        match option.name {
            b"lowerdir" => {
                if !self.lowers.is_empty() {
                    self.warn("option 'lowerdir' is given more than once; the last one counts".to_owned());
                }
                let list = option.value.unwrap_or_default();
                self.lowers = parse_layers(list).map_err(|e| bad(option, e))?;
            }
            b"lowerdir+" => self.lowers.push(path(option)?),
            b"datadir+" => return Err(bad(option, "data-only layers are not supported; use 'lowerdir+'")),
            b"upperdir" => self.upper = Some(path(option)?),
            b"workdir" => self.work = Some(path(option)?),
            b"fsname" => self.source = option.value.map(unescape),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Options about what is written into the layers, and how.
    fn format_option(&mut self, option: RawOption<'_>) -> Result<bool, UsageError> {
        match option.name {
            b"redirect_dir" => self.redirect_dir = Some(redirect_dir(option)?),
            b"index" => self.index = Some(switch(option)?),
            b"userxattr" => self.user_xattr = flag(option)?,
            b"volatile" => {
                flag(option)?;
                self.durability = Durability::Volatile;
            }
            b"fsync" => {
                let synced = switch(option)?;
                // Podman passes `volatile,fsync=0`: the stronger wish counts whatever the order.
                if self.durability != Durability::Volatile {
                    self.durability = if synced { Durability::Synced } else { Durability::Relaxed };
                }
            }
            b"metacopy" => {
                if switch(option)? {
                    self.warn(
                        "option 'metacopy=on' has no effect: copy-up always copies the data".to_owned(),
                    );
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn owner_option(&mut self, option: RawOption<'_>) -> Result<bool, UsageError> {
        match option.name {
            b"uidmapping" => self.id_map.uids = Some(ranges(option)?),
            b"gidmapping" => self.id_map.gids = Some(ranges(option)?),
            b"squash_to_root" => {
                flag(option)?;
                self.id_map.squash_uid = Some(0);
                self.id_map.squash_gid = Some(0);
            }
            b"squash_to_uid" => self.id_map.squash_uid = Some(id(option)?),
            b"squash_to_gid" => self.id_map.squash_gid = Some(id(option)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn session_option(&mut self, option: RawOption<'_>) -> Result<bool, UsageError> {
        match option.name {
            b"sandbox" => self.sandbox = Some(option.value.is_none() || switch(option)?),
            b"threads" => self.session.threads = threads(option)?,
            b"follow" => self.session.follow = option.value.is_none() || switch(option)?,
            b"list_ahead" => self.session.list_ahead = option.value.is_none() || switch(option)?,
            b"cache" => self.session.cache_seconds = cache_seconds(option)?,
            b"writeback" => self.session.writeback = option.value.is_none() || switch(option)?,
            b"passthrough" => self.session.passthrough = option.value.is_none() || switch(option)?,
            b"acl" => self.session.acl = flag(option)?,
            b"noacl" => self.session.acl = !flag(option)?,
            b"noxattr" | b"noxattrs" => self.session.xattr = !flag(option)?,
            b"remount" => self.remount = flag(option)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Options the kernel applies. Values (`ro=recursive`) are mount(8)'s business.
    fn mount_flag(&mut self, option: RawOption<'_>) -> bool {
        let flags = &mut self.flags;
        match option.name {
            b"ro" => flags.read_only = true,
            b"rw" => flags.read_only = false,
            b"dev" => flags.dev = Some(true),
            b"nodev" => flags.dev = Some(false),
            b"suid" => flags.suid = Some(true),
            b"nosuid" => flags.suid = Some(false),
            b"exec" => flags.no_exec = false,
            b"noexec" => flags.no_exec = true,
            b"noatime" => flags.no_atime = true,
            b"atime" | b"relatime" | b"strictatime" => flags.no_atime = false,
            b"sync" => flags.sync = true,
            b"async" => flags.sync = false,
            b"dirsync" => flags.dir_sync = true,
            b"allow_other" => flags.allow_other = Some(true),
            b"allow_root" => {
                flags.allow_other = Some(true);
                self.warn("option 'allow_root' is treated like 'allow_other'".to_owned());
            }
            _ => return false,
        }
        true
    }

    fn option_without_effect(&mut self, option: RawOption<'_>) -> bool {
        let name = show(option.name);
        match option.name {
            b"user" | b"users" | b"nouser" | b"owner" | b"noowner" | b"group" | b"nogroup" | b"auto"
            | b"noauto" | b"nofail" | b"_netdev" | b"defaults" | b"comment" => {}
            mount_table if mount_table.starts_with(b"x-") || mount_table.starts_with(b"X-") => {}
            b"setuid" => self.privileges_to_drop = Some("setuid"),
            b"drop_privileges" => self.privileges_to_drop = Some("drop_privileges"),
            b"context" | b"fscontext" | b"defcontext" | b"rootcontext" | b"xattr_permissions" => {
                self.warn(format!("option '{name}' is not supported and ignored"));
            }
            // mount(8) repeats what the kernel shows of a mount when it is to be changed.
            b"default_permissions"
            | b"user_id"
            | b"group_id"
            | b"rootmode"
            | b"max_read"
            | b"xino"
            | b"nfs_export"
            | b"verity"
            | b"uuid"
            | b"override_creds"
            | b"nooverride_creds"
            | b"static_nlink"
            | b"auto_unmount"
            | b"subtype"
            | b"private"
            | b"rprivate"
            | b"shared"
            | b"rshared"
            | b"slave"
            | b"rslave"
            | b"unbindable"
            | b"runbindable"
            | b"nonempty"
            | b"big_writes"
            | b"kernel_cache"
            | b"auto_cache"
            | b"clone_fd"
            | b"max_idle_threads"
            | b"diratime"
            | b"nodiratime"
            | b"lazytime"
            | b"nolazytime"
            | b"norelatime"
            | b"nostrictatime"
            | b"silent"
            | b"loud"
            | b"mand"
            | b"nomand"
            | b"iversion"
            | b"noiversion" => {
                self.note(Level::Debug, format!("option '{name}' is accepted and has no effect"));
            }
            _ => return false,
        }
        true
    }

    fn note(&mut self, level: Level, text: String) {
        self.notes.push(Note { level, text });
    }

    pub(super) fn warn(&mut self, text: String) {
        self.note(Level::Warn, text);
    }
}

fn bad(option: RawOption<'_>, expected: impl std::fmt::Display) -> UsageError {
    UsageError::bad_value(option.name, option.value, expected)
}

fn flag(option: RawOption<'_>) -> Result<bool, UsageError> {
    if option.value.is_some() { Err(bad(option, "takes no value")) } else { Ok(true) }
}

fn switch(option: RawOption<'_>) -> Result<bool, UsageError> {
    match option.value {
        Some(b"on" | b"1" | b"yes" | b"true") => Ok(true),
        Some(b"off" | b"0" | b"no" | b"false") => Ok(false),
        _ => Err(bad(option, "expected 'on' or 'off'")),
    }
}

fn redirect_dir(option: RawOption<'_>) -> Result<bool, UsageError> {
    match option.value {
        Some(b"on") => Ok(true),
        Some(b"off" | b"follow" | b"nofollow") => Ok(false),
        _ => Err(bad(option, "expected 'on', 'off', 'follow' or 'nofollow'")),
    }
}

fn path(option: RawOption<'_>) -> Result<PathBuf, UsageError> {
    match option.value {
        Some(value) if !value.is_empty() => Ok(PathBuf::from(unescape(value))),
        _ => Err(bad(option, "the name of a directory is missing")),
    }
}

fn ranges(option: RawOption<'_>) -> Result<IdRanges, UsageError> {
    IdRanges::parse(option.value.unwrap_or_default())
        .map_err(|e| bad(option, format_args!("{e}; expected STORED:SHOWN:COUNT[:STORED:SHOWN:COUNT…]")))
}

fn id(option: RawOption<'_>) -> Result<u32, UsageError> {
    match parse_id(option.value.unwrap_or_default()) {
        // The kernel reads this one as "no id".
        Ok(u32::MAX) => Err(bad(option, "this number is not a valid id")),
        Ok(id) => Ok(id),
        Err(_) => Err(bad(option, "expected a numeric id")),
    }
}

fn number<T: std::str::FromStr>(option: RawOption<'_>) -> Option<T> {
    let digits = option.value.filter(|value| value.iter().all(u8::is_ascii_digit))?;
    str::from_utf8(digits).ok()?.parse().ok()
}

fn threads(option: RawOption<'_>) -> Result<usize, UsageError> {
    number(option).filter(|threads| *threads <= MAX_THREADS).ok_or_else(|| {
        bad(option, format_args!("expected a number up to {MAX_THREADS}, 0 to choose by the machine"))
    })
}

fn cache_seconds(option: RawOption<'_>) -> Result<Option<u64>, UsageError> {
    match option.value {
        Some(b"forever") => Ok(None),
        _ => number(option).map(Some).ok_or_else(|| bad(option, "expected a number of seconds or 'forever'")),
    }
}
