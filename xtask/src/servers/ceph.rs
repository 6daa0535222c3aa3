//! Ceph's S3 gateway on one monitor and one storage daemon that keeps its objects in memory: the
//! real S3 server of the tests.
//!
//! Made to come up in two seconds rather than fifteen: the storage daemon stands in the very first
//! map, so that nobody has to be told of it; the monitor does not wait to gather proposals; and
//! there is no manager, which only watches and which the gateway does without.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::runner::Runner;
use crate::servers::server::Server;
use crate::servers::{ACCESS_KEY, SECRET_KEY, http, log_of, ports};

/// Room of the storage daemon; memory is used only as objects fill it.
const STORE_BYTES_MAX: u64 = 4 << 30;

#[derive(Debug)]
pub(crate) struct Ceph {
    gateway: Server,
    storage: Server,
    monitor: Server,
    port: u16,
}

impl Ceph {
    /// Starts the daemons, waits until the gateway answers, and gives it a user.
    pub(crate) fn start(runner: &Runner, scratch: &Path) -> anyhow::Result<Self> {
        let cluster = Cluster::create(scratch)?;
        cluster.make_keys(runner)?;
        cluster.make_maps(runner)?;

        let monitor_arguments = [
            "--mkfs", "-i", "a", "--monmap", "monmap", "--osdmap", "osdmap",
        ];
        cluster.run(runner, "ceph-mon", &monitor_arguments)?;
        let monitor = cluster.start("ceph-mon", &["-i", "a"])?;

        let storage_id = uuid()?;
        cluster.run(
            runner,
            "ceph-osd",
            &["-i", "0", "--mkfs", "--osd-uuid", &storage_id],
        )?;
        let storage = cluster.start("ceph-osd", &["-i", "0"])?;

        let gateway = cluster.start("radosgw", &["-n", "client.rgw.a"])?;
        let mut ceph = Self {
            gateway,
            storage,
            monitor,
            port: cluster.port,
        };
        ceph.wait(runner)?;
        cluster.make_user(runner)?;
        Ok(ceph)
    }

    fn wait(&mut self, runner: &Runner) -> anyhow::Result<()> {
        let Self {
            gateway,
            storage,
            monitor,
            port,
        } = self;
        gateway.wait(runner, || {
            // A gateway waits for ever for daemons that have ended: let their logs speak instead.
            storage.check().is_err() || monitor.check().is_err() || http::answers(*port, "/")
        })?;
        self.check()
    }

    /// An error that names the daemon which ended by itself, if one did.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        self.monitor.check()?;
        self.storage.check()?;
        self.gateway.check()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// The folder and the settings that all of Ceph's programs share.
struct Cluster {
    scratch: PathBuf,
    folder: PathBuf,
    /// Where the gateway listens.
    port: u16,
    monitor_ports: [u16; 2],
    id: String,
}

impl Cluster {
    fn create(scratch: &Path) -> anyhow::Result<Self> {
        let folder = scratch.join("ceph");
        for name in ["", "mon", "osd", "rgw", "run"] {
            let made = folder.join(name);
            fs::create_dir(&made).with_context(|| format!("cannot create {}", made.display()))?;
        }
        let [port, monitor_v2, monitor_v1] = ports::free()?;
        let monitor_ports = [monitor_v2, monitor_v1];
        let cluster = Self {
            scratch: scratch.to_owned(),
            folder,
            port,
            monitor_ports,
            id: uuid()?,
        };
        let path = cluster.folder.join("ceph.conf");
        fs::write(&path, cluster.settings())
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(cluster)
    }

    fn monitor_address(&self) -> String {
        let [v2, v1] = self.monitor_ports;
        format!("[v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]")
    }

    fn settings(&self) -> String {
        let id = &self.id;
        let port = self.port;
        let folder = self.folder.display();
        let monitor = self.monitor_address();
        format!(
            "[global]
fsid = {id}
mon_host = {monitor}
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
auth_allow_insecure_global_id_reclaim = false
keyring = {folder}/keyring
run_dir = {folder}/run
admin_socket = {folder}/run/$name.asok
pid_file = {folder}/run/$name.pid
crash_dir = {folder}/run
log_to_file = false
mon_cluster_log_file = {folder}/run/cluster.log
# One copy on one daemon is what a test wants.
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_data_avail_crit = 1
# Each pool that the gateway makes takes two rounds of the monitor: do not wait to gather more.
paxos_propose_interval = 0.05
paxos_min_wait = 0.01

[mon.a]
mon_data = {folder}/mon

[osd.0]
osd_data = {folder}/osd
osd_objectstore = memstore
memstore_device_bytes = {STORE_BYTES_MAX}

[client.rgw.a]
rgw_frontends = beast endpoint=127.0.0.1:{port}
rgw_enable_usage_log = false
rgw_data = {folder}/rgw
"
        )
    }

    fn make_keys(&self, runner: &Runner) -> anyhow::Result<()> {
        let all = "allow *";
        let owners: [(&str, &[(&str, &str)]); 4] = [
            ("mon.", &[("mon", all)]),
            ("client.admin", &[("mon", all), ("osd", all)]),
            ("osd.0", &[("mon", "allow profile osd"), ("osd", all)]),
            (
                "client.rgw.a",
                &[("mon", "allow rwx"), ("osd", "allow rwx")],
            ),
        ];
        for (index, (owner, grants)) in owners.into_iter().enumerate() {
            let mut arguments = vec!["keyring", "--gen-key", "-n", owner];
            if index == 0 {
                arguments.push("--create-keyring");
            }
            for (service, allowed) in grants {
                arguments.extend(["--cap", service, allowed]);
            }
            self.run(runner, "ceph-authtool", &arguments)?;
        }
        Ok(())
    }

    fn make_maps(&self, runner: &Runner) -> anyhow::Result<()> {
        let address = self.monitor_address();
        let arguments = [
            "--create", "--addv", "a", &address, "--fsid", &self.id, "monmap",
        ];
        self.run(runner, "monmaptool", &arguments)?;
        self.run(runner, "osdmaptool", &["--createsimple", "1", "osdmap"])
    }

    fn make_user(&self, runner: &Runner) -> anyhow::Result<()> {
        let keys = ["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY];
        let user = ["user", "create", "--uid=test", "--display-name=test"];
        self.run(runner, "radosgw-admin", &[&user[..], &keys[..]].concat())
    }

    /// Runs one of Ceph's tools to its end, in the cluster's folder.
    fn run(&self, runner: &Runner, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new(program);
        command
            .current_dir(&self.folder)
            .env("CEPH_CONF", self.folder.join("ceph.conf"))
            .args(arguments);
        runner.run_logged(&mut command, &log_of(&self.scratch, "ceph-tools"))
    }

    /// Starts one of Ceph's daemons.
    fn start(&self, program: &'static str, arguments: &[&str]) -> anyhow::Result<Server> {
        let settings = self.folder.join("ceph.conf").display().to_string();
        let foreground = ["-f", "-c", &settings];
        let arguments: Vec<String> = foreground
            .iter()
            .chain(arguments)
            .map(|&argument| argument.to_owned())
            .collect();
        Server::start(program, &self.scratch, program, &arguments)
    }
}

/// A random id, from the kernel.
fn uuid() -> anyhow::Result<String> {
    let path = "/proc/sys/kernel/random/uuid";
    let id = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    Ok(id.trim().to_owned())
}
