//! A process's way to a site: through its gate, through the weather, to the disk and back.
//!
//! State: none but who talks to what. A request that was on its way when its process died may still land: that is for
//! chance to say.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_context::Context;
use holdfast_format::{Fact, ObjectName, Record, Sealed, SiteName};
use holdfast_store::{
    Counters, Error, Kind, ObjectInfo, OpenSites, Opened, Opening, Put, Result, Site, SiteReader,
    Space, Sweeper,
};

use crate::clock::SimClock;
use crate::disk::Disk;
use crate::gate::Gate;
use crate::trace::plain;
use crate::watch::Watch;
use crate::weather::{Call, Fault, Weather};

/// One process's links.
#[derive(Debug, Clone)]
pub struct Links {
    /// The process.
    pub process: String,
    /// Its gate.
    pub gate: Gate,
    /// What goes wrong.
    pub weather: Weather,
    /// True time.
    pub clock: Arc<SimClock>,
    /// Told of every deletion before it is done.
    pub watch: Arc<Watch>,
    /// The sites.
    pub disks: Vec<Arc<Disk>>,
}

#[async_trait]
impl OpenSites for Links {
    async fn open(&self, name: &SiteName, _: &str, how: Opening) -> Result<Opened> {
        let found = self.disks.iter().find(|disk| disk.site_name() == name);
        let disk = found
            .ok_or_else(|| Error::new(Kind::Invalid, format!("opening site {name}"), "unknown"))?;
        let mut link = Link {
            links: self.clone(),
            disk: disk.clone(),
            mark: None,
        };
        let mark = || Ok(disk.mark(how == Opening::New));
        let (mark, _) = link.call(Call::List, "open", "open", mark).await?;
        link.mark = Some(mark.ok_or_else(|| link.error("opening", "it", "it is no site"))?);
        let link = Arc::new(link);
        Ok(Opened {
            site: link.clone(),
            sweeper: link,
        })
    }
}

/// See the module.
#[derive(Debug, Clone)]
struct Link {
    links: Links,
    disk: Arc<Disk>,
    /// Which disk it was when it was opened.
    mark: Option<u64>,
}

impl Link {
    fn error(&self, doing: &str, name: &str, why: &str) -> Error {
        let what = format!("{doing} {name} at site {}", self.disk.site_name());
        Error::new(Kind::Retry, what, why)
    }

    /// One request, whose effect on the disk is `effect`.
    async fn call<T>(
        &self,
        call: Call,
        doing: &str,
        name: &str,
        effect: impl FnOnce() -> Result<T> + Send,
    ) -> Result<(T, Option<Fault>)> {
        let Links {
            process,
            gate,
            weather,
            ..
        } = &self.links;
        let (site, name) = (self.disk.site_name().as_str(), plain(name));
        gate.pass().await;
        let writes = matches!(call, Call::Put | Call::Change);
        let unknown = |error: Error| match writes {
            true => error.indeterminate(),
            false => error,
        };
        let fault = weather.strike(process, site, call, &name);
        // Whether a request that its process sends as it dies still lands is for chance to say, below.
        if fault == Some(Fault::Crash) {
            gate.kill();
        }
        let words = ["latency", process, site, &name];
        let latency = Duration::from_micros(200 + weather.chance.below(3000, &words));
        tokio::time::sleep(latency).await;
        if weather.is_cut(process, site) || self.disk.condition().down {
            tokio::time::sleep(Duration::from_secs(2)).await;
            gate.pass().await;
            return Err(unknown(self.error(doing, &name, "no answer")));
        }
        if let Some(Fault::Slow(pause)) = fault {
            tokio::time::sleep(pause).await;
        }
        let done = match fault {
            Some(Fault::Fail) => Err(self.error(doing, &name, "it was refused")),
            Some(Fault::Lost) => Err(unknown(self.error(doing, &name, "the request was lost"))),
            _ if self.mark.is_some() && self.disk.mark(false) != self.mark => {
                Err(self.error(doing, &name, "it is no site, or another one by now"))
            }
            // On its way when the process died.
            _ if gate.is_dead() && weather.chance.strikes(500, &["late", process, &name]) => {
                std::future::pending().await
            }
            _ => effect(),
        };
        let word = match &done {
            Ok(_) => "ok",
            Err(_) => "failed",
        };
        weather
            .trace
            .say(process, format_args!("{site} {doing} {name}: {word}"));
        weather.trace.count("calls to sites");
        let back = Duration::from_micros(200 + weather.chance.below(2000, &words));
        tokio::time::sleep(back).await;
        gate.pass().await;
        let done = done?;
        match fault {
            Some(Fault::DoneButFailed) => {
                Err(unknown(self.error(doing, &name, "the answer was lost")))
            }
            fault => Ok((done, fault)),
        }
    }

    async fn put(&self, doing: &str, name: &ObjectName, body: Sealed, bulk: bool) -> Result<Put> {
        let now = self.links.clock.true_millis();
        let effect = || {
            let condition = self.disk.condition();
            if bulk && condition.full {
                let why = "it has no room for packs";
                let what = format!("writing {name} at site {}", self.disk.site_name());
                return Err(Error::new(Kind::Full, what, why));
            }
            if bulk && condition.lies {
                self.links.weather.trace.count("fault: Lie");
                return Ok(Put::Created);
            }
            let put = self.disk.create(name, body.to_bytes(), now);
            if put == Put::Created {
                self.say_facts(name);
            }
            Ok(put)
        };
        let put = self.call(Call::Put, doing, name.as_str(), effect).await?;
        Ok(match put {
            (_, Some(Fault::SentTwice)) => Put::Exists,
            (put, _) => put,
        })
    }

    /// What a record says that was just put, for whoever reads the trace.
    fn say_facts(&self, name: &ObjectName) {
        let vault = name
            .as_str()
            .split_once('/')
            .and_then(|(vault, _)| vault.parse().ok());
        let record = vault.and_then(|vault| {
            let object = self.disk.read(name.as_str())?;
            Record::open(vault, name.as_record(vault)?, object).ok()
        });
        if let Some(record) = record {
            let facts: Vec<_> = record.body.facts.0.iter().map(Fact::kind_name).collect();
            let (at, facts) = (record.position(), facts.join(", "));
            let Links {
                process, weather, ..
            } = &self.links;
            weather
                .trace
                .say(process, format_args!("record {at} says: {facts}"));
        }
    }

    /// One bit of what was read is wrong, where that is the fault.
    fn flipped(
        &self,
        body: Option<Bytes>,
        name: &ObjectName,
        fault: Option<Fault>,
    ) -> Option<Bytes> {
        if fault != Some(Fault::Flip) {
            return body;
        }
        body.map(|body| {
            let mut wrong = body.to_vec();
            let bits = wrong.len() as u64 * 8;
            let bit = self
                .links
                .weather
                .chance
                .below(bits, &["flip", name.as_str()]);
            if let Some(byte) = wrong.get_mut((bit / 8) as usize) {
                *byte ^= 1 << (bit % 8);
            }
            wrong.into()
        })
    }
}

#[async_trait]
impl SiteReader for Link {
    fn name(&self) -> &SiteName {
        self.disk.site_name()
    }

    fn url(&self) -> &str {
        self.disk.site_url()
    }

    async fn get(&self, name: &ObjectName) -> Result<Option<Bytes>> {
        let effect = || Ok(self.disk.read(name.as_str()));
        let (body, fault) = self.call(Call::Read, "get", name.as_str(), effect).await?;
        Ok(self.flipped(body, name, fault))
    }

    async fn get_range(&self, name: &ObjectName, range: Range<u64>) -> Result<Option<Bytes>> {
        let effect = || {
            let Some(body) = self.disk.read(name.as_str()) else {
                return Ok(None);
            };
            if range.end > body.len() as u64 {
                let what = format!("reading {name} at site {}", self.disk.site_name());
                return Err(Error::new(Kind::Corrupt, what, "it ends before that"));
            }
            Ok(Some(body.slice(range.start as usize..range.end as usize)))
        };
        let part = self.call(Call::Read, "get part of", name.as_str(), effect);
        let (body, fault) = part.await?;
        Ok(self.flipped(body, name, fault))
    }

    async fn head(&self, name: &ObjectName) -> Result<Option<ObjectInfo>> {
        let effect = || {
            let found = self.disk.look(name.as_str(), None);
            Ok(found.into_iter().find(|info| info.name == *name))
        };
        let head = self.call(Call::Read, "head", name.as_str(), effect).await?;
        Ok(head.0)
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectName>) -> Result<Vec<ObjectInfo>> {
        let effect = || Ok(self.disk.look(prefix, after.map(ObjectName::as_str)));
        let (mut listed, fault) = self.call(Call::List, "list", prefix, effect).await?;
        if fault == Some(Fault::Stale) {
            listed.pop();
        }
        Ok(listed)
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>> {
        let effect = || Ok(self.disk.folders(prefix));
        let listed = self.call(Call::List, "list folders", prefix, effect);
        Ok(listed.await?.0)
    }
}

#[async_trait]
impl Site for Link {
    async fn put_new(&self, name: &ObjectName, body: Sealed) -> Result<Put> {
        self.put("put", name, body, false).await
    }

    async fn put_pack(&self, name: &ObjectName, body: Sealed) -> Result<Put> {
        self.put("put pack", name, body, true).await
    }

    fn now_hint_millis(&self) -> Option<i64> {
        None
    }

    fn space(&self) -> Result<Option<Space>> {
        Ok(None)
    }

    fn place(&self) -> String {
        self.disk.site_name().to_string()
    }

    fn counters(&self) -> Counters {
        Counters::default()
    }
}

#[async_trait]
impl Sweeper for Link {
    async fn replace_damaged(&self, name: &ObjectName, good: Sealed) -> Result<()> {
        let now = self.links.clock.true_millis();
        let bytes = good.to_bytes();
        let effect = || {
            self.disk.replace(name, bytes, now);
            Ok(())
        };
        let replaced = self.call(Call::Change, "replace", name.as_str(), effect);
        replaced.await.map(drop)
    }

    async fn delete(&self, name: &ObjectName) -> Result<()> {
        let effect = || {
            self.links
                .watch
                .deleting(&self.links.process, &self.disk, name);
            self.disk.delete(name.as_str());
            Ok(())
        };
        let deleted = self.call(Call::Change, "delete", name.as_str(), effect);
        deleted.await.map(drop)
    }
}

/// A world's seeded context for one process.
pub fn context(chance: &crate::chance::Chance, process: &str, clock: Arc<SimClock>) -> Context {
    Context::seeded(chance.draw(&["context", process]), clock)
}
