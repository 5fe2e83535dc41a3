//! The script that publishes and ticks, and the one for runs.

use std::sync::LazyLock;

use redis::{Cmd, Script, cmd};

use super::keys::Keys;
use super::queue::Job;
use super::shared::millis;
use crate::topic::{Kind, random_epoch};

/// The script, by whose hash it is called once the server has it.
static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(CODE));

const CODE: &str = include_str!("publish.lua");

static RUN: LazyLock<Script> = LazyLock::new(|| Script::new(RUN_CODE));

const RUN_CODE: &str = include_str!("run.lua");

/// How the script is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// By its hash.
    Hash,
    /// With its text, because the server does not have it.
    Text,
}

/// Settings that every publish passes.
pub(super) struct Ages {
    pub(super) key_millis: u64,
    pub(super) forget_millis: u64,
}

/// Returns the command that publishes a batch.
pub(super) fn publish(call: Call, keys: &Keys, job: &Job, ages: &Ages) -> Cmd {
    let once = job.key.as_deref().map(|key| keys.once(key));
    let mut cmd = begin(call, keys, 5 + usize::from(once.is_some()));
    cmd.arg(keys.stream(&job.topic)).arg(once);
    cmd.arg(random_epoch())
        .arg(keys.channel(&job.topic))
        .arg(&*job.topic)
        .arg(job.max_events)
        .arg(job.max_age_millis)
        .arg(ages.key_millis)
        .arg(ages.forget_millis)
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
pub(super) fn run(call: Call, keys: &Keys, topic: &str, args: &[&str]) -> Cmd {
    let mut cmd = match call {
        Call::Hash => cmd("EVALSHA").arg(RUN.get_hash()).to_owned(),
        Call::Text => cmd("EVAL").arg(RUN_CODE).to_owned(),
    };
    cmd.arg(2).arg(keys.run(topic)).arg(&keys.runs).arg(args);
    cmd
}

/// Returns the command of a tick, which `nonce` identifies. With `takes_id`, the hub's last ID is
/// one that no event has.
pub(super) fn tick(call: Call, keys: &Keys, nonce: u64, first: &str, takes_id: bool) -> Cmd {
    let mut cmd = begin(call, keys, 4);
    cmd.arg(random_epoch())
        .arg(&keys.node)
        .arg(nonce)
        .arg(first)
        .arg(u8::from(takes_id));
    cmd
}

fn begin(call: Call, keys: &Keys, count: usize) -> Cmd {
    let mut cmd = match call {
        Call::Hash => cmd("EVALSHA").arg(SCRIPT.get_hash()).to_owned(),
        Call::Text => cmd("EVAL").arg(CODE).to_owned(),
    };
    cmd.arg(count)
        .arg(&keys.meta)
        .arg(&keys.epochs)
        .arg(&keys.tips)
        .arg(&keys.changed);
    cmd
}
