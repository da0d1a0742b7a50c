//! Just enough Python to read what a migration says of itself: assignments of texts, without running anything.

/// A piece of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// A name, a keyword or a number.
    Word(String),
    /// A text.
    Text(String),
    /// Any other character.
    Sign(char),
}

/// A logical line: brackets and triple quotes are followed over line ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Whether it is inside of something.
    pub indented: bool,
    /// What is on it.
    pub tokens: Vec<Token>,
}

impl Line {
    /// Whether the line begins with these words.
    pub fn begins(&self, words: &[&str]) -> bool {
        self.tokens.len() >= words.len()
            && words.iter().zip(&self.tokens).all(|(word, token)| *token == Token::Word((*word).to_owned()))
    }
}

/// The logical lines of a source; of one that is no Python, whatever comes out.
pub fn lines(source: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut line = Line { indented: false, tokens: Vec::new() };
    let mut depth = 0_usize;
    let mut at_start = true;
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let mut taken = first.len_utf8();
        match first {
            '\n' | ';' if depth == 0 => {
                if !line.tokens.is_empty() {
                    lines.push(line.clone());
                    line.tokens.clear();
                }
                // What follows a semicolon is as far inside as what stands before it.
                if first == '\n' {
                    (line.indented, at_start) = (false, true);
                }
            }
            '#' => taken = rest.find('\n').unwrap_or(rest.len()),
            '\\' => taken = rest.char_indices().nth(2).map_or(rest.len(), |(at, _)| at),
            ' ' | '\t' if at_start && depth == 0 => line.indented = true,
            _ if first.is_whitespace() => {}
            '"' | '\'' => {
                let (text, length) = text(rest, first);
                line.tokens.push(Token::Text(text));
                taken = length;
            }
            _ if first.is_alphanumeric() || first == '_' => {
                let is_word = |c: char| c.is_alphanumeric() || c == '_';
                taken = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                // r"…", b"…" and the like.
                let is_prefix = taken <= 2 && rest[taken..].starts_with(['"', '\'']);
                if !is_prefix {
                    line.tokens.push(Token::Word(rest[..taken].to_owned()));
                }
            }
            _ => {
                match first {
                    '(' | '[' | '{' => depth += 1,
                    ')' | ']' | '}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                line.tokens.push(Token::Sign(first));
            }
        }
        at_start &= matches!(first, ' ' | '\t' | '\n' | '\r' | '\u{c}');
        rest = &rest[taken..];
    }
    if !line.tokens.is_empty() {
        lines.push(line);
    }
    lines
}

/// The text that begins here, and how long it is with its quotes.
fn text(rest: &str, quote: char) -> (String, usize) {
    let triple: String = [quote; 3].iter().collect();
    let (open, close) = if rest.starts_with(&triple) { (3, triple.as_str()) } else { (1, &triple[..1]) };
    let mut text = String::new();
    let mut at = open;
    while at < rest.len() {
        let here = &rest[at..];
        if here.starts_with(close) {
            return (text, at + close.len());
        }
        let mut chars = here.chars();
        match chars.next() {
            // One that was not closed ends with its line.
            Some('\n') if open == 1 => return (text, at),
            Some('\\') => {
                let escaped = chars.next();
                text.extend(escaped);
                at += 1 + escaped.map_or(0, char::len_utf8);
            }
            Some(c) => {
                text.push(c);
                at += c.len_utf8();
            }
            None => break,
        }
    }
    (text, rest.len())
}

/// The texts that a line assigns to `name`, in the order in which they stand; empty for `None`. Gives nothing where no line
/// does. `name = …`, `name: Type = …`, and `name, other = …, …` are understood.
pub fn assigned(lines: &[Line], name: &str, indented: bool) -> Option<Vec<String>> {
    lines.iter().filter(|line| line.indented == indented).find_map(|line| {
        let sign = |token: Option<&Token>| match token {
            Some(Token::Sign(sign)) => *sign,
            _ => ' ',
        };
        let mut depth = 0_i32;
        let at = line.tokens.iter().enumerate().position(|(at, token)| {
            match token {
                Token::Sign('(' | '[' | '{') => depth += 1,
                Token::Sign(')' | ']' | '}') => depth -= 1,
                _ => {}
            }
            let before = at.checked_sub(1).map_or(' ', |before| sign(line.tokens.get(before)));
            depth == 0
                && *token == Token::Sign('=')
                && sign(line.tokens.get(at + 1)) != '='
                && !"=!<>+-*/%&|^:@".contains(before)
        })?;
        let targets = parts(&line.tokens[..at]);
        let place =
            targets.iter().position(|target| target.first() == Some(&Token::Word(name.to_owned())))?;
        let value = &line.tokens[at + 1..];
        let value = if targets.len() == 1 { value } else { parts(value).get(place).copied()? };
        let text = |token: &Token| match token {
            Token::Text(text) => Some(text.clone()),
            _ => None,
        };
        Some(value.iter().filter_map(text).collect())
    })
}

/// The tokens between the commas that stand in no bracket.
fn parts(tokens: &[Token]) -> Vec<&[Token]> {
    let mut depth = 0_i32;
    tokens
        .split(|token| {
            match token {
                Token::Sign('(' | '[' | '{') => depth += 1,
                Token::Sign(')' | ']' | '}') => depth -= 1,
                _ => {}
            }
            depth == 0 && *token == Token::Sign(',')
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(source: &str, name: &str) -> Option<Vec<String>> {
        assigned(&lines(source), name, false)
    }

    #[test]
    fn assignments_in_every_form_are_read() {
        for source in [
            "down = 'a'",
            "down: str = \"a\"  # comment 'x'",
            "down: Union[str, Sequence[str], None] = r'a'",
            "other, down = None, 'a'",
            "\"\"\"down = 'b'\n\"\"\"\nimport x; down = 'a'",
            "down = (\n    'a',\n)",
            "if down == 'b':\n    down = 'c'\ndown = \\\n  'a'",
        ] {
            assert_eq!(read(source, "down"), Some(vec!["a".to_owned()]), "{source}");
        }
        assert_eq!(read("down = None", "down"), Some(vec![]));
        assert_eq!(read("down = ('a', \"b\")", "down"), Some(vec!["a".into(), "b".into()]));
        assert_eq!(read("def f():\n    down = 'a'\n", "down"), None);
        assert_eq!(read("f(down='a')", "down"), None);
        assert_eq!(read("down.x = 'a'", "x"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_to_its_end(source in "[a-z0-9 ='\"\\\\\\[\\](){}#;,:\n\t\u{e9}\u{1F600}]{0,200}") {
            let lines = lines(&source);
            let _ = assigned(&lines, "a", false);
            let _ = assigned(&lines, "a", true);
        }

        #[test]
        fn any_text_at_all_is_read_to_its_end(source in any::<String>()) {
            let _ = assigned(&lines(&source), "a", false);
        }
    }
}
