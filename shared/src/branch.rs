//! Branch ids: parsed once, valid ever after.

use std::fmt;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::identity::GitIdentity;

/// Longest id that the API takes, in characters.
const MAX: usize = 63;
/// Hex digits of the hash at the end of a branch id of ours.
const HASH: usize = 6;

/// An id of a project, branch, endpoint or database as the API takes it:
/// `^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`. It is safe in a URL path and in any output.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceId(String);

impl ResourceId {
    /// The id, if `text` is one.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
        let valid = (1..=MAX).contains(&bytes.len())
            && bytes[0].is_ascii_lowercase()
            && bytes.iter().all(inner)
            && bytes[bytes.len() - 1] != b'-';
        valid.then(|| Self(text.to_owned()))
    }

    /// An id as near to `text` as the rules allow, if it holds a letter at all.
    pub fn from_words(text: &str) -> Option<Self> {
        let slug = slug(text);
        let start = slug.find(|c: char| c.is_ascii_lowercase())?;
        Self::parse(cut(&slug[start..], MAX))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The prefix of a developer's branches.
const DEV: &str = "dev-";
/// The prefix of the branches of CI, where git has no user.
const CI: &str = "ci-";

/// The id of a developer's own branch, `dev-{user}-{branch}-{h}`, or of CI's, `ci-{branch}-{h}`. Only such a branch is
/// ever deleted, and the only way to one is [`BranchId::of`]: no configuration or file can name another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BranchId(ResourceId);

/// A step on the way from a git identity to its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What it gives.
    pub what: &'static str,
    /// Its result.
    pub value: String,
    /// How it came about.
    pub why: String,
}

/// What an id is made of.
struct Parts {
    prefix: &'static str,
    /// The readable words, before they are cut.
    words: String,
    hash: String,
}

impl Parts {
    fn of(identity: &GitIdentity) -> Self {
        let words = [slug(&identity.user), slug(&identity.branch)];
        let words: Vec<&str> = words.iter().map(String::as_str).filter(|word| !word.is_empty()).collect();
        let prefix = if identity.user.is_empty() { CI } else { DEV };
        Self { prefix, words: words.join("-"), hash: hash(&identity.email, &identity.branch) }
    }

    /// The words as far as there is room for them.
    fn cut(&self) -> &str {
        cut(&self.words, MAX - self.prefix.len() - "-".len() - HASH)
    }

    fn id(&self) -> BranchId {
        let Self { prefix, hash, .. } = self;
        let readable = self.cut();
        let separator = if readable.is_empty() { "" } else { "-" };
        BranchId(ResourceId(format!("{prefix}{readable}{separator}{hash}")))
    }
}

impl BranchId {
    /// What the ids of our branches begin with.
    pub const PREFIXES: [&str; 2] = [DEV, CI];

    /// The id for a git identity: readable words in lower case with single hyphens, then six hex digits of
    /// SHA-256(e-mail, NUL, branch), so that two developers or two git branches never share one. Only the
    /// readable part is cut to fit 63 characters.
    pub fn of(identity: &GitIdentity) -> Self {
        Parts::of(identity).id()
    }

    /// How [`BranchId::of`] comes to its result.
    pub fn explain(identity: &GitIdentity) -> Vec<Step> {
        let parts = Parts::of(identity);
        let (cut, most) = (parts.cut(), parts.words.len());
        let step = |what, value: &str, why: String| Step { what, value: value.to_owned(), why };
        let of = match parts.prefix {
            CI => "the branch, as there is no git user",
            _ => "user and branch",
        };
        let words = format!("{of}: lower case, and whatever is not a-z or 0-9 becomes single hyphens");
        let length = if cut.len() < most {
            format!("cut from {most} to {} characters, so that the id has at most {MAX}", cut.len())
        } else {
            format!("nothing is cut: the id has at most {MAX} characters")
        };
        let email = if identity.email.is_empty() { "no e-mail" } else { "e-mail" };
        let hash = format!(
            "the first {HASH} hex digits of SHA-256({email}, NUL, branch), each as it is written above"
        );
        let id = format!(
            "{}{{words}}-{{hash}}; another user, e-mail or branch name gives another id",
            parts.prefix
        );
        vec![
            step("words", &parts.words, words),
            step("readable", cut, length),
            step("hash", &parts.hash, hash),
            step("branch id", parts.id().0.as_str(), id),
        ]
    }

    /// The id as the API's resource id.
    pub fn id(&self) -> &ResourceId {
        &self.0
    }
}

impl fmt::Display for BranchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Lower case; whatever is not `a-z0-9` becomes single hyphens, none at either end.
fn slug(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    out.truncate(out.trim_end_matches('-').len());
    out
}

/// The first `most` characters of a slug, without a hyphen at the cut.
fn cut(slug: &str, most: usize) -> &str {
    slug[..slug.len().min(most)].trim_end_matches('-')
}

fn hash(email: &str, branch: &str) -> String {
    let digest = Sha256::new().chain_update(email).chain_update([0]).chain_update(branch).finalize();
    digest.iter().take(HASH / 2).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(user: &str, email: &str, branch: &str) -> String {
        BranchId::of(&GitIdentity { user: user.into(), email: email.into(), branch: branch.into() })
            .to_string()
    }

    #[test]
    fn the_id_reads_as_user_and_branch() {
        let id = id("Ada Lovelace", "ada@example.com", "feature/Add_Due-Date!!");
        assert_eq!(&id[..id.len() - 7], "dev-ada-lovelace-feature-add-due-date");
        // printf 'ada@example.com\0feature/Add_Due-Date!!' | sha256sum
        assert_eq!(&id[id.len() - 7..], "-653c23");
    }

    #[test]
    fn the_explanation_says_what_is_in_the_words_and_whether_they_were_cut() {
        let why = |user: &str, branch: &str| {
            let identity = GitIdentity { user: user.into(), email: String::new(), branch: branch.into() };
            let steps = BranchId::explain(&identity);
            (steps[0].why.clone(), steps[1].why.clone())
        };
        let (of, length) = why("Ada", "main");
        assert!(of.starts_with("user and branch") && length.starts_with("nothing is cut"), "{of}; {length}");
        let (of, length) = why("", &"x".repeat(80));
        assert!(of.starts_with("the branch, as there is no git user"), "{of}");
        assert!(length.starts_with("cut from 80 to 53 characters"), "{length}");
    }

    #[test]
    fn names_without_a_latin_letter_still_differ() {
        assert_ne!(id("王", "w@x", "分支"), id("王", "w@x", "分枝"));
    }

    #[test]
    fn a_project_id_is_made_of_a_folder_name() {
        let id = |text| ResourceId::from_words(text).map(|id| id.to_string());
        assert_eq!(id("My Shop_2"), Some("my-shop-2".into()));
        assert_eq!(id("2nd"), Some("nd".into()));
        assert_eq!(id("42"), None);
    }

    #[test]
    fn what_is_no_id_is_not_parsed() {
        for bad in ["", "-a", "a-", "A", "1a", "a/b", "a..b", "ä", &"a".repeat(64)] {
            assert_eq!(ResourceId::parse(bad), None, "{bad}");
        }
        assert!(ResourceId::parse(&"a".repeat(63)).is_some());
    }

    #[test]
    fn ci_has_a_prefix_of_its_own_and_no_user_in_it() {
        let id = id("", "", "feature/X");
        // printf '\0feature/X' | sha256sum
        assert_eq!(id, "ci-feature-x-8c74ae");
        assert!(id.starts_with(BranchId::PREFIXES[1]));
    }

    #[test]
    fn each_step_to_the_id_is_told() {
        let told = |user: &str, email: &str, branch: &str| -> Vec<String> {
            let identity = GitIdentity { user: user.into(), email: email.into(), branch: branch.into() };
            BranchId::explain(&identity)
                .into_iter()
                .map(|Step { what, value, .. }| format!("{what}={value}"))
                .collect()
        };
        assert_eq!(
            told("Ada Lovelace", "ada@example.com", "feature/Add_Due-Date!!"),
            [
                "words=ada-lovelace-feature-add-due-date",
                "readable=ada-lovelace-feature-add-due-date",
                "hash=653c23",
                "branch id=dev-ada-lovelace-feature-add-due-date-653c23",
            ]
        );
        let long = GitIdentity { user: "Ada".into(), email: "a@x".into(), branch: "b".repeat(80) };
        let steps = BranchId::explain(&long);
        assert_eq!(steps[1].why, "cut from 84 to 52 characters, so that the id has at most 63");
        assert_eq!(steps[3].value.len(), 63);
        assert!(told("", "", "main")[3].starts_with("branch id=ci-main-"));
    }

    proptest! {
        #[test]
        fn the_explanation_ends_at_the_id(user in ".*", email in ".*", branch in ".*") {
            let identity = GitIdentity { user, email, branch };
            let steps = BranchId::explain(&identity);
            let id = BranchId::of(&identity).to_string();
            prop_assert_eq!(&steps[3].value, &id);
            prop_assert!(id.contains(&steps[1].value) && id.ends_with(&steps[2].value));
            prop_assert!(steps[0].value.starts_with(&steps[1].value));
        }

        #[test]
        fn any_identity_gives_a_valid_id(user in ".*", email in ".*", branch in ".*") {
            let id = id(&user, &email, &branch);
            prop_assert!(ResourceId::parse(&id).is_some(), "{}", id);
            let prefix = if user.is_empty() { "ci-" } else { "dev-" };
            prop_assert!(id.starts_with(prefix));
            prop_assert!(!id.contains("--"));
        }

        #[test]
        fn email_and_branch_decide_the_hash(user in ".*", email in "[a-z@.]{1,20}", branch in ".{1,80}", other in ".{1,80}") {
            prop_assume!(branch != other);
            prop_assert_ne!(id(&user, &email, &branch), id(&user, &email, &other));
        }

        #[test]
        fn only_what_the_api_takes_is_parsed(text in "[a-zA-Z0-9-]{0,70}") {
            let valid = text.len() <= 63
                && text.starts_with(|c: char| c.is_ascii_lowercase())
                && !text.ends_with('-')
                && !text.contains(|c: char| c.is_ascii_uppercase());
            prop_assert_eq!(ResourceId::parse(&text).is_some(), valid);
        }
    }
}
