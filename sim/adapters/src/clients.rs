//! Clients of one open store: some of them lose patience in the middle of what they do.

use crate::known::{Known, name, read};
use crate::{Patience, STREAMS, World};
use bytes::Bytes;
use core::time::Duration;
use ouroborosdb::engine::node::{Failure, PutOptions, Written};
use ouroborosdb::{AsyncDb, Error};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Nothing here takes longer than this, or it never ends.
const LONG: Duration = Duration::from_secs(100);
const SIZES: [usize; 6] = [1, 40, 4_000, 4_200, 30_000, 200_000];

/// A value that no other is like.
fn value(client: u64, number: u64, len: usize) -> Bytes {
    let word = format!("{client}/{number} ");
    word.bytes().cycle().take(len.max(word.len())).collect::<Vec<u8>>().into()
}

/// How long a client waits this time: mostly for ever.
fn patience(world: &impl World, impatient: bool) -> Patience {
    if !impatient {
        return Patience::Endless;
    }
    match world.draw(6) {
        0 => Patience::Time(Duration::from_nanos(world.draw(1 << 23))),
        1..=2 => Patience::Turns(world.draw(1 << world.draw(10))),
        _ => Patience::Endless,
    }
}

/// One client's work on its own keys, until it has done so many operations or the store is closed.
struct Client<W> {
    world: W,
    db: AsyncDb,
    known: Known,
    number: u64,
    /// Whether it gives up at times. Nobody closes the store meanwhile.
    impatient: bool,
}

impl<W: World> Client<W> {
    async fn work(&self, operations: u64) -> Result<(), String> {
        for operation in 0..operations {
            let key = self.number * 10 + self.world.draw(3);
            let done = match self.world.draw(9) {
                0..=2 => self.put(key, operation).await,
                3..=4 => self.stream(key, operation).await,
                5 => self.remove(key).await,
                6 => self.look_away(key).await,
                7 => self.look(key).await,
                _ => self.check(key).await,
            };
            match done {
                Ok(()) => {}
                Err(Error::Closed | Error::Request(Failure::Closed)) if !self.impatient => return Ok(()),
                Err(error) => return Err(format!("client {}, operation {operation}: {error}", self.number)),
            }
            if self.world.draw(4) == 0 {
                self.world.rest(Duration::from_nanos(self.world.draw(2_000_000))).await;
            }
        }
        Ok(())
    }

    /// What came of a write.
    fn settle(&self, key: u64, value: Option<Bytes>, outcome: Option<Result<Written, Error>>) -> Result<(), Error> {
        match outcome {
            // It may be done at any time from now on.
            None => {}
            Some(Ok(_)) => self.known.told(key, value),
            // A limit: the client tries something else.
            Some(Err(Error::Request(Failure::Busy))) => self.known.refused(key, &value),
            Some(Err(error)) => return Err(error),
        }
        Ok(())
    }

    fn size(&self) -> usize {
        SIZES[self.world.draw(SIZES.len() as u64) as usize]
    }

    async fn put(&self, key: u64, operation: u64) -> Result<(), Error> {
        let bytes = value(self.number, operation, self.size());
        self.known.asked(key, Some(bytes.clone()));
        let name = name(key);
        let put = self.db.put(&name, bytes.clone(), PutOptions::default());
        let outcome = self.world.patient(patience(&self.world, self.impatient), put).await;
        self.settle(key, Some(bytes), outcome)
    }

    async fn remove(&self, key: u64) -> Result<(), Error> {
        self.known.asked(key, None);
        let outcome = self.world.patient(patience(&self.world, self.impatient), self.db.remove(&name(key))).await;
        match outcome {
            Some(Err(Error::Request(Failure::NoSuchKey(_) | Failure::Gone { .. }))) => {
                self.known.refused(key, &None);
                Ok(())
            }
            outcome => self.settle(key, None, outcome),
        }
    }

    /// A value in pieces. A piece that was given up is sent again, as a client does who believes that it was not sent.
    async fn stream(&self, key: u64, operation: u64) -> Result<(), Error> {
        let bytes = value(self.number, operation, self.size());
        let name = name(key);
        let opening = self.db.put_stream(&name, PutOptions::default());
        let mut upload = match self.world.patient(patience(&self.world, self.impatient), opening).await {
            Some(Ok(upload)) => upload,
            None | Some(Err(Error::Request(Failure::Busy))) => return Ok(()),
            Some(Err(error)) => return Err(error),
        };
        let piece = bytes.len().div_ceil(3);
        for at in (0..bytes.len()).step_by(piece) {
            let part = bytes.slice(at..bytes.len().min(at + piece));
            let first = self.world.patient(patience(&self.world, self.impatient), upload.send(part.clone())).await;
            let sent = match first {
                Some(sent) => sent,
                None => upload.send(part).await,
            };
            match sent {
                Ok(()) => {}
                // What it says of a stream of which nobody knows what it holds.
                Err(Error::Request(Failure::Invalid(_) | Failure::Busy)) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.known.asked(key, Some(bytes.clone()));
        let outcome = self.world.patient(patience(&self.world, self.impatient), upload.finish()).await;
        self.settle(key, Some(bytes), outcome)
    }

    async fn look(&self, key: u64) -> Result<(), Error> {
        match self.db.heads(&name(key)).await {
            Err(Error::Request(Failure::NoSuchKey(_))) => Ok(()),
            heads => heads.map(drop),
        }
    }

    /// A question whose answer is not waited for.
    async fn look_away(&self, key: u64) -> Result<(), Error> {
        let name = name(key);
        let reading = self.db.heads(&name);
        match self.world.patient(Patience::Turns(self.world.draw(40)), reading).await {
            Some(Err(Error::Closed)) => Err(Error::Closed),
            _answered_or_not => Ok(()),
        }
    }

    async fn check(&self, key: u64) -> Result<(), Error> {
        if let Err(wrong) = self.known.check(&self.db, key, false).await {
            self.world.wrong().note(wrong);
        }
        Ok(())
    }
}

/// Starts clients, each with its own keys; gives back how many are at work still.
///
/// # Errors
/// When the world refuses a task.
pub fn start<W: World>(
    world: &W,
    db: &AsyncDb,
    known: &Known,
    numbers: core::ops::Range<u64>,
    operations: u64,
    impatient: bool,
) -> std::io::Result<Arc<AtomicUsize>> {
    let at_work = Arc::new(AtomicUsize::new(0));
    for number in numbers {
        let (world, db, known) = (world.clone(), db.clone(), known.clone());
        let (its_world, done) = (world.clone(), at_work.clone());
        at_work.fetch_add(1, Ordering::SeqCst);
        its_world.spawn(format!("client-{number}"), async move {
            let client = Client { world, db, known, number, impatient };
            if let Err(wrong) = client.work(operations).await {
                client.world.wrong().note(wrong);
            }
            drop(client);
            done.fetch_sub(1, Ordering::SeqCst);
        })?;
    }
    Ok(at_work)
}

/// Waits for clients.
///
/// # Errors
/// Some of them never end.
pub async fn join(world: &impl World, at_work: &AtomicUsize) -> Result<(), String> {
    let mut waited = Duration::ZERO;
    while at_work.load(Ordering::SeqCst) > 0 {
        let step = Duration::from_millis(5);
        world.rest(step).await;
        waited += step;
        if waited > LONG {
            return Err(format!("{} clients wait for ever", at_work.load(Ordering::SeqCst)));
        }
    }
    world.wrong().first().map_or(Ok(()), Err)
}

/// When nobody asks any more, nothing is left of what was asked.
///
/// # Errors
/// What is left.
#[cfg(planted)]
pub async fn check_rest(world: &impl World, db: &AsyncDb) -> Result<(), String> {
    world.rest(Duration::from_secs(2)).await;
    match db.unanswered() {
        0 => {}
        left => return Err(format!("the places of {left} answers are kept for nobody")),
    }
    let mut streams = Vec::new();
    let names: Vec<_> = (0..STREAMS as u64).map(|number| name(900 + number)).collect();
    for name in &names {
        match world.patient(Patience::Time(LONG), db.put_stream(name, PutOptions::default())).await {
            Some(Ok(stream)) => streams.push(stream),
            Some(Err(error)) => return Err(format!("stream {} of {STREAMS}: {error}", streams.len() + 1)),
            None => return Err("a stream is opened for ever".to_owned()),
        }
    }
    drop(streams);
    world.rest(Duration::from_secs(2)).await;
    match db.unanswered() {
        0 => Ok(()),
        left => Err(format!("the places of {left} answers are kept for nobody")),
    }
}

/// Reads everything back.
///
/// # Errors
/// What is not as it was said to be.
pub async fn check_all(world: &impl World, db: &AsyncDb, known: &Known) -> Result<(), String> {
    for key in known.keys() {
        match world.patient(Patience::Time(LONG), known.check(db, key, true)).await {
            Some(checked) => checked?,
            None => return Err(format!("key {key} is read for ever")),
        }
    }
    Ok(())
}

/// A whole life of a store: it is made, clients come and go, it is closed under the hands of others, and opened anew.
/// Gives back what clients saw, which is the same whenever the seed is.
///
/// # Errors
/// What went wrong.
#[cfg(planted)]
pub async fn life(world: &impl World) -> Result<String, String> {
    let failed = |error: Error| error.to_string();
    let refused = |error: std::io::Error| error.to_string();
    let begun = world.now().wall;
    let known = Known::default();
    let db = crate::store().create_in(world.clone()).map_err(failed)?.asynchronous();
    let at_work = start(world, &db, &known, 0..10, 6, true).map_err(refused)?;
    join(world, &at_work).await?;
    check_rest(world, &db).await?;
    check_all(world, &db, &known).await?;

    // Closed while clients are at work: each of them gets an answer, and what was acknowledged is there.
    let at_work = start(world, &db, &known, 10..14, 20, false).map_err(refused)?;
    world.rest(Duration::from_nanos(world.draw(3_000_000))).await;
    match world.patient(Patience::Time(LONG), db.close()).await {
        Some(closed) => closed.map_err(failed)?,
        None => return Err("the store is closed for ever".to_owned()),
    }
    let again = crate::store().open_in(world.clone()).map_err(failed)?.asynchronous();
    join(world, &at_work).await?;
    drop(db);
    check_all(world, &again, &known).await?;
    let mut seen = String::new();
    for key in known.keys() {
        let heads = match again.heads(&name(key)).await {
            Err(Error::Request(Failure::NoSuchKey(_))) => Vec::new(),
            heads => heads.map_err(failed)?,
        };
        if let Some(head) = heads.iter().find(|head| !(begun..=world.now().wall).contains(&head.created.wall())) {
            return Err(format!(
                "version {} was made at a time that this world never had: {:?}",
                head.id, head.created
            ));
        }
        seen.push_str(&format!(
            "{key} {heads:?} {:?}\n",
            read(&again, &name(key)).await.map_err(failed)?.map(|v| v.len())
        ));
    }
    again.close().await.map_err(failed)?;
    world.wrong().first().map_or(Ok(seen), Err)
}
