//! Deterministic simulation of agents, coordinators, placement and sites: one thread, one seed, a paused clock.
