//! What is struck: a command, and the state that it starts from.

/// The state of the world before a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The branch is not there.
    Absent,
    /// The branch is there, as this machine made it.
    Present,
    /// The same, and a login to it in `.env.lakebase`.
    WithFile,
    /// The branch is there, and beside it the branch of a git branch that is merged.
    WithMerged,
    /// The project itself is not there.
    NoProject,
    /// Docker does not know the front door.
    NoDoor,
    /// Docker knows it.
    Door,
}

/// A command from a state.
#[derive(Debug)]
pub struct Scenario {
    /// As it is written, the program first; [`Scenario::DOORS`] is the folder of the front door.
    pub words: &'static [&'static str],
    /// Where it starts.
    pub start: Start,
}

impl Scenario {
    /// Stands for the folder of the front door, which is another one in each lab.
    pub const DOORS: &'static str = "DOORS";

    /// Every command that speaks to the API, writes a file or starts a program, from each state that makes it do something
    /// else.
    pub const ALL: [Self; 22] = [
        of(&["docker-compose-lakebase", "up", "-d"], Start::Absent),
        of(&["cargo-lakebase", "env", "--write"], Start::Absent),
        of(&["cargo-lakebase", "init", "--project-name", "new"], Start::NoProject),
        of(&["docker-compose-lakebase", "destroy"], Start::Present),
        of(&["docker-compose-lakebase", "up", "-d"], Start::Present),
        of(&["cargo-lakebase", "prune", "--yes"], Start::WithMerged),
        of(&["cargo-lakebase", "destroy"], Start::WithFile),
        of(&["docker-compose-lakebase", "--fresh", "up", "-d"], Start::Present),
        of(&["cargo-lakebase", "run", "--", "true"], Start::Absent),
        of(&["cargo-lakebase", "run", "--", "true"], Start::Present),
        of(&["cargo-lakebase", "reset", "--yes"], Start::Present),
        of(&["cargo-lakebase", "branches"], Start::Present),
        of(&["cargo-lakebase", "diff"], Start::Present),
        of(&["docker-compose-lakebase", "down"], Start::Present),
        of(&["docker-compose-lakebase", "restart"], Start::Present),
        of(&["docker-compose-lakebase", "doors", "add", Self::DOORS], Start::NoDoor),
        of(&["docker-compose-lakebase", "doors", "remove", Self::DOORS], Start::Door),
        of(&["cargo-lakebase", "env", "--write"], Start::WithFile),
        of(&["cargo-lakebase", "psql", "--", "-XAtqc", "SELECT 1"], Start::Present),
        of(&["cargo-lakebase", "status"], Start::Present),
        of(&["docker-compose-lakebase", "doctor"], Start::Present),
        of(&["cargo-lakebase", "check", "--", "psql", "-Xqc", "CREATE TABLE added ()"], Start::Absent),
    ];

    /// How it is shown.
    pub fn name(&self) -> String {
        format!("{:?}, `{}`", self.start, self.words.join(" "))
    }

    /// Whether it has something to tell the agent, which it starts where it needs one.
    pub fn tells_the_agent(&self) -> bool {
        self.is_of_compose() && !self.words.iter().any(|word| ["doctor", "doors"].contains(word))
    }

    /// Whether the Compose face runs it, so that its start has containers.
    pub fn is_of_compose(&self) -> bool {
        self.words[0] == "docker-compose-lakebase"
    }
}

const fn of(words: &'static [&'static str], start: Start) -> Scenario {
    Scenario { words, start }
}
