//! The backup side as a whole, against real trees on disk and a sink that is a map.

mod cached;
mod changing;
mod command;
mod kinds;
mod large;
mod laws;
mod selection;
