//! Changes whose IDs an engine assigns.
//!
//! Only the task that moves the mark calls this.

use sse_core::{KnownId, LogId};

use super::set::{Member, PENDING};
use crate::sync::Arc;
use crate::topic::hub::HubCore;

impl HubCore {
    /// Returns `true` if changes of streams' topics wait for an ID.
    pub(crate) fn has_switched(&self) -> bool {
        self.order().has_switched()
    }

    /// Sets the ID of each change that has none and whose topics have been read.
    ///
    /// No event has the ID, and the mark moves to it after this.
    pub(crate) fn assign_changes(&self, id: LogId) {
        let mut order = self.order();
        let sets = order.take_switched();
        order.epochs.note_last(id);
        drop(order);
        for set in sets {
            let mut state = set.lock();
            if !state.topics.iter().all(|member| member.topic.is_read()) {
                self.order().await_change(&set);
                continue;
            }
            let is_pending = |member: &&mut Member| member.change == PENDING;
            for member in state.topics.iter_mut().filter(is_pending) {
                member.change = id;
                if let Some(joins) = member.joins.take() {
                    let judged = self.order().judge_at(id, joins.asked.as_ref());
                    *member = Member::added(&member.topic, id, &judged, &joins);
                }
            }
            if state.removed == PENDING {
                state.removed = id;
            }
            self.order().note_change(&set, id);
        }
    }

    /// Lets changes whose IDs the engine has lost wait for other ones.
    pub(crate) fn await_lost_changes(&self) {
        let sets: Vec<_> = self.streams().sets().map(Arc::clone).collect();
        for set in sets {
            let mut state = set.lock();
            let mut order = self.order();
            let known = |id: LogId| match order.epochs.judge(id, order.visible()) {
                KnownId::Position => id,
                KnownId::Lost(last) => last,
                KnownId::Unknown => LogId::default(),
            };
            let is_lost = |id: LogId| id != PENDING && known(id) != id;
            let mut has_lost = is_lost(state.removed);
            if has_lost {
                state.removed = PENDING;
            }
            for member in &mut state.topics {
                if is_lost(member.change) {
                    (member.change, member.from) = (PENDING, known(member.from));
                    has_lost = true;
                }
            }
            if has_lost {
                order.await_change(&set);
            }
        }
    }
}
