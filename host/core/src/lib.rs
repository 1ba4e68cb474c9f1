//! The decisions of Weir, as pure code: no runtime, no clock, no randomness.
//!
//! The state machine of one partition and subscription is [`partition::Partition`]: outside events go in by
//! `handle_*`, work comes out by `poll_*`, and time is passed in. It decides when an event starts, what follows its
//! outcome, what is set aside or fires later, and what is committed together.
//!
//! All partitions of a subscription share one [`gate::Gate`], which an attempt must pass: the operator's pause, the
//! circuit breaker ([`breaker`]) and the rate limit ([`rate`]). All of a host share its memory ([`budget`])
//! and silence for who may have ended the host ([`solitude`]). Around them: the shapes that cross the seams ([`event`], [`mod@unit`], [`command`]), events as records ([`binding`]), identities ([`identity`]), the inbox
//! ([`inbox`]), the retry schedule ([`retry`]), the checks on what a handler emits ([`emission`]) and the record that a
//! dying event leaves ([`dead_letter`]).

pub mod binding;
pub mod breaker;
pub mod budget;
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
pub mod solitude;
pub mod time;
pub mod unit;
