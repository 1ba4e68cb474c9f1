//! The whole host against its public surface: each test starts the real program on a scratch directory.

#![expect(
    clippy::unwrap_used,
    reason = "what a test starts from either works or ends the test"
)]

mod breaker;
mod damage;
mod data;
mod dev;
mod dlq;
mod ends;
mod fixture;
mod hostile;
mod http;
mod ingress_attacks;
mod kafka;
mod kills;
mod lifecycle;
mod manual;
mod ordering;
mod publishing;
mod rules;
mod signals;
mod tidy;
