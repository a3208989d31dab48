//! What is measured: filesystems that show several directories as one, and the plain directory.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;

/// How a subject works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No union: a directory that holds what the union would show.
    Plain,
    Overlayfs,
    Unionfuse,
    FuseOverlayfs,
    UnionfsFuse,
    Mergerfs,
}

/// What a scenario is about, so that a subject that differs from another in one regard is measured only there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    /// File names and attributes.
    Names,
    /// The bytes of files.
    Data,
    /// Copy-up, which is a matter of durability too.
    CopyUp,
    /// Many new files with their data.
    Writes,
    /// The number of layers, and memory: what only the closest peers are compared by.
    Scale,
}

/// One filesystem with its options.
#[derive(Debug, Clone)]
pub struct Subject {
    pub name: String,
    pub kind: Kind,
    pub program: Option<PathBuf>,
    pub options: String,
    pub env: Option<(&'static str, &'static str)>,
    /// Empty: everything it can do.
    pub themes: Vec<Theme>,
    /// Not more often than this, unless the user names subjects.
    pub max_repeats: usize,
    /// Whether requests are counted for it unless the user names subjects.
    pub counted: bool,
    pub about: String,
}

/// What a union is made of.
#[derive(Debug, Clone)]
pub struct Stack {
    /// Top-most first.
    pub lowers: Vec<PathBuf>,
    pub upper: PathBuf,
    pub work: PathBuf,
    pub point: PathBuf,
}

/// Where programs are that are not in PATH.
#[derive(Debug, Clone)]
pub struct Programs {
    pub unionfuse: PathBuf,
    pub fuse_overlayfs_2: PathBuf,
}

fn subject(name: &str, kind: Kind, program: Option<&Path>, about: &str) -> Subject {
    Subject {
        name: name.to_owned(),
        kind,
        program: program.map(Path::to_owned),
        options: String::new(),
        env: None,
        themes: Vec::new(),
        max_repeats: usize::MAX,
        counted: false,
        about: about.to_owned(),
    }
}

impl Subject {
    fn with(mut self, options: &str, themes: &[Theme]) -> Self {
        self.options = options.to_owned();
        self.themes = themes.to_vec();
        self
    }

    /// For those so slow, or so different, that more would only make everybody wait.
    fn once(mut self) -> Self {
        self.max_repeats = 1;
        self
    }

    fn counted(mut self) -> Self {
        self.counted = true;
        self
    }

    fn env(mut self, name: &'static str, value: &'static str) -> Self {
        self.env = Some((name, value));
        self
    }

    pub fn is_fuse(&self) -> bool {
        !matches!(self.kind, Kind::Plain | Kind::Overlayfs)
    }

    /// Why it cannot be measured on this machine, if so.
    pub fn missing(&self) -> Option<String> {
        let program = self.program.as_ref()?;
        (!in_path(program)).then(|| format!("{} is not there", program.display()))
    }

    /// What it says of its own version.
    pub fn version(&self) -> Option<String> {
        let program = self.program.as_ref()?;
        let output = Command::new(program).arg("--version").output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        let own = text.lines().find(|line| !line.contains("fusermount") && !line.contains("FUSE library"));
        own.map(|line| line.trim().to_owned())
    }

    /// The command that serves `stack` in the foreground.
    pub fn command(&self, stack: &Stack) -> Result<Command> {
        let program = self.program.as_ref().with_context(|| format!("{} has no program", self.name))?;
        let mut command = process::program(program);
        if let Some((name, value)) = self.env {
            command.env(name, value);
        }
        let joined = |parts: &mut dyn Iterator<Item = OsString>| {
            parts.collect::<Vec<_>>().join(std::ffi::OsStr::new(":"))
        };
        let lowers = joined(&mut stack.lowers.iter().map(Into::into));
        let with = |path: &Path, mode: &str| {
            let mut word = path.as_os_str().to_owned();
            word.push(mode);
            word
        };
        match self.kind {
            Kind::Plain | Kind::Overlayfs => bail!("{} has no program", self.name),
            Kind::Unionfuse => {
                command.args(["mount", "-f"]).arg("--lower").arg(lowers);
                command.arg("--upper").arg(&stack.upper).arg("--work").arg(&stack.work);
            }
            Kind::FuseOverlayfs => {
                let mut options = OsString::from("lowerdir=");
                options.push(lowers);
                options.push(",upperdir=");
                options.push(&stack.upper);
                options.push(",workdir=");
                options.push(&stack.work);
                command.arg("-f").arg("-o").arg(options);
            }
            Kind::UnionfsFuse | Kind::Mergerfs => {
                let lowers = stack.lowers.iter().map(|lower| with(lower, "=RO"));
                command.arg("-f");
                self.options_of(&mut command);
                command.arg(joined(&mut [with(&stack.upper, "=RW")].into_iter().chain(lowers)));
                return Ok(with_point(command, stack));
            }
        }
        self.options_of(&mut command);
        Ok(with_point(command, stack))
    }

    fn options_of(&self, command: &mut Command) {
        if !self.options.is_empty() {
            command.arg("-o").arg(&self.options);
        }
    }
}

/// Whether a program is where its path says, or in PATH.
pub fn in_path(program: &Path) -> bool {
    if program.components().count() > 1 {
        return program.is_file();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

fn with_point(mut command: Command, stack: &Stack) -> Command {
    command.arg(&stack.point);
    command
}

/// All subjects, in the order of the report.
pub fn all(programs: &Programs) -> Vec<Subject> {
    use Theme::{CopyUp, Data, Writes};
    let ours = |name, about| subject(name, Kind::Unionfuse, Some(&programs.unionfuse), about);
    let peer = |name, kind, program: &Path, about| subject(name, kind, Some(program), about);
    let no_passthrough = ("FUSE_OVERLAYFS_NO_PASSTHROUGH", "1");
    vec![
        subject("plain", Kind::Plain, None, "a directory with the same files"),
        subject("overlayfs", Kind::Overlayfs, None, "the kernel's, default options"),
        subject("overlayfs-volatile", Kind::Overlayfs, None, "the kernel's, which never syncs")
            .with("volatile", &[CopyUp]),
        ours("unionfuse", "default options").counted(),
        ours("unionfuse-fsync0", "copy-up does not wait for the disk").with("fsync=0", &[CopyUp]),
        ours("unionfuse-writeback", "small writes gathered in the kernel")
            .with("writeback=on", &[Data, Writes]),
        ours("unionfuse-passthrough", "data past the daemon; needs root").with("passthrough=on", &[Data]),
        peer("fuse-overlayfs-2.0", Kind::FuseOverlayfs, &programs.fuse_overlayfs_2, "without passthrough")
            .env(no_passthrough.0, no_passthrough.1)
            .counted(),
        peer(
            "fuse-overlayfs-2.0-passthrough",
            Kind::FuseOverlayfs,
            &programs.fuse_overlayfs_2,
            "as it runs when root starts it",
        )
        .with("", &[Data]),
        peer("fuse-overlayfs-1.x", Kind::FuseOverlayfs, Path::new("fuse-overlayfs"), "as Debian packages it"),
        peer("unionfs-fuse", Kind::UnionfsFuse, Path::new("unionfs"), "cow, allow_other")
            .with("cow,allow_other", &[])
            .once(),
        peer("mergerfs", Kind::Mergerfs, Path::new("mergerfs"), "category.create=ff")
            .with("category.create=ff,allow_other", &[])
            .once(),
    ]
}

/// A further unionfuse, from `NAME=OPTS` or `NAME=/BINARY@OPTS`.
pub fn variant(text: &str, programs: &Programs) -> Result<Subject> {
    let (name, rest) =
        text.split_once('=').with_context(|| format!("--variant '{text}': expected NAME=OPTS"))?;
    let (program, options) = match rest.split_once('@') {
        Some((program, options)) if program.starts_with('/') => (Path::new(program), options),
        _ => (programs.unionfuse.as_path(), rest),
    };
    let about = format!("unionfuse with '{rest}'");
    Ok(subject(name, Kind::Unionfuse, Some(program), &about).with(options, &[]).counted())
}
