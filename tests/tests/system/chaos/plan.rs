//! What goes wrong, when, for how long and on whom: drawn from the seed before anything starts, and nothing else is.

use std::time::Duration;

use holdfast_tests::Noise;

pub(super) const ETCDS: [&str; 3] = ["etcd-1", "etcd-2", "etcd-3"];
pub(super) const COORDINATORS: [&str; 3] = ["c1", "c2", "c3"];
/// Those on S3 servers.
pub(super) const SITES: [&str; 2] = ["onsite", "offsite"];
/// One more in a folder on a small disk.
pub(super) const SPARE: &str = "spare";
/// Each with its sites, the primary first.
pub(super) const VAULTS: [(&str, &[&str]); 3] = [
    ("db", &["onsite", "offsite"]),
    ("web", &["offsite", "onsite"]),
    ("mail", &["onsite", "offsite", "spare"]),
];
pub(super) const AGENTS: usize = 6;

/// The first fault comes after the first backups have begun.
const CALM: Duration = Duration::from_secs(3);

/// A way through a door that is slow.
pub(super) const SLOW_BYTES_PER_SECOND: u32 = 200_000;

/// How a way is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Connections end, and new ones are refused.
    Shut,
    /// Nothing comes through, and nobody says so.
    Silent,
    /// Little comes through.
    Slow,
}

/// One thing that goes wrong. Numbers are places in the lists above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    KillCoordinator(usize),
    StopCoordinator(usize),
    FreezeCoordinator(usize),
    KillEtcd(usize),
    FreezeEtcd(usize),
    KillAgent(usize),
    FreezeAgent(usize),
    FreezeSite(usize),
    /// A coordinator from all of etcd.
    CutFromEtcd(usize, Way),
    /// A coordinator from one node of etcd.
    CutFromNode(usize, usize, Way),
    /// A coordinator from a site.
    CutFromSite(usize, usize, Way),
    /// All agents from a coordinator.
    CutFromAgents(usize, Way),
    /// A site fails one request of so many.
    FailRequests(usize, u64),
    /// The disk under a coordinator's `--data`.
    FillData(usize),
    /// The disk of the spare site.
    FillSpare,
    /// Not a fault: what a person does in the midst.
    FailOver(usize, usize, bool),
    FailOverAll(usize, bool),
    FailBack(usize),
    FailBackAll(usize, bool),
}

use Fault::{
    CutFromAgents, CutFromEtcd, CutFromNode, CutFromSite, FailBack, FailBackAll, FailOver,
    FailOverAll, FailRequests, FillData, FillSpare, FreezeAgent, FreezeCoordinator, FreezeEtcd,
    FreezeSite, KillAgent, KillCoordinator, KillEtcd, StopCoordinator,
};

/// What can only be in one kind of trouble at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grip {
    Coordinator(usize),
    Etcd(usize),
    Agent(usize),
    Server(usize),
    WayToEtcd(usize),
    WayToSite(usize, usize),
    WayOfAgents(usize),
    Requests(usize),
    Data(usize),
    Spare,
    Person,
}

/// A fault in time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Planned {
    pub(super) at: Duration,
    pub(super) until: Duration,
    pub(super) fault: Fault,
    /// For chance within it.
    pub(super) seed: u64,
}

/// Draws what goes wrong within so long.
pub(super) fn draw(noise: &mut Noise, length: Duration) -> Vec<Planned> {
    let mut plan: Vec<Planned> = Vec::new();
    let mut at = CALM;
    loop {
        let fault = draw_fault(noise);
        let lasts = millis(noise, 1500, 11_000);
        let until = at + lasts;
        if until >= length {
            return plan;
        }
        let grip = fault.grip();
        // A little longer, so that what was started again has begun to run.
        let is_held =
            |held: &&Planned| held.fault.grip() == grip && held.until + Duration::from_secs(1) > at;
        if plan.iter().find(is_held).is_none() {
            plan.push(Planned {
                at,
                until,
                fault,
                seed: noise.number(),
            });
            at += millis(noise, 300, 3000);
        }
    }
}

fn millis(noise: &mut Noise, from: u64, to: u64) -> Duration {
    Duration::from_millis(from + noise.below(to - from))
}

fn draw_fault(noise: &mut Noise) -> Fault {
    let mut below = |end: usize| noise.below(end as u64) as usize;
    let (coordinator, etcd) = (below(COORDINATORS.len()), below(ETCDS.len()));
    let (site, agent, vault) = (below(SITES.len()), below(AGENTS), below(VAULTS.len()));
    let way = [Way::Shut, Way::Silent, Way::Slow][below(3)];
    let one_of = [3, 6, 15][below(3)];
    let is_sure = below(2) == 0;
    match below(30) {
        0..3 => KillCoordinator(coordinator),
        3 => StopCoordinator(coordinator),
        4 | 5 => FreezeCoordinator(coordinator),
        6 => KillEtcd(etcd),
        7 => FreezeEtcd(etcd),
        8 | 9 => KillAgent(agent),
        10 => FreezeAgent(agent),
        11 | 12 => FreezeSite(site),
        13 => CutFromEtcd(coordinator, way),
        14 => CutFromNode(coordinator, etcd, way),
        15..18 => CutFromSite(coordinator, site, way),
        18 => CutFromAgents(coordinator, way),
        19..22 => FailRequests(site, one_of),
        22 => FillData(coordinator),
        23 => FillSpare,
        24 | 25 => FailOver(vault, site, is_sure),
        26 => FailOverAll(site, is_sure),
        27 | 28 => FailBack(vault),
        _ => FailBackAll(site, is_sure),
    }
}

impl Fault {
    /// Its kind, to be counted by.
    pub(super) fn kind(self) -> &'static str {
        match self {
            KillCoordinator(_) => "coordinator killed",
            StopCoordinator(_) => "coordinator stopped",
            FreezeCoordinator(_) => "coordinator frozen",
            KillEtcd(_) => "etcd killed",
            FreezeEtcd(_) => "etcd frozen",
            KillAgent(_) => "agent killed",
            FreezeAgent(_) => "agent frozen",
            FreezeSite(_) => "S3 frozen",
            CutFromEtcd(..) => "coordinator cut from etcd",
            CutFromNode(..) => "coordinator cut from one etcd",
            CutFromSite(..) => "coordinator cut from S3",
            CutFromAgents(..) => "agents cut from coordinator",
            FailRequests(..) => "S3 errors",
            FillData(_) => "data disk full",
            FillSpare => "site full",
            FailOver(..) => "failover",
            FailOverAll(..) => "failover --all",
            FailBack(_) => "failback",
            FailBackAll(..) => "failback --all",
        }
    }

    fn grip(self) -> Grip {
        match self {
            KillCoordinator(one) | StopCoordinator(one) | FreezeCoordinator(one) => {
                Grip::Coordinator(one)
            }
            KillEtcd(one) | FreezeEtcd(one) => Grip::Etcd(one),
            KillAgent(one) | FreezeAgent(one) => Grip::Agent(one),
            FreezeSite(one) => Grip::Server(one),
            CutFromEtcd(one, _) | CutFromNode(one, ..) => Grip::WayToEtcd(one),
            CutFromSite(one, site, _) => Grip::WayToSite(one, site),
            CutFromAgents(one, _) => Grip::WayOfAgents(one),
            FailRequests(site, _) => Grip::Requests(site),
            FillData(one) => Grip::Data(one),
            FillSpare => Grip::Spare,
            FailOver(..) | FailOverAll(..) | FailBack(_) | FailBackAll(..) => Grip::Person,
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_plan() {
    let plan = |seed| {
        let plan = draw(&mut Noise::new(seed), Duration::from_secs(120));
        format!("{plan:?}")
    };
    assert_eq!(plan(7), plan(7));
    assert_ne!(plan(7), plan(8));
}
