//! One round of a case: every subject plays the script; results and trees are compared, live, after a remount and after swapping.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rustix::io::Errno;

use super::op::{Op, Outcome};
use super::recipe::Layer;
use super::run::{Transcript, run_script};
use super::subject::{Stack, Subject, fresh_stack, subjects};
use super::tree::{Comparison, Tree, snapshot};

/// Whether the script finds the mount as it was just made or after everything in it has been looked at: caches, the
/// kernel's and ours, make these different experiences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caches {
    Cold,
    Warm,
}

/// One round of a case.
pub struct Round<'a> {
    pub upper: &'a Layer,
    pub script: &'a [Op],
    /// Where each subject gets its directories.
    pub homes: PathBuf,
    pub lowers: &'a [PathBuf],
    /// Which lower file each inode number belongs to, if the subjects number inodes alike.
    pub origins: Option<&'a BTreeMap<u64, String>>,
    pub caches: Caches,
    pub failures: Vec<String>,
}

/// One subject and what was seen of it.
struct Played {
    subject: &'static dyn Subject,
    label: String,
    stack: Stack,
    transcript: Transcript,
    live: Tree,
}

impl Round<'_> {
    /// What went wrong.
    pub fn play(mut self) -> Vec<String> {
        let mut played: Vec<Played> = Vec::new();
        for (i, subject) in subjects().into_iter().enumerate() {
            match self.play_one(i, subject) {
                Ok(one) => played.push(one),
                Err(error) => {
                    self.failures.push(format!("{}: {error}", subject.name()));
                    return self.failures;
                }
            }
        }
        let (first, rest) = played.split_first().expect("at least one subject");
        for other in rest {
            self.compare_transcripts(first, other);
            self.compare_trees("live", first, (&other.label, &other.live), other.subject);
        }
        played.iter().for_each(|one| self.remount(one));
        if self.failures.is_empty() && played.iter().all(|one| one.subject.keeps_numbers()) {
            self.swap(&played);
        }
        self.failures
    }

    fn play_one(&mut self, i: usize, subject: &'static dyn Subject) -> Result<Played, String> {
        let label = format!(
            "{}{}",
            subject.name(),
            "'".repeat(usize::from(i > 0 && subject.name() == subjects()[0].name()))
        );
        let stack = fresh_stack(&self.homes.join(format!("{i}")), self.lowers);
        self.upper.build(&stack.upper.as_ref().expect("fresh stacks are writable").0);
        let mount = subject.mount(&stack)?;
        if self.caches == Caches::Warm {
            let untouched = snapshot(mount.root());
            self.check_readdir(subject, "before the script", &untouched);
        }
        let transcript = run_script(mount.root(), self.script);
        let live = snapshot(mount.root());
        self.check_readdir(subject, "live", &live);
        mount.unmount();
        Ok(Played { subject, label, stack, transcript, live })
    }

    fn check_readdir(&mut self, subject: &dyn Subject, when: &str, tree: &Tree) {
        if subject.readdir_is_exact() {
            let lies =
                tree.readdir_lies.iter().map(|lie| format!("{} {when}: readdir: {lie}", subject.name()));
            self.failures.extend(lies);
        }
    }

    fn compare_transcripts(&mut self, a: &Played, b: &Played) {
        for ((step, left), (_, right)) in a.transcript.iter().zip(&b.transcript) {
            if left != right && !both_say_not_empty(left, right) {
                let (left, right) = (outcome(left), outcome(right));
                self.failures.push(format!("`{step}`: {left} ({}), {right} ({})", a.label, b.label));
            }
        }
    }

    fn compare_trees(&mut self, when: &str, a: &Played, right: (&str, &Tree), subject: &dyn Subject) {
        let numbers = a.subject.keeps_numbers() && subject.keeps_numbers();
        let comparison = Comparison {
            left: (&a.label, &a.live),
            right,
            origins: numbers.then_some(self.origins).flatten(),
            same_subject: false,
        };
        self.failures.extend(comparison.differences().into_iter().map(|line| format!("{when}: {line}")));
    }

    /// Nothing may change over a remount, not even numbers.
    fn remount(&mut self, one: &Played) {
        match one.subject.mount(&one.stack) {
            Ok(mount) => {
                let again = snapshot(mount.root());
                mount.unmount();
                let comparison = Comparison {
                    left: ("live", &one.live),
                    right: ("remounted", &again),
                    origins: None,
                    same_subject: true,
                };
                let lines = comparison.differences();
                self.failures
                    .extend(lines.into_iter().map(|line| format!("{} over a remount: {line}", one.label)));
                self.check_readdir(one.subject, "remounted", &again);
            }
            Err(error) => self.failures.push(format!("{} remount: {error}", one.label)),
        }
    }

    /// Each subject mounts what the other one wrote.
    fn swap(&mut self, played: &[Played]) {
        for author in played {
            for reader in played.iter().filter(|reader| reader.label != author.label) {
                let label = format!("{} on {}'s upper", reader.label, author.label);
                match reader.subject.mount(&author.stack) {
                    Ok(mount) => {
                        let seen = snapshot(mount.root());
                        mount.unmount();
                        self.compare_trees("swapped", author, (&label, &seen), reader.subject);
                    }
                    Err(error) => self.failures.push(format!("{label}: {error}")),
                }
            }
        }
    }
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Ok(text) => text.clone(),
        Err(error) => error.to_string(),
    }
}

/// POSIX lets a full directory be told by either errno, and filesystems differ (xfs: EEXIST).
fn both_say_not_empty(left: &Outcome, right: &Outcome) -> bool {
    let full = |outcome: &Outcome| matches!(outcome, Err(Errno::NOTEMPTY | Errno::EXIST));
    left.as_ref().err() != right.as_ref().err() && full(left) && full(right)
}
