//! Typed messages in a stream that is cut anywhere: found, looked at, passed on or kept back, never gathered whole.
//!
//! What is passed on is the bytes that came, in one piece where nothing was kept back. What a reader looks at it copies
//! itself, as much of it as it wants ([`Fields`], [`Strings`] and [`Bytes`] are bounded). So a message of a gigabyte costs
//! what one of a kilobyte does.

use std::borrow::Cow;

/// Bytes of a message before its body: its kind, and a length that counts itself.
const HEAD: usize = 5;

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on; nothing of it is kept back.
    Pass,
    /// Not known yet: what was read of it waits.
    Hold,
    /// It ends here.
    Strip,
}

/// Looks at the messages of one direction.
pub trait Reader {
    /// A message of this kind begins, with a body of `length` bytes.
    fn begin(&mut self, kind: u8, length: usize) -> Verdict;

    /// The next part of its body. The answer counts as long as all before it were [`Verdict::Hold`].
    fn part(&mut self, part: &[u8]) -> Verdict;

    /// It is whole. One that is still held goes on, unless this says [`Verdict::Strip`].
    fn end(&mut self) -> Verdict;

    /// Asked after each message: whether to stop before the next one.
    fn stops(&self) -> bool {
        false
    }
}

/// Where a stream is: between two messages, or in one.
#[derive(Debug)]
pub struct Frames {
    /// What there is of a head that is not whole.
    head: [u8; HEAD],
    filled: usize,
    /// Bytes of the body that are still to come; `None` between two messages.
    left: Option<usize>,
    verdict: Verdict,
    /// What was read of a message that is held.
    held: Vec<u8>,
    /// Whether something came that is no message: nothing after it is looked at.
    lost: bool,
}

impl Default for Frames {
    fn default() -> Self {
        Self { head: [0; HEAD], filled: 0, left: None, verdict: Verdict::Pass, held: Vec::new(), lost: false }
    }
}

impl Frames {
    /// Shows `chunk` to `reader`; gives what goes on of it and of what was held before, and how many of its bytes were taken.
    /// All of them, unless the reader stopped.
    pub fn scan<'a>(&mut self, chunk: &'a [u8], reader: &mut impl Reader) -> (Cow<'a, [u8]>, usize) {
        let mut out = Out { chunk, passed: 0, owned: None };
        let mut at = 0;
        // Where the message that is in hand begins in this chunk.
        let mut from = 0;
        while at < chunk.len() {
            if self.lost {
                out.pass(at, chunk.len());
                return (out.finish(), chunk.len());
            }
            let left = match self.left {
                Some(left) => left,
                None => {
                    if self.filled == 0 {
                        from = at;
                    }
                    let count = (HEAD - self.filled).min(chunk.len() - at);
                    self.head[self.filled..self.filled + count].copy_from_slice(&chunk[at..at + count]);
                    self.filled += count;
                    at += count;
                    if self.filled < HEAD {
                        break;
                    }
                    let [kind, length @ ..] = self.head;
                    let length = u32::from_be_bytes(length) as usize;
                    let Some(length) = length.checked_sub(4) else {
                        self.lost = true;
                        out.insert(&std::mem::take(&mut self.held));
                        out.pass(from, at);
                        continue;
                    };
                    self.verdict = reader.begin(kind, length);
                    length
                }
            };
            let count = left.min(chunk.len() - at);
            if count > 0 {
                let said = reader.part(&chunk[at..at + count]);
                if self.verdict == Verdict::Hold {
                    self.verdict = said;
                }
                at += count;
            }
            let whole = count == left;
            if whole {
                let said = reader.end();
                if self.verdict == Verdict::Hold {
                    self.verdict = if said == Verdict::Hold { Verdict::Pass } else { said };
                }
                self.left = None;
                self.filled = 0;
            } else {
                self.left = Some(left - count);
            }
            match self.verdict {
                Verdict::Pass => {
                    out.insert(&std::mem::take(&mut self.held));
                    out.pass(from, at);
                    from = at;
                }
                Verdict::Strip => {
                    self.held = Vec::new();
                    from = at;
                }
                Verdict::Hold => {}
            }
            if whole && reader.stops() {
                return (out.finish(), at);
            }
        }
        if from < at {
            // A head that is not whole, or a message that is held.
            self.held.extend_from_slice(&chunk[from..at]);
        }
        (out.finish(), at)
    }

    /// What was held, when the stream has ended.
    pub fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

/// What goes on of a chunk: a piece of it as long as that is all, a copy otherwise.
struct Out<'a> {
    chunk: &'a [u8],
    passed: usize,
    owned: Option<Vec<u8>>,
}

impl<'a> Out<'a> {
    fn own(&mut self) -> &mut Vec<u8> {
        self.owned.get_or_insert_with(|| self.chunk[..self.passed].to_vec())
    }

    fn pass(&mut self, from: usize, to: usize) {
        if self.owned.is_none() && from == self.passed {
            self.passed = to;
        } else {
            let part = &self.chunk[from..to];
            self.own().extend_from_slice(part);
        }
    }

    fn insert(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.own().extend_from_slice(bytes);
        }
    }

    fn finish(self) -> Cow<'a, [u8]> {
        match self.owned {
            Some(owned) => Cow::Owned(owned),
            None => Cow::Borrowed(&self.chunk[..self.passed]),
        }
    }
}

/// A text of bounded length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clip {
    bytes: Vec<u8>,
    /// Whether it was longer.
    pub cut: bool,
}

impl Clip {
    fn push(&mut self, part: &[u8], limit: usize) {
        let room = limit - self.bytes.len();
        self.cut |= part.len() > room;
        self.bytes.extend_from_slice(&part[..part.len().min(room)]);
    }

    /// The text; what is not UTF-8 in it is replaced, and a character that the cut went through is left out.
    pub fn into_text(mut self) -> String {
        if self.cut
            && let Err(error) = std::str::from_utf8(&self.bytes)
            && error.error_len().is_none()
        {
            self.bytes.truncate(error.valid_up_to());
        }
        String::from_utf8(self.bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }
}

/// The first zero-terminated strings of a body.
#[derive(Debug, Default)]
pub struct Strings {
    texts: Vec<Clip>,
    current: Clip,
    wanted: usize,
    limit: usize,
}

impl Strings {
    /// The first `wanted` ones, up to `limit` bytes of each.
    pub fn new(wanted: usize, limit: usize) -> Self {
        Self { wanted, limit, ..Self::default() }
    }

    /// Takes the next part of the body.
    pub fn push(&mut self, mut part: &[u8]) {
        while self.texts.len() < self.wanted && !part.is_empty() {
            let end = part.iter().position(|byte| *byte == 0);
            self.current.push(&part[..end.unwrap_or(part.len())], self.limit);
            let Some(end) = end else { return };
            self.texts.push(std::mem::take(&mut self.current));
            part = &part[end + 1..];
        }
    }

    /// As many as were asked for; what the body did not hold is empty.
    pub fn finish<const N: usize>(self) -> [Clip; N] {
        let mut texts = self.texts;
        texts.push(self.current);
        let mut texts = texts.into_iter();
        std::array::from_fn(|_| texts.next().unwrap_or_default())
    }
}

/// The fields of an error or a notice: a kind each, and a text.
#[derive(Debug, Default)]
pub struct Fields {
    wanted: &'static [u8],
    limit: usize,
    found: Vec<(u8, Clip)>,
    current: Option<(u8, Clip)>,
    over: bool,
}

impl Fields {
    /// Those whose kind is in `wanted`, up to `limit` bytes of each.
    pub fn new(wanted: &'static [u8], limit: usize) -> Self {
        Self { wanted, limit, ..Self::default() }
    }

    /// Takes the next part of the body.
    pub fn push(&mut self, mut part: &[u8]) {
        while let Some((first, after)) = part.split_first() {
            if self.over {
                return;
            }
            let Some((kind, text)) = &mut self.current else {
                self.over = *first == 0;
                self.current = (*first != 0).then(|| (*first, Clip::default()));
                part = after;
                continue;
            };
            let end = part.iter().position(|byte| *byte == 0);
            if self.wanted.contains(kind) {
                text.push(&part[..end.unwrap_or(part.len())], self.limit);
            }
            let Some(end) = end else { return };
            self.found.extend(self.current.take().filter(|(kind, _)| self.wanted.contains(kind)));
            part = &part[end + 1..];
        }
    }

    /// The field of this kind, where it came and is whole.
    pub fn peek(&self, kind: u8) -> Option<&[u8]> {
        self.found.iter().find(|(found, _)| *found == kind).map(|(_, text)| text.bytes.as_slice())
    }

    /// Takes the field of this kind.
    pub fn take(&mut self, kind: u8) -> Option<Clip> {
        let at = self.found.iter().position(|(found, _)| *found == kind)?;
        Some(self.found.swap_remove(at).1)
    }
}

/// The first bytes of a body.
#[derive(Debug)]
pub struct Bytes<const N: usize> {
    bytes: [u8; N],
    filled: usize,
}

impl<const N: usize> Default for Bytes<N> {
    fn default() -> Self {
        Self { bytes: [0; N], filled: 0 }
    }
}

impl<const N: usize> Bytes<N> {
    /// Takes the next part of the body.
    pub fn push(&mut self, part: &[u8]) {
        let count = part.len().min(N - self.filled);
        self.bytes[self.filled..self.filled + count].copy_from_slice(&part[..count]);
        self.filled += count;
    }

    /// All of them, where the body was long enough.
    pub fn get(&self) -> Option<[u8; N]> {
        (self.filled == N).then_some(self.bytes)
    }
}
