//! One call, taken apart: which flags are Docker's, which Compose's, which ours, and what is asked.

use doors::argv;
use lakebase::compose::files::Choice;
use lakebase::error::{Error, Kind, Result};

/// Compose commands that create containers, and so need a live branch.
const CREATING: [&str; 5] = ["up", "run", "create", "watch", "scale"];
/// Of these, the ones whose arguments end with a command of the user's own.
const WITH_COMMAND: [&str; 2] = ["run", "exec"];

/// A call of `docker compose lakebase`, through whichever door.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Call {
    /// Docker's own flags.
    pub docker: Vec<String>,
    /// Compose's flags.
    pub compose: Vec<String>,
    /// Make the branch anew.
    pub fresh: bool,
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
    ///
    /// # Errors
    /// [`Kind::Usage`] for an option that is neither ours nor Compose's.
    pub fn parse(arguments: &[String]) -> Result<Self> {
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
        Ok(call)
    }

    /// The command's name; empty where none is given.
    pub fn name(&self) -> &str {
        self.command.first().map(String::as_str).unwrap_or_default()
    }

    /// Whether the command will create containers, so that it needs a branch behind it.
    pub fn creates(&self) -> bool {
        CREATING.contains(&self.name())
            && !self.asks_for_help()
            && !self.compose.iter().any(|flag| flag == "--dry-run")
    }

    /// Whether the command removes the project's containers.
    pub fn removes(&self) -> bool {
        let names_services = self.command.iter().skip(1).any(|word| !word.starts_with('-'));
        let dry = self.compose.iter().any(|flag| flag == "--dry-run");
        self.name() == "down" && !self.asks_for_help() && !dry && !names_services
    }

    /// Whether the command got the flag.
    pub fn has_flag(&self, flag: &str) -> bool {
        self.command.iter().skip(1).any(|word| word == flag)
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

    /// `up --help` shows Compose's help and makes no branch. Behind `run SERVICE` a `--help` is the service's.
    fn asks_for_help(&self) -> bool {
        let mut words = self.command.iter().skip(1).map(String::as_str);
        let help = |word: &str| word == "--help" || word == "-h";
        if WITH_COMMAND.contains(&self.name()) {
            words.take_while(|word| word.starts_with('-')).any(help)
        } else {
            words.any(help)
        }
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
        Call::parse(&words).unwrap()
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
    fn only_what_creates_containers_needs_a_branch() {
        let creates = |line| call(line).creates();
        assert!(creates("up -d"));
        assert!(creates("run --rm backend alembic --help"));
        assert!(creates("watch"));
        for line in
            ["up --help", "run --help", "--dry-run up", "ps", "logs -f", "config", "build", "down", ""]
        {
            assert!(!creates(line), "{line}");
        }
    }

    #[test]
    fn down_removes_unless_it_names_services_or_only_shows() {
        let removes = |line| call(line).removes();
        assert!(removes("down"));
        assert!(removes("down -v --remove-orphans"));
        for line in ["down backend", "down --help", "--dry-run down", "stop"] {
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
