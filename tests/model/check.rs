//! The engine and the model side by side.

use std::collections::BTreeMap;

use proptest::test_runner::TestCaseError;
use rustix::io::Errno;
use unionfuse::types::NodeId;

use super::script::{HELD, Held, Op};
use super::seen::{difference, everything, expected, expected_all, fact};
use super::stack::Stack;
use super::tree::{Id, Tree};
use crate::kit::bench::{Bench, errno};

type Checked = Result<(), TestCaseError>;

/// A union and its model.
pub struct Pair {
    bench: Bench,
    tree: Tree,
    held: [Option<Held>; HELD],
    /// The number under which each file was seen first, which is its own for good.
    numbers: BTreeMap<Id, NodeId>,
}

impl Pair {
    pub fn new(stack: &Stack) -> Self {
        Self { bench: stack.open(), tree: stack.merged(), held: [None; HELD], numbers: BTreeMap::new() }
    }

    pub fn play(mut self, script: &[Op]) -> Checked {
        self.compare("at first")?;
        for (at, op) in script.iter().enumerate() {
            self.step(op).map_err(|error| at_step(at, op, &error))?;
        }
        self.compare("at the end")?;
        self.bench.forget_all();
        self.compare("all forgotten")?;
        self.bench.reopen();
        self.compare("mounted again")
    }

    fn step(&mut self, op: &Op) -> Checked {
        match *op {
            Op::Hold(slot, name) => {
                let (node, id) = (self.bench.node(name), self.tree.find(name));
                same_answer(id.map(drop), node.map(drop))?;
                self.held[slot] = node.ok().zip(id.ok());
            }
            Op::ForgetAll => {
                self.held = [None; HELD];
                self.bench.forget_all();
            }
            Op::Reopen => {
                self.held = [None; HELD];
                self.bench.reopen();
                self.compare("mounted again")?;
            }
            _ => {
                let found = op.on_engine(&self.bench, &self.held);
                same_answer(op.on_model(&mut self.tree, &self.held), found)?;
            }
        }
        self.compare_held()
    }

    /// Held files are what they are by name, or without any.
    fn compare_held(&self) -> Checked {
        for &(node, id) in self.held.iter().flatten() {
            let found = errno(self.bench.raw().getattr(node)).and_then(|attr| fact(&self.bench, &attr));
            let found = found.map_err(|errno| failed(format!("held file {node:?}: {errno}")))?;
            if let Some(line) = difference(Some(&expected(self.tree.file(id))), Some(&found)) {
                return Err(failed(format!("held file {node:?}: {line}")));
            }
        }
        Ok(())
    }

    fn compare(&mut self, when: &str) -> Checked {
        let (should, found) = (expected_all(&self.tree), everything(&self.bench));
        let mut lines = Vec::new();
        let paths: std::collections::BTreeSet<_> = should.keys().chain(found.keys()).collect();
        for path in paths {
            let (left, right) = (should.get(path), found.get(path));
            let line = difference(left.map(|(fact, _)| fact), right.map(|(fact, _)| fact));
            lines.extend(line.map(|line| format!("{}: {line}", path.escape_ascii())));
        }
        if !lines.is_empty() {
            return Err(failed(format!("{when}:\n    {}", lines.join("\n    "))));
        }
        self.compare_numbers(when, should.iter().map(|(path, (_, id))| (path, *id, found[path].1)))
    }

    /// One file, one number: for all its names, and over changes and mounts.
    fn compare_numbers<'a>(
        &mut self,
        when: &str,
        all: impl Iterator<Item = (&'a Vec<u8>, Id, NodeId)>,
    ) -> Checked {
        let mut files: BTreeMap<NodeId, Id> = BTreeMap::new();
        for (path, id, node) in all {
            let path = path.escape_ascii();
            let first = *self.numbers.entry(id).or_insert(node);
            if first != node {
                return Err(failed(format!("{when}: {path} was {first:?} and is {node:?}")));
            }
            if *files.entry(node).or_insert(id) != id {
                return Err(failed(format!("{when}: {path} shares {node:?} with another file")));
            }
        }
        Ok(())
    }
}

fn same_answer(should: Result<(), Errno>, found: Result<(), Errno>) -> Checked {
    if should == found {
        return Ok(());
    }
    Err(failed(format!("should answer {should:?}, but answers {found:?}")))
}

fn failed(reason: String) -> TestCaseError {
    TestCaseError::fail(reason)
}

fn at_step(at: usize, op: &Op, error: &TestCaseError) -> TestCaseError {
    failed(format!("step {at}, {op:?}: {error}"))
}
