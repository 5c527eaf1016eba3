//! Key exchange and authentication as the daemon does them: from the files of a name to the key of
//! a flow (`spec/oap-crypto.md` §3, §8.1, §9).

mod exchange;
pub mod files;

use std::time::{SystemTime, UNIX_EPOCH};

use o7s::{Error, ErrorKind, Result};

use crate::core::security::{Agreed, Demand, Half, Outcome, Work};
use files::SecurityDir;

use exchange::{Exchanger, Means};
pub use exchange::{Pending, check_kex};

/// Does the steps of key exchanges; shared by all workers.
#[derive(Debug)]
pub struct Engine {
    dir: SecurityDir,
    exchanger: Exchanger,
}

impl Engine {
    /// Reads the certificates that are trusted.
    ///
    /// # Errors
    /// Something in the directories of certificates that is none, with the file's name.
    pub fn load(dir: SecurityDir) -> Result<Self> {
        let mut exchanger = Exchanger::default();
        let mut count = 0;
        // One store: only what is signed by itself ends a chain (§8.1).
        for directory in [dir.authorities(), dir.intermediates()] {
            for (path, bytes) in files::read_certificates(&directory)? {
                exchanger.trust(&bytes).map_err(|error| {
                    Error::new(
                        ErrorKind::Auth,
                        format!(
                            "cannot use the certificate {}: {error}; mend or remove it",
                            path.display()
                        ),
                    )
                })?;
                count += 1;
            }
        }
        tracing::info!(
            "Security directory: {} ({count} certificates trusted).",
            dir.path().display()
        );
        Ok(Self { dir, exchanger })
    }

    /// The directory of the files.
    #[must_use]
    pub fn dir(&self) -> &SecurityDir {
        &self.dir
    }

    /// Does a step if it costs little; else gives it back.
    ///
    /// # Errors
    /// The step, for [`Engine::run`].
    pub fn try_now(&self, mut work: Work) -> std::result::Result<Result<Outcome>, Box<Work>> {
        let absent = |half: &Half| self.dir.files(half).are_absent();
        let cheap = match &mut work {
            Work::Request { client, demand, .. } => demand.is_empty() && absent(client),
            Work::Respond {
                server,
                request,
                arrived,
                ..
            } => {
                // At once: a request must not grow old while it waits for a worker, and one that
                // was seen before shall not get there.
                let now = now();
                if let Err(error) = self.exchanger.check_replay(&server.name, request, now) {
                    return Ok(Err(error));
                }
                *arrived = Some(now);
                !exchange::is_protected(request) && absent(server)
            }
            Work::Complete { pending, response } => {
                pending.is_plain() && !exchange::is_protected(response)
            }
            Work::Direct {
                client,
                server,
                demand,
            } => {
                if demand.is_empty() && absent(client) && absent(server) {
                    return Ok(Ok(Outcome::Met([Agreed::clear(), Agreed::clear()])));
                }
                false
            }
        };
        if cheap {
            Ok(self.run(work))
        } else {
            Err(Box::new(work))
        }
    }

    /// Does a step.
    ///
    /// # Errors
    /// [`ErrorKind::Crypt`] or [`ErrorKind::Auth`] as §3.3 and §3.4 say, with what does not fit.
    pub fn run(&self, work: Work) -> Result<Outcome> {
        match work {
            Work::Request {
                client,
                demand,
                max,
            } => {
                let (request, pending) = self.request(&client, &demand, max)?;
                Ok(Outcome::Requested(request, Box::new(pending)))
            }
            Work::Respond {
                server,
                request,
                max,
                arrived,
            } => {
                let arrived = match arrived {
                    Some(arrived) => arrived,
                    None => {
                        let now = now();
                        self.exchanger.check_replay(&server.name, &request, now)?;
                        now
                    }
                };
                let (response, agreed) = self.respond(&server, &request, max, arrived)?;
                Ok(Outcome::Responded(response, agreed))
            }
            Work::Complete { pending, response } => {
                let agreed = self.exchanger.complete(*pending, &response, now())?;
                Ok(Outcome::Completed(agreed))
            }
            Work::Direct {
                client,
                server,
                demand,
            } => {
                let (request, pending) = self.request(&client, &demand, usize::MAX)?;
                let (response, server) = self.respond(&server, &request, usize::MAX, now())?;
                let client = self.exchanger.complete(pending, &response, now())?;
                Ok(Outcome::Met([client, server]))
            }
        }
    }

    fn request(&self, client: &Half, demand: &Demand, max: usize) -> Result<(Vec<u8>, Pending)> {
        let means = self.means(client)?;
        let name = &client.name;
        self.exchanger.request(&means, name, demand, max, now())
    }

    fn respond(
        &self,
        server: &Half,
        request: &[u8],
        max: usize,
        now: u64,
    ) -> Result<(Vec<u8>, Agreed)> {
        let means = self.means(server)?;
        let name = &server.name;
        self.exchanger.respond(&means, name, request, max, now)
    }

    /// Reads the files of a half.
    fn means(&self, half: &Half) -> Result<Means> {
        Means::read(&self.dir.files(half), half)
    }

    /// Checks the files that somebody gives a name.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a file that is missing; what is wrong with one.
    pub fn check_files(&self, half: &Half) -> Result<()> {
        let given = self.dir.files(half).given();
        exchange::read_encryption(&given)?;
        exchange::read_credentials(&given)?;
        for place in [&given.certificate, &given.key].into_iter().flatten() {
            // One of them alone was not read.
            files::read_pem(place, "file")?;
        }
        if let Some(key) = &given.key
            && files::is_exposed(key.path())
        {
            tracing::warn!(
                "Everybody can read the private key {}; 'chmod o-r' mends that.",
                key.path().display()
            );
        }
        Ok(())
    }
}

/// Time since 1970, ns.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}
