//! The cells of the matrix: where a command is struck, and how.

use nix::sys::signal::Signal;

use super::scenario::Scenario;

/// What happens at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// A fault of the server, in its own words.
    Fault(&'static str),
    /// A signal to the command.
    Signal(Signal),
}

/// Where a command is struck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At no call: something that the service may do at any time.
    Service,
    /// At the call of that name, as the embedded server has it, `before` or `after` it took effect. A signal comes while the
    /// command waits for the answer.
    Call(String, &'static str),
    /// Between two calls: when it has taken that step, and not the next one.
    Step(String),
}

/// A blow to a command.
#[derive(Debug, Clone)]
pub struct Cell {
    /// Where.
    pub place: Place,
    /// What happens there.
    pub blow: Blow,
    /// How the cell is shown.
    pub name: String,
}

/// Which of the cells are struck.
#[derive(Debug, Clone, Copy)]
pub enum Choice {
    /// One in so many at the calls, and one in so many at the steps. What lasts is left out: such a cell takes as long as a
    /// command has patience.
    Sample(usize, usize),
    /// The first, second, … part of so many, in which every scenario and every kind of blow is.
    Part(u64, u64),
}

/// Faults of a call. All but the last strike once: a client gets over them. The last one lasts as long as the command.
const OF_A_CALL: [&str; 9] = [
    "delay=300",
    "drop",
    "cut",
    "status=429 retry-after=1",
    "status=500",
    "status=503",
    "garbage=html",
    "garbage=json",
    "status=500 always",
];
/// What the service may do at any time, as lakebase-api.md has it.
const OF_THE_SERVICE: [&str; 9] = [
    "stay-in-init=1",
    "ignore-delete=init",
    "refuse-logins=1",
    "max-ttl=3600",
    "quota=1 code=RESOURCE_EXHAUSTED status=400",
    "already-exists=400",
    "already-exists=409",
    "page-size=1",
    "expire-tokens=300",
];
const SIGNALS: [Signal; 2] = [Signal::SIGINT, Signal::SIGKILL];
const MOMENTS: [&str; 2] = ["before", "after"];

impl Cell {
    /// The chosen cells of a scenario that makes these calls and takes these steps.
    pub fn all_of(scenario: &Scenario, calls: &[String], steps: &[String], choice: Choice) -> Vec<Self> {
        let new = |place: &Place, blow| Self::new(scenario, place, blow);
        let signals = || SIGNALS.into_iter().map(Blow::Signal);
        let mut at_calls = Vec::new();
        for call in calls {
            for moment in MOMENTS {
                let place = Place::Call(call.clone(), moment);
                let faults = OF_A_CALL.into_iter().map(Blow::Fault);
                at_calls.extend(faults.chain(signals()).map(|blow| new(&place, blow)));
            }
        }
        if !calls.is_empty() {
            at_calls.extend(OF_THE_SERVICE.map(|fault| new(&Place::Service, Blow::Fault(fault))));
        }
        let at_a_step = |step: &String| signals().map(|blow| new(&Place::Step(step.clone()), blow)).collect();
        let at_steps: Vec<Self> = steps.iter().flat_map(|step| -> Vec<Self> { at_a_step(step) }).collect();
        match choice {
            Choice::Sample(of_calls, of_steps) => {
                // Each scenario begins elsewhere, so that the sample of all has every kind of blow.
                let begin = scenario.name().len();
                let pick = move |cells: Vec<Self>, one_in: usize| {
                    cells.into_iter().skip(begin % one_in).step_by(one_in).filter(|cell| !cell.lasts())
                };
                pick(at_calls, of_calls).chain(pick(at_steps, of_steps)).collect()
            }
            Choice::Part(part, of) => {
                let mut all: Vec<Self> = at_calls.into_iter().chain(at_steps).collect();
                all.retain(|cell| cell.number() % of == part);
                // As good as shuffled, and the same in every run.
                all.sort_by_key(Self::number);
                all
            }
        }
    }

    fn new(scenario: &Scenario, place: &Place, blow: Blow) -> Self {
        let at = match place {
            Place::Service => String::new(),
            Place::Call(call, moment) => format!(" {moment} {call}"),
            Place::Step(step) => format!(" after {step}"),
        };
        let name = format!("{}: {blow:?}{at}", scenario.name());
        Self { place: place.clone(), blow, name }
    }

    fn lasts(&self) -> bool {
        matches!(self.blow, Blow::Fault(fault) if fault.ends_with("always"))
    }

    /// A number that its name alone decides (FNV-1a).
    fn number(&self) -> u64 {
        let mix = |sum: u64, byte: u8| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        self.name.bytes().fold(0xcbf2_9ce4_8422_2325, mix) >> 8
    }

    /// The fault that the server is given: the blow itself, or one that holds the call up until the signal has come; none at a
    /// step.
    pub fn fault(&self) -> Option<String> {
        let what = match self.blow {
            Blow::Fault(fault) => fault.to_owned(),
            Blow::Signal(_) => "delay=120000".to_owned(),
        };
        match &self.place {
            Place::Service => Some(what),
            Place::Call(call, moment) => Some(format!("{call} {moment} {what}")),
            Place::Step(_) => None,
        }
    }
}
