//! Power cuts under the built binary: the coordinator's data folder and its sites lie on file systems that lose what was
//! not synced. A cut stops the coordinator where it is, takes from the disks what was not synced, all of it or a random
//! part, and brings both back. What was acknowledged is there. `HOLDFAST_TEST_CUTS=400` does it for longer.
//!
//! I9: a crash at any point loses nothing that was acknowledged.

use std::time::Duration;

use holdfast_tests::{
    Coordinator, Forgetful, ForgetfulMount, Ground, Lost, Noise, Running, Starting,
    assert_same_below, tree,
};

use crate::struck::{Struck, strikes};

/// How many every run of the tests can afford.
const CUTS: usize = 24;

/// How long each disk takes to sync: of a fast one, and long enough to be struck within.
const SYNC: Duration = Duration::from_millis(1);

/// Work takes about so many syncs: a word in the log, a backup, a failover with the opening that follows.
const SYNCS: [u64; 3] = [4, 20, 60];

/// Two disks: that of the coordinator's machine, where its data and the on-site store lie, and one elsewhere.
struct Disks {
    here: Forgetful,
    there: Forgetful,
    _mounts: [ForgetfulMount; 2],
}

impl Disks {
    fn new(ground: &Ground) -> Self {
        let (here, one) = Forgetful::mount(&ground.folder("here"));
        let (there, other) = Forgetful::mount(&ground.folder("there"));
        here.slow(SYNC);
        there.slow(SYNC);
        Self {
            here,
            there,
            _mounts: [one, other],
        }
    }

    /// A coordinator whose data folder and on-site store lie here.
    fn starting(ground: &Ground) -> Starting {
        // Below folders of its own, which nobody else syncs.
        ground
            .coordinator("c1")
            .data_at(ground.at("here/var/lib/c1"))
    }

    fn sites(ground: &Ground) -> [String; 2] {
        [ground.text("here/onsite"), ground.text("there/offsite")]
    }

    /// Cuts the power of the coordinator's machine, perhaps of the other too, and brings it back. Nobody is started.
    fn cut(&self, coordinator: &mut Coordinator, noise: &mut Noise, both: bool) -> Lost {
        coordinator.freeze();
        // One cut in three keeps the least; else the disk had begun with this and that.
        let mut spared = (noise.below(3) > 0).then(|| noise.clone());
        let lost = self.here.power_off(spared.as_mut());
        if both {
            self.there.power_off(spared.as_mut());
        }
        coordinator.kill();
        self.here.power_on();
        self.there.power_on();
        lost
    }
}

#[test]
fn what_was_acknowledged_survives_power_cuts() {
    let noise = Noise::seeded("power");
    let ground = Ground::new();
    // Declared before what runs on them, so that they go after it.
    let disks = Disks::new(&ground);
    let (starting, sites) = (Disks::starting(&ground), Disks::sites(&ground));
    let mut struck = Struck::new(&ground, noise, starting, sites);
    let (mut writes, mut names) = (0, 0);
    let cuts = strikes(CUTS);
    for number in 0..cuts {
        // Half of them at any moment, half in the middle of a sync, whose writes and names are on their way.
        let wait = |struck: &mut Struck<'_>, agent: &mut Running, point| {
            if struck.noise.below(2) == 0 {
                return std::thread::sleep(point);
            }
            let spared = (struck.noise.below(3) > 0).then(|| struck.noise.clone());
            let most = SYNCS[struck.noise.below(3) as usize];
            let syncs = struck.noise.below(most);
            disks.here.power_off_within(syncs, spared);
            while !disks.here.is_off() && !agent.has_ended() {
                std::thread::yield_now();
            }
        };
        struck.round(number, number < cuts / 2, wait, |struck, agent| {
            let both = struck.noise.below(2) == 0;
            let agent = agent.filter(|_| struck.noise.below(3) == 0);
            let with_agent = agent.is_some();
            let lost = disks.cut(&mut struck.coordinator, &mut struck.noise, both);
            if let Some(agent) = agent {
                agent.kill();
            }
            println!(
                "  {} writes and {} names were lost",
                lost.writes, lost.names
            );
            writes += lost.writes;
            names += lost.names;
            struck.rescued_from(number % 2);
            struck.coordinator.start_again();
            match (both, with_agent) {
                (true, true) => "both sites, and the agent",
                (true, false) => "both sites",
                (false, true) => "the coordinator's site, and the agent",
                (false, false) => "the coordinator's site",
            }
        });
    }
    struck.tell();
    println!("{writes} writes and {names} names were lost in all");
    // How many writes, too, is left to luck; that they are lost, the tests of the file system prove.
    assert!(names > 0, "cuts that take nothing prove nothing");
    struck.all_is_there();
}

/// The first minute: a coordinator that was started once, and a vault that was created, are there after a cut at the
/// least that the disks may keep. Nobody has to attach the vault again.
#[test]
fn a_start_and_a_vault_survive_the_cut_right_after_them() {
    let ground = Ground::new();
    let disks = Disks::new(&ground);
    let [onsite, offsite] = Disks::sites(&ground);
    let mut coordinator = Disks::starting(&ground)
        .site("onsite", &format!("file:{onsite}"))
        .site("offsite", &format!("file:{offsite}"))
        .start();
    let cut = |coordinator: &mut Coordinator| {
        coordinator.freeze();
        let lost = [disks.here.power_off(None), disks.there.power_off(None)];
        println!("lost: {lost:?}");
        coordinator.kill();
        disks.here.power_on();
        disks.there.power_on();
    };
    let key = || std::fs::read(ground.at("here/var/lib/c1/coordinator.key")).unwrap();
    let before = key();
    cut(&mut coordinator);
    assert_eq!(key(), before, "the coordinator is the same");
    coordinator.start_again();
    let user = ground.user().on(&coordinator);
    let create = ["vault", "create", "db", "--sites", "onsite,offsite"];
    user.done(&[&create[..], &["--identity-out", "identity"]].concat());
    cut(&mut coordinator);
    coordinator.start_again();
    let user = user.with_identity("identity");
    let path = ground.at("tree");
    tree::small(&path, 1);
    let text = ground.text("tree");
    let words = ["backup", "--vault", "db", "--source", "files", &text];
    user.done(&[&words[..], &["--wait", "protected"]].concat());
    cut(&mut coordinator);
    for site in [onsite, offsite] {
        let words = ["rescue", "restore", "--target", "back", "--delta"];
        user.done(&[&words[..], &["--site", &format!("file:{site}")]].concat());
        assert_same_below(&ground.at("back"), &path);
    }
}

/// A cut at each moment of the first start, at the least and at random: the next start works.
#[test]
fn a_cut_in_the_middle_of_the_first_start() {
    let mut noise = Noise::seeded("first start");
    let ground = Ground::new();
    let disks = Disks::new(&ground);
    for number in 0..strikes(8) {
        let at = |name: &str| ground.text(format!("here/{number}-{name}"));
        let mut coordinator = ground
            .coordinator("c1")
            .data_at(at("c1").into())
            .site("onsite", &format!("file:{}", at("onsite")))
            .start_unheard();
        std::thread::sleep(Duration::from_micros(noise.below(400_000)));
        let lost = disks.cut(&mut coordinator, &mut noise, false);
        println!("{number}: {lost:?}");
        coordinator.start_again();
        let user = ground
            .user()
            .on(&coordinator)
            .at_home(format!("home-{number}"));
        let identity = format!("identity-{number}");
        user.done(&[
            "vault",
            "create",
            "db",
            "--sites",
            "onsite",
            "--identity-out",
            &identity,
        ]);
        coordinator.stop();
    }
}
