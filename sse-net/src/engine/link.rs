//! The two connections to a server.
//!
//! One carries notifications and publishes, the other all reads, whose replies may be long: Redis
//! cuts a subscriber with too much to read. Both are made to one and the same server, which is a
//! primary, and both are given up together.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, ErrorKind, PushInfo, PushKind, RedisError};
use redis::{ServerError, Value, cmd};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::address::Primary;
use super::functions;
use super::keys::Keys;
use super::message::{Entry, Notification, Tick, bytes};
use super::refused::Unreadable;
use super::shared::EngineShared;
use crate::sync::lock;

/// The connections to a server.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) commands: MultiplexedConnection,
    pub(super) notifications: MultiplexedConnection,
    pub(super) inbox: Arc<Inbox>,
    pub(super) primary: Arc<Primary>,
    /// Counts the links of a hub.
    pub(super) number: u64,
}

/// Why a link has to be replaced.
#[derive(Debug)]
pub(super) struct Broken(pub(super) String);

impl From<RedisError> for Broken {
    fn from(error: RedisError) -> Self {
        match error.kind() {
            // Its text has several lines, and says nothing of this to an operator.
            ErrorKind::Parse => Self("it does not answer like a Redis server".to_owned()),
            ErrorKind::RESP3NotSupported => {
                Self("it is older than Redis 6, and 7.0 or later is needed".to_owned())
            }
            _ => Self(error.to_string()),
        }
    }
}

impl Link {
    /// Connects to the primary.
    pub(super) async fn dial(shared: &EngineShared, number: u64) -> Result<Self, Broken> {
        let primary = shared.address.find().await?;
        let inbox = Arc::new(Inbox::default());
        let client = Client::open(primary.info.clone())?;
        let config = || {
            AsyncConnectionConfig::new()
                .set_connection_timeout(Some(DIAL_TIMEOUT))
                .set_response_timeout(Some(REPLY_TIMEOUT))
        };
        let (keys, pushed) = (Arc::clone(&shared.keys), Arc::clone(&inbox));
        let subscribing = config().set_push_sender(move |push: PushInfo| {
            pushed.push(&keys, &push);
            Ok::<(), ()>(())
        });
        let commanding = config();
        let dial = async {
            let (notifications, commands) = tokio::try_join!(
                client.get_multiplexed_async_connection_with_config(&subscribing),
                client.get_multiplexed_async_connection_with_config(&commanding),
            )?;
            let (mut one, mut other) = (notifications.clone(), commands.clone());
            let runs = tokio::try_join!(run_id(&mut one), run_id(&mut other))?;
            if runs.0 != runs.1 {
                return Err(Broken("two connections reached two servers".to_owned()));
            }
            for load in functions::load() {
                match other.send_packed_command(&load).await? {
                    Value::ServerError(error) if is_loaded(&error) => {}
                    // The library may be there; the first tick shows it.
                    Value::ServerError(error) if error.code() == "OOM" => {}
                    loaded => drop(loaded.extract_error()?),
                }
            }
            Ok((notifications, commands))
        };
        let (notifications, commands) = match timeout(2 * DIAL_TIMEOUT, dial).await {
            Ok(dialled) => dialled?,
            Err(_) => return Err(Broken("the server does not answer".to_owned())),
        };
        Ok(Self {
            commands,
            notifications,
            inbox,
            primary: Arc::new(primary),
            number,
        })
    }

    /// Subscribes to a channel, and waits for the confirmation.
    pub(super) async fn subscribe(&mut self, channel: &str) -> Result<(), Broken> {
        Ok(self.notifications.subscribe(channel).await?)
    }

    /// Subscribes to channels, and waits for the confirmations. Returns the indices of those that
    /// the user must not use.
    pub(super) async fn subscribe_all(
        &mut self,
        channels: &[String],
    ) -> Result<Vec<(usize, Unreadable)>, Broken> {
        let mut refused = Vec::new();
        // In parts, so that notifications and other clients of the server come between.
        for (number, part) in channels.chunks(CHANNELS).enumerate() {
            let Err(error) = self.notifications.subscribe(part).await else {
                continue;
            };
            Unreadable::of(error)?;
            // The server refuses a command because of any of its channels.
            for (at, channel) in part.iter().enumerate() {
                if let Err(error) = self.notifications.subscribe(channel).await {
                    refused.push((number * CHANNELS + at, Unreadable::of(error)?));
                }
            }
        }
        Ok(refused)
    }

    pub(super) async fn unsubscribe(&mut self, channels: &[String]) -> Result<(), Broken> {
        for part in channels.chunks(CHANNELS) {
            self.notifications.unsubscribe(part).await?;
        }
        Ok(())
    }

    /// Sends a command.
    pub(super) async fn call(&mut self, cmd: &Cmd) -> Result<Value, RedisError> {
        self.commands
            .send_packed_command(cmd)
            .await?
            .extract_error()
    }
}

/// Returns the run ID of a server, if it is a primary and has functions.
async fn run_id(connection: &mut MultiplexedConnection) -> Result<String, Broken> {
    // Servers before 7.0 refuse the names of two sections.
    let info: String = cmd("INFO").query_async(connection).await?;
    let value = |name: &str| {
        let mut lines = info.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    };
    let version = value("redis_version").unwrap_or_default();
    let major = version.split_once('.').map(|(major, _)| major.parse());
    if let Some(Ok(0..7u32)) = major {
        let reason = format!("it is Redis {version}, and 7.0 or later is needed");
        return Err(Broken(reason));
    }
    match (value("role"), value("run_id")) {
        (Some("master"), Some(run)) => Ok(run.to_owned()),
        _ => Err(Broken("the server is a replica".to_owned())),
    }
}

/// Returns whether the server has a library already.
///
/// It is not loaded anew, because that would empty it.
fn is_loaded(error: &ServerError) -> bool {
    let details = error.details();
    details.is_some_and(|details| details.ends_with("already exists"))
}

/// Returns how long to wait before the next attempt, between a half and the whole of a time that
/// grows up to a second.
pub(super) fn pause(failures: u32) -> Duration {
    let most = Duration::from_millis(50 << failures.min(5)).min(Duration::from_secs(1));
    most.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// Messages of a server that are no replies, in their order.
#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Default)]
struct State {
    pushes: VecDeque<Push>,
    bytes: usize,
    /// The connection has ended, or the inbox has overflowed.
    is_broken: bool,
    skipped: u64,
}

#[derive(Debug)]
pub(super) enum Push {
    Event(Notification),
    Tick(Tick),
}

impl Inbox {
    fn push(&self, keys: &Keys, push: &PushInfo) {
        let parsed = match (&push.kind, &push.data[..]) {
            (PushKind::Disconnection, _) => None,
            (PushKind::Message, [channel, payload]) => {
                let (Some(channel), Some(payload)) = (bytes(channel), bytes(payload)) else {
                    return;
                };
                Some((Push::parse(keys, channel, payload), payload.len()))
            }
            _ => return,
        };
        let mut state = lock(&self.state);
        match parsed {
            Some((Some(push), len)) => {
                state.bytes += len + OVERHEAD;
                state.pushes.push_back(push);
                if state.bytes > MAX_BYTES {
                    // The dropped events are read from the streams after a reconnect.
                    state.pushes.clear();
                    (state.bytes, state.is_broken) = (0, true);
                }
            }
            Some((None, _)) => state.skipped += 1,
            None => state.is_broken = true,
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Takes the received messages, and the number of those that were skipped.
    pub(super) fn take(&self) -> Result<(VecDeque<Push>, u64), Broken> {
        let mut state = lock(&self.state);
        if state.is_broken {
            return Err(Broken("the connection has ended".to_owned()));
        }
        state.bytes = 0;
        let skipped = std::mem::take(&mut state.skipped);
        Ok((std::mem::take(&mut state.pushes), skipped))
    }

    /// Puts back messages that have not been processed.
    pub(super) fn put_back(&self, mut rest: VecDeque<Push>) {
        let mut state = lock(&self.state);
        rest.append(&mut state.pushes);
        state.pushes = rest;
    }

    /// Waits until there may be a message.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }
}

impl Push {
    fn parse(keys: &Keys, channel: &[u8], payload: &[u8]) -> Option<Self> {
        if channel == keys.node.as_bytes() {
            return Tick::parse(payload).map(Self::Tick);
        }
        let topic = keys.topic_of(channel)?.into();
        let entry = Entry::parse(payload)?;
        Some(Self::Event(Notification { topic, entry }))
    }
}

/// How long making a connection may take, and the first command.
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a command may take.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// The most channels in a command.
const CHANNELS: usize = 500;

/// The most bytes of notifications that wait for the node.
const MAX_BYTES: usize = 64 << 20;

/// The memory of a notification beside its bytes.
const OVERHEAD: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(channel: &str, payload: &[u8]) -> PushInfo {
        let data = [channel.as_bytes(), payload].map(|part| Value::BulkString(part.to_vec()));
        PushInfo {
            kind: PushKind::Message,
            data: data.into(),
        }
    }

    #[test]
    fn an_inbox_is_bounded_and_skips_what_it_does_not_know() {
        let (keys, inbox) = (Keys::new("hub"), Inbox::default());
        let channel = keys.channel("a");
        inbox.push(&keys, &message(&channel, b"1-7 2-7\ndata: a\n\n"));
        inbox.push(&keys, &message(&channel, b"hey"));
        inbox.push(&keys, &message("elsewhere", b"1-7 2-7\ndata: a\n\n"));
        inbox.push(&keys, &message(&keys.node, b"5 2-7 1-7"));
        let (pushes, skipped) = inbox.take().unwrap();
        assert!(matches!(
            pushes.as_slices().0,
            [Push::Event(_), Push::Tick(_)]
        ));
        assert_eq!(skipped, 2);

        let data = [b"1-7 2-7\ndata: ".as_slice(), &[b'x'; 1 << 20], b"\n\n"].concat();
        for _ in 0..100 {
            inbox.push(&keys, &message(&channel, &data));
        }
        assert!(inbox.take().is_err());
        assert!(lock(&inbox.state).bytes <= MAX_BYTES);
    }

    #[test]
    fn messages_that_are_put_back_come_before_later_ones() {
        let (keys, inbox) = (Keys::new("hub"), Inbox::default());
        let receive = |nonce: u64| {
            let tick = format!("{nonce} 2-7 1-7");
            inbox.push(&keys, &message(&keys.node, tick.as_bytes()));
        };
        (1..=3).for_each(receive);
        let (mut pushes, _) = inbox.take().unwrap();
        pushes.pop_front();
        receive(4);
        inbox.put_back(pushes);
        let (pushes, _) = inbox.take().unwrap();
        let nonces = pushes.iter().map(|push| match push {
            Push::Tick(tick) => tick.nonce,
            Push::Event(_) => 0,
        });
        assert!(nonces.eq(2..=4));
    }

    #[test]
    fn the_pauses_between_attempts_grow_up_to_a_second() {
        for (failures, least, most) in [(0, 25, 50), (1, 50, 100), (5, 500, 1000), (99, 500, 1000)]
        {
            let (least, most) = (Duration::from_millis(least), Duration::from_millis(most));
            for _ in 0..100 {
                let pause = pause(failures);
                assert!(least <= pause && pause <= most, "{failures}: {pause:?}");
            }
        }
    }

    #[test]
    fn an_inbox_reports_the_end_of_its_connection() {
        let (keys, inbox) = (Keys::new("hub"), Inbox::default());
        let end = PushInfo {
            kind: PushKind::Disconnection,
            data: Vec::new(),
        };
        inbox.push(&keys, &end);
        assert!(inbox.take().is_err());
    }
}
