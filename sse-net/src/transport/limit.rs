//! Limits of the number of connections.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Counts connections, in total and by address.
#[derive(Debug)]
pub(crate) struct Limit {
    shared: Arc<Shared>,
    /// Shared by all permits that are not counted by address.
    without_address: Arc<PermitInner>,
}

#[derive(Debug)]
struct Shared {
    max: usize,
    max_per_address: usize,
    /// The length in bits of the prefix that counts as one IPv6 address.
    ipv6_prefix: u8,
    count: Mutex<Count>,
    idle: Notify,
}

#[derive(Debug, Default)]
struct Count {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Counts as one connection until it is dropped. A single pointer, because each of very many
/// connections holds one.
#[derive(Debug)]
pub(crate) struct Permit(Arc<PermitInner>);

#[derive(Debug)]
struct PermitInner {
    shared: Arc<Shared>,
    address: Option<IpAddr>,
}

impl Limit {
    pub(crate) fn new(max: usize, max_per_address: usize, ipv6_prefix: u8) -> Self {
        let shared = Arc::new(Shared {
            max,
            max_per_address,
            ipv6_prefix,
            count: Mutex::default(),
            idle: Notify::new(),
        });
        Self {
            without_address: Arc::new(PermitInner {
                shared: Arc::clone(&shared),
                address: None,
            }),
            shared,
        }
    }

    /// Returns a permit for a connection from `address`, unless a limit is reached.
    pub(crate) fn admit(&self, address: Option<IpAddr>) -> Option<Permit> {
        let shared = &self.shared;
        // Addresses are counted only if they are limited.
        let address = address.filter(|_| shared.max_per_address < usize::MAX);
        let address = address.map(|address| shared.network(address));
        let mut count = shared.lock();
        if count.total >= shared.max {
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
        count.total += 1;
        drop(count);
        Some(Permit(match address {
            None => Arc::clone(&self.without_address),
            Some(_) => Arc::new(PermitInner {
                shared: Arc::clone(shared),
                address,
            }),
        }))
    }

    pub(crate) fn is_full(&self) -> bool {
        self.connections() >= self.shared.max
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.lock().total
    }

    /// Waits until no connection is left.
    pub(crate) async fn idle(&self) {
        loop {
            let mut idle = pin!(self.shared.idle.notified());
            // Registers before the check, so that no notification is missed.
            idle.as_mut().enable();
            if self.connections() == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl Shared {
    /// Returns the address that counts for `address`: for IPv6, its network. An IPv4 address
    /// may be mapped into IPv6.
    fn network(&self, address: IpAddr) -> IpAddr {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let host_bits = 128 - u32::from(self.ipv6_prefix);
                let mask = u128::MAX.checked_shl(host_bits).unwrap_or_default();
                Ipv6Addr::from_bits(address.to_bits() & mask).into()
            }
            address => address,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let PermitInner { shared, address } = &*self.0;
        let mut count = shared.lock();
        count.total -= 1;
        if count.total == 0 {
            shared.idle.notify_waiters();
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
    fn connections_are_limited_in_total_and_by_address() {
        let [a, b, c] = [1, 2, 3].map(|n| Some(IpAddr::from([127, 0, 0, n])));
        let limit = Limit::new(3, 2, 64);
        let first = limit.admit(a);
        let second = limit.admit(a);
        assert!(first.is_some() && second.is_some());
        assert!(limit.admit(a).is_none(), "two from one address");
        let third = limit.admit(b);
        assert!(third.is_some());
        assert!(
            limit.admit(c).is_none() && limit.admit(None).is_none(),
            "three in total"
        );
        drop(first);
        assert!(limit.admit(a).is_some(), "room again");
        drop((second, third));
        assert_eq!(limit.connections(), 0);
        assert!(limit.shared.lock().by_address.is_empty());

        let shut = Limit::new(3, 0, 64);
        assert!(shut.admit(a).is_none());
        assert!(shut.shared.lock().by_address.is_empty());
    }

    #[test]
    fn addresses_are_counted_by_network() {
        for (prefix, one, other, is_same) in [
            (64, "2001:db8::1", "2001:db8::ffff:2", true),
            (64, "2001:db8::1", "2001:db8:0:1::1", false),
            (56, "2001:db8::1", "2001:db8:0:1::1", true),
            (128, "2001:db8::1", "2001:db8::2", false),
            (0, "2001:db8::1", "fe80::1", true),
            (64, "10.0.0.1", "10.0.0.2", false),
            (64, "10.0.0.1", "::ffff:10.0.0.1", true),
            (64, "::ffff:10.0.0.1", "::ffff:10.0.0.2", false),
        ] {
            let limit = Limit::new(9, 1, prefix);
            let [one, other] = [one, other].map(|address| limit.admit(address.parse().ok()));
            let is_refused = one.is_some() && other.is_none();
            assert_eq!(is_refused, is_same, "/{prefix}");
        }
    }

    #[tokio::test]
    async fn every_caller_of_idle_returns_when_the_last_permit_is_dropped() {
        let limit = Limit::new(3, 3, 64);
        let permit = limit.admit(None);
        let ((), (), ()) = tokio::join!(limit.idle(), limit.idle(), async { drop(permit) });
        limit.idle().await;
    }
}
