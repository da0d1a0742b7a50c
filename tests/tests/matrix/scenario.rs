//! What is struck: a command, and the state that it starts from.

/// The state of the world before a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The branch is not there.
    Absent,
    /// The branch is there, as this machine made it.
    Present,
    /// The same, and beside it the branch of a git branch that is merged.
    WithMerged,
    /// The project itself is not there.
    NoProject,
}

/// A command from a state.
#[derive(Debug)]
pub struct Scenario {
    /// As it is written, the program first.
    pub words: &'static [&'static str],
    /// Where it starts.
    pub start: Start,
}

impl Scenario {
    /// Every command that speaks to the API, from each state that makes it do something else.
    pub const ALL: [Self; 11] = [
        of(&["docker-compose-lakebase", "up", "-d"], Start::Absent),
        of(&["docker-compose-lakebase", "up", "-d"], Start::Present),
        of(&["docker-compose-lakebase", "--fresh", "up", "-d"], Start::Present),
        of(&["docker-compose-lakebase", "destroy"], Start::Present),
        of(&["cargo-lakebase", "run", "--", "true"], Start::Absent),
        of(&["cargo-lakebase", "run", "--", "true"], Start::Present),
        of(&["cargo-lakebase", "reset", "--yes"], Start::Present),
        of(&["cargo-lakebase", "prune", "--yes"], Start::WithMerged),
        of(&["cargo-lakebase", "init", "--project-name", "new"], Start::NoProject),
        of(&["cargo-lakebase", "branches"], Start::Present),
        of(&["cargo-lakebase", "diff"], Start::Present),
    ];

    /// How it is shown.
    pub fn name(&self) -> String {
        format!("{:?}, `{}`", self.start, self.words.join(" "))
    }
}

const fn of(words: &'static [&'static str], start: Start) -> Scenario {
    Scenario { words, start }
}
