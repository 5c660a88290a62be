//! Whoever holds a shard's token serves those who wait for it, first come, first served, before it is given back.

use super::batch::{Batch, Ran};
use super::core::Core;
use super::mail::Message;
use super::shards::{Queued, ShardHolder};
use super::steps::is_much;

impl<'a> Core<'a> {
    /// Serves whoever waits for a shard and gives its token back, unless somebody goes on with it.
    pub(super) fn give_back(&mut self, mut holder: ShardHolder<'a>) {
        loop {
            while let Some(queued) = holder.next_waiting() {
                match queued {
                    Queued::Batch(batch) => match self.serve_batch(batch, holder) {
                        Some(back) => holder = back,
                        None => return,
                    },
                    Queued::Unwatch(unwatched) => unwatched.forget(holder.value()),
                    Queued::Unwait(wait) => self.engine.forget_wait(holder.value(), &wait),
                    Queued::Untrack(observer) => {
                        holder.value().keyspace_mut().stop_tracking_prefixes(observer);
                    }
                    Queued::Claim { core, ticket } => {
                        let shard = holder.value().id();
                        self.publish(holder.value());
                        self.engine.attend(holder.value());
                        self.spread_news();
                        let grant = holder.hand_over();
                        self.post(core, Message::Granted { shard, ticket, grant });
                        return;
                    }
                    Queued::Tell { core } => {
                        let shard = holder.value().id();
                        self.post(core, Message::Back { shard });
                    }
                }
            }
            self.publish(holder.value());
            self.engine.attend(holder.value());
            self.spread_news();
            match holder.release() {
                Some(again) => holder = again,
                None => return,
            }
        }
    }

    /// Runs commands that were left for whoever holds the shard. Answers the token, unless the first of them is run in
    /// steps: then it stays with them.
    fn serve_batch(
        &mut self,
        mut batch: Box<Batch>,
        mut holder: ShardHolder<'a>,
    ) -> Option<ShardHolder<'a>> {
        if self.begins_with_much(&batch, &mut holder) {
            return self.begin_batch_steps(batch, holder);
        }
        let client = batch.client.clone();
        let (slice, epoch) = (self.engine.start_slice(), self.engine.owners.epoch());
        let handover = std::mem::take(&mut self.engine.handover);
        let gate = std::mem::take(&mut self.engine.gate);
        let slots = self.node.slots;
        batch.run(epoch, |request, call, args, out| {
            let engine = &mut self.engine;
            if is_much(holder.value(), call, args, (slots, engine.now)) {
                return None;
            }
            engine.handover.request = request;
            let head = engine.run_any(holder.value(), &client, call, args, out);
            let value = engine.handover.reply.take();
            Some(Ran { head, value, has_time: !engine.slice_is_over() })
        });
        let freed = std::mem::replace(&mut self.engine.handover, handover).freed;
        self.keep_freed(freed);
        batch.gate = std::mem::replace(&mut self.engine.gate, gate);
        self.engine.resume_slice(slice);
        self.send_back(batch);
        Some(holder)
    }

    /// Sends replies to the core that waits for them.
    pub(super) fn send_back(&mut self, batch: Box<Batch>) {
        // Before the reply to who has changed something can leave.
        self.spread_news();
        self.post(batch.origin, Message::Done(batch));
    }

    /// Gives back what was borrowed for a batch.
    pub(super) fn give_back_borrowed(&mut self) {
        while let Some(holder) = self.shards.next_borrowed() {
            self.give_back(holder);
        }
    }

    /// Gives back whatever is held at the end of a turn.
    pub(super) fn give_back_all(&mut self) {
        self.give_back_borrowed();
        for index in 0..self.shards.own().len() {
            let shard = self.shards.own()[index];
            if let Some(holder) = self.shards.detach(shard) {
                self.give_back(holder);
            }
        }
    }
}
