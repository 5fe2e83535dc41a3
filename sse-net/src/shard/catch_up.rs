//! A connection that is behind its group, and its input.

use std::mem;
use std::task::Poll;

use bytes::Bytes;
use sse_core::Lagged;

use super::connection::{Connection, Input, Written};
use super::driver::Driver;
use super::group::Group;
use super::work::{PART_BYTES, next_heartbeat};
use crate::config::SlowClients;
use crate::stats::Disconnect;

impl Driver {
    /// Reads from a connection, and writes what it has not received yet.
    pub(super) fn serve(&mut self, key: u32) {
        if !self.connections.contains(key as usize) {
            return; // It has been removed since it became ready.
        }
        let served = self.end_if_expired(key);
        let served = served.and_then(|()| self.read_input(key));
        if let Err(reason) = served.and_then(|()| self.catch_up(key)) {
            self.remove_connection(key, reason);
        }
    }

    /// Ends the stream if a future of `until` has resolved.
    fn end_if_expired(&mut self, key: u32) -> Result<(), Disconnect> {
        let connection = &mut self.connections[key as usize];
        match connection.poll_signals() {
            Poll::Ready(reason) if !connection.is_closing() => self.close_with_retry(key, reason),
            _ => Ok(()),
        }
    }

    /// Keeps a read pending, so that a client that closes is noticed at once.
    fn read_input(&mut self, key: u32) -> Result<(), Disconnect> {
        let connection = &mut self.connections[key as usize];
        let input = connection.poll_input();
        if connection.input as usize > self.config.max_input {
            return Err(Disconnect::UnexpectedInput);
        }
        match input {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(Input::More)) => {
                self.queue_connection(key);
                Ok(())
            }
            Poll::Ready(Ok(Input::End)) => {
                if self.half_closed.insert(key) {
                    // A closed tab answers a heartbeat with a reset, which a peer nearby has
                    // sent already. A peer that has only closed its own half continues to read.
                    self.send_heartbeat(key)?;
                }
                self.connections[key as usize].probe()
            }
            Poll::Ready(Err(reason)) => Err(reason),
        }
    }

    /// Writes what a connection has not received yet, up to the position of its group.
    pub(super) fn catch_up(&mut self, key: u32) -> Result<(), Disconnect> {
        let connection = &mut self.connections[key as usize];
        let group = &self.groups[connection.group as usize];
        // Unsent bytes may be empty: then the connection took nothing of the next event.
        let mut since = connection
            .unsent
            .as_ref()
            .map_or(self.now, |unsent| unsent.since);
        loop {
            if let Some(unsent) = &mut connection.unsent {
                let bytes = mem::take(&mut unsent.bytes);
                let written = connection.try_write(&bytes)?;
                let taken = written.taken(bytes.len());
                self.written += taken;
                self.stats.add_bytes(taken);
                if taken > 0 {
                    since = self.now;
                }
                if let Some(unsent) = &mut connection.unsent {
                    unsent.bytes = bytes.slice(taken..);
                    unsent.since = since;
                }
                match written {
                    Written::All => {}
                    Written::Blocked(_) => return Ok(()),
                    Written::Paused(_) => break,
                }
                connection.heartbeat_at = next_heartbeat(self.now, self.config.heartbeat, key);
            }
            if let Some(unsent) = &mut connection.unsent
                && let Some(close) = &mut unsent.close
            {
                if !close.last.is_empty() {
                    unsent.bytes = mem::take(&mut close.last);
                    continue;
                }
                let reason = close.reason;
                return match connection.poll_shutdown() {
                    Poll::Ready(shut_down) => Err(shut_down.err().unwrap_or(reason)),
                    Poll::Pending => Ok(()),
                };
            }
            connection.unsent = None;
            if connection.position >= group.position() {
                if group.is_finished {
                    connection.close(Bytes::new(), Disconnect::Finished, self.now);
                    continue;
                }
                return Ok(());
            }
            if self.written >= PART_BYTES {
                break;
            }
            match group.slice_after(connection.position) {
                Ok(Some(slice)) => {
                    let bytes = slice.bytes();
                    let written = connection.try_write(&bytes)?;
                    let taken = written.taken(bytes.len());
                    self.written += taken;
                    self.stats.add_bytes(taken);
                    if taken > 0 {
                        since = self.now;
                    }
                    let begun = connection.keep_unsent(&slice, taken, since);
                    self.stats.add_events(begun);
                    match written {
                        Written::All => connection.unsent = None,
                        Written::Blocked(_) => return Ok(()),
                        Written::Paused(_) => break,
                    }
                    connection.heartbeat_at = next_heartbeat(self.now, self.config.heartbeat, key);
                }
                Ok(None) => return Ok(()),
                Err(lagged) => match group.topic().slow_clients() {
                    SlowClients::Disconnect => {
                        connection.close(Bytes::new(), Disconnect::FellBehind, self.now);
                    }
                    SlowClients::SkipAhead => {
                        self.stats.add_gap();
                        skip_ahead(connection, group, lagged, self.now);
                    }
                },
            }
        }
        self.queue_connection(key);
        Ok(())
    }
}

/// Continues with the oldest retained event, after the gap event.
fn skip_ahead(connection: &mut Connection, group: &Group, lagged: Lagged, now: u32) {
    let begin = group.begin_after(lagged);
    connection.position = begin;
    let gap = group.topic().gap_event(None, begin);
    connection.set_unsent(gap.into(), now);
}
