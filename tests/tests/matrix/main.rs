//! Every command, struck at every call of the API that it makes: by every kind of fault, before and after the call took
//! effect, once and for ever, and by Ctrl-C and `kill -9` while it waits there. After each cell of that matrix production and
//! everybody else's branches are as they were, nothing outlives its time, no secret was written or printed, and the next
//! undisturbed run ends where one that was never disturbed ends.

mod cells;
mod scenario;
mod strike;
mod world;

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use cells::Cell;
use scenario::Scenario;
use world::World;

/// Worlds that are struck at the same time. Most cells wait, for a server or for their own patience.
const WORKERS: usize = 3;
/// The sample that every run of the tests takes: one cell in so many.
const ONE_IN: usize = 29;

#[test]
fn a_sample_of_the_matrix_holds() {
    strike(ONE_IN);
}

#[test]
#[ignore = "--full"]
fn the_whole_matrix_holds() {
    strike(1);
}

/// Strikes one cell in `one_in`, prints how many there were, and fails on the first violation of anything.
fn strike(one_in: usize) {
    let (next, struck) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let violations = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    // A worker takes a whole scenario: it has to be run undisturbed first, to know its calls.
                    let scenario = Scenario::ALL.get(next.fetch_add(1, Ordering::Relaxed));
                    let Some(scenario) = scenario else { return };
                    World::with(scenario, |world| {
                        let (calls, wanted) = world.undisturbed_run();
                        for cell in &Cell::all_of(scenario, &calls, one_in) {
                            let found = world.strike(cell, &wanted);
                            violations.lock().unwrap().extend(found);
                            struck.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
            });
        }
    });
    let violations = violations.into_inner().unwrap();
    // Not by a macro, whose words nobody sees when the test passes.
    let _ =
        writeln!(std::io::stderr(), "matrix: {} cells, {} violations", struck.into_inner(), violations.len());
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}
