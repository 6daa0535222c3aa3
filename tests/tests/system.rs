//! System tests.

mod damage;
mod decoders;
mod frozen;
