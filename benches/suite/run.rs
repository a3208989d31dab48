//! The order of things: scenario by scenario, repetition by repetition, subject by subject.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use fs_err as fs;

use crate::args::Args;
use crate::backing::{Layers, Template};
use crate::bed::{Bed, Found, Shared};
use crate::data::{self, Sizes};
use crate::machine::Machine;
use crate::process::{self, go_on, program};
use crate::requests::Tracer;
use crate::results::{Column, REFERENCE, Results, Row};
use crate::subject::{self, Kind, Programs, Subject};
use crate::workload::{self, Scenario};

const GIB: u64 = 1 << 30;

/// What a run came to.
pub struct Outcome {
    pub results: Results,
    /// What failed though it must not.
    pub broken: Vec<String>,
}

/// Runs what `args` ask for, in `area`.
pub fn run(args: &Args, programs: &Programs, area: &Path) -> Result<Outcome> {
    let selection = Selection::of(args, programs)?;
    let shared = shared(args, area)?;
    let tracer = tracer(args, area);
    let machine = Machine::here(&selection.subjects);
    let mut runner =
        Runner { args, selection, shared, tracer: None, results: empty(args, machine), broken: Vec::new() };
    match tracer {
        Ok(tracer) => runner.tracer = tracer,
        Err(error) => runner.results.skip("counting requests".to_owned(), format!("{error:#}")),
    }
    runner.everything()?;
    runner.results.tidy();
    Ok(Outcome { results: runner.results, broken: runner.broken })
}

fn empty(args: &Args, machine: Machine) -> Results {
    Results {
        machine,
        backing: args.on.name().to_owned(),
        repeats: args.repeats(),
        columns: Vec::new(),
        rows: Vec::new(),
        skipped: Vec::new(),
    }
}

fn shared(args: &Args, area: &Path) -> Result<Shared> {
    let sizes = if args.quick { Sizes::quick() } else { Sizes::full() };
    let tree = area.join("tree");
    data::tree(&tree, sizes.tree_files, |_| true)?;
    let archive = area.join("tree.tar");
    process::run(program("tar").arg("-cf").arg(&archive).arg("-C").arg(&tree).arg("."))?;
    fs::remove_dir_all(&tree)?;
    let exe = std::env::current_exe().context("finding this program")?;
    Ok(Shared { area: area.to_owned(), sizes, exe, archive })
}

fn tracer(args: &Args, area: &Path) -> Result<Option<Tracer>> {
    if args.no_requests {
        return Ok(None);
    }
    // scripts/bench removes a buffer by the name of its area.
    let name = area.file_name().and_then(|name| name.to_str()).context("the area has no name")?;
    Tracer::new(name).map(Some)
}

/// What was asked for.
struct Selection {
    subjects: Vec<Subject>,
    /// Subjects that were named do all they can, also where they differ from others in nothing.
    named: bool,
    only: Vec<String>,
}

impl Selection {
    fn of(args: &Args, programs: &Programs) -> Result<Self> {
        let all = subject::all(programs);
        let known = |name: &str| all.iter().any(|subject| subject.name == name);
        let named: Vec<&str> = match (&args.subject[..], args.quick) {
            ([], true) => vec!["plain", REFERENCE, "unionfuse"],
            ([], false) => Vec::new(),
            (names, _) => names.iter().map(String::as_str).filter(|name| *name != "all").collect(),
        };
        if let Some(unknown) = named.iter().find(|name| !known(name)) {
            bail!("there is no subject '{unknown}'; --list shows them");
        }
        let mut subjects = all;
        subjects.retain(|subject| named.is_empty() || named.contains(&subject.name.as_str()));
        for text in &args.variant {
            subjects.push(subject::variant(text, programs)?);
        }
        let selection = Self { subjects, named: !named.is_empty(), only: args.only.clone() };
        let scenarios = workload::all();
        let useless = |only: &&String| {
            let names =
                |s: &Scenario| matches(only, s.name) || s.measures.iter().any(|m| matches(only, m.id));
            !scenarios.iter().any(names)
        };
        if let Some(unknown) = selection.only.iter().find(useless) {
            bail!("there is no workload '{unknown}'; --list shows them");
        }
        Ok(selection)
    }

    fn wants(&self, scenario: &Scenario, measure: &str) -> bool {
        self.only.is_empty()
            || self.only.iter().any(|only| matches(only, scenario.name) || matches(only, measure))
    }

    fn wants_any(&self, scenario: &Scenario) -> bool {
        scenario.measures.iter().any(|measure| self.wants(scenario, measure.id))
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

struct Runner<'a> {
    args: &'a Args,
    selection: Selection,
    shared: Shared,
    tracer: Option<Tracer>,
    results: Results,
    broken: Vec<String>,
}

impl Runner<'_> {
    fn everything(&mut self) -> Result<()> {
        let subjects = self.usable_subjects();
        let column = |subject: &Subject| Column { name: subject.name.clone(), about: subject.about.clone() };
        self.results.columns = subjects.iter().map(column).collect();
        for scenario in workload::all() {
            if !self.selection.wants_any(&scenario) {
                continue;
            }
            if scenario.only_full && self.args.quick {
                self.results.skip(scenario.name.to_owned(), "only in a full run".to_owned());
                continue;
            }
            if let Some(maker) = scenario.fs.unwrap_or(self.args.on).maker()
                && !subject::in_path(Path::new(maker))
            {
                self.results.skip(scenario.name.to_owned(), format!("{maker} is not there"));
                continue;
            }
            self.scenario(&scenario, &subjects)?;
        }
        Ok(())
    }

    /// Subjects that can run here at all.
    fn usable_subjects(&mut self) -> Vec<Subject> {
        let mut usable = Vec::new();
        for subject in self.selection.subjects.clone() {
            match subject.missing() {
                Some(reason) => self.missing(&subject, reason),
                None => usable.push(subject),
            }
        }
        usable
    }

    fn missing(&mut self, subject: &Subject, reason: String) {
        if subject.name == "unionfuse" {
            self.broken.push(reason.clone());
        }
        self.results.skip(subject.name.clone(), reason);
    }

    /// All subjects that take part, in turns.
    fn scenario(&mut self, scenario: &Scenario, subjects: &[Subject]) -> Result<()> {
        let mut taking_part = Vec::new();
        for subject in subjects {
            if !self.selection.named && !scenario.concerns(subject) {
                continue;
            }
            match scenario.impossible(subject) {
                Some(reason) => {
                    self.results.skip(format!("{}: {}", scenario.name, subject.name), reason.to_owned());
                }
                None => taking_part.push(subject),
            }
        }
        let sizes = self.shared.sizes.clone();
        let area = self.shared.area.clone();
        let fill = |layers: &Layers| (scenario.fill)(layers, &sizes);
        let fs = scenario.fs.unwrap_or(self.args.on);
        let template =
            |merged| Template::new((fs, scenario.gib * GIB), &area, scenario.layers, merged, &fill);
        let (mut layered, mut merged) = (template(false), template(true));
        let mut rows: Vec<Row> = scenario.measures.iter().map(Row::new).collect();
        let repeats = if self.args.requests { 0 } else { self.args.repeats().min(scenario.max_repeats) };
        // Repetition 0 counts requests.
        for repeat in 0..=repeats {
            for subject in taking_part.clone() {
                let enough = !self.selection.named && repeat > subject.max_repeats;
                if enough || repeat == 0 && !self.counts(scenario, subject) {
                    continue;
                }
                let template = if subject.kind == Kind::Plain { &mut merged } else { &mut layered };
                if !self.turn(scenario, subject, template, repeat, &mut rows)? {
                    taking_part.retain(|other| other.name != subject.name);
                }
            }
        }
        self.results.rows.extend(rows);
        Ok(())
    }

    /// Whether requests are counted; not where a single pass takes so long that there is only one.
    fn counts(&self, scenario: &Scenario, subject: &Subject) -> bool {
        self.tracer.is_some()
            && (scenario.max_repeats > 1 || self.args.requests)
            && subject.is_fuse()
            && (subject.counted || self.selection.named)
    }

    /// One subject's turn; whether it may have another one.
    fn turn(
        &mut self,
        scenario: &Scenario,
        subject: &Subject,
        template: &mut Template,
        repeat: usize,
        rows: &mut [Row],
    ) -> Result<bool> {
        let start = Instant::now();
        let found = self.attempt(scenario, subject, template, repeat == 0);
        go_on()?;
        let round = if repeat == 0 { "requests".to_owned() } else { format!("round {repeat}") };
        eprintln!(
            "{:>6.1} s  {:14} {round:9} {}",
            start.elapsed().as_secs_f64(),
            scenario.name,
            subject.name
        );
        match found {
            Ok(found) => {
                let wanted = |row: &Row| self.selection.wants(scenario, &row.id);
                for row in rows.iter_mut().filter(|row| wanted(row)) {
                    row.add(&subject.name, &found, repeat == 0);
                }
                Ok(true)
            }
            Err(error) => {
                let what = format!("{}: {}", scenario.name, subject.name);
                // The rest are others' daemons and options we may not have.
                if ["plain", REFERENCE, "unionfuse"].contains(&subject.name.as_str()) {
                    self.broken.push(what.clone());
                }
                self.results.skip(what, format!("it failed: {error:#}"));
                Ok(false)
            }
        }
    }

    fn attempt(
        &self,
        scenario: &Scenario,
        subject: &Subject,
        template: &mut Template,
        counting: bool,
    ) -> Result<Found> {
        let backing = template.instance()?;
        let wanted = |measure: &str| self.selection.wants(scenario, measure);
        let tracer = self.tracer.as_ref().filter(|_| counting);
        let mut bed = Bed::new(subject, &self.shared, &wanted, tracer, backing)?;
        (scenario.run)(&mut bed)?;
        bed.finish()
    }
}
