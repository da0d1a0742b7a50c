//! One call, taken apart: which flags are Docker's, which Compose's, which ours, and what is asked.

use doors::argv;
use lakebase::commands::admit::Wish;
use lakebase::commands::room::Full;
use lakebase::compose::files::Choice;
use lakebase::error::{Error, Kind};

/// Compose commands that create containers, and so need a live branch.
const CREATING: [&str; 5] = ["up", "run", "create", "watch", "scale"];
/// Compose commands that bring a container back as it was: the gateway in it then wants logins again.
const BRINGING_BACK: [&str; 3] = ["start", "restart", "unpause"];
/// The one of the creating commands whose arguments end with a command of the user's own.
const WITH_COMMAND: &str = "run";
/// Flags of `run` that take a value.
const OF_RUN: [&str; 19] = [
    "--cap-add",
    "--cap-drop",
    "-e",
    "--env",
    "--env-from-file",
    "--entrypoint",
    "-l",
    "--label",
    "--name",
    "-p",
    "--publish",
    "--pull",
    "-u",
    "--user",
    "-v",
    "--volume",
    "-w",
    "--workdir",
    "--progress",
];
/// Flags of `down` that take a value.
const OF_DOWN: [&str; 3] = ["-t", "--timeout", "--rmi"];

/// A call of `docker compose lakebase`, through whichever door.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Call {
    /// Docker's own flags.
    pub docker: Vec<String>,
    /// Compose's flags.
    pub compose: Vec<String>,
    /// Make the branch anew.
    pub fresh: bool,
    /// Go on with the branch even if it tests nothing any more.
    pub keep: bool,
    /// Print what would be done, and stop.
    pub plan: bool,
    /// Print data as one JSON document.
    pub json: bool,
    /// What to do where the project is full.
    pub full: Full,
    /// Our help or version is asked for.
    pub about: Option<About>,
    /// The command and all that follows.
    pub command: Vec<String>,
}

/// What is asked about the program itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// `--help`
    Help,
    /// `--version`
    Version,
}

impl Call {
    /// Takes the arguments, without the program's name, apart. The doors:
    /// `[DOCKER FLAGS] compose [COMPOSE FLAGS] lakebase …`, `[DOCKER FLAGS] lakebase …`, and, stand-alone, `…`.
    /// What is neither ours nor known is passed on: Compose says best what it thinks of it.
    pub fn parse(arguments: &[String]) -> Self {
        let mut call = Self::default();
        let first = argv::docker_flags(arguments);
        let rest = if let Some(at) = argv::lakebase_after_compose(arguments) {
            call.docker = arguments[..first].to_vec();
            call.compose = arguments[first + 1..at].to_vec();
            &arguments[at + 1..]
        } else if arguments.get(first).is_some_and(|word| word == "lakebase") {
            call.docker = arguments[..first].to_vec();
            &arguments[first + 1..]
        } else {
            arguments
        };
        let mut at = 0;
        while let Some(option) = rest.get(at).filter(|word| word.starts_with('-')) {
            match option.as_str() {
                "--fresh" => call.fresh = true,
                "--keep" => call.keep = true,
                "--plan" => call.plan = true,
                "--json" => call.json = true,
                "--free-slot" => call.full.free_slot = true,
                "--wait-slot" => call.full.wait_slot = true,
                "-h" | "--help" => call.about = Some(About::Help),
                "-v" | "--version" => call.about = Some(About::Version),
                _ => {
                    let taken = argv::compose_flag(&rest[at..]);
                    call.compose.extend_from_slice(&rest[at..at + taken]);
                    at += taken;
                    continue;
                }
            }
            at += 1;
        }
        call.command = rest[at..].to_vec();
        call
    }

    /// The command's name; empty where none is given.
    pub fn name(&self) -> &str {
        self.command.first().map(String::as_str).unwrap_or_default()
    }

    /// What the call wants of the branch.
    pub fn wish(&self) -> Wish<'_> {
        Wish { fresh: self.fresh, keep: self.keep, command: self.name() }
    }

    /// Whether the command will create containers, so that it needs a branch behind it.
    pub fn creates(&self) -> bool {
        CREATING.contains(&self.name()) && !self.only_shows()
    }

    /// Whether the command brings containers back as they were.
    pub fn brings_back(&self) -> bool {
        BRINGING_BACK.contains(&self.name()) && !self.only_shows()
    }

    /// Whether the command removes the project's containers.
    pub fn removes(&self) -> bool {
        let mut before = "";
        let names_services = self.command.iter().skip(1).any(|word| {
            let is_value = OF_DOWN.contains(&before);
            before = word;
            !is_value && !word.starts_with('-')
        });
        self.name() == "down" && !self.only_shows() && !names_services
    }

    /// Whether a flag of the command without a value is on.
    pub fn has_flag(&self, flag: &str) -> bool {
        argv::is_on(self.command.iter().skip(1), flag)
    }

    /// Whether Compose is asked to change nothing.
    pub fn is_dry_run(&self) -> bool {
        argv::is_on(self.compose.iter().chain(self.own_words()), "--dry-run")
    }

    /// Whether volumes are to be removed with the containers.
    pub fn removes_volumes(&self) -> bool {
        let short = |word: &String| word.starts_with('-') && !word.starts_with("--") && word.contains('v');
        self.removes() && (self.has_flag("--volumes") || self.own_words().any(short))
    }

    /// What the flags say about the Compose files.
    pub fn choice(&self) -> Choice {
        let owned = |values: Vec<&str>| values.into_iter().map(str::to_owned).collect();
        Choice {
            files: owned(argv::values(&self.compose, "--file", Some("-f"))),
            project_directory: argv::values(&self.compose, "--project-directory", None)
                .pop()
                .or_else(|| argv::values(&self.compose, "--workdir", None).pop())
                .map(str::to_owned),
            env_files: owned(argv::values(&self.compose, "--env-file", None)),
        }
    }

    /// `up --help` and `up --dry-run` change nothing.
    fn only_shows(&self) -> bool {
        self.is_dry_run() || self.own_words().any(|word| word == "--help" || word == "-h")
    }

    /// The words behind the command that are Compose's: behind `run SERVICE` they are the service's own.
    fn own_words(&self) -> impl Iterator<Item = &String> {
        let words = self.command.get(1..).unwrap_or_default();
        let mut end = words.len();
        if self.name() == WITH_COMMAND {
            end = 0;
            while words.get(end).is_some_and(|word| word.starts_with('-')) {
                end += if OF_RUN.contains(&words[end].as_str()) { 2 } else { 1 };
            }
        }
        words.iter().take(end)
    }

    /// The usage error for a command that is missing.
    pub fn no_command() -> Error {
        Error::new(Kind::Usage, "no command was given")
            .hint("run `docker compose lakebase up`, or `docker compose lakebase --help`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(line: &str) -> Call {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Call::parse(&words)
    }

    #[test]
    fn the_four_doors_mean_the_same() {
        for line in [
            "--context x compose -f a.yaml lakebase --fresh up -d --build",
            "--context x compose lakebase -f a.yaml --fresh up -d --build",
            "--context x lakebase --fresh -f a.yaml up -d --build",
        ] {
            let call = call(line);
            assert_eq!(call.docker, ["--context", "x"], "{line}");
            assert_eq!(call.compose, ["-f", "a.yaml"], "{line}");
            assert!(call.fresh, "{line}");
            assert_eq!(call.command, ["up", "-d", "--build"], "{line}");
        }
        let alone = call("-f a.yaml --profile=local up --fresh");
        assert_eq!((alone.compose.len(), alone.fresh), (3, false));
        assert_eq!(alone.command, ["up", "--fresh"]);
    }

    #[test]
    fn our_own_options_stand_before_the_command() {
        let ours = call("--plan --json --keep --free-slot --wait-slot up --free-slot");
        assert!(
            ours.keep && ours.plan && ours.json && ours.full == Full { free_slot: true, wait_slot: true }
        );
        assert_eq!(ours.command, ["up", "--free-slot"]);
        assert_eq!(call("up --plan").full, Full::default());
        assert!(!call("up --plan").plan && !call("up --keep").keep);
    }

    #[test]
    fn only_what_creates_containers_needs_a_branch() {
        let creates = |line| call(line).creates();
        assert!(creates("up -d"));
        assert!(creates("run --rm backend alembic --help"));
        assert!(creates("run -e X --rm backend --dry-run"));
        assert!(!creates("run -e X --dry-run backend"));
        assert!(creates("watch"));
        for line in [
            "up --help",
            "run --help",
            "--dry-run=true up",
            "up --dry-run",
            "ps",
            "logs -f",
            "config",
            "build",
            "down",
            "",
        ] {
            assert!(!creates(line), "{line}");
        }
    }

    #[test]
    fn what_brings_containers_back_asks_for_no_branch() {
        for line in ["start", "restart backend", "unpause"] {
            assert!(call(line).brings_back() && !call(line).creates(), "{line}");
        }
        for line in ["up", "exec backend start", "start --help", "--dry-run restart", "stop", "ps"] {
            assert!(!call(line).brings_back(), "{line}");
        }
    }

    #[test]
    fn down_removes_unless_it_names_services_or_only_shows() {
        let removes = |line| call(line).removes();
        assert!(removes("down"));
        assert!(removes("down -v --remove-orphans"));
        assert!(removes("down -t 5 --rmi all"));
        assert!(call("down -v").removes_volumes() && call("down -tv --volumes=true").removes_volumes());
        assert!(!call("down --remove-orphans").removes_volumes());
        for line in ["down backend", "down --help", "--dry-run down", "down --dry-run", "stop"] {
            assert!(!removes(line), "{line}");
        }
    }

    #[test]
    fn a_choice_of_files_is_read_from_any_place() {
        let choice =
            call("compose -f a --env-file e1 lakebase --file=b --project-directory p --env-file=e2 ps")
                .choice();
        assert_eq!(choice.files, ["a", "b"]);
        assert_eq!(choice.project_directory.as_deref(), Some("p"));
        assert_eq!(choice.env_files, ["e1", "e2"]);
    }
}
