//! What is done to a site's disk: an object rots, the disk is replaced by an empty one, or goes back to an older copy of itself. Never
//! so that something is lost which stood nowhere else.
//!
//! State: none.

use crate::disk::{Disk, Rot};
use crate::world::World;

/// Damages an object at a site of which another site has a good copy.
pub fn rot(world: &World, site: &str) {
    let Some(disk) = world.disk(site) else { return };
    let sound = |name: &String| {
        let there = disk.read(name);
        let mut others = world
            .disks
            .iter()
            .filter(|other| other.site_name().as_str() != site);
        there.is_some() && others.any(|other| other.read(name) == there)
    };
    let mut names: Vec<String> = disk.names("/packs/");
    // Sorted by name, so that the choice is one of the seed: segments are named by hash.
    names.extend(disk.names("/log/"));
    names.extend(disk.names("/keys/"));
    names.retain(sound);
    let Some(name) = world.chance.pick(&names, &["rot", site]) else {
        return;
    };
    let mut how = [Rot::Missing, Rot::Truncated, Rot::Flipped, Rot::Zeroed]
        [world.chance.below(4, &["how", site]) as usize];
    // A record that is gone from the end of a log cannot be told from one that never was.
    if how == Rot::Missing && name.contains("/log/") {
        how = Rot::Flipped;
    }
    disk.rot(name, how, world.chance.draw(&["where", site]));
    world.trace.count(&format!("fault: Rot{how:?}"));
    let name = crate::trace::plain(name);
    world
        .trace
        .say("rotter", format_args!("{how:?} {name} at {site}"));
}

/// The disk of a site that only follows is replaced by an empty one.
pub fn replace(world: &World, site: &str) {
    let folds = world.watch.folds();
    let Some(disk) = world.disk(site) else { return };
    let own = folds.get(disk.site_name());
    let primary = own.and_then(|state| state.catalog.primary.clone());
    let mut needed = disk.names("/packs/");
    needed.extend(disk.names("/log/"));
    needed.extend(disk.names("/keys/"));
    if own.is_none()
        || primary.as_ref() == Some(disk.site_name())
        || !is_elsewhere(world, disk, &needed)
    {
        return;
    }
    disk.replace_disk();
    world.trace.count("fault: Replace");
    world
        .trace
        .say("history", format_args!("{site} has an empty disk now"));
}

/// Whether another disk has the same of all these: what lies only here is not lost by what somebody does to a disk.
fn is_elsewhere(world: &World, disk: &Disk, names: &[String]) -> bool {
    let others = world
        .disks
        .iter()
        .filter(|other| other.site_name() != disk.site_name());
    names.iter().all(|name| {
        let here = disk.read(name);
        others.clone().any(|other| other.read(name) == here)
    })
}

/// The disk of a site goes back to an older copy of itself, if what it lacks then lies elsewhere.
pub fn roll_back(world: &World, site: &str) {
    let Some(disk) = world.disk(site) else { return };
    let Some(newer) = disk.newer_than_copy().filter(|newer| !newer.is_empty()) else {
        return;
    };
    // Saved folds only save work.
    let needed = newer.into_iter().filter(|name| {
        let kinds = ["/packs/", "/log/", "/keys/"];
        kinds.iter().any(|kind| name.contains(kind))
    });
    let needed: Vec<String> = needed.collect();
    if !is_elsewhere(world, disk, &needed) {
        return;
    }
    world.watch.rolled_back(disk);
    disk.roll_back();
    world.trace.count("fault: RollBack");
    // A record that is gone is met at the next one. A pack that no record named yet is missed by nobody before it is read: that is
    // rot, and the scrubber's to find.
    if !needed.iter().any(|name| name.contains("/log/")) {
        world.trace.count("fault: RotRolledBack");
    }
    world.trace.say(
        "history",
        format_args!("{site} lacks {} objects now", needed.len()),
    );
}
