//! The peers that are measured, each at its default and at its fastest: where bytes compress, with its fastest compression; where
//! they do not, without any. Always with encryption, and a repository in a folder on the same disk.

use crate::peer::{Peer, Setting};

/// Sets whose bytes compress.
const TEXT: &str = "AC";
/// Sets whose bytes do not.
const NOISE: &str = "BD";
const ALL: &str = "ABCD";

/// All of them.
pub(crate) const PEERS: [&Peer; 4] = [&RESTIC, &RUSTIC, &BORG, &BUPSTASH];

/// The one that targets name besides the fastest.
pub(crate) const RESTIC: Peer = Peer {
    name: "restic",
    version: &["version"],
    environment: &[
        ("RESTIC_REPOSITORY", "{repository}"),
        ("RESTIC_PASSWORD", "benchmark"),
        ("RESTIC_CACHE_DIR", "{home}/cache"),
    ],
    create: &[&["init", "--quiet"]],
    backup: &[&["backup", "--quiet", "{setting}", "{source}"]],
    restore: &[&["restore", "--quiet", "latest", "--target", "{target}"]],
    verify: &[&["check", "--quiet", "--read-data"]],
    expire: &[&["forget", "--quiet", "--keep-last", "1", "--prune"]],
    restores_whole_path: true,
    settings: &[
        Setting {
            name: "",
            sets: ALL,
            lz4_on: "",
            words: &[],
        },
        Setting {
            name: "fastest",
            sets: TEXT,
            lz4_on: "",
            words: &["--compression", "fastest"],
        },
        Setting {
            name: "off",
            sets: NOISE,
            lz4_on: "",
            words: &["--compression", "off"],
        },
    ],
};

const RUSTIC: Peer = Peer {
    name: "rustic",
    version: &["--version"],
    environment: &[
        ("RUSTIC_REPOSITORY", "{repository}"),
        ("RUSTIC_PASSWORD", "benchmark"),
        ("RUSTIC_CACHE_DIR", "{home}/cache"),
        ("RUSTIC_NO_PROGRESS", "true"),
    ],
    create: &[&["init", "{setting}"]],
    backup: &[&["backup", "{source}"]],
    restore: &[&["restore", "latest", "{target}"]],
    verify: &[&["check", "--read-data"]],
    // Without the last word it only marks what is to be deleted a day later.
    expire: &[&["forget", "--keep-last", "1", "--prune", "--instant-delete"]],
    restores_whole_path: true,
    settings: &[
        Setting {
            name: "",
            sets: ALL,
            lz4_on: "",
            words: &[],
        },
        Setting {
            name: "zstd 1",
            sets: TEXT,
            lz4_on: "",
            words: &["--set-compression", "1"],
        },
        Setting {
            name: "off",
            sets: NOISE,
            lz4_on: "",
            words: &["--set-compression", "0"],
        },
    ],
};

const BORG: Peer = Peer {
    name: "borg",
    version: &["--version"],
    environment: &[
        ("BORG_REPO", "{repository}"),
        ("BORG_PASSPHRASE", "benchmark"),
        ("BORG_BASE_DIR", "{home}"),
    ],
    create: &[&["init", "--encryption", "repokey-blake2"]],
    backup: &[&["create", "{setting}", "::{step}", "{source}"]],
    restore: &[&["extract", "::two"]],
    verify: &[&["check", "--verify-data"]],
    expire: &[&["prune", "--keep-last", "1"], &["compact"]],
    restores_whole_path: true,
    settings: &[
        Setting {
            name: "",
            sets: ALL,
            lz4_on: TEXT,
            words: &[],
        },
        Setting {
            name: "zstd 1",
            sets: TEXT,
            lz4_on: "",
            words: &["--compression", "zstd,1"],
        },
        Setting {
            name: "off",
            sets: NOISE,
            lz4_on: "",
            words: &["--compression", "none"],
        },
    ],
};

const BUPSTASH: Peer = Peer {
    name: "bupstash",
    version: &["version"],
    environment: &[
        ("BUPSTASH_REPOSITORY", "{repository}"),
        ("BUPSTASH_KEY", "{home}/key"),
    ],
    create: &[&["new-key", "--output", "{home}/key"], &["init"]],
    backup: &[&["put", "--quiet", "{setting}", "step={step}", "{source}"]],
    restore: &[&["restore", "--quiet", "--into", "{target}", "step=two"]],
    verify: &[],
    expire: &[
        &[
            "rm",
            "--quiet",
            "--allow-many",
            "step=first",
            "or",
            "step=unchanged",
        ],
        &["gc", "--quiet"],
    ],
    restores_whole_path: false,
    settings: &[
        Setting {
            name: "lz4",
            sets: ALL,
            lz4_on: TEXT,
            words: &["--compression", "lz4"],
        },
        Setting {
            name: "zstd 1",
            sets: TEXT,
            lz4_on: "",
            words: &["--compression", "zstd:1"],
        },
        Setting {
            name: "off",
            sets: NOISE,
            lz4_on: "",
            words: &["--compression", "none"],
        },
    ],
};
