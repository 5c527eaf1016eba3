//! How an IPCP's data thread, tasks and threads tell it what happened.

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::data;

/// What an IPCP is told from within its process, in the order in which it was told.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<E> {
    /// By its data path.
    Data(data::Event),
    /// By a task or thread of its type.
    Own(E),
}

/// The way to tell an IPCP something, from any thread. What is told after its end is dropped.
#[derive(Debug)]
pub struct Post<E>(UnboundedSender<Event<E>>);

impl<E> Clone for Post<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E: Send + 'static> Post<E> {
    /// The way, and its end.
    #[must_use]
    pub fn new() -> (Self, UnboundedReceiver<Event<E>>) {
        let (sender, receiver) = unbounded_channel();
        (Self(sender), receiver)
    }

    /// Tells the type something ([`super::Ipcp::event`]).
    pub fn send(&self, event: E) {
        let _ = self.0.send(Event::Own(event));
    }

    /// For the data path ([`data::start`]).
    #[must_use]
    pub fn events(&self) -> data::Events {
        let sender = self.0.clone();
        data::Events::new(move |event| {
            let _ = sender.send(Event::Data(event));
        })
    }
}
