//! The cells of the matrix: where a command is struck, and how.

use nix::sys::signal::Signal;

use super::scenario::Scenario;

/// What happens at a call, before or after it took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// A fault of the server, in its own words.
    Fault(&'static str),
    /// A signal to the command, which waits for the call's answer.
    Signal(Signal),
}

/// A blow to a command.
#[derive(Debug, Clone)]
pub struct Cell {
    /// The call, as the embedded server names it; none for what is about no call.
    pub call: Option<String>,
    /// `before` or `after`.
    pub moment: &'static str,
    /// What happens there.
    pub blow: Blow,
    /// How the cell is shown.
    pub name: String,
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
    /// One in `one_in` of the cells of a scenario that makes these calls. The sample leaves out what lasts: such a cell takes
    /// as long as a command has patience.
    pub fn all_of(scenario: &Scenario, calls: &[String], one_in: usize) -> Vec<Self> {
        let mut all = Vec::new();
        for call in calls {
            for moment in MOMENTS {
                let faults = OF_A_CALL.into_iter().map(Blow::Fault);
                for blow in faults.chain(SIGNALS.into_iter().map(Blow::Signal)) {
                    all.push(Self::new(scenario, Some(call), moment, blow));
                }
            }
        }
        all.extend(OF_THE_SERVICE.map(|fault| Self::new(scenario, None, "before", Blow::Fault(fault))));
        let lasts = |cell: &Self| matches!(cell.blow, Blow::Fault(fault) if fault.ends_with("always"));
        // Each scenario begins elsewhere, so that the sample of all has every kind of blow.
        let offset = scenario.name().len() % one_in;
        let sampled = |(at, cell): &(usize, Self)| one_in == 1 || (at % one_in == offset && !lasts(cell));
        all.into_iter().enumerate().filter(sampled).map(|(_, cell)| cell).collect()
    }

    fn new(scenario: &Scenario, call: Option<&String>, moment: &'static str, blow: Blow) -> Self {
        let place = call.map_or_else(String::new, |call| format!(" {moment} {call}"));
        let name = format!("{}: {blow:?}{place}", scenario.name());
        Self { call: call.cloned(), moment, blow, name }
    }

    /// The fault that the server is given: the blow itself, or one that holds the call up until the signal has come.
    pub fn fault(&self) -> String {
        let what = match self.blow {
            Blow::Fault(fault) => fault.to_owned(),
            Blow::Signal(_) => "delay=120000".to_owned(),
        };
        match &self.call {
            Some(call) => format!("{call} {} {what}", self.moment),
            None => what,
        }
    }
}
