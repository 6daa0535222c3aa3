//! Few file descriptors.

use holdfast_tests::compare::assert_same_below;
use holdfast_tests::{Ground, Noise, tree};

use super::{backup, ids, restores, vault};

/// Few file descriptors for the coordinator: it works, slowly, or says so; with more all is there.
#[test]
fn few_file_descriptors_for_the_coordinator() {
    let ground = Ground::new();
    let starting = ground.coordinator("c1").file_sites(&["onsite", "offsite"]);
    let (mut coordinator, user) = vault(starting, &ground);
    let (path, text) = (ground.at("tree"), ground.text("tree"));
    tree::small(&path, 84);
    user.done(&backup(&text, &["--wait", "protected"]));
    let mut acknowledged = ids(&user);
    for limit in ["--nofile=64", "--nofile=40", "--nofile=28", "--nofile=20"] {
        coordinator.kill();
        coordinator.restarts(|starting| starting.limited(&[limit]));
        coordinator.start_again();
        tree::change_small(&path, &mut Noise::new(85));
        // More at once than it has descriptors for.
        let asking: Vec<_> = (0..12)
            .map(|number| match number % 3 {
                0 => user.start(&backup(&text, &["--json"])),
                1 => user.start(&["verify", "--vault", "db", "--read-data"]),
                _ => user.start(&["snapshots", "--vault", "db"]),
            })
            .collect();
        for (number, one) in asking.into_iter().enumerate() {
            let ran = one.wait();
            match ran.code {
                Some(0) if number % 3 == 0 => {
                    acknowledged.push(ran.json()["snapshot"].as_str().unwrap().to_owned());
                }
                Some(0) => {}
                // A site that cannot be opened is a finding, too.
                Some(3) if number % 3 == 1 => println!("{limit}: {}", ran.stderr.trim_end()),
                _ => println!("{limit}: {}", ran.expect(1).says()),
            }
        }
        assert!(!coordinator.has_ended(), "{limit}: it goes on");
    }
    coordinator.kill();
    coordinator.restarts(|starting| starting.limited(&[]));
    coordinator.start_again();
    let listed = ids(&user);
    for id in &acknowledged {
        assert!(listed.contains(id), "{id} was acknowledged and is missing");
    }
    println!("{} acknowledged with few descriptors", acknowledged.len());
    user.done(&backup(&text, &["--wait", "protected"]));
    restores(&ground, &user, &path);
    let verified = user.json(0, &["verify", "--vault", "db", "--read-data"]);
    assert_eq!(verified["complete"], true, "{verified}");
}

/// Few file descriptors for the agent: a backup that cannot open what it is to read is no backup.
#[test]
fn few_file_descriptors_for_the_agent() {
    let ground = Ground::new();
    let starting = ground.coordinator("c1").file_sites(&["onsite", "offsite"]);
    let (_coordinator, user) = vault(starting, &ground);
    let (path, text) = (ground.at("tree"), ground.text("tree"));
    tree::small(&path, 86);
    tree::crowd(&path.join("crowd"), 400);
    tree::deep(&path.join("deep"), 40);
    for limit in ["--nofile=64", "--nofile=32", "--nofile=24", "--nofile=14"] {
        let before = ids(&user);
        let few = user.limited(&[limit]);
        let ran = few.run(&backup(&text, &["--no-cache"]));
        match ran.code {
            Some(0) => {}
            _ => {
                let said = ran.expect(1).says();
                assert!(
                    said.contains("files are open") || said.contains("open files"),
                    "{limit}: {said}"
                );
                assert_eq!(ids(&user), before, "{limit}: nothing is committed");
                user.done(&backup(&text, &["--no-cache"]));
            }
        }
        let target = ground.text(format!("target{limit}"));
        let words = ["restore", "--vault", "db", "latest", "--target", &target];
        let words = [&words[..], &["--delta", "--delete-extra"]].concat();
        let ran = few.run(&words);
        if ran.code != Some(0) {
            println!("{limit}: {}", ran.expect(1).says());
            user.done(&words);
        }
        assert_same_below(target.as_ref(), &path);
    }
}
