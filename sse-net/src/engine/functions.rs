//! The functions in Lua that publish, tick, and ask about runs.

use std::sync::LazyLock;

use redis::{Cmd, Script, ServerError, cmd};

use super::keys::Keys;
use super::queue::Job;
use super::shared::millis;
use crate::topic::{Kind, random_epoch};

/// The functions as this node loads them.
static FUNCTIONS: LazyLock<Functions> = LazyLock::new(Functions::new);

/// Libraries, and the names of their functions. The names have a hash of the text, so that nodes
/// of several versions call their own functions.
struct Functions {
    libraries: [String; 2],
    publish: String,
    tick: String,
    run: String,
}

impl Functions {
    fn new() -> Self {
        const TEXTS: [&str; 2] = [include_str!("publish.lua"), include_str!("run.lua")];
        let hash = Script::new(&TEXTS.concat()).get_hash().to_owned();
        let prefix = format!("sse_{}_", &hash[..12]);
        let name = |name: &str| format!("{prefix}{name}");
        Self {
            libraries: TEXTS.map(|text| text.replace("sse_", &prefix)),
            publish: name("publish"),
            tick: name("tick"),
            run: name("run"),
        }
    }
}

/// What an error of a function means for the next call. Nothing was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The link has to be replaced.
    Broken,
    /// The server may accept the same later.
    Passing,
    Final,
}

impl Refusal {
    pub(super) fn of(error: &ServerError) -> Self {
        match error.code() {
            // The functions were deleted. They are loaded with the next link.
            "ERR" if error.details().is_some_and(is_missing) => Self::Broken,
            // It is not the primary any more, or not yet. In a cluster, such a server says that
            // another one has the key.
            "READONLY" | "LOADING" | "MASTERDOWN" | "MOVED" => Self::Broken,
            "NOREPLICAS" | "BUSY" | "CLUSTERDOWN" | "TRYAGAIN" | "ASK" => Self::Passing,
            _ => Self::Final,
        }
    }
}

fn is_missing(details: &str) -> bool {
    details.starts_with("Function not found")
}

/// Returns the text of an error.
pub(super) fn text(error: &ServerError) -> String {
    format!("{} {}", error.code(), error.details().unwrap_or_default())
}

/// Settings that every publish passes.
pub(super) struct Ages {
    pub(super) key_millis: u64,
    pub(super) topic_millis: u64,
}

/// Returns the commands that load the libraries.
pub(super) fn load() -> impl Iterator<Item = Cmd> {
    let libraries = FUNCTIONS.libraries.iter();
    libraries.map(|library| cmd("FUNCTION").arg("LOAD").arg(library).to_owned())
}

/// Returns the command that publishes a batch.
pub(super) fn publish(keys: &Keys, job: &Job, ages: &Ages) -> Cmd {
    let once = job.key.as_deref().map(|key| keys.once(key));
    let mut cmd = begin(&FUNCTIONS.publish, keys, 4 + usize::from(once.is_some()));
    cmd.arg(keys.stream(&job.topic)).arg(once);
    cmd.arg(random_epoch())
        .arg(keys.channel(&job.topic))
        .arg(&*job.topic)
        .arg(job.max_events)
        .arg(job.max_age_millis)
        .arg(ages.key_millis)
        .arg(ages.topic_millis)
        .arg(kind(job));
    match &job.kind {
        Kind::Value(key) | Kind::Removal(key) => {
            cmd.arg(&**key)
                .arg(job.keyed.max_keys())
                .arg(job.keyed.max_bytes())
                .arg(millis(job.keyed.max_removal_age()));
        }
        Kind::Start(start) => {
            cmd.arg(start.owner)
                .arg(millis(start.lease))
                .arg(millis(start.keep))
                .arg(millis(start.remember));
        }
        Kind::Events | Kind::End | Kind::EndLost(_) => {}
    }
    for frame in &job.frames {
        cmd.arg(&frame[..]);
    }
    cmd
}

fn kind(job: &Job) -> String {
    let name = match &job.kind {
        Kind::Events => "events",
        Kind::End => "end",
        Kind::EndLost(token) => return format!("end !{token}"),
        Kind::Start(_) => "start",
        Kind::Value(_) => "value",
        Kind::Removal(_) => "removal",
    };
    match job.fence {
        Some(token) => format!("{name} {token}"),
        None => name.to_owned(),
    }
}

/// Returns the command that asks something of a run, or of all runs.
pub(super) fn run(keys: &Keys, topic: &str, args: &[&str]) -> Cmd {
    let mut cmd = cmd("FCALL");
    cmd.arg(&FUNCTIONS.run).arg(2);
    cmd.arg(keys.run(topic)).arg(&keys.runs).arg(args);
    cmd
}

/// Returns the command of a tick, which `nonce` identifies. With `takes_id`, the hub's last ID is
/// one that no event has.
pub(super) fn tick(keys: &Keys, nonce: u64, first: &str, takes_id: bool) -> Cmd {
    let mut cmd = begin(&FUNCTIONS.tick, keys, 3);
    cmd.arg(random_epoch())
        .arg(&keys.node)
        .arg(nonce)
        .arg(first)
        .arg(u8::from(takes_id));
    cmd
}

fn begin(function: &str, keys: &Keys, count: usize) -> Cmd {
    let mut cmd = cmd("FCALL");
    cmd.arg(function)
        .arg(count)
        .arg(&keys.hub)
        .arg(&keys.epochs)
        .arg(&keys.changed);
    cmd
}
