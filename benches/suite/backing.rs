//! The filesystem that layers lie on: a new one for every subject and repetition.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fs_err as fs;
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::process;

/// What the layers lie on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Fs {
    Ext4,
    Tmpfs,
    Xfs,
}

impl Fs {
    pub fn name(self) -> &'static str {
        match self {
            Fs::Ext4 => "ext4",
            Fs::Tmpfs => "tmpfs",
            Fs::Xfs => "xfs",
        }
    }

    /// The program that makes one, which must be there.
    pub fn maker(self) -> Option<&'static str> {
        match self {
            Fs::Ext4 => Some("mkfs.ext4"),
            Fs::Xfs => Some("mkfs.xfs"),
            Fs::Tmpfs => None,
        }
    }
}

/// The directories of one subject on a backing filesystem.
#[derive(Debug, Clone)]
pub struct Layers {
    root: PathBuf,
    count: usize,
    /// All layers are one and the same directory: what the union shows, as plain files.
    merged: bool,
}

impl Layers {
    /// Layer `n`; 0 is the top-most. To have the merged form come out right, fill from the bottom up.
    pub fn dir(&self, n: usize) -> PathBuf {
        if self.merged { self.merged_dir() } else { self.root.join(format!("l{n}")) }
    }

    pub fn bottom(&self) -> PathBuf {
        self.dir(self.count - 1)
    }

    pub fn count(&self) -> usize {
        self.count
    }

    pub fn all(&self) -> Vec<PathBuf> {
        (0..self.count).map(|n| self.dir(n)).collect()
    }

    pub fn merged_dir(&self) -> PathBuf {
        self.root.join("merged")
    }

    pub fn upper(&self) -> PathBuf {
        self.root.join("upper")
    }

    pub fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    fn create(&self) -> Result<()> {
        for dir in self.all().into_iter().chain([self.upper(), self.work()]) {
            fs::create_dir_all(dir)?;
        }
        Ok(())
    }
}

/// A backing filesystem at work; it vanishes, with all that is in it, when dropped.
pub struct Backing {
    point: PathBuf,
    pub layers: Layers,
}

impl Drop for Backing {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.point) {
            eprintln!("{error:#}");
        }
    }
}

/// How to make backing filesystems that are alike: an image that is filled once and copied.
pub struct Template<'a> {
    pub fs: Fs,
    pub area: &'a Path,
    pub layers: usize,
    pub merged: bool,
    pub fill: &'a dyn Fn(&Layers) -> Result<()>,
    pub size: u64,
    image: Option<tempfile::TempPath>,
}

impl<'a> Template<'a> {
    pub fn new(
        (fs, size): (Fs, u64),
        area: &'a Path,
        layers: usize,
        merged: bool,
        fill: &'a dyn Fn(&Layers) -> Result<()>,
    ) -> Self {
        Self { fs, area, layers, merged, fill, size, image: None }
    }

    /// A new backing filesystem with filled layers, all of it written to the disk.
    pub fn instance(&mut self) -> Result<Backing> {
        if self.fs == Fs::Tmpfs {
            let backing = self.mount(None)?;
            self.fill(&backing.layers)?;
            return Ok(backing);
        }
        let image = match self.image.take() {
            Some(image) => image,
            None => self.filled_image()?,
        };
        let copy = self.area.join("copy.img");
        let copied = process::run(Command::new("cp").arg("--sparse=auto").arg(&image).arg(&copy));
        self.image = Some(image);
        copied?;
        fs::File::open(&copy)?.sync_all()?;
        let backing = self.mount(Some(&copy))?;
        // The loop device holds it; so it is gone with the mount, however we end.
        fs::remove_file(&copy)?;
        Ok(backing)
    }

    fn fill(&self, layers: &Layers) -> Result<()> {
        layers.create()?;
        (self.fill)(layers).context("filling the layers")
    }

    fn filled_image(&self) -> Result<tempfile::TempPath> {
        let image = tempfile::Builder::new().prefix("template").suffix(".img").tempfile_in(self.area)?;
        image.as_file().set_len(self.size)?;
        let image = image.into_temp_path();
        let mut make = match self.fs {
            Fs::Xfs => Command::new("mkfs.xfs"),
            _ => Command::new("mkfs.ext4"),
        };
        match self.fs {
            Fs::Xfs => make.args(["-q", "-m", "reflink=1"]),
            _ => make.args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"]),
        };
        process::run(make.arg(&image))?;
        let backing = self.mount(Some(&image))?;
        self.fill(&backing.layers)?;
        drop(backing);
        Ok(image)
    }

    fn mount(&self, image: Option<&Path>) -> Result<Backing> {
        let point = self.area.join("backing");
        fs::create_dir_all(&point)?;
        let mut mount = Command::new("mount");
        match image {
            Some(image) => mount.arg("-t").arg(self.fs.name()).args(["-o", "loop"]).arg(image),
            None => mount.args(["-t", "tmpfs", "-o", "size=90%,nr_inodes=0", "unionfuse-bench"]),
        };
        process::run(mount.arg(&point))?;
        let layers = Layers { root: point.clone(), count: self.layers, merged: self.merged };
        Ok(Backing { point, layers })
    }
}

/// Unmounts, waiting for whoever is about to let go of it; in the end by force.
pub fn unmount(point: &Path) -> Result<()> {
    let start = Instant::now();
    loop {
        match rustix::mount::unmount(point, UnmountFlags::NOFOLLOW) {
            Ok(()) => return Ok(()),
            Err(Errno::BUSY) if start.elapsed() < Duration::from_secs(5) => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => {
                let force = UnmountFlags::FORCE | UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
                rustix::mount::unmount(point, force)
                    .with_context(|| format!("umount -f -l {}", point.display()))?;
                bail!("umount {}: {error}; it was detached", point.display());
            }
        }
    }
}

/// Writes everything to the disks and makes the kernel forget what is in its caches.
pub fn drop_caches() -> Result<()> {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").context("dropping the kernel's caches")
}
