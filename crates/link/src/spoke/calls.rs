//! The SuperNodes' calls that wait for their answers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Response;
use onefed_flower::fleet::{FleetAnswer, FleetCall, ReadyBody, Refusal};
use onefed_flower::{Operation, Transport};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::hands::Letter;
use crate::engine::spoke::Event;
use crate::engine::{Connection, Ticket};
use crate::shell::mailbox::{Mailbox, Place};

/// Flower gives a heartbeat 5 s. The engine answers before; this is the net below it.
const HEARTBEAT: Duration = Duration::from_millis(4500);
/// From 1.40 Flower reads for at most 30 s. This includes the wait for room for a call in memory …
const CALL: Duration = Duration::from_secs(26);
/// … which is no longer than this …
pub(super) const ROOM: Duration = Duration::from_secs(20);
/// … and a call that took long to arrive still has this.
const LEAST: Duration = Duration::from_secs(6);

/// What a SuperNode gets.
pub(super) enum Answer {
    /// What SuperLink or an engine says.
    Said(FleetAnswer),
    /// An object.
    Made(Response<ReadyBody>),
}

/// The SuperNodes that wait, by their tickets.
#[derive(Clone, Default)]
pub(super) struct Waiting(Arc<Mutex<HashMap<Ticket, oneshot::Sender<Answer>>>>);

/// Puts calls to the engine.
pub(super) struct Calls {
    waiting: Waiting,
    last: AtomicU64,
    engine: Mailbox<Letter>,
}

/// One call. When it goes without an answer, the engine is told.
struct Asked<'a> {
    calls: &'a Calls,
    ticket: Ticket,
    answered: bool,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.calls.waiting.all().remove(&self.ticket);
            // One for each call at most, and calls are bounded.
            self.calls.engine.put(Letter::Event(Event::Abandoned(self.ticket)), Place::FEW);
        }
    }
}

impl Calls {
    pub(super) fn new(engine: Mailbox<Letter>) -> Self {
        Self { waiting: Waiting::default(), last: AtomicU64::new(0), engine }
    }

    /// Those who wait.
    pub(super) fn waiting(&self) -> Waiting {
        self.waiting.clone()
    }

    /// Puts a call that began to come by this connection at this time to the engine and waits for the answer; `Err` says
    /// why there is none.
    pub(super) async fn ask(
        &self,
        connection: Connection,
        call: FleetCall,
        began: Instant,
    ) -> Result<Answer, &'static str> {
        let deadline = deadline(call.operation, began.elapsed());
        let ticket = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (answer, answered) = oneshot::channel();
        self.waiting.all().insert(ticket, answer);
        let mut asked = Asked { calls: self, ticket, answered: false };
        let exchange = async {
            self.engine.send(Letter::Event(Event::Call(ticket, connection, call))).await;
            answered.await
        };
        match tokio::time::timeout(deadline, exchange).await {
            Ok(Ok(answer)) => {
                asked.answered = true;
                Ok(answer)
            }
            Ok(Err(_)) => Err("it had to start over"),
            Err(_) => Err("no answer in time"),
        }
    }
}

impl Waiting {
    /// Answers a call, if somebody still waits.
    pub(super) fn answer(&self, ticket: Ticket, answer: Answer) {
        let waiting = self.all().remove(&ticket);
        if let Some(waiting) = waiting {
            // Who has gone since then does not hear it.
            let _ = waiting.send(answer);
        }
    }

    /// Ends all calls without an answer.
    pub(super) fn end(&self) {
        self.all().clear();
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Ticket, oneshot::Sender<Answer>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long the answer to a call may take that began to come so long ago.
fn deadline(operation: Operation, ago: Duration) -> Duration {
    match operation {
        Operation::SendNodeHeartbeat => HEARTBEAT,
        _ => CALL.saturating_sub(ago).max(LEAST),
    }
}

/// "Unavailable", in the words of a spoke.
pub(super) fn unavailable(transport: Transport, site: &str, why: &str) -> FleetAnswer {
    FleetAnswer::refusal(transport, Refusal::Unavailable, &format!("spoke of site {site}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::mailbox::mailbox;
    use bytes::Bytes;

    fn call(operation: Operation) -> FleetCall {
        let headers = http::HeaderMap::new();
        FleetCall { operation, transport: Transport::Http, headers, body: Bytes::new() }
    }

    #[tokio::test]
    async fn who_goes_or_is_let_down_is_abandoned_once_and_who_is_answered_is_not() {
        let (engine, events) = mailbox();
        let calls = Arc::new(Calls::new(engine));
        let asked = |operation| {
            let calls = calls.clone();
            tokio::spawn(async move { calls.ask(1, call(operation), Instant::now()).await.map(|_| ()) })
        };
        let next = async || {
            loop {
                match events.take(Duration::ZERO).unwrap().pop() {
                    Some(Letter::Event(event)) => break event,
                    Some(_) => panic!(),
                    None => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            }
        };
        let answered = asked(Operation::GetRun);
        let Event::Call(ticket, ..) = next().await else { panic!() };
        calls.waiting().answer(ticket, Answer::Said(unavailable(Transport::Http, "paris", "no")));
        assert_eq!(answered.await.unwrap(), Ok(()));
        calls.waiting().answer(ticket, Answer::Said(unavailable(Transport::Http, "paris", "again")));

        let gone = asked(Operation::GetRun);
        let Event::Call(second, ..) = next().await else { panic!() };
        assert_ne!(second, ticket);
        gone.abort();
        assert!(matches!(next().await, Event::Abandoned(ticket) if ticket == second));

        let ended = asked(Operation::GetRun);
        let Event::Call(..) = next().await else { panic!() };
        calls.waiting().end();
        assert_eq!(ended.await.unwrap(), Err("it had to start over"));
        // A new engine may have got the call.
        assert!(matches!(next().await, Event::Abandoned(_)));

        let late = asked(Operation::SendNodeHeartbeat);
        let Event::Call(third, ..) = next().await else { panic!() };
        assert_eq!(late.await.unwrap(), Err("no answer in time"));
        assert!(matches!(next().await, Event::Abandoned(ticket) if ticket == third));
    }

    #[test]
    fn an_answer_comes_within_26_s_of_the_calls_beginning_and_6_of_its_end() {
        let left = |seconds| deadline(Operation::PushObject, Duration::from_secs(seconds)).as_secs();
        assert_eq!([0, 15, 20, 50].map(left), [26, 11, 6, 6]);
        assert_eq!(deadline(Operation::SendNodeHeartbeat, Duration::ZERO), HEARTBEAT);
    }
}
