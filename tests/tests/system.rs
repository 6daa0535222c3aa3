//! The system tests: the built binary as processes of its own, against real servers. Run by `cargo xtask test`, which
//! builds the binary and starts the servers; what is missing fails the test that needs it.

#![expect(clippy::unwrap_used, reason = "a test ends where its ground is gone")]

#[path = "system/story.rs"]
mod story;

#[path = "system/certificates.rs"]
mod certificates;

#[path = "system/disaster.rs"]
mod disaster;

#[path = "system/rescue.rs"]
mod rescue;

#[path = "system/reflection.rs"]
mod reflection;

#[path = "system/protected.rs"]
mod protected;

#[path = "system/killed.rs"]
mod killed;

#[path = "system/input.rs"]
mod input;

#[path = "system/streams.rs"]
mod streams;

#[path = "system/together.rs"]
mod together;

#[path = "system/outages.rs"]
mod outages;

#[path = "system/settings.rs"]
mod settings;

#[path = "system/policy.rs"]
mod policy;
