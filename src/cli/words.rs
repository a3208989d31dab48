//! A small getopt for the forms without a subcommand: options and arguments in any order, as mount(8) and container engines
//! write them, and bytes throughout.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::error::{UsageError, show};

/// Which one-letter options exist.
#[derive(Debug, Clone, Copy)]
pub struct Letters {
    /// Options without a value.
    pub plain: &'static [u8],
    /// Options whose value follows, glued or as the next word.
    pub valued: &'static [u8],
    /// Long options, each with the letter it stands for.
    pub long: &'static [(&'static [u8], u8)],
}

/// A command line taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Words<'a> {
    /// The plain letters, in order.
    pub plain: Vec<u8>,
    /// The valued letters with their values, in order.
    pub valued: Vec<(u8, &'a OsStr)>,
    /// Everything else, in order.
    pub arguments: Vec<&'a OsStr>,
}

impl<'a> Words<'a> {
    /// Takes `args` (without the name of the program) apart. `--` ends the options.
    ///
    /// # Errors
    /// An option that does not exist, or lacks its value.
    pub fn parse(args: &'a [OsString], letters: Letters) -> Result<Self, UsageError> {
        let mut words = Self::default();
        let mut rest = args.iter().map(|arg| arg.as_bytes());
        while let Some(word) = rest.next() {
            match word {
                b"--" => words.arguments.extend(rest.by_ref().map(OsStr::from_bytes)),
                [b'-', b'-', name @ ..] => words.plain.push(long(name, letters)?),
                [b'-', cluster @ ..] if !cluster.is_empty() => words.short(cluster, &mut rest, letters)?,
                argument => words.arguments.push(OsStr::from_bytes(argument)),
            }
        }
        Ok(words)
    }

    fn short(
        &mut self,
        cluster: &'a [u8],
        rest: &mut impl Iterator<Item = &'a [u8]>,
        letters: Letters,
    ) -> Result<(), UsageError> {
        for (at, letter) in cluster.iter().enumerate() {
            if letters.plain.contains(letter) {
                self.plain.push(*letter);
                continue;
            }
            if !letters.valued.contains(letter) {
                return Err(unknown("-", &cluster[at..=at]));
            }
            let glued = &cluster[at + 1..];
            let value = if glued.is_empty() { rest.next() } else { Some(glued) };
            let missing = || UsageError::new(format!("option '-{}': its value is missing", *letter as char));
            self.valued.push((*letter, OsStr::from_bytes(value.ok_or_else(missing)?)));
            break;
        }
        Ok(())
    }

    /// Whether the option `letter` is given.
    pub fn has(&self, letter: u8) -> bool {
        self.plain.contains(&letter)
    }

    /// All values of the option `letter`.
    pub fn values(&self, letter: u8) -> impl Iterator<Item = &'a OsStr> + '_ {
        self.valued.iter().filter(move |(name, _)| *name == letter).map(|(_, value)| *value)
    }
}

fn long(name: &[u8], letters: Letters) -> Result<u8, UsageError> {
    let found = letters.long.iter().find(|(long, _)| *long == name);
    found.map(|(_, letter)| *letter).ok_or_else(|| unknown("--", name))
}

fn unknown(dashes: &str, name: &[u8]) -> UsageError {
    UsageError::new(format!("option '{dashes}{}' is unknown (see 'unionfuse --help')", show(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LETTERS: Letters = Letters { plain: b"fd", valued: b"o", long: &[(b"debug", b'd')] };

    fn os(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn any_order_glued_and_clustered() {
        let expected = |words: &[&str]| {
            let args = os(words);
            let words = Words::parse(&args, LETTERS).unwrap();
            assert!(words.has(b'f'));
            assert_eq!(words.values(b'o').collect::<Vec<_>>(), ["ro,x", "y"]);
            assert_eq!(words.arguments, ["src", "mnt"]);
        };
        expected(&["-f", "-o", "ro,x", "src", "mnt", "-o", "y"]);
        expected(&["src", "-oro,x", "mnt", "-foy"]);
        expected(&["-fo", "ro,x", "-o", "y", "--", "src", "mnt"]);
    }

    #[test]
    fn a_lone_dash_is_an_argument_and_double_dash_ends_options() {
        let args = os(&["-", "--debug", "--", "-f"]);
        let words = Words::parse(&args, LETTERS).unwrap();
        assert_eq!((words.plain, words.arguments), (vec![b'd'], vec![OsStr::new("-"), OsStr::new("-f")]));
    }

    #[test]
    fn unknown_and_incomplete_options_are_refused() {
        for (args, named) in
            [(vec!["-x"], "'-x'"), (vec!["-fx"], "'-x'"), (vec!["--nope"], "'--nope'"), (vec!["-o"], "'-o'")]
        {
            let error = Words::parse(&os(&args), LETTERS).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
