//! The override file's writer. Every text stands in double quotes, keys too: what YAML takes an unquoted word for is
//! another thing in each parser (`1_000`, `0o17`, `1:30`, `yes`), and Compose's is not the one that we read with.

use serde_yaml::{Mapping, Value};

/// One step to the right.
const STEP: &str = "  ";

/// A mapping as block YAML.
pub fn document(root: &Mapping) -> String {
    let mut text = String::new();
    if root.is_empty() {
        text.push_str("{}\n");
    } else {
        mapping(&mut text, root, "");
    }
    text
}

fn mapping(text: &mut String, mapping: &Mapping, indent: &str) {
    for (key, value) in mapping {
        text.push_str(indent);
        scalar(text, key);
        text.push(':');
        below(text, value, indent);
    }
}

/// A value behind its key or dash: on the same line where it fits there.
fn below(text: &mut String, value: &Value, indent: &str) {
    match value {
        Value::Mapping(inner) if !inner.is_empty() => {
            text.push('\n');
            mapping(text, inner, &format!("{indent}{STEP}"));
        }
        Value::Sequence(items) if !items.is_empty() => {
            text.push('\n');
            for item in items {
                text.push_str(&format!("{indent}{STEP}-"));
                below(text, item, &format!("{indent}{STEP}"));
            }
        }
        Value::Tagged(tagged) => {
            // Of a tag of our own: no other gets in here.
            text.push_str(&format!(" !{}", tagged.tag.to_string().trim_start_matches('!')));
            below(text, &tagged.value, indent);
        }
        value => {
            text.push(' ');
            scalar(text, value);
            text.push('\n');
        }
    }
}

/// What has no parts, or none left; as JSON writes it.
fn scalar(text: &mut String, value: &Value) {
    match value {
        Value::String(string) => quote(text, string),
        Value::Bool(truth) => text.push_str(if *truth { "true" } else { "false" }),
        Value::Number(number) => text.push_str(&number.to_string()),
        Value::Mapping(_) => text.push_str("{}"),
        Value::Sequence(_) => text.push_str("[]"),
        Value::Null | Value::Tagged(_) => text.push_str("null"),
    }
}

/// A string in double quotes. JSON's escapes are YAML's too; the rest of them is of characters that a YAML file can't
/// hold, or takes for the end of a line (YAML 1.2, 5.1; YAML 1.1, 4.2).
fn quote(text: &mut String, string: &str) {
    text.push('"');
    for character in string.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            '\n' => text.push_str("\\n"),
            ' '..='~'
            | '\u{a0}'..='\u{2027}'
            | '\u{202a}'..='\u{fefe}'
            | '\u{ff00}'..='\u{fffd}'
            | '\u{10000}'.. => {
                text.push(character);
            }
            _ => text.push_str(&format!("\\u{:04x}", u32::from(character))),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_yaml::value::{Tag, TaggedValue};

    use super::*;

    fn quoted(string: &str) -> String {
        let mut text = String::new();
        quote(&mut text, string);
        text
    }

    /// Any value that an override file may hold.
    fn values() -> impl Strategy<Value = Value> {
        let tag = |value, tag| Value::Tagged(Box::new(TaggedValue { tag: Tag::new(tag), value }));
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            let mapping = proptest::collection::btree_map(any::<String>(), inner.clone(), 0..4);
            let mapping = mapping.prop_map(|pairs| {
                Value::Mapping(pairs.into_iter().map(|(key, value)| (key.into(), value)).collect())
            });
            let sequence = proptest::collection::vec(inner, 0..4).prop_map(Value::Sequence);
            let whole = prop_oneof![mapping, sequence];
            prop_oneof![whole.clone(), whole.prop_map(move |value| tag(value, "override"))]
        })
    }

    proptest! {
        #[test]
        fn any_string_stands_in_double_quotes_on_one_line_and_is_read_as_it_was(string in any::<String>()) {
            let text = quoted(&string);
            let inside = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap();
            // Nothing inside ends the quotes or the line, and nothing needs more than YAML 1.1's printable characters.
            let mut escaped = false;
            for character in inside.chars() {
                prop_assert!(escaped || character != '"');
                let ends_lines = matches!(character, '\u{2028}' | '\u{2029}' | '\u{feff}');
                prop_assert!(!character.is_control() && !ends_lines);
                escaped = character == '\\' && !escaped;
            }
            prop_assert!(!escaped);
            prop_assert_eq!(serde_yaml::from_str::<Value>(&text).unwrap(), Value::from(string));
        }

        #[test]
        fn any_value_is_read_as_it_was(key in any::<String>(), value in values()) {
            let root: Mapping = [(key.into(), value)].into_iter().collect();
            prop_assert_eq!(serde_yaml::from_str::<Value>(&document(&root)).unwrap(), Value::Mapping(root));
        }
    }

    #[test]
    fn every_character_is_read_as_it_was() {
        let all: String = (char::MIN..=char::MAX).collect();
        assert_eq!(serde_yaml::from_str::<Value>(&quoted(&all)).unwrap(), Value::from(all));
    }
}
