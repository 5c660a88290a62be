//! One lasting connection: what callers hand their requests to, and the task that keeps it connected.
//!
//! ```text
//! callers ──permit──► queue ──► Intake.waiting (while there is no connection) ──► Connection
//! ```
//!
//! Requests wait while the connection is opened, until their own time is up; how many may wait or be
//! under way is bounded by permits. A link that the topology no longer names gives back what it has not
//! sent, so that it is routed anew, and ends when all else is answered.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

use super::backoff::Backoff;
use super::call::{Answer, Attempt, Call, Lost, Stage};
use super::connection::{Address, Connection, Opened, open};
use super::error::Cause;
use super::hub::Surroundings;

/// How callers reach the connection. When the last one is dropped the connection ends.
#[derive(Debug)]
pub(super) struct Link {
    queue: mpsc::UnboundedSender<Message>,
    permits: Arc<Semaphore>,
    state: Arc<State>,
}

/// What a link tells about itself.
#[derive(Debug)]
struct State {
    /// The address, or the one of several that is tried or connected.
    address: Mutex<Address>,
    /// Why there is no connection.
    trouble: Mutex<Option<Cause>>,
}

#[derive(Debug)]
enum Message {
    Attempt(Attempt),
    /// Ask for the topology.
    Refresh,
    /// The topology no longer names this address.
    Retire,
}

/// Why there is no reply.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection was lost, or could not be had.
    Lost(Lost),
    /// The request's time was up.
    TimedOut {
        /// Whether the server may have it whole, and so may do it.
        sent: bool,
        /// Why there was no connection, if there was none.
        trouble: Option<Cause>,
    },
}

impl Link {
    /// A link to the first of `addresses` that answers, whose task runs until the link is dropped.
    /// `opened` is a connection to begin with.
    pub(super) fn start(
        addresses: Vec<Address>,
        opened: Option<Opened>,
        around: Surroundings,
    ) -> Arc<Self> {
        Self::begin(addresses, opened, around, false)
    }

    /// One to the first of `addresses` that answers, which is asked for reads whether it leads or not.
    pub(super) fn to_follower(addresses: Vec<Address>, around: Surroundings) -> Arc<Self> {
        Self::begin(addresses, None, around, true)
    }

    fn begin(
        addresses: Vec<Address>,
        opened: Option<Opened>,
        around: Surroundings,
        is_follower: bool,
    ) -> Arc<Self> {
        assert!(!addresses.is_empty(), "a link leads somewhere");
        let (sender, receiver) = mpsc::unbounded_channel();
        let permits = Arc::new(Semaphore::new(around.settings.in_flight));
        let state = Arc::new(State {
            address: Mutex::new(addresses[0].clone()),
            trouble: Mutex::new(None),
        });
        let intake = Intake {
            queue: receiver,
            waiting: VecDeque::new(),
            permits: permits.clone(),
            refresh: false,
            over: false,
        };
        let keeper = Keeper { addresses, intake, state: state.clone(), around, is_follower };
        tokio::spawn(keeper.keep(opened));
        Arc::new(Self { queue: sender, permits, state })
    }

    /// Where it leads, for people.
    pub(super) fn address(&self) -> String {
        self.state.address.lock().unwrap_or_else(PoisonError::into_inner).to_string()
    }

    /// Sends a request, once, and waits for the reply; gives it back if it has not been sent when `moved` is over. May be
    /// dropped at any time.
    pub(super) async fn send(
        &self,
        call: &Arc<Call>,
        deadline: Instant,
        moved: impl Future<Output = ()>,
    ) -> Result<Answer, Failure> {
        let permit = match self.permits.clone().try_acquire_owned() {
            Ok(permit) => Ok(permit),
            Err(_) => match timeout_at(deadline, self.permits.clone().acquire_owned()).await {
                Ok(permit) => permit,
                Err(_) => {
                    return Err(Failure::TimedOut { sent: false, trouble: self.trouble() });
                }
            },
        };
        let retired = || Failure::Lost(Lost { sent: false, cause: Cause::Retired });
        let permit = permit.map_err(|_| retired())?;
        let stage = Arc::new(Stage::default());
        let (reply, replied) = oneshot::channel();
        let attempt = Attempt { call: call.clone(), deadline, stage: stage.clone(), reply, permit };
        self.queue.send(Message::Attempt(attempt)).map_err(|_| retired())?;
        let replied = unless(moved, &stage, replied);
        match timeout_at(deadline, replied).await {
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(lost))) => Err(Failure::Lost(lost)),
            Ok(Err(_)) => {
                let sent = stage.abandon();
                Err(Failure::Lost(Lost { sent, cause: Cause::Shutdown }))
            }
            Err(_) => {
                let sent = stage.abandon();
                Err(Failure::TimedOut { sent, trouble: self.trouble() })
            }
        }
    }

    /// Has the server asked for the topology.
    pub(super) fn refresh(&self) {
        // A link that has ended has nobody to ask.
        let _ = self.queue.send(Message::Refresh);
    }

    /// The topology no longer names this address.
    pub(super) fn retire(&self) {
        // A link that has ended is retired.
        let _ = self.queue.send(Message::Retire);
    }

    /// Requests that wait for the connection or for their replies.
    pub(super) fn in_flight(&self, bound: usize) -> usize {
        bound.saturating_sub(self.permits.available_permits())
    }

    fn trouble(&self) -> Option<Cause> {
        self.state.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a request comes to: its reply, unless `moved` is over while it is in the queue.
async fn unless(
    moved: impl Future<Output = ()>,
    stage: &Stage,
    mut replied: oneshot::Receiver<Result<Answer, Lost>>,
) -> Result<Result<Answer, Lost>, oneshot::error::RecvError> {
    let (mut moved, mut has_moved) = (pin!(moved), false);
    poll_fn(|cx| {
        if let Poll::Ready(reply) = Pin::new(&mut replied).poll(cx) {
            return Poll::Ready(reply);
        }
        if !has_moved && moved.as_mut().poll(cx).is_ready() {
            has_moved = true;
            if stage.withdraw() {
                return Poll::Ready(Ok(Err(Lost { sent: false, cause: Cause::Retired })));
            }
        }
        Poll::Pending
    })
    .await
}

/// The requests that a link's task has been handed.
#[derive(Debug)]
pub(super) struct Intake {
    queue: mpsc::UnboundedReceiver<Message>,
    waiting: VecDeque<Attempt>,
    permits: Arc<Semaphore>,
    refresh: bool,
    over: bool,
}

impl Intake {
    /// The next request to send; `None` when none will come any more.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Attempt>> {
        loop {
            if let Some(attempt) = self.waiting.pop_front() {
                return Poll::Ready(Some(attempt));
            }
            match self.queue.poll_recv(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => {
                    self.over = true;
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(message)) => self.take(message),
            }
        }
    }

    /// Takes what is queued, for later.
    fn poll_fill(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(message) = self.queue.poll_recv(cx) {
            match message {
                Some(message) => self.take(message),
                None => {
                    self.over = true;
                    return;
                }
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Attempt(attempt) => self.waiting.push_back(attempt),
            Message::Refresh => self.refresh = true,
            Message::Retire => {
                // Who comes from now on is turned away and routed anew, and so are those here.
                self.permits.close();
                self.queue.close();
                self.give_back(&Cause::Retired);
            }
        }
    }

    /// Whether the topology was asked for since the last call.
    pub(super) fn take_refresh(&mut self) -> bool {
        std::mem::take(&mut self.refresh)
    }

    /// Whether nothing more will come.
    pub(super) fn is_over(&self) -> bool {
        self.over && self.waiting.is_empty()
    }

    /// Awaits `future` and takes in requests meanwhile; `None` when nobody needs it any more.
    async fn during<F: Future>(&mut self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            self.poll_fill(cx);
            if self.over { Poll::Ready(None) } else { future.as_mut().poll(cx).map(Some) }
        })
        .await
    }

    /// Lets go of requests that nobody waits for.
    fn forget_abandoned(&mut self) {
        self.waiting.retain(|attempt| !attempt.reply.is_closed());
    }

    /// Tells all who wait that nothing was sent.
    fn give_back(&mut self, cause: &Cause) {
        for attempt in self.waiting.drain(..) {
            attempt.not_sent(cause.clone());
        }
    }
}

/// The task that keeps a link connected.
struct Keeper {
    addresses: Vec<Address>,
    intake: Intake,
    state: Arc<State>,
    around: Surroundings,
    /// Whether it leads to a follower: what that says of the topology concerns nobody.
    is_follower: bool,
}

impl Keeper {
    async fn keep(mut self, mut opened: Option<Opened>) {
        let settings = self.around.settings.clone();
        let mut backoff = Backoff::new(settings.backoff_min, settings.backoff_max);
        let mut target = 0;
        while !self.intake.is_over() {
            let address = self.addresses[target].clone();
            *self.state.address.lock().unwrap_or_else(PoisonError::into_inner) = address.clone();
            let connected = match opened.take() {
                Some(opened) => Some(Ok(opened)),
                None => self.intake.during(open(&address, &settings)).await,
            };
            let pause = match connected {
                None => break,
                Some(Ok(opened)) => self.serve(opened, &mut backoff).await,
                Some(Err(cause)) => {
                    if cause.is_final() {
                        self.intake.give_back(&cause);
                    }
                    self.set_trouble(Some(cause));
                    target = (target + 1) % self.addresses.len();
                    backoff.next()
                }
            };
            self.intake.forget_abandoned();
            if !pause.is_zero() && self.intake.during(sleep(pause)).await.is_none() {
                break;
            }
        }
        self.intake.permits.close();
        self.intake.give_back(&Cause::Retired);
    }

    /// Serves requests until the connection is lost; gives the pause before the next.
    async fn serve(&mut self, opened: Opened, backoff: &mut Backoff) -> Duration {
        if !self.is_follower
            && let Some(hub) = self.around.hub.upgrade()
            && let Err(problem) = hub.greet(&opened.greeting, &opened.host)
        {
            self.set_trouble(Some(Cause::Protocol(problem)));
            return backoff.next();
        }
        self.around.activity.connects.add(1);
        self.set_trouble(None);
        let since = Instant::now();
        let connection = Connection::new(opened, self.around.clone(), self.is_follower);
        let cause = connection.run(&mut self.intake).await;
        self.set_trouble(Some(cause));
        if since.elapsed() >= self.around.settings.backoff_max {
            // It was a good connection: the next is tried at once.
            backoff.reset();
            return Duration::ZERO;
        }
        backoff.next()
    }

    fn set_trouble(&self, cause: Option<Cause>) {
        *self.state.trouble.lock().unwrap_or_else(PoisonError::into_inner) = cause;
    }
}
