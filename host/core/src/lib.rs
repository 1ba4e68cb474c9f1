//! The decisions of Weir, as pure code: no runtime, no clock, no randomness.
//!
//! The state machine of one partition and subscription is [`partition::Partition`]: outside events go in by
//! `handle_*`, work comes out by `poll_*`, and time is passed in. Around it: the shapes that cross the two seams
//! ([`event`], [`unit`]), identities ([`identity`]), the inbox ([`inbox`]), the retry schedule ([`retry`]) and the
//! checks on what a handler emits ([`emission`]).

pub mod binding;
pub mod breaker;
pub mod command;
pub mod dead_letter;
pub mod emission;
pub mod event;
pub mod gate;
pub mod identity;
pub mod inbox;
pub mod partition;
pub mod rate;
pub mod replay;
pub mod retry;
pub mod time;
pub mod unit;
