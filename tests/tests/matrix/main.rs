//! Every command, struck at every call of the API that it makes: by every kind of fault, before and after the call took
//! effect, once and for ever, and by Ctrl-C and `kill -9` while it waits there; and by both of these at every step between its
//! calls, which writes a file or starts a program. After each cell of that matrix production and everybody else's branches are
//! as they were, nothing outlives its time, no file is written by half, no secret was written or printed, and the next
//! undisturbed run ends where one that was never disturbed ends.

mod cells;
mod scenario;
mod steps;
mod strike;
mod view;
mod world;

use std::collections::HashMap;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use cells::{Cell, Choice};
use scenario::Scenario;
use world::{Found, Undisturbed, World};

/// Worlds that are struck at the same time, in the sample and in the whole: most cells wait, for a server or for their own
/// patience.
const WORKERS: [usize; 2] = [3, 6];
/// The sample that every run of the tests takes: one cell in so many at the calls, and at the steps.
const SAMPLE: Choice = Choice::Sample(47, 29);
/// The whole goes through all scenarios so many times, so that one that is cut short has struck all of them.
const PARTS: u64 = 8;
/// Only the cells whose name contains what this variable says, or one of what it says between bars.
const ONLY: &str = "MATRIX_ONLY";
/// Only the commands whose name with its start contains what this variable says.
const COMMAND: &str = "MATRIX_COMMAND";
/// The first part of the whole that is struck, to go on with a run that was cut short.
const FROM: &str = "MATRIX_FROM";
/// How often the whole says how far it is.
const EVERY: usize = 50;
/// So many scenarios are sampled, of those that change the most.
const SAMPLED: usize = 14;

#[test]
fn a_sample_of_the_matrix_holds() {
    strike(WORKERS[0], &[SAMPLE], &Scenario::ALL[..SAMPLED]);
}

#[test]
#[ignore = "--full"]
fn the_whole_matrix_holds() {
    let from = std::env::var(FROM).map_or(0, |part| part.parse().expect("a number"));
    let parts: Vec<Choice> = (from..PARTS).map(|part| Choice::Part(part, PARTS)).collect();
    strike(WORKERS[1], &parts, &Scenario::ALL);
}

/// What was found so far.
#[derive(Default)]
struct Tally {
    struck: AtomicUsize,
    missed: AtomicUsize,
    violations: Mutex<Vec<String>>,
}

impl Tally {
    /// Counts what came of a cell, and tells at once what does not hold.
    fn add(&self, cell: &Cell, found: Found, started: Instant) {
        let Found { struck, violations } = found;
        if !struck {
            say(&format!("not struck there: {}", cell.name));
        }
        for violation in &violations {
            say(&format!("violation: {violation}"));
        }
        let number = if struck { &self.struck } else { &self.missed }.fetch_add(1, Ordering::Relaxed);
        let mut all = self.violations.lock().unwrap();
        all.extend(violations);
        if struck && (number + 1).is_multiple_of(EVERY) {
            let line = format!("{} cells, {} violations", number + 1, all.len());
            say(&format!("matrix: {line} so far, in {} s", started.elapsed().as_secs()));
        }
    }
}

/// Strikes the chosen cells, prints how many there were, and fails on a violation of anything.
fn strike(workers: usize, choices: &[Choice], scenarios: &'static [Scenario]) {
    let started = Instant::now();
    let command = std::env::var(COMMAND).unwrap_or_default();
    let scenarios = || scenarios.iter().filter(|scenario| scenario.name().contains(&command));
    let jobs: Vec<(Choice, &Scenario)> =
        choices.iter().flat_map(|choice| scenarios().map(|scenario| (*choice, scenario))).collect();
    let only = std::env::var(ONLY).unwrap_or_default();
    let is_wanted = |cell: &Cell| only.split('|').any(|part| cell.name.contains(part));
    let (next, tally) = (AtomicUsize::new(0), Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..workers.min(jobs.len()) {
            scope.spawn(|| {
                World::with(|world| {
                    // A scenario has to be run undisturbed first, to know its calls and steps.
                    let mut known: HashMap<String, Undisturbed> = HashMap::new();
                    while let Some((choice, scenario)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                        world.clear();
                        let known = known.entry(scenario.name());
                        let undisturbed = known.or_insert_with(|| world.undisturbed_run(scenario));
                        let mut cells =
                            Cell::all_of(scenario, &undisturbed.calls, &undisturbed.steps, *choice);
                        cells.retain(is_wanted);
                        for cell in &cells {
                            let strike = || world.strike(scenario, cell, undisturbed);
                            let found = catch_unwind(AssertUnwindSafe(strike)).unwrap_or_else(|_| Found {
                                struck: true,
                                violations: vec![format!("{}: see above", cell.name)],
                            });
                            if !found.violations.is_empty() {
                                world.clear();
                            }
                            tally.add(cell, found, started);
                        }
                    }
                });
            });
        }
    });
    let violations = tally.violations.into_inner().unwrap();
    let (struck, missed) = (tally.struck.into_inner(), tally.missed.into_inner());
    say(&format!("matrix: {struck} cells, {} violations", violations.len()));
    // Two things that run beside each other may come in another order, but hardly ever do.
    say(&format!("matrix: {missed} more came to another place, {} s in all", started.elapsed().as_secs()));
    assert!(missed * 5 <= struck, "only {struck} cells were struck where they should be, {missed} were not");
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// Not by a macro, whose words nobody sees when the test passes.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
