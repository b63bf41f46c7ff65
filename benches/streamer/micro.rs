//! What the parts cost: nanoseconds an operation, in this process, without a socket.
//!
//! *Invariant:* what an operation is given is hidden from the compiler, and what it gives is used.

mod parts;
mod path;
mod store;

use crate::Effort;
use crate::timing::Timing;

/// Measures all rows.
pub fn run(effort: Effort) {
    let timing = Timing::new(effort);
    parts::run(timing);
    path::run(timing);
    store::run(timing, effort);
}
