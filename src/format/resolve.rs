//! Precedence between layers, written once: from what each layer holds under a name to what the union shows.

/// What one layer holds under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// Nothing.
    Absent,
    /// A mark that hides the name in the layers below.
    Whiteout,
    /// Something that is not a directory.
    File,
    /// A directory.
    Directory {
        /// It hides the directories below.
        opaque: bool,
    },
}

/// What the union shows so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Nothing.
    Nothing,
    /// The file of the layer that was taken last.
    File,
    /// The merge of all directories taken so far.
    Directory,
}

/// What a layer's finding means for the union.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The finding is (part of) what the union shows.
    pub shows: bool,
    /// Layers further down do not matter.
    pub last: bool,
}

/// Takes one layer's finding, top-most first, and says what it means. This is the only place that decides precedence.
pub fn take(shown: Shown, finding: Finding) -> (Shown, Verdict) {
    let verdict = |shows, last| Verdict { shows, last };
    match (shown, finding) {
        (Shown::File, _) => (Shown::File, verdict(false, true)),
        (_, Finding::Absent) => (shown, verdict(false, false)),
        (_, Finding::Whiteout) | (Shown::Directory, Finding::File) => (shown, verdict(false, true)),
        (Shown::Nothing, Finding::File) => (Shown::File, verdict(true, true)),
        (_, Finding::Directory { opaque }) => (Shown::Directory, verdict(true, opaque)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(findings: &[Finding]) -> (Shown, Vec<usize>) {
        let mut shown = Shown::Nothing;
        let mut from = Vec::new();
        for (layer, &finding) in findings.iter().enumerate() {
            let (next, verdict) = take(shown, finding);
            shown = next;
            if verdict.shows {
                from.push(layer);
            }
            if verdict.last {
                break;
            }
        }
        (shown, from)
    }

    const DIR: Finding = Finding::Directory { opaque: false };
    const OPAQUE: Finding = Finding::Directory { opaque: true };

    #[test]
    fn the_top_most_file_wins() {
        assert_eq!(resolve(&[Finding::Absent, Finding::File, Finding::File]), (Shown::File, vec![1]));
        assert_eq!(resolve(&[Finding::File, DIR]), (Shown::File, vec![0]));
    }

    #[test]
    fn a_whiteout_hides_what_is_below() {
        assert_eq!(resolve(&[Finding::Whiteout, Finding::File]), (Shown::Nothing, vec![]));
        assert_eq!(resolve(&[DIR, Finding::Whiteout, DIR]), (Shown::Directory, vec![0]));
    }

    #[test]
    fn directories_merge_until_an_opaque_one_or_a_file() {
        assert_eq!(resolve(&[DIR, Finding::Absent, DIR]), (Shown::Directory, vec![0, 2]));
        assert_eq!(resolve(&[DIR, OPAQUE, DIR]), (Shown::Directory, vec![0, 1]));
        assert_eq!(resolve(&[DIR, Finding::File, DIR]), (Shown::Directory, vec![0]));
    }

    #[test]
    fn nothing_anywhere_is_nothing() {
        assert_eq!(resolve(&[Finding::Absent, Finding::Absent]), (Shown::Nothing, vec![]));
    }
}
