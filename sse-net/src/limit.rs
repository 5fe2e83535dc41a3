//! How many connections there may be.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Counts connections, in all and by address.
#[derive(Debug)]
pub(crate) struct Limit {
    max: usize,
    max_per_address: usize,
    count: Mutex<Count>,
    idle: Notify,
}

#[derive(Debug, Default)]
struct Count {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// The right to a connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    limit: Arc<Limit>,
    /// Boxed, because few servers count by address, and a ticket is kept for each connection.
    address: Option<Box<IpAddr>>,
}

impl Limit {
    pub(crate) fn new(max: usize, max_per_address: usize) -> Self {
        Self {
            max,
            max_per_address,
            count: Mutex::default(),
            idle: Notify::new(),
        }
    }

    /// A ticket, if there is room for one more connection from `address`.
    pub(crate) fn admit(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Ticket> {
        let mut count = self.lock();
        if count.all >= self.max {
            return None;
        }
        // Nothing is counted by address unless that is limited.
        let address = address.filter(|_| self.max_per_address < usize::MAX);
        if let Some(address) = address {
            let count = count.by_address.entry(address).or_default();
            if *count >= self.max_per_address {
                return None;
            }
            *count += 1;
        }
        count.all += 1;
        drop(count);
        Some(Ticket {
            limit: Arc::clone(self),
            address: address.map(Box::new),
        })
    }

    pub(crate) fn connections(&self) -> usize {
        self.lock().all
    }

    /// Waits until there is no connection.
    pub(crate) async fn idle(&self) {
        while self.connections() > 0 {
            self.idle.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut count = self.limit.lock();
        count.all -= 1;
        if count.all == 0 {
            // Kept for who comes to wait just now.
            self.limit.idle.notify_one();
        }
        if let Some(address) = &self.address
            && let Some(connections) = count.by_address.get_mut(&**address)
        {
            *connections -= 1;
            if *connections == 0 {
                count.by_address.remove(&**address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_limited_in_all_and_by_address() {
        let [a, b, c] = [1, 2, 3].map(|n| Some(IpAddr::from([127, 0, 0, n])));
        let limit = Arc::new(Limit::new(3, 2));
        let first = limit.admit(a);
        let second = limit.admit(a);
        assert!(first.is_some() && second.is_some());
        assert!(limit.admit(a).is_none(), "two from one address");
        let third = limit.admit(b);
        assert!(third.is_some());
        assert!(
            limit.admit(c).is_none() && limit.admit(None).is_none(),
            "three in all"
        );
        drop(first);
        assert!(limit.admit(a).is_some(), "room again");
        drop((second, third));
        assert_eq!(limit.connections(), 0);
        assert!(limit.lock().by_address.is_empty());
    }
}
