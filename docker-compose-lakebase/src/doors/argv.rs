//! How a call to a Docker plugin is written: `[DOCKER FLAGS] compose [COMPOSE FLAGS] COMMAND …`.
//! The flags are those of Docker CLI 28 and Compose 2.40 (`docker --help`, `docker compose --help`).

/// Docker's own flags that take a value.
const DOCKER: [&str; 10] = [
    "--config",
    "-c",
    "--context",
    "-H",
    "--host",
    "-l",
    "--log-level",
    "--tlscacert",
    "--tlscert",
    "--tlskey",
];
/// Compose's flags before its command that take a value.
const COMPOSE: [&str; 12] = [
    "--ansi",
    "--env-file",
    "-f",
    "--file",
    "--parallel",
    "--profile",
    "--progress",
    "--project-directory",
    "-p",
    "--project-name",
    "--workdir",
    "--insecure-registry",
];

/// How many of the leading arguments are Docker's flags.
pub fn docker_flags<S: AsRef<str>>(arguments: &[S]) -> usize {
    leading(arguments, &DOCKER)
}

/// How many of the leading arguments are Compose's flags.
pub fn compose_flags<S: AsRef<str>>(arguments: &[S]) -> usize {
    leading(arguments, &COMPOSE)
}

/// How many arguments Compose's flag at the start takes up, its value included.
pub fn compose_flag<S: AsRef<str>>(arguments: &[S]) -> usize {
    length(arguments, &COMPOSE)
}

fn leading<S: AsRef<str>>(arguments: &[S], with_value: &[&str]) -> usize {
    let is_flag = |word: &S| word.as_ref().starts_with('-') && !matches!(word.as_ref(), "-" | "--");
    let mut at = 0;
    while arguments.get(at).is_some_and(is_flag) {
        at += length(&arguments[at..], with_value);
    }
    at
}

fn length<S: AsRef<str>>(arguments: &[S], with_value: &[&str]) -> usize {
    let takes_value = arguments.first().is_some_and(|flag| with_value.contains(&flag.as_ref()));
    arguments.len().min(if takes_value { 2 } else { 1 })
}

/// Whether a flag without a value is on, the last one counting: `--name`, or `--name=` and what Go reads as a
/// truth (`strconv.ParseBool`).
pub fn is_on<S: AsRef<str>>(words: impl IntoIterator<Item = S>, flag: &str) -> bool {
    let value = |word: S| match word.as_ref().strip_prefix(flag)? {
        "" => Some(true),
        rest => {
            rest.strip_prefix('=').map(|value| matches!(value, "1" | "t" | "T" | "true" | "True" | "TRUE"))
        }
    };
    words.into_iter().filter_map(value).last().unwrap_or(false)
}

/// The position of `lakebase` in a plugin's arguments (without the program's name), if the call is ours:
/// `[DOCKER FLAGS] compose [COMPOSE FLAGS] lakebase …`.
pub fn lakebase_after_compose<S: AsRef<str>>(arguments: &[S]) -> Option<usize> {
    let compose = docker_flags(arguments);
    if arguments.get(compose)?.as_ref() != "compose" {
        return None;
    }
    let flags = compose_flags(&arguments[compose + 1..]);
    // `docker compose --help lakebase` is a question to Compose.
    let asks = |word: &S| matches!(word.as_ref(), "-h" | "--help" | "-v" | "--version");
    if arguments[compose + 1..compose + 1 + flags].iter().any(asks) {
        return None;
    }
    let at = compose + 1 + flags;
    (arguments.get(at)?.as_ref() == "lakebase").then_some(at)
}

/// The value of a flag among `flags`, in either spelling: `--name VALUE`, `--name=VALUE`, and for a one-letter
/// flag `-xVALUE`. All of them, in order.
pub fn values<'a>(flags: &'a [String], long: &str, short: Option<&str>) -> Vec<&'a str> {
    let mut found = Vec::new();
    let mut words = flags.iter().map(String::as_str);
    while let Some(flag) = words.next() {
        let attached = short.filter(|_| !flag.starts_with("--")).and_then(|short| flag.strip_prefix(short));
        if flag == long || attached == Some("") {
            found.extend(words.next());
        } else if let Some(value) = flag.strip_prefix(long).and_then(|rest| rest.strip_prefix('=')) {
            found.push(value);
        } else if let Some(value) = attached {
            found.push(value.strip_prefix('=').unwrap_or(value));
        } else if COMPOSE.contains(&flag) || DOCKER.contains(&flag) {
            words.next();
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn our_word_is_found_behind_any_flags_and_nowhere_else() {
        let at = |line: &str| lakebase_after_compose(&words(line));
        assert_eq!(at("compose lakebase up"), Some(1));
        assert_eq!(at("--context x -D compose -f a.yaml --profile=local -p shop lakebase up"), Some(9));
        assert_eq!(at("compose -fa.yaml lakebase"), Some(2));
        assert_eq!(at("compose up lakebase"), None);
        assert_eq!(at("compose -f lakebase up"), None);
        assert_eq!(at("compose run lakebase"), None);
        assert_eq!(at("lakebase up"), None);
        assert_eq!(at("docker-cli-plugin-metadata"), None);
        assert_eq!(at("compose -f"), None);
        assert_eq!(at("compose --help lakebase"), None);
    }

    #[test]
    fn every_spelling_of_a_truth_is_read() {
        for on in ["--dry-run", "--dry-run=true", "--dry-run=1", "--dry-run=false --dry-run"] {
            assert!(is_on(words(on), "--dry-run"), "{on}");
        }
        for off in ["", "--dry-run=false", "--dry-runs", "--dry-run --dry-run=0"] {
            assert!(!is_on(words(off), "--dry-run"), "{off}");
        }
    }

    #[test]
    fn every_spelling_of_a_value_is_read() {
        let flags = words("-f a --file b --file=c -fd -f=e --profile f --project-name -f");
        assert_eq!(values(&flags, "--file", Some("-f")), ["a", "b", "c", "d", "e"]);
        assert_eq!(values(&flags, "--profile", None), ["f"]);
    }

    proptest! {
        #[test]
        fn any_line_is_split_inside_its_bounds(line in proptest::collection::vec("(-f|--file|-D|compose|lakebase|--|-|-x=y|[a-z]{0,3})", 0..8)) {
            if let Some(at) = lakebase_after_compose(&line) {
                prop_assert_eq!(&line[at], "lakebase");
            }
            let _ = values(&line, "--file", Some("-f"));
        }
    }
}
