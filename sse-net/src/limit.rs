//! How many connections there may be.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Counts connections, in all and by address.
#[derive(Debug)]
pub(crate) struct Limit {
    shared: Arc<Shared>,
    /// What a ticket holds that no address is counted for.
    anonymous: Arc<Holder>,
}

#[derive(Debug)]
struct Shared {
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

/// The right to a connection, until it is dropped. It is kept for each of very many
/// connections, and is a single pointer.
#[derive(Debug)]
pub(crate) struct Ticket(Arc<Holder>);

#[derive(Debug)]
struct Holder {
    shared: Arc<Shared>,
    address: Option<IpAddr>,
}

impl Limit {
    pub(crate) fn new(max: usize, max_per_address: usize) -> Self {
        let shared = Arc::new(Shared {
            max,
            max_per_address,
            count: Mutex::default(),
            idle: Notify::new(),
        });
        Self {
            anonymous: Arc::new(Holder {
                shared: Arc::clone(&shared),
                address: None,
            }),
            shared,
        }
    }

    /// A ticket, if there is room for one more connection from `address`.
    pub(crate) fn admit(&self, address: Option<IpAddr>) -> Option<Ticket> {
        let shared = &self.shared;
        // Nothing is counted by address unless that is limited.
        let address = address.filter(|_| shared.max_per_address < usize::MAX);
        let mut count = shared.lock();
        if count.all >= shared.max {
            return None;
        }
        if let Some(address) = address {
            let by_address = &mut count.by_address;
            let connections = by_address.get(&address).copied().unwrap_or_default();
            if connections >= shared.max_per_address {
                return None;
            }
            by_address.insert(address, connections + 1);
        }
        count.all += 1;
        drop(count);
        Some(Ticket(match address {
            None => Arc::clone(&self.anonymous),
            Some(_) => Arc::new(Holder {
                shared: Arc::clone(shared),
                address,
            }),
        }))
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.lock().all
    }

    /// Waits until there is no connection.
    pub(crate) async fn idle(&self) {
        while self.connections() > 0 {
            self.shared.idle.notified().await;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Holder { shared, address } = &*self.0;
        let mut count = shared.lock();
        count.all -= 1;
        if count.all == 0 {
            // Kept for who comes to wait just now.
            shared.idle.notify_one();
        }
        if let Some(address) = address
            && let Some(connections) = count.by_address.get_mut(address)
        {
            *connections -= 1;
            if *connections == 0 {
                count.by_address.remove(address);
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
        let limit = Limit::new(3, 2);
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
        assert!(limit.shared.lock().by_address.is_empty());

        let shut = Limit::new(3, 0);
        assert!(shut.admit(a).is_none());
        assert!(shut.shared.lock().by_address.is_empty());
    }
}
