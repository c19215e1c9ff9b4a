//! Runs the tasks of one simulated host, one after the other, in an order that its seed decides.
//!
//! In:  tasks, and which of them are to end. Out: every interleaving that a seed can think of, the same for the same seed.
//!
//! Invariant: which task is next depends on the seed and on the set of those that can go on, never on the order in which
//! they were woken: tokio's own wakers leave that to chance.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::rng::Rng;

/// Tasks that end together: the world's are 0, each agent has its own.
pub(crate) type Group = u64;
type Work = Pin<Box<dyn Future<Output = ()>>>;

enum Command {
    Begin(Group, Work),
    End(Group),
    Hold(Group),
    LetGo(Group),
    Finish,
}

/// Begins and ends tasks, from within any of them.
#[derive(Clone, Default)]
pub(crate) struct Spawner(Rc<RefCell<Vec<Command>>>);

impl Spawner {
    pub(crate) fn begin(&self, group: Group, work: impl Future<Output = ()> + 'static) {
        self.0.borrow_mut().push(Command::Begin(group, Box::pin(work)));
    }

    /// Ends all tasks of a group, wherever they are.
    pub(crate) fn end(&self, group: Group) {
        self.0.borrow_mut().push(Command::End(group));
    }

    /// None of a group's tasks goes on for so long, whatever they wait for; then all of them may at once.
    pub(crate) fn hold_up(&self, group: Group, time: Duration) {
        self.0.borrow_mut().push(Command::Hold(group));
        let spawner = self.clone();
        self.begin(0, async move {
            tokio::time::sleep(time).await;
            spawner.0.borrow_mut().push(Command::LetGo(group));
        });
    }

    /// Ends everything.
    pub(crate) fn finish(&self) {
        self.0.borrow_mut().push(Command::Finish);
    }
}

#[derive(Default)]
struct Ready {
    tasks: Mutex<Vec<usize>>,
    running: AtomicBool,
    outer: Mutex<Option<Waker>>,
}

struct Flag {
    task: usize,
    ready: Arc<Ready>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        let mut tasks = self.ready.tasks.lock().unwrap();
        if let Err(place) = tasks.binary_search(&self.task) {
            tasks.insert(place, self.task);
        }
        if !self.ready.running.load(Ordering::Relaxed) {
            self.ready.outer.lock().unwrap().iter().for_each(Waker::wake_by_ref);
        }
    }
}

/// All tasks of one host; as a future it ends when somebody says so.
pub(crate) struct Tasks {
    spawner: Spawner,
    tasks: Vec<Option<(Group, Work, Waker)>>,
    ready: Arc<Ready>,
    held: Option<Group>,
    rng: Rng,
}

impl Tasks {
    pub(crate) fn new(spawner: Spawner, rng: Rng) -> Self {
        Self { spawner, tasks: Vec::new(), ready: Arc::default(), held: None, rng }
    }

    /// Whether all is over.
    fn obey(&mut self) -> bool {
        loop {
            let commands = std::mem::take(&mut *self.spawner.0.borrow_mut());
            if commands.is_empty() {
                return false;
            }
            for command in commands {
                match command {
                    Command::Begin(group, work) => {
                        let flag = Arc::new(Flag { task: self.tasks.len(), ready: self.ready.clone() });
                        let waker = Waker::from(flag);
                        waker.wake_by_ref();
                        self.tasks.push(Some((group, work, waker)));
                    }
                    Command::End(group) => self.end(|of| of == group),
                    Command::Hold(group) => self.held = Some(group),
                    Command::LetGo(group) => self.held = self.held.filter(|held| *held != group),
                    Command::Finish => {
                        self.end(|_| true);
                        return true;
                    }
                }
            }
        }
    }

    fn end(&mut self, is_to_end: impl Fn(Group) -> bool) {
        for task in &mut self.tasks {
            if task.as_ref().is_some_and(|(group, ..)| is_to_end(*group)) {
                *task = None;
            }
        }
    }

    fn next(&mut self) -> Option<usize> {
        let mut ready = self.ready.tasks.lock().unwrap();
        let Some(held) = self.held else {
            let place = self.rng.below(ready.len());
            return (place < ready.len()).then(|| ready.remove(place));
        };
        let is_held = |task: usize| self.tasks[task].as_ref().is_some_and(|(group, ..)| *group == held);
        let free: Vec<usize> = (0..ready.len()).filter(|place| !is_held(ready[*place])).collect();
        self.rng.pick(&free).map(|place| ready.remove(place))
    }
}

impl Future for Tasks {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        *self.ready.outer.lock().unwrap() = Some(cx.waker().clone());
        self.ready.running.store(true, Ordering::Relaxed);
        loop {
            if self.obey() {
                return Poll::Ready(());
            }
            let Some(next) = self.next() else { break };
            let Some((_, work, waker)) = &mut self.tasks[next] else { continue };
            let waker = waker.clone();
            if work.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                self.tasks[next] = None;
            }
        }
        self.ready.running.store(false, Ordering::Relaxed);
        Poll::Pending
    }
}
