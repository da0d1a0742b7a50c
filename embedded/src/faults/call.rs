//! What a request asks for, by name: `branches.create`, `credentials.create`, `oidc.token`, …

/// Where the API's own routes begin.
const BASE: &str = "/api/2.0/postgres/";
/// The calls beside it.
const OTHERS: [(&str, &str, &str); 6] = [
    ("GET", "/api/2.0/preview/scim/v2/Me", "me.get"),
    ("GET", "/.well-known/databricks-config", "discovery.config"),
    ("GET", "/oidc/.well-known/oauth-authorization-server", "discovery.oidc"),
    ("POST", "/oidc/v1/token", "oidc.token"),
    ("GET", "/oidc/v1/authorize", "oidc.authorize"),
    ("GET", "/embedded/github-oidc", "github.token"),
];
/// Collections of the API, and what can be asked of each beside `create`, `list`, `get`, `update` and `delete`.
const COLLECTIONS: [(&str, &[&str]); 5] = [
    ("projects", &["undelete"]),
    ("branches", &["undelete"]),
    ("endpoints", &[]),
    ("databases", &[]),
    ("roles", &["password"]),
];
const COMMON: [&str; 5] = ["create", "list", "get", "update", "delete"];

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its method.
    pub method: String,
    /// Its path.
    pub path: String,
    /// Its name; `unknown` for a route that is none.
    pub name: String,
    /// The id of the branch that it is about, where path or query say it.
    pub branch: Option<String>,
}

impl Call {
    /// What a request asks for; none for what goes to the server's own controls, which no fault ever touches.
    pub fn of(method: &str, path: &str, query: &str) -> Option<Self> {
        let other = OTHERS.iter().find(|(its, place, _)| *its == method && *place == path);
        let name = match other {
            Some((.., name)) => (*name).to_owned(),
            None if path.starts_with("/embedded/") => return None,
            None => {
                path.strip_prefix(BASE).and_then(|rest| named(method, rest)).unwrap_or("unknown".to_owned())
            }
        };
        let branch = path
            .split_once("/branches/")
            .and_then(|(_, rest)| rest.split('/').next())
            .or_else(|| query.split('&').find_map(|pair| pair.strip_prefix("branch_id=")));
        let branch = branch.map(str::to_owned);
        Some(Self { method: method.to_owned(), path: path.to_owned(), name, branch })
    }
}

/// The name of a call below [`BASE`].
fn named(method: &str, path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').collect();
    if parts == ["credentials"] && method == "POST" {
        return Some("credentials.create".to_owned());
    }
    if parts.iter().step_by(2).any(|part| *part == "operations") {
        return (method == "GET").then(|| "operations.get".to_owned());
    }
    let verb = |noun: &str, verb: &str| {
        let (noun, more) = COLLECTIONS.iter().find(|(name, _)| *name == noun)?;
        (COMMON.contains(&verb) || more.contains(&verb)).then(|| format!("{noun}.{verb}"))
    };
    let last = parts.len() - 1;
    match (method, parts.len() % 2) {
        ("POST", 1) if last >= 2 && !COLLECTIONS.iter().any(|(name, _)| *name == parts[last]) => {
            verb(parts[last - 2], parts[last])
        }
        ("POST", 1) => verb(parts[last], "create"),
        ("GET", 1) => verb(parts[last], "list"),
        ("GET", _) => verb(parts[last - 1], "get"),
        ("PATCH", 0) => verb(parts[last - 1], "update"),
        ("DELETE", 0) => verb(parts[last - 1], "delete"),
        _ => None,
    }
}

/// Every name that a call can have.
pub fn names() -> Vec<String> {
    let of_collections = COLLECTIONS
        .iter()
        .flat_map(|(noun, more)| COMMON.iter().chain(more.iter()).map(move |verb| format!("{noun}.{verb}")));
    let others = OTHERS.iter().map(|(.., name)| (*name).to_owned());
    let rest = ["operations.get", "credentials.create", "unknown"].map(str::to_owned);
    of_collections.chain(rest).chain(others).collect()
}

/// Whether `name` is one that `pattern` means: `branches.create`, `branches.*`, `*.list`, `*`.
pub fn matches(pattern: &str, name: &str) -> bool {
    match (pattern.split_once('.'), name.split_once('.')) {
        (Some((noun, verb)), Some((its_noun, its_verb))) => {
            (noun == "*" || noun == its_noun) && (verb == "*" || verb == its_verb)
        }
        _ => pattern == "*" || pattern == name,
    }
}

/// Whether a path is one that `pattern` means, in which `*` and `{any}` stand for one part each.
pub fn is_path(pattern: &str, path: &str) -> bool {
    let full = if ["/api/", "/oidc/", "/.well-known/", "/embedded/"].iter().any(|it| pattern.starts_with(it))
    {
        pattern.to_owned()
    } else {
        format!("{BASE}{}", pattern.trim_start_matches('/'))
    };
    let free = |part: &str| part == "*" || (part.starts_with('{') && part.ends_with('}'));
    let (wanted, there): (Vec<&str>, Vec<&str>) = (full.split('/').collect(), path.split('/').collect());
    wanted.len() == there.len()
        && wanted.iter().zip(&there).all(|(wanted, there)| free(wanted) || wanted == there)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(method: &str, path: &str) -> String {
        Call::of(method, path, "").unwrap().name
    }

    #[test]
    fn every_route_of_the_api_has_its_name() {
        let cases = [
            ("POST", "projects", "projects.create"),
            ("GET", "projects", "projects.list"),
            ("GET", "projects/shop", "projects.get"),
            ("POST", "projects/shop/undelete", "projects.undelete"),
            ("POST", "projects/shop/branches", "branches.create"),
            ("GET", "projects/shop/branches", "branches.list"),
            ("PATCH", "projects/shop/branches/dev", "branches.update"),
            ("DELETE", "projects/shop/branches/dev", "branches.delete"),
            ("POST", "projects/shop/branches/dev/undelete", "branches.undelete"),
            ("GET", "projects/shop/branches/dev/endpoints", "endpoints.list"),
            ("GET", "projects/shop/branches/dev/endpoints/primary", "endpoints.get"),
            ("POST", "projects/shop/branches/dev/roles/app/password", "roles.password"),
            ("POST", "projects/shop/branches/dev/databases", "databases.create"),
            ("GET", "projects/shop/branches/operations", "branches.get"),
            ("GET", "projects/shop/operations/a/b==", "operations.get"),
            ("GET", "projects/shop/branches/dev/operations/x", "operations.get"),
            ("POST", "credentials", "credentials.create"),
            ("PUT", "projects", "unknown"),
            ("GET", "nothing", "unknown"),
            ("GET", "projects/shop/nothing/x", "unknown"),
        ];
        for (method, path, expected) in cases {
            let found = name(method, &format!("{BASE}{path}"));
            assert_eq!(found, expected, "{method} {path}");
            assert!(names().contains(&found));
        }
        for (method, path, expected) in OTHERS {
            assert_eq!(name(method, path), expected);
        }
        assert_eq!(Call::of("GET", "/embedded/faults", ""), None);
    }

    #[test]
    fn a_call_says_which_branch_it_is_about() {
        let branch =
            |path: &str, query: &str| Call::of("GET", &format!("{BASE}{path}"), query).unwrap().branch;
        assert_eq!(branch("projects/shop/branches/dev/endpoints", "").as_deref(), Some("dev"));
        assert_eq!(branch("projects/shop/branches", "x=1&branch_id=dev").as_deref(), Some("dev"));
        assert_eq!(branch("projects/branches", ""), None);
    }

    #[test]
    fn patterns_match_names_and_paths() {
        for pattern in ["*", "*.*", "branches.*", "*.create", "branches.create"] {
            assert!(matches(pattern, "branches.create"), "{pattern}");
        }
        for pattern in ["branches", "*.list", "roles.*", "branches.creat"] {
            assert!(!matches(pattern, "branches.create"), "{pattern}");
        }
        assert!(is_path("/projects/{p}/branches", "/api/2.0/postgres/projects/shop/branches"));
        assert!(is_path("/projects/*", "/api/2.0/postgres/projects/shop"));
        assert!(!is_path("/projects/*", "/api/2.0/postgres/projects/shop/branches"));
        assert!(is_path("/oidc/v1/token", "/oidc/v1/token"));
    }
}
