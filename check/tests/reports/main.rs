//! From facts made by hand to the verdict and its reports, the page in a real browser.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod browser;
mod page;
mod sample;
mod texts;
mod verdict;
