//! Tasks that go on to the next piece of work.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// How many tasks are kept for work to come.
const MAX_IDLE: usize = 128;

/// A piece of work.
pub(crate) trait Work: Send + 'static {
    fn run(self) -> impl Future<Output = ()> + Send;
}

/// Tasks that each do one piece of work at a time, as many as it takes, of which some are kept
/// for the next. When the crew is dropped, those that are at work finish it.
///
/// A task for each of very many connections would be a kilobyte that comes and goes between
/// small pieces that stay, and leaves holes which those fill badly: a tenth more memory.
pub(crate) struct Crew<W>(Arc<Mutex<Roster<W>>>);

struct Roster<W> {
    idle: Vec<Arc<Member<W>>>,
    is_dismissed: bool,
}

/// Where a task that is idle finds what it is told.
struct Member<W> {
    order: Mutex<Option<Order<W>>>,
    told: Notify,
}

enum Order<W> {
    Do(W),
    Leave,
}

impl<W: Work> Crew<W> {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Roster {
            idle: Vec::new(),
            is_dismissed: false,
        })))
    }

    /// Has `work` done.
    pub(crate) fn assign(&self, work: W) {
        let member = lock(&self.0).idle.pop();
        match member {
            Some(member) => member.tell(Order::Do(work)),
            None => _ = tokio::spawn(serve(Arc::clone(&self.0), work)),
        }
    }
}

impl<W> Drop for Crew<W> {
    fn drop(&mut self) {
        let mut roster = lock(&self.0);
        roster.is_dismissed = true;
        for member in roster.idle.drain(..) {
            member.tell(Order::Leave);
        }
    }
}

impl<W> Roster<W> {
    /// Whether `member` is to wait for what comes.
    fn keep(&mut self, member: &Arc<Member<W>>) -> bool {
        let is_kept = !self.is_dismissed && self.idle.len() < MAX_IDLE;
        if is_kept {
            self.idle.push(Arc::clone(member));
        }
        is_kept
    }
}

impl<W> Member<W> {
    fn tell(&self, order: Order<W>) {
        *lock(&self.order) = Some(order);
        self.told.notify_one();
    }

    async fn order(&self) -> Order<W> {
        loop {
            if let Some(order) = lock(&self.order).take() {
                return order;
            }
            self.told.notified().await;
        }
    }
}

async fn serve<W: Work>(roster: Arc<Mutex<Roster<W>>>, mut work: W) {
    let member = Arc::new(Member {
        order: Mutex::new(None),
        told: Notify::new(),
    });
    loop {
        work.run().await;
        if !lock(&roster).keep(&member) {
            return;
        }
        match member.order().await {
            Order::Do(next) => work = next,
            Order::Leave => return,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Handle;
    use tokio::sync::oneshot;
    use tokio::time::{Duration, sleep};

    use super::*;

    struct Wait(oneshot::Receiver<()>);

    impl Work for Wait {
        async fn run(self) {
            let _ = self.0.await;
        }
    }

    /// Lets everybody who can work do so.
    async fn settle() {
        sleep(Duration::from_millis(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_are_as_many_as_there_is_work_and_go_on_to_the_next() {
        let tasks = || Handle::current().metrics().num_alive_tasks();
        let before = tasks();
        let crew = Crew::new();
        let assign = |count| {
            let (senders, work): (Vec<_>, Vec<_>) = (0..count).map(|_| oneshot::channel()).unzip();
            work.into_iter().for_each(|work| crew.assign(Wait(work)));
            senders
        };
        let senders = assign(3 * MAX_IDLE);
        assert_eq!(tasks() - before, 3 * MAX_IDLE);
        settle().await;
        for sender in senders {
            sender.send(()).unwrap();
        }
        settle().await;
        assert_eq!(tasks() - before, MAX_IDLE, "those that wait for work");
        let working = assign(MAX_IDLE);
        settle().await;
        assert_eq!(tasks() - before, MAX_IDLE);
        drop(crew);
        settle().await;
        assert_eq!(tasks() - before, MAX_IDLE, "they finish what they are at");
        drop(working);
        settle().await;
        assert_eq!(tasks(), before);
    }
}
