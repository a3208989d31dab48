//! The manual pages in `docs/man` say what `--help` says: they are made from the same command line.
//!
//! `UPDATE_MAN=1 cargo test --test man` writes them anew.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap_mangen::Man;
use roff::{Roff, roman};

/// A name and the text of its page.
type Page = (String, Vec<u8>);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/man")
}

fn pages() -> Vec<Page> {
    let mut program = unionfuse::testing::command().disable_help_subcommand(true);
    program.build();
    let verbs: Vec<clap::Command> = program.get_subcommands().cloned().collect();
    let mut pages = vec![page(program)];
    pages.extend(verbs.into_iter().map(|verb| {
        let name = format!("unionfuse-{}", verb.get_name());
        page(verb.display_name(name))
    }));
    pages
}

fn page(command: clap::Command) -> Page {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let teaching = command.get_after_long_help().map(ToString::to_string);
    let has_verbs = command.has_subcommands();
    let manual = Man::new(command).title(name.to_uppercase()).date("").manual("unionfuse");
    let mut text = Vec::new();
    manual.render_title(&mut text).unwrap();
    manual.render_name_section(&mut text).unwrap();
    manual.render_synopsis_section(&mut text).unwrap();
    manual.render_description_section(&mut text).unwrap();
    manual.render_options_section(&mut text).unwrap();
    if has_verbs {
        manual.render_subcommands_section(&mut text).unwrap();
    }
    if let Some(teaching) = teaching {
        as_it_stands(&teaching).to_writer(&mut text).unwrap();
    }
    (format!("{name}.1"), text)
}

/// What `--help` teaches is laid out by its lines; one that is not indented and ends with a colon begins a section.
fn as_it_stands(teaching: &str) -> Roff {
    let mut roff = Roff::new();
    for line in teaching.lines() {
        match line.strip_suffix(':').filter(|title| !title.starts_with(' ')) {
            Some(title) => {
                roff.control("fi", []).control("SH", [title.to_uppercase().as_str()]).control("nf", []);
            }
            None => {
                roff.text([roman(line)]);
            }
        }
    }
    roff.control("fi", []);
    roff
}

#[test]
fn the_pages_are_those_of_the_command_line() {
    let folder = folder();
    for (name, text) in pages() {
        let path = folder.join(&name);
        if std::env::var_os("UPDATE_MAN").is_some() {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&path, &text).unwrap();
        }
        let kept = fs::read(&path).unwrap_or_default();
        assert!(kept == text, "{name} is not what --help says: UPDATE_MAN=1 cargo test --test man");
    }
}

#[test]
fn man_reads_them_without_a_complaint() {
    if Command::new("man").arg("--version").output().is_err() {
        eprintln!("SKIPPED: man_reads_them_without_a_complaint: man is not installed");
        return;
    }
    for (name, _) in pages() {
        let output = Command::new("man")
            .args(["--warnings", "-l"])
            .arg(folder().join(&name))
            .env("LC_ALL", "C.UTF-8")
            .env("MANWIDTH", "100")
            .output()
            .unwrap();
        assert!(output.status.success(), "{name}: {}", output.status);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{name}");
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(shown.contains("EXAMPLES"), "{name}:\n{shown}");
    }
}
