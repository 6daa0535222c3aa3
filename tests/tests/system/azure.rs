//! A vault whose off-site is a container at Azure Blob Storage, within limits: backup, counters, failover, rescue.

use std::fs;

use holdfast_tests::compare::assert_same;
use holdfast_tests::tree::{self, restored};
use holdfast_tests::{Ground, surroundings};

#[test]
fn a_vault_follows_to_azure_and_goes_on_there() {
    let ground = Ground::new();
    ground.write("key", surroundings::azure_key());
    let limits = "&upload_max=50MiB/s&download_max=50MiB/s&requests_max=8";
    let offsite = surroundings::azure("system", &ground.text("key")) + limits;
    let (path, tree_path) = (ground.text("tree"), ground.at("tree"));
    tree::awkward(&tree_path, 3);
    let mut coordinator = ground
        .coordinator("c1")
        .site("onsite", &ground.file_site("onsite"))
        .site("offsite", &offsite)
        .start();
    let user = ground.user().on(&coordinator);
    let create = ["vault", "create", "db", "--sites", "onsite,offsite"];
    user.done(&[&create[..], &["--identity-out", "identity"]].concat());
    let backup = ["backup", "--vault", "db", "--source", "files", &path];
    user.done(&[&backup[..], &["--wait", "protected"]].concat());

    let sites = user.json(0, &["site", "list", "--vault", "db"]);
    let site = sites
        .as_array()
        .and_then(|sites| sites.iter().find(|site| site["site"] == "offsite"));
    let site = site.expect("it is a member");
    let asked = &site["requests_by_kind"];
    for kind in ["puts", "gets", "lists", "deletes"] {
        assert!(asked[kind].as_u64().unwrap() > 0, "{kind}: {site}");
    }
    assert_eq!(asked["failures"], 0, "{site}");
    assert_eq!(asked["retries"], 0, "{site}");
    assert!(site["bytes_written"].as_u64().unwrap() > 0, "{site}");

    user.done(&["failover", "--vault", "db", "--to", "offsite"]);
    fs::write(tree_path.join("more"), "written after the failover").unwrap();
    user.done(&backup);
    let rest = ["restore", "latest", "--vault", "db", "--target"];
    user.with_identity("identity")
        .done(&[&rest[..], &[&ground.text("back")]].concat());
    assert_same(&tree_path, &restored(&ground.at("back"), &tree_path));

    coordinator.kill();
    fs::remove_dir_all(ground.at("c1")).unwrap();
    fs::remove_dir_all(ground.at("onsite")).unwrap();
    let alone = ground.user().with_identity("identity");
    let target = ground.text("rescued");
    alone.done(&["rescue", "restore", "--site", &offsite, "--target", &target]);
    assert_same(&tree_path, &restored(&ground.at("rescued"), &tree_path));
}
