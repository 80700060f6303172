//! A table as it was, for the clients that are there for agents: nothing changes it any more.
//!
//! ```text
//! journal ──▶ Restored ──▶ thread that answers questions ◀── LineageService ◀── client in this process
//! ```

use std::io;
use std::thread;

use crossbeam_channel::Receiver;
use procession_api::users::Users;
use procession_journal::Restored;
use tonic::transport::{Channel, Endpoint};

use crate::inventory::Inventory;
use crate::node::{Node, NodeParts};
use crate::pipeline::Account;
use crate::presenter::Presenter;
use crate::pulse::Pulse;
use crate::query::{Queries, Query, View};
use crate::recorded::{RecordedInventory, recorded_encoder, recorded_kind};
use crate::server::serve_one;
use crate::stream::{EventLog, LogConfig};

/// Bytes that may be under way between client and server.
const PIPE: usize = 1 << 20;

/// A node as it was at one moment.
#[derive(Debug)]
pub struct Past {
    node: Node,
}

impl Past {
    /// A node that a journal had. `users` may give names to the users of the host.
    ///
    /// # Errors
    ///
    /// The system refuses a thread.
    pub fn new(restored: Restored, users: Users) -> io::Result<Self> {
        let recording = restored.recording.clone();
        let encoder = recorded_encoder(&recording);
        let (queries, asked) = Queries::new();
        thread::Builder::new().name("past".to_owned()).spawn(move || answer(restored, &asked))?;
        let boot = recording.known_boot();
        let node = Node::new(NodeParts {
            log: EventLog::new(LogConfig::default()),
            queries,
            presenter: Presenter::recorded(encoder, boot, recording.clock, users),
            pulse: Pulse::new(),
            source: recorded_kind(&recording),
            shortcomings: Vec::new(),
        });
        Ok(Self { node })
    }

    /// A connection to it, as one to an agent. What is asked there is answered by the runtime that this is
    /// called in.
    ///
    /// # Errors
    ///
    /// The two ends of the connection do not understand each other, which they do.
    pub async fn connect(&self) -> Result<Channel, tonic::transport::Error> {
        let (client, server) = tokio::io::duplex(PIPE);
        tokio::spawn(serve_one(self.node.clone(), server));
        let mut client = Some(client);
        let connect = move |_| {
            let client = client.take().map(hyper_util::rt::TokioIo::new);
            std::future::ready(client.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionReset)))
        };
        // It is asked nowhere, but an address has to have a form.
        Endpoint::from_static("http://past").connect_with_connector(tower::service_fn(connect)).await
    }
}

/// Answers until nobody can ask any more.
fn answer(restored: Restored, asked: &Receiver<Query>) {
    let Restored { table, names, .. } = restored;
    let inventory = RecordedInventory::new(names);
    let account = || Account {
        ledger: *table.ledger(),
        live: table.live(),
        inventory: inventory.counts(),
        ..Account::default()
    };
    for query in asked {
        query(&View { table: &table, inventory: &inventory, account: &account });
    }
}
