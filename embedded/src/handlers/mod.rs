//! The handlers, one file a resource, and what they share: reading requests, looking up parents, paging lists.

pub mod branches;
pub mod controls;
pub mod credentials;
pub mod databases;
pub mod endpoints;
pub mod faults;
pub mod grants;
pub mod identity;
pub mod oauth;
pub mod operations;
pub mod projects;
pub mod roles;

use std::collections::HashMap;

use axum::Json;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::api_error::{ApiError, ApiResult};
use crate::random;
use crate::state::{Branch, Endpoint, Operation, Outcome, Project, State};
use crate::views;

/// Parameters after the `?`.
pub(crate) type Query = axum::extract::Query<HashMap<String, String>>;

/// Entries of a page where the client asks for none, and at most.
const PAGE: (usize, usize) = (100, 1000);

/// Reads a JSON body; an empty one is an empty object. As in the JSON of protocol buffers, a field that is null is one that
/// is not there.
pub(crate) fn body<T: DeserializeOwned>(bytes: &[u8]) -> ApiResult<T> {
    let bytes = if bytes.iter().all(u8::is_ascii_whitespace) { b"{}" } else { bytes };
    let malformed = |error: serde_json::Error| ApiError::malformed(&error.to_string());
    let mut object: Map<String, Value> = serde_json::from_slice(bytes).map_err(malformed)?;
    drop_nulls(&mut object);
    serde_json::from_value(Value::Object(object)).map_err(malformed)
}

fn drop_nulls(object: &mut Map<String, Value>) {
    object.retain(|_, value| !value.is_null());
    object.values_mut().filter_map(Value::as_object_mut).for_each(drop_nulls);
}

/// A boolean of the query: absent is false.
pub(crate) fn flag(query: &Query, name: &str) -> ApiResult<bool> {
    match query.get(name).map(|value| value.to_ascii_lowercase()).as_deref() {
        None | Some("" | "false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => {
            Err(ApiError::invalid(format!("Field '{name}' must be true or false, got '{other}'.")))
        }
    }
}

/// The id that a client chose, from the query or (some clients) from the body.
pub(crate) fn chosen_id(query: &Query, field: &str, in_body: Option<&str>) -> ApiResult<String> {
    let id = query.get(field).map(String::as_str).filter(|id| !id.is_empty()).or(in_body).unwrap_or_default();
    if id.is_empty() {
        return Err(ApiError::required(field));
    }
    if is_id(id) { Ok(id.to_owned()) } else { Err(ApiError::bad_id(field, id)) }
}

/// Whether `id` matches [`crate::api_error::ID_PATTERN`].
pub(crate) fn is_id(id: &str) -> bool {
    let bytes = id.as_bytes();
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    bytes.len() <= 63
        && bytes.first().is_some_and(u8::is_ascii_lowercase)
        && bytes.last().is_some_and(plain)
        && bytes.iter().all(|byte| plain(byte) || *byte == b'-')
}

/// Reads a duration such as `21600s` or `1.5s`, cut to whole seconds.
pub(crate) fn duration(field: &str, text: &str) -> ApiResult<i64> {
    let bad =
        || ApiError::invalid(format!("Field '{field}' must be a duration such as '3600s', got '{text}'."));
    let number = text.strip_suffix('s').ok_or_else(bad)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad());
    }
    let seconds: i64 = whole.parse().map_err(|_| bad())?;
    // The protocol buffers' own range: about 10,000 years.
    if seconds.abs() > 315_576_000_000 { Err(bad()) } else { Ok(seconds) }
}

/// Reads an RFC 3339 time, cut to milliseconds.
pub(crate) fn time(field: &str, text: &str) -> ApiResult<Timestamp> {
    let bad = || ApiError::invalid(format!("Field '{field}' must be an RFC 3339 timestamp, got '{text}'."));
    let time: Timestamp = text.parse().map_err(|_| bad())?;
    Timestamp::from_millisecond(time.as_millisecond()).map_err(|_| bad())
}

/// `from` plus a client's duration in seconds.
pub(crate) fn later(from: Timestamp, seconds: i64) -> ApiResult<Timestamp> {
    from.checked_add(SignedDuration::from_secs(seconds))
        .map_err(|_| ApiError::invalid("a duration is too long"))
}

/// A project in whatever state, also one that is deleted or being removed.
pub(crate) fn project<'a>(state: &'a State, id: &str) -> ApiResult<&'a Project> {
    state.project(id).ok_or_else(|| ApiError::not_found("project"))
}

/// A project to work in: a deleted one is not found.
pub(crate) fn live_project<'a>(state: &'a State, id: &str) -> ApiResult<&'a Project> {
    let project = project(state, id)?;
    if project.deleted.is_some() || project.removal.is_some() {
        Err(ApiError::not_found("project"))
    } else {
        Ok(project)
    }
}

/// A branch, its project looked up first. A soft-deleted one is found: it can be undeleted.
pub(crate) fn branch<'a>(state: &'a State, project: &str, id: &str) -> ApiResult<(&'a Project, &'a Branch)> {
    let project = live_project(state, project)?;
    project.branch(id).map(|branch| (project, branch)).ok_or_else(|| ApiError::not_found("branch"))
}

/// A branch to work in: a deleted one is not found.
pub(crate) fn live_branch<'a>(
    state: &'a State,
    project: &str,
    id: &str,
) -> ApiResult<(&'a Project, &'a Branch)> {
    let (project, branch) = branch(state, project, id)?;
    if branch.deleted.is_some() || branch.removal.is_some() {
        return Err(ApiError::not_found("branch"));
    }
    Ok((project, branch))
}

/// The endpoint with this resource name, with its project and branch.
pub(crate) fn named_endpoint<'a>(
    state: &'a State,
    name: &str,
) -> ApiResult<(&'a Project, &'a Branch, &'a Endpoint)> {
    if name.is_empty() {
        return Err(ApiError::required("endpoint"));
    }
    let parts: Vec<&str> = name.split('/').collect();
    let ["projects", project, "branches", branch, "endpoints", endpoint] = parts[..] else {
        let message = "Field 'endpoint' must be a name such as 'projects/{project}/branches/{branch}/endpoints/{endpoint}'";
        return Err(ApiError::invalid(format!("{message}, got '{name}'.")));
    };
    let (project, branch) = live_branch(state, project, branch)?;
    let endpoint = branch.endpoints.iter().find(|it| it.id == endpoint);
    endpoint.map(|endpoint| (project, branch, endpoint)).ok_or_else(|| ApiError::not_found("endpoint"))
}

/// A branch to work in, to change it.
pub(crate) fn branch_mut<'a>(state: &'a mut State, project: &str, id: &str) -> ApiResult<&'a mut Branch> {
    live_branch(state, project, id)?;
    state
        .project_mut(project)
        .and_then(|project| project.branch_mut(id))
        .ok_or_else(|| ApiError::not_found("branch"))
}

/// Adds an operation on the resource `name`, finished or not, and gives what the API answers.
pub(crate) fn operate(
    state: &mut State,
    name: &str,
    kind: &str,
    outcome: Option<Outcome>,
) -> ApiResult<Operation> {
    let operation =
        Operation { name: format!("{name}/operations/{}", random::uuid()?), kind: kind.to_owned(), outcome };
    state.add_operation(operation.clone());
    Ok(operation)
}

/// Answers with an operation.
pub(crate) fn answer(operation: &Operation) -> Response {
    Json(views::operation(operation)).into_response()
}

/// Answers with one page of a list. Entries are in the order of their creation; a page's token says after which entry
/// the next one begins, so that entries that come and go meanwhile are neither skipped nor repeated.
pub(crate) fn page(query: &Query, list: &str, entries: Vec<Value>) -> ApiResult {
    let size = match query.get("page_size").filter(|size| !size.is_empty()) {
        None => PAGE.0,
        Some(text) => match text.parse::<i64>() {
            Ok(0) => PAGE.0,
            Ok(size) if size > 0 => usize::try_from(size).map_or(PAGE.1, |size| size.min(PAGE.1)),
            _ => {
                return Err(ApiError::invalid(format!(
                    "Field 'page_size' must not be negative, got '{text}'."
                )));
            }
        },
    };
    let key = |entry: &Value| {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        (text("create_time").parse::<Timestamp>().unwrap_or_default(), text("name"))
    };
    let mut entries: Vec<((Timestamp, String), Value)> =
        entries.into_iter().map(|entry| (key(&entry), entry)).collect();
    entries.sort_by(|left, right| left.0.cmp(&right.0));
    if let Some(token) = query.get("page_token").filter(|token| !token.is_empty()) {
        let after =
            parse_page_token(token).ok_or_else(|| ApiError::invalid("Field 'page_token' is invalid."))?;
        entries.retain(|(key, _)| *key > after);
    }
    let more = entries.len() > size;
    entries.truncate(size);
    let mut answer = Map::new();
    if let Some(((time, name), _)) = entries.last().filter(|_| more) {
        let token = URL_SAFE_NO_PAD.encode(format!("{} {name}", time.as_millisecond()));
        answer.insert("next_page_token".into(), token.into());
    }
    let entries = entries.into_iter().map(|(_, entry)| entry).collect();
    answer.insert(list.to_owned(), Value::Array(entries));
    Ok(Json(Value::Object(answer)).into_response())
}

fn parse_page_token(token: &str) -> Option<(Timestamp, String)> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    let (time, name) = text.split_once(' ')?;
    Some((Timestamp::from_millisecond(time.parse().ok()?).ok()?, name.to_owned()))
}

/// The fields that a PATCH changes.
pub(crate) struct Mask(Vec<String>);

impl Mask {
    /// Reads `update_mask`: paths joined by commas, in snake or camel case (the JSON form of a mask). A path that is
    /// none of `known` is an error; so is one of `fixed`, which can't be changed.
    pub(crate) fn read(query: &Query, known: &[&str], fixed: &[&str]) -> ApiResult<Self> {
        let text = query.get("update_mask").map(String::as_str).unwrap_or_default();
        if text.is_empty() {
            return Err(ApiError::required("update_mask"));
        }
        let paths: Vec<String> = text.split(',').map(|path| snake_case(path.trim())).collect();
        for path in &paths {
            if fixed.contains(&path.as_str()) {
                return Err(ApiError::invalid(format!("Field '{path}' cannot be changed.")));
            }
            if path != "*" && path != "spec" && !known.contains(&path.as_str()) {
                return Err(ApiError::invalid(format!("Field '{path}' is not a valid path of update_mask.")));
            }
        }
        Ok(Self(paths))
    }

    /// Whether the field at `path` is to be changed. `present` says whether the body holds it, which is what
    /// decides for `*` and `spec`.
    pub(crate) fn has(&self, path: &str, present: bool) -> bool {
        self.0.iter().any(|it| it == path) || (present && self.is_broad())
    }

    /// Whether the mask names everything.
    pub(crate) fn is_broad(&self) -> bool {
        self.0.iter().any(|it| it == "*" || it == "spec")
    }
}

fn snake_case(path: &str) -> String {
    path.chars().fold(String::new(), |mut text, character| {
        if character.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(character.to_ascii_lowercase());
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_match_the_pattern_of_the_service() {
        for good in ["a", "dev-ada-1", &"a".repeat(63)] {
            assert!(is_id(good), "{good}");
        }
        for bad in ["", "1a", "-a", "a-", "A", "a_b", "ä", "a/b", "a.b", &"a".repeat(64)] {
            assert!(!is_id(bad), "{bad}");
        }
    }

    #[test]
    fn a_null_of_a_body_is_nothing_and_a_list_is_no_body() {
        let read = |text: &str| body::<Value>(text.as_bytes());
        assert_eq!(
            read(r#"{"spec": {"ttl": "60s", "no_expiry": null}, "name": null}"#).unwrap()["spec"]["ttl"],
            "60s"
        );
        assert_eq!(read(r#"{"spec": {"ttl": null}}"#).unwrap(), serde_json::json!({"spec": {}}));
        assert_eq!(read(" ").unwrap(), serde_json::json!({}));
        for bad in ["[]", "null", "5", "{"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_and_times_are_read_as_protocol_buffers_write_them() {
        assert_eq!(duration("ttl", "21600s").unwrap(), 21_600);
        assert_eq!(duration("ttl", "1.500s").unwrap(), 1);
        for bad in ["", "s", "6h", "1.xs", "99999999999999s", "1e3s"] {
            assert!(duration("ttl", bad).is_err(), "{bad}");
        }
        assert_eq!(
            time("t", "2030-01-01T00:00:00.123456789Z").unwrap().to_string(),
            "2030-01-01T00:00:00.123Z"
        );
        assert!(time("t", "tomorrow").is_err());
    }

    #[test]
    fn pages_neither_skip_nor_repeat_when_entries_go() {
        // given five entries in pages of two
        let entry = |number: usize| serde_json::json!({"name": format!("e{number}"), "create_time": "2030-01-01T00:00:00Z"});
        let token = URL_SAFE_NO_PAD
            .encode(format!("{} e1", "2030-01-01T00:00:00Z".parse::<Timestamp>().unwrap().as_millisecond()));
        // when the last entry of the first page is gone before the second is asked for
        let query = axum::extract::Query(HashMap::from([
            ("page_token".to_owned(), token),
            ("page_size".to_owned(), "2".to_owned()),
        ]));
        let answer = page(&query, "entries", vec![entry(0), entry(2), entry(3), entry(4)]).unwrap();
        // then the second still begins after it
        assert_eq!(answer.status(), 200);
        let bad = axum::extract::Query(HashMap::from([("page_token".to_owned(), "?".to_owned())]));
        assert!(page(&bad, "entries", vec![]).is_err());
    }

    #[test]
    fn masks_are_read_in_both_cases_and_refuse_what_they_do_not_know() {
        let query =
            |mask: &str| axum::extract::Query(HashMap::from([("update_mask".to_owned(), mask.to_owned())]));
        let mask = Mask::read(
            &query("spec.expireTime,spec.is_protected"),
            &["spec.expire_time", "spec.is_protected"],
            &[],
        )
        .unwrap();
        assert!(mask.has("spec.expire_time", false) && !mask.is_broad());
        assert!(Mask::read(&query("spec.x"), &[], &[]).is_err());
        assert!(Mask::read(&query("spec.fixed"), &[], &["spec.fixed"]).is_err());
        assert!(Mask::read(&query(""), &[], &[]).is_err());
        assert!(Mask::read(&query("*"), &[], &[]).unwrap().has("spec.anything", true));
    }
}
