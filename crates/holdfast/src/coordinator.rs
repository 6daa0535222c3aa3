//! `holdfast coordinator`: reads the options or the configuration file, and runs a node until it is interrupted.

mod config;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use holdfast_agent::client::Endpoint;
use holdfast_context::Context;
use holdfast_coordinator::metrics;
use holdfast_coordinator::serve::{Address, Listener, Tls, serve};
use holdfast_coordinator::sites::Sites;
use holdfast_coordinator::{Node, Options};
use holdfast_format::{SecretKey, SiteName};
use holdfast_store::{ByUrl, SiteOptions, SiteUrl};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::args::{Listen, Metrics, NamedUrl, TimeSpan};
use crate::call::Call;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::{output, private_file};
pub(crate) use config::Settings;

/// How long a coordinator's lease lasts without renewal, unless it is told otherwise: within twice that its vaults are taken over.
const LEASE: Duration = Duration::from_secs(10);

/// The shortest lease: below, a pause of the machine costs every vault its owner. etcd itself makes about two seconds of less.
const LEASE_MIN: Duration = Duration::from_secs(2);

/// Options of `coordinator`. Certificates for mutual TLS come with `--tls-ca`, `--tls-cert`, `--tls-key`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("settings").required(true).multiple(true).args(["data", "config"]))]
pub(crate) struct CoordinatorArgs {
    /// Where it keeps its state, and its socket holdfast.sock
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Where to listen besides that socket: HOST:PORT or unix:PATH; several may be given
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Vec<Listen>,
    /// A site: NAME=URL; several may be given
    #[arg(
        long,
        value_name = "NAME=URL",
        env = "HOLDFAST_SITES",
        value_delimiter = '\n'
    )]
    pub(crate) site: Vec<NamedUrl>,
    /// The placement store: embedded:, or etcd://HOST:PORT,HOST:PORT/PREFIX
    #[arg(long, value_name = "URL")]
    pub(crate) placement: Option<String>,
    /// This coordinator's name; this machine's by default
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<SiteName>,
    /// Where clients and other coordinators reach it, if not where it listens: https://HOST:PORT; several may be given
    #[arg(long, value_name = "URL")]
    pub(crate) advertise: Vec<Endpoint>,
    /// The key that all coordinators of one placement store sign with; `holdfast key cluster` makes it
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster_key: Option<PathBuf>,
    /// How long its lease lasts when it is gone, from 2s to 1h: others take its vaults then
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_lease)]
    pub(crate) lease: Duration,
    /// Where to serve metrics for Prometheus, without TLS, to whoever asks: HOST:PORT, best of loopback; nowhere by default
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) metrics: Option<Metrics>,
    /// Read all of it from a file instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "listen", "site", "placement", "name", "advertise", "cluster_key", "lease", "metrics"])]
    pub(crate) config: Option<PathBuf>,
    /// Only check the settings, the sites and the placement store
    #[arg(long)]
    pub(crate) check: bool,
}

/// Runs a coordinator until it is interrupted.
pub(crate) async fn run(call: &Call, args: CoordinatorArgs) -> Outcome<Exit> {
    let check = args.check;
    let settings = match &args.config {
        Some(path) => Settings::load(path)?,
        None => Settings {
            data: args.data.clone().unwrap_or_default(),
            listen: args.listen,
            sites: args.site,
            placement: args.placement,
            name: args.name,
            advertise: args.advertise,
            cluster_key: args.cluster_key,
            lease: args.lease,
            metrics: args.metrics,
            ca: call.common.tls_ca.clone(),
            cert: call.common.tls_cert.clone(),
            key: call.common.tls_key.clone(),
        },
    };
    if settings.sites.is_empty() {
        return Err(Failure::usage(
            "no site is named",
            "give --site NAME=URL, for example --site onsite=file:/srv/holdfast",
        ));
    }
    // A site that does not answer may come back; one whose URL makes no sense never does.
    let wrong = match args.config {
        Some(_) => Exit::Failed,
        None => Exit::Usage,
    };
    for site in &settings.sites {
        site.url.parse::<SiteUrl>().map_err(|error| Failure {
            exit: wrong,
            ..Failure::new(format_args!("site {}: {error}", site.name))
        })?;
    }
    let tls = read_tls(&settings)?;
    let addresses = addresses(&settings, tls.as_ref())?;
    make_private_folder(&settings.data)?;
    if check {
        return check_all(call, &settings).await;
    }
    // Bound before anything else: a used port must not cost the running owner its epoch.
    let mut listeners = Vec::new();
    for address in &addresses {
        listeners.push(Listener::bind(address).await.map_err(Failure::new)?);
    }
    let metrics = match &settings.metrics {
        Some(at) => Some(metrics::bind(resolve(&at.0)?).await.map_err(Failure::new)?),
        None => None,
    };
    let told: Vec<String> = listeners.iter().map(Listener::address).collect();
    let stop = CancellationToken::new();
    let reached = reached(&settings, &told);
    let node = start_node(&call.context, &settings, reached, stop.clone()).await?;
    for address in &told {
        tracing::info!(address, "listening");
    }
    let mut telling = None;
    if let Some(listener) = metrics {
        let at = listener.local_addr().map_err(Failure::new)?;
        tracing::info!(address = %at, "serving metrics");
        output::remark(
            call.quiet(),
            format_args!("metrics are at http://{at}/metrics"),
        );
        let task = call.context.spawn(metrics::serve(node.clone(), listener));
        telling = Some(AbortOnDropHandle::new(task));
    }
    output::remark(
        call.quiet(),
        format_args!(
            "coordinator {} listens at {}",
            node.options.name,
            told.join(", ")
        ),
    );
    let mut serving = Vec::new();
    for listener in listeners {
        serving.push(call.context.spawn(serve(node.clone(), listener)));
    }
    call.cancel.cancelled().await;
    tracing::info!("stopping: vaults are given up in order");
    node.shut_down().await;
    for task in serving {
        match task.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(Failure::new(error)),
            Err(error) => return Err(Failure::new(error)),
        }
    }
    drop(telling);
    Ok(Exit::Done)
}

/// Starts a node from settings; its key is made the first time.
pub(crate) async fn start_node(
    context: &Context,
    settings: &Settings,
    addresses: Vec<String>,
    stop: CancellationToken,
) -> Outcome<Arc<Node>> {
    let url = settings
        .placement
        .clone()
        .unwrap_or_else(|| "embedded:".into());
    let placement = holdfast_placement::open(context.clone(), &url, &settings.data)
        .await
        .map_err(no_placement)?;
    let options = Options {
        name: settings
            .name
            .as_ref()
            .map_or_else(holdfast_agent::backup::host_name, ToString::to_string),
        data: settings.data.clone(),
        addresses,
        sites: settings
            .sites
            .iter()
            .map(|site| (site.name.clone(), site.url.clone()))
            .collect(),
        opener: Arc::new(ByUrl {
            context: context.clone(),
            options: SiteOptions::default(),
        }),
        lease: settings.lease,
        key: match &settings.cluster_key {
            Some(path) => cluster_key(path)?,
            None => own_key(context, &settings.data)?,
        },
        version: env!("CARGO_PKG_VERSION").into(),
        placement: url.split('?').next().unwrap_or_default().into(),
    };
    Node::start(context.clone(), options, placement, stop)
        .await
        .map_err(|error| {
            Failure::new(error)
                .or_advise("put that right, then start it again; --check looks first")
        })
}

fn no_placement(error: holdfast_placement::Error) -> Failure {
    Failure::new(error).or_advise("check what --placement names, and that it can be reached")
}

/// Where others reach it: as it was told; else where it listens, on the network if it does at all. A socket is on this machine
/// alone, where all who share it are.
fn reached(settings: &Settings, listens: &[String]) -> Vec<String> {
    if !settings.advertise.is_empty() {
        return settings.advertise.iter().map(ToString::to_string).collect();
    }
    let on_network = listens.iter().filter(|at| at.starts_with("http"));
    // All addresses of this machine are none: its name is.
    let host = holdfast_agent::backup::host_name();
    let named = on_network.map(|at| {
        at.replace("//0.0.0.0:", &format!("//{host}:"))
            .replace("//[::]:", &format!("//{host}:"))
    });
    let named: Vec<String> = named.collect();
    match named.is_empty() {
        true => listens.to_vec(),
        false => named,
    }
}

/// Reads how long a lease lasts.
fn parse_lease(text: &str) -> Result<Duration, String> {
    let lease = text.parse::<TimeSpan>()?.0;
    let range = LEASE_MIN..=Duration::from_secs(3600);
    match range.contains(&lease) {
        true => Ok(lease),
        false => Err("a lease lasts from 2s to 1h".into()),
    }
}

/// The key that a cluster's coordinators share.
fn cluster_key(path: &Path) -> Outcome<SecretKey> {
    let bytes = private_file::read(
        path,
        "make it once with `holdfast key cluster FILE`, and give every coordinator the same file",
    )?;
    let secret: &[u8; 32] = bytes.as_slice().try_into().map_err(|_| {
        Failure::with_advice(
            format!("{} does not hold 32 bytes", path.display()),
            "give the file that `holdfast key cluster` made, the same one as the other coordinators have",
        )
    })?;
    Ok(SecretKey::new(secret))
}

/// The key that signs this coordinator's records. Lost with the data folder: `vault attach` certifies a new one.
fn own_key(context: &Context, data: &Path) -> Outcome<SecretKey> {
    let path = data.join("coordinator.key");
    if !path.exists() {
        let secret: [u8; 32] = context.random();
        private_file::create(&path, &secret)?;
    }
    let bytes = private_file::read(
        &path,
        "give the coordinator its data folder back, or an empty one and `holdfast vault attach`",
    )?;
    let secret: &[u8; 32] = bytes.as_slice().try_into().map_err(|_| {
        Failure::with_advice(
            format!("{} does not hold 32 bytes", path.display()),
            "restore it, or move it away and certify a new key with `holdfast vault attach`",
        )
    })?;
    Ok(SecretKey::new(secret))
}

fn make_private_folder(path: &Path) -> Outcome<()> {
    use std::os::unix::fs::DirBuilderExt;
    if path.is_dir() {
        return Ok(());
    }
    let made: Vec<&Path> = path
        .ancestors()
        .take_while(|folder| !folder.exists())
        .collect();
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| Failure::file(path, error))?;
    // ORDER: on the disk before anything is kept in it. Were its own name lost in a power cut, a signing key that a
    // vault's owner has certified by then would be gone with it.
    for folder in made {
        private_file::sync_name(folder).map_err(|error| Failure::file(folder, error))?;
    }
    Ok(())
}

fn read_tls(settings: &Settings) -> Outcome<Option<Tls>> {
    let read = |path: &Path| std::fs::read(path).map_err(|error| Failure::file(path, error));
    match (&settings.ca, &settings.cert, &settings.key) {
        (None, None, None) => Ok(None),
        (Some(ca), Some(cert), Some(key)) => Ok(Some(Tls {
            ca: read(ca)?,
            certificate: read(cert)?,
            key: read(key)?,
        })),
        _ => Err(Failure::usage(
            "mutual TLS needs three files",
            "give --tls-ca, --tls-cert and --tls-key together",
        )),
    }
}

fn addresses(settings: &Settings, tls: Option<&Tls>) -> Outcome<Vec<Address>> {
    let mut addresses = vec![Address::Unix(settings.data.join("holdfast.sock"))];
    for listen in &settings.listen {
        match listen {
            Listen::Unix(path) => addresses.push(Address::Unix(path.clone())),
            Listen::Tcp { .. } => {
                let at = resolve(listen)?;
                addresses.push(match tls {
                    Some(tls) => Address::Tls(at, tls.clone()),
                    None if at.ip().is_loopback() => Address::Plain(at),
                    None => {
                        return Err(Failure::usage(
                            format!("listening on {listen} needs mutual TLS: other machines could reach it"),
                            "give --tls-ca, --tls-cert and --tls-key, or listen on 127.0.0.1",
                        ));
                    }
                });
            }
        }
    }
    Ok(addresses)
}

/// The address that a name and a port stand for.
fn resolve(listen: &Listen) -> Outcome<SocketAddr> {
    let Listen::Tcp { host, port } = listen else {
        return Err(Failure::new(format_args!("{listen} is no HOST:PORT")));
    };
    let mut found = (host.as_str(), *port).to_socket_addrs().map_err(|error| {
        Failure::with_advice(
            format!("{listen} cannot be listened on: {error}"),
            "write an address of this machine",
        )
    })?;
    let none = || Failure::new(format_args!("{host} has no address"));
    found.next().ok_or_else(none)
}

async fn check_all(call: &Call, settings: &Settings) -> Outcome<Exit> {
    let url = settings
        .placement
        .clone()
        .unwrap_or_else(|| "embedded:".into());
    let placement = holdfast_placement::open(call.context.clone(), &url, &settings.data)
        .await
        .map_err(no_placement)?;
    placement.coordinators().await.map_err(no_placement)?;
    let mut bad = 0;
    let sites = Sites::new(Arc::new(ByUrl {
        context: call.context.clone(),
        options: SiteOptions::default(),
    }));
    let mut before = Vec::new();
    for site in &settings.sites {
        let name = &site.name;
        sites.add(name.clone(), &site.url).map_err(Failure::new)?;
        let trouble = match sites.open(name).await {
            Ok(opened) => match sites.must_stand_apart(name, &opened, &before) {
                Ok(()) => None,
                Err(error) => Some(Failure::new(error)),
            },
            Err(error) => Some(Failure::new(format_args!("site {name}: {error}"))),
        };
        match trouble {
            None => output::remark(call.quiet(), format_args!("site {name}: fine")),
            Some(failure) => {
                bad += 1;
                output::remark(false, failure.text());
            }
        }
        before.push(name.clone());
    }
    match bad {
        0 => Ok(Exit::Done),
        _ => Err(Failure::with_advice(
            format!("{bad} of {} sites cannot be used", settings.sites.len()),
            "put right what is said of each, then check again",
        )),
    }
}
