//! Every form of the command line, as far as it is a function of its words.

mod options;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use log::Level;

use super::{Command, Invocation, parse};
use crate::config::{Durability, MountConfig};

fn run(words: &[&str]) -> Result<Invocation, String> {
    parse(&words.iter().map(OsString::from).collect::<Vec<_>>()).map_err(|error| error.to_string())
}

fn config_of(invocation: Invocation) -> MountConfig {
    match invocation.command {
        Command::Mount(config) => *config,
        other => panic!("not a mount: {other:?}"),
    }
}

fn mount(words: &[&str]) -> MountConfig {
    config_of(run(words).unwrap())
}

fn with_options(options: &str) -> MountConfig {
    mount(&["unionfuse", "-o", "lowerdir=/l,upperdir=/u,workdir=/w", "-o", options, "/m"])
}

fn warnings(options: &str) -> Vec<String> {
    let notes = run(&["unionfuse", "-o", "lowerdir=/l", "-o", options, "/m"]).unwrap().notes;
    notes.into_iter().filter(|note| note.level <= Level::Warn).map(|note| note.text).collect()
}

fn paths(names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(PathBuf::from).collect()
}

#[test]
fn subcommand_with_everything() {
    let config = mount(&[
        "unionfuse",
        "mount",
        "--lower",
        r"a\:b:c",
        "--lower",
        "d",
        "--upper",
        "u:,",
        "--work",
        "w",
        "-o",
        "noexec",
        "-oro",
        "-f",
        "m",
    ]);
    assert_eq!(config.union.lowers, paths(&["a:b", "c", "d"]));
    assert_eq!(config.union.upper.as_deref(), Some(Path::new("u:,")));
    assert_eq!(config.union.work.as_deref(), Some(Path::new("w")));
    assert_eq!(config.mountpoint, Path::new("m"));
    assert_eq!(config.source, "unionfuse");
    assert!(config.foreground && !config.debug);
    assert!(config.flags.no_exec && config.flags.read_only);
    assert!(config.union.redirect_dir.is_none() && config.union.index);
}

#[test]
fn subcommand_takes_layers_as_options_too() {
    let config = mount(&["unionfuse", "mount", "-o", r"lowerdir=/a\,b:/c,upperdir=/u\,v", "m"]);
    assert_eq!(config.union.lowers, paths(&["/a,b", "/c"]));
    assert_eq!(config.union.upper.as_deref(), Some(Path::new("/u,v")));
    for (flag, option) in [("--lower", "lowerdir"), ("--upper", "upperdir"), ("--work", "workdir")] {
        let words = ["unionfuse", "mount", flag, "x", "-o", &format!("lowerdir=/l,{option}=y"), "m"];
        let error = run(&words).unwrap_err();
        assert!(error.contains(flag) && error.contains(option), "{error}");
    }
}

#[test]
fn without_upper_it_is_read_only() {
    assert!(mount(&["unionfuse", "mount", "--lower", "a", "m"]).flags.read_only);
    assert!(mount(&["unionfuse", "-o", "rw,lowerdir=a", "m"]).flags.read_only);
    assert!(!mount(&["unionfuse", "mount", "--lower", "a", "--upper", "u", "m"]).flags.read_only);
}

#[test]
fn mount_program_form() {
    let words = ["-f", "-d", "-o", "lowerdir=l/A:l/B/../diff1,upperdir=u,workdir=w,,volatile", "/m"];
    let expect = |words: &[&str]| {
        let config = mount(words);
        assert_eq!(config.union.lowers, paths(&["l/A", "l/B/../diff1"]));
        assert_eq!(config.mountpoint, Path::new("/m"));
        assert!(config.foreground && config.debug && config.union.redirect_dir == Some(false));
        assert_eq!(config.union.durability, Durability::Volatile);
        assert_eq!(config.source, "unionfuse");
    };
    for program in ["unionfuse", "/usr/bin/fuse-overlayfs", "./x"] {
        expect(&[[program].as_slice(), &words].concat());
    }
    expect(&[
        "unionfuse",
        "/m",
        "-oupperdir=u",
        "-fd",
        "-o",
        "lowerdir=l/A:l/B/../diff1",
        "-o",
        "workdir=w,volatile",
    ]);
}

#[test]
fn mount_helper_form() {
    let config = mount(&["unionfuse", "SRC", "/m", "-o", "rw,lowerdir=/l,upperdir=/u,dev,suid,fsname=other"]);
    assert_eq!((config.source.to_str(), config.mountpoint.to_str()), (Some("SRC"), Some("/m")));
    assert_eq!((config.flags.dev, config.flags.suid), (Some(true), Some(true)));
    assert!(config.union.redirect_dir.is_none() && !config.foreground);
}

#[test]
fn called_by_mount() {
    for program in ["/sbin/mount.unionfuse", "/sbin/mount.fuse.unionfuse"] {
        let words =
            [program, "SRC", "/m", "-s", "-n", "-v", "-o", "lowerdir=/l,upperdir=/u", "-t", "fuse.unionfuse"];
        let config = mount(&words);
        assert_eq!(config.source, "SRC");
        assert!(config.union.redirect_dir.is_none() && !config.foreground);
        let fake = run(&[words.as_slice(), &["-f"]].concat()).unwrap();
        assert!(matches!(fake.command, Command::Nothing));
    }
    assert!(run(&["mount.unionfuse", "SRC", "-o", "lowerdir=/l"]).is_err());
    assert!(run(&["mount.unionfuse", "SRC", "/m", "-f", "-o", "upperdir=/u"]).is_err());
    assert!(run(&["mount.unionfuse", "SRC", "/m", "-N", "7", "-o", "lowerdir=/u"]).is_err());
}

#[test]
fn the_alias_has_no_subcommands() {
    let config = mount(&["fuse-overlayfs", "mount", "/m", "-o", "lowerdir=/l"]);
    assert_eq!((config.source.to_str(), config.mountpoint.to_str()), (Some("mount"), Some("/m")));
}

#[test]
fn redirects_by_default_and_by_option() {
    for (value, expected) in [("on", true), ("off", false), ("follow", false), ("nofollow", false)] {
        let option = format!("redirect_dir={value}");
        assert_eq!(with_options(&option).union.redirect_dir, Some(expected));
        let words = ["unionfuse", "mount", "--lower", "a", "-o", &option, "m"];
        assert_eq!(mount(&words).union.redirect_dir, Some(expected));
    }
}

#[test]
fn remount_changes_flags_and_needs_no_layers() {
    let invocation = run(&["unionfuse", "/source", "/mnt", "-o", "remount,ro,lowerdir=/a"]).unwrap();
    let Command::Remount { mountpoint, flags } = invocation.command else {
        panic!("not a remount");
    };
    assert_eq!(mountpoint, PathBuf::from("/mnt"));
    assert!(flags.read_only);
    assert!(matches!(
        run(&["mount.unionfuse", "x", "/mnt", "-o", "rw,remount"]).unwrap().command,
        Command::Remount { flags, .. } if !flags.read_only
    ));
}

#[test]
fn umount_forms() {
    for (words, expected) in [
        (vec!["unionfuse", "umount", "/m"], false),
        (vec!["unionfuse", "unmount", "--lazy", "/m"], true),
        (vec!["unionfuse", "umount", "/m", "-l"], true),
    ] {
        match run(&words).unwrap().command {
            Command::Umount { mountpoint, lazy } => {
                assert_eq!((mountpoint.to_str(), lazy), (Some("/m"), expected))
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn help_and_version_in_every_form() {
    let say = |words: &[&str]| match run(words).unwrap().command {
        Command::Say(text) => text,
        other => panic!("{other:?}"),
    };
    for program in ["unionfuse", "fuse-overlayfs", "mount.unionfuse"] {
        for flag in ["--version", "-V"] {
            assert!(say(&[program, flag]).starts_with("unionfuse "));
        }
        let help = say(&[program, "--help"]);
        for taught in ["unionfuse mount --lower", "-o lowerdir=", "UNIONFUSE_LOG", "RUST_LOG", "32"] {
            assert!(help.contains(taught), "{taught}");
        }
    }
    assert!(say(&["unionfuse", "-f", "--version"]).starts_with("unionfuse "));
    assert!(say(&["unionfuse", "mount", "--help"]).contains("redirect_dir"));
    assert!(say(&["unionfuse", "help", "umount"]).contains("Examples"));
}

#[test]
fn bytes_are_kept() {
    let os = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let bare = [os(b"unionfuse"), os(b"-olowerdir=/\xff:/\xfe,upperdir=/\xfd"), os(b"s\xfc"), os(b"/\xfb")];
    let config = config_of(parse(&bare).unwrap());
    assert_eq!(config.union.lowers, [PathBuf::from(os(b"/\xff")), PathBuf::from(os(b"/\xfe"))]);
    assert_eq!(config.union.upper, Some(PathBuf::from(os(b"/\xfd"))));
    assert_eq!((config.source, config.mountpoint), (os(b"s\xfc"), PathBuf::from(os(b"/\xfb"))));
    let clap =
        [os(b"unionfuse"), os(b"mount"), os(b"--lower"), os(b"/\xff"), os(b"--upper=/\xfe"), os(b"/\xfd")];
    let config = config_of(parse(&clap).unwrap());
    assert_eq!(config.union.lowers, [PathBuf::from(os(b"/\xff"))]);
    assert_eq!(config.union.upper, Some(PathBuf::from(os(b"/\xfe"))));
    assert_eq!(config.mountpoint, PathBuf::from(os(b"/\xfd")));
}

#[test]
fn five_hundred_layers() {
    let list = (0..500).map(|n| format!("/layers/{n}")).collect::<Vec<_>>().join(":");
    assert_eq!(mount(&["unionfuse", "-o", &format!("lowerdir={list}"), "/m"]).union.lowers.len(), 500);
}

#[test]
fn lowers_one_by_one_and_repeated() {
    let config = mount(&["unionfuse", "-o", r"lowerdir+=/a:b,lowerdir+=/c", "/m"]);
    assert_eq!(config.union.lowers, paths(&["/a:b", "/c"]));
    let invocation = run(&["unionfuse", "-o", "lowerdir=/a:/b,ro,lowerdir=/c", "/m"]).unwrap();
    assert!(invocation.notes.iter().any(|note| note.text.contains("lowerdir")));
    assert_eq!(config_of(invocation).union.lowers, paths(&["/c"]));
}

#[test]
fn usage_errors() {
    let cases: [(&[&str], &str); 14] = [
        (&["unionfuse"], "command is missing"),
        (&["unionfuse", "mount"], "<MNT>"),
        (&["unionfuse", "mount", "/m"], "--lower"),
        (&["unionfuse", "mount", "--lower", "a:", "/m"], "'--lower a:'"),
        (&["unionfuse", "mount", "--lower", "a::b", "/m"], "not supported"),
        (&["unionfuse", "mount", "--lower", "a", "--upper", "", "/m"], "--upper"),
        (&["unionfuse", "mount", "--lower", "a", ""], "<MNT>"),
        (&["unionfuse", "mount", "--lower", "a", "--nope", "/m"], "--nope"),
        (&["unionfuse", "umount"], "<MNT>"),
        (&["unionfuse", "-o", "lowerdir=/l"], "mountpoint is missing"),
        (&["unionfuse", "-o", "upperdir=/u", "/m"], "lowerdir=DIR"),
        (&["unionfuse", "a", "b", "c", "-o", "lowerdir=/l"], "'c'"),
        (&["unionfuse", "-o", "lowerdir=/l", ""], "empty"),
        (&["unionfuse", "/m", "-x"], "'-x'"),
    ];
    for (words, named) in cases {
        let error = run(words).unwrap_err();
        assert!(error.contains(named), "{words:?}: {error}");
    }
}

#[test]
fn the_engines_name_for_us_means_no_redirects() {
    let words = ["SRC", "/m", "-o", "lowerdir=/l,upperdir=/u,workdir=/w"];
    let called = |name: &str| mount(&[&[name], &words[..]].concat()).union.redirect_dir;
    assert_eq!(called("/usr/bin/fuse-overlayfs"), Some(false));
    assert_eq!(called("unionfuse"), None);
    let config = mount(&["fuse-overlayfs", "SRC", "/m", "-o", "lowerdir=/l,upperdir=/u,redirect_dir=on"]);
    assert_eq!(config.union.redirect_dir, Some(true));
}

#[test]
fn a_helper_does_not_mount_with_more_rights_than_it_was_told_to() {
    for option in ["setuid=nobody", "drop_privileges"] {
        let options = format!("lowerdir=/l,{option}");
        let error = run(&["mount.fuse.unionfuse", "SRC", "/m", "-o", &options]).unwrap_err();
        assert!(error.contains(option.split('=').next().unwrap()), "{error}");
    }
}

#[test]
fn a_misspelt_command_is_mentioned() {
    let error = run(&["unionfuse", "umonut", "/m"]).unwrap_err();
    assert!(error.contains("'umonut'"), "{error}");
}
