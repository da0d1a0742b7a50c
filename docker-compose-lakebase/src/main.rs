//! The cargo face.
fn main() {}
