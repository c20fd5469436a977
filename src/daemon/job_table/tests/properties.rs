//! What holds whatever happens, in whatever order.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "gone"];

#[derive(Clone, Debug)]
enum Step {
    Wait(u16),
    Ask(Vec<prop::sample::Index>),
    OnDemand,
    Finish(prop::sample::Index, Outcome),
    Reload(usize),
    Stop,
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        3 => Just(Outcome::Committed),
        1 => Just(Outcome::RolledBack),
        1 => Just(Outcome::Skipped),
    ];
    prop_oneof![
        6 => (0..300_u16).prop_map(Step::Wait),
        4 => prop::collection::vec(any::<prop::sample::Index>(), 1..4).prop_map(Step::Ask),
        1 => Just(Step::OnDemand),
        8 => (any::<prop::sample::Index>(), outcome).prop_map(|(i, o)| Step::Finish(i, o)),
        1 => (0..3_usize).prop_map(Step::Reload),
    ]
}

/// Three configurations that differ in jobs, limits, schedules and sides.
fn world(which: usize) -> Config {
    let mut a = queueing("a");
    a.source = "slow".to_owned();
    let mut b = minutely("b");
    (b.source, b.workers) = ("wide".to_owned(), 3);
    let c = between("c", "wide", "slow", 2);
    let d = after("d", &["a", "b"]);
    let mut e = queueing("e");
    (e.source, e.target, e.workers) = ("wide".to_owned(), "wide".to_owned(), 1);
    match which {
        0 => config(3, vec![a, b, c, d, e]),
        1 => config(1, vec![a, between("b", "s", "t", 1), e]),
        _ => {
            b.schedule.every = Some(Duration::from_secs(7));
            config(5, vec![b, c, after("e", &["b"])])
        }
    }
}

/// What an onlooker knows who sees events and actions only.
#[derive(Default)]
struct Onlooker {
    running: BTreeMap<JobName, Needs>,
    /// When each job last started, in events.
    started: HashMap<JobName, usize>,
    /// When each request was made, in events.
    open: HashMap<(Ticket, JobName), usize>,
    stopping: bool,
    left: bool,
}

impl Onlooker {
    fn see(&mut self, actions: &[Action], n: usize) {
        for action in actions {
            assert!(!self.left, "{action:?} after the exit");
            match action {
                Action::Start(start) => self.see_start(start, n),
                Action::Answer {
                    ticket,
                    job,
                    answer,
                } => {
                    let asked = self.open.remove(&(*ticket, job.clone()));
                    let asked = asked.expect("a ticket is answered once");
                    if let Answer::Ended(_) = answer {
                        assert!(self.started[job] >= asked, "{job} read before it was asked");
                    }
                }
                Action::Exit => {
                    assert!(self.stopping && self.running.is_empty());
                    self.left = true;
                }
                _ => {}
            }
        }
    }

    fn see_start(&mut self, start: &RunOrder, n: usize) {
        assert!(!self.stopping, "{} starts while draining", start.job);
        let spec = &start.config.jobs[&*start.job];
        let needs = Needs::new(&start.config, spec, workers(spec));
        let twice = self.running.insert(start.job.clone(), needs);
        assert!(twice.is_none(), "{} runs twice", start.job);
        assert!(self.running.len() <= start.config.daemon.max_running_jobs);
        for (name, server) in &start.config.servers {
            let used: u32 = self.running.values().map(|needs| needs.of(name)).sum();
            let touched = spec.source == *name || spec.target == *name;
            assert!(!touched || used <= server.max_connections, "{name} {used}");
        }
        self.started.insert(start.job.clone(), n);
    }
}

fn play(steps: Vec<Step>) {
    let mut now = at("10:00:00");
    let mut table = table(world(0));
    let mut onlooker = Onlooker::default();
    for (n, step) in steps.into_iter().enumerate() {
        let event = match step {
            Step::Wait(seconds) => {
                now += SignedDuration::from_secs(seconds.into());
                DaemonEvent::Tick
            }
            Step::Ask(jobs) => {
                let jobs: BTreeSet<&str> = jobs.iter().map(|i| *i.get(&NAMES)).collect();
                for job in &jobs {
                    onlooker.open.insert((n as Ticket, JobName::from(*job)), n);
                }
                trigger(&Vec::from_iter(jobs), n as Ticket)
            }
            Step::OnDemand => DaemonEvent::OnDemand,
            Step::Finish(which, outcome) => {
                let running: Vec<JobName> = onlooker.running.keys().cloned().collect();
                if running.is_empty() {
                    continue;
                }
                let job = which.get(&running).clone();
                onlooker.running.remove(&job);
                finished(&job, outcome)
            }
            Step::Reload(which) => DaemonEvent::Reload(scheduled(world(which))),
            Step::Stop => {
                onlooker.stopping = true;
                DaemonEvent::Stop
            }
        };
        let actions = table.handle(event, now);
        onlooker.see(&actions, n);
        let seen: Vec<&JobName> = onlooker.running.keys().collect();
        assert_eq!(table.running().collect::<Vec<_>>(), seen);
        if seen.is_empty() {
            assert_eq!(table.waiting.iter().count(), 0, "work waits for nothing");
        }
        if onlooker.left {
            break;
        }
    }
    // Let all runs end: every request has its answer, and a stop comes to its exit.
    for n in usize::MAX - 1000.. {
        let Some((job, _)) = onlooker.running.pop_first() else {
            break;
        };
        onlooker.see(&table.handle(committed(&job), now), n);
    }
    assert_eq!(onlooker.open, HashMap::new());
    assert_eq!(onlooker.stopping, onlooker.left);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_job_runs_twice_no_permit_is_exceeded_no_trigger_is_lost(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        play(steps);
    }

    #[test]
    fn after_a_stop_nothing_starts_and_the_end_comes_once(
        before in prop::collection::vec(step(), 0..40),
        after in prop::collection::vec(step(), 0..40),
    ) {
        let mut steps = before;
        steps.push(Step::Stop);
        // Times of the same day: the grace is over only when the runs have ended.
        steps.extend(after.into_iter().filter(|s| !matches!(s, Step::Wait(_))));
        play(steps);
    }
}

/// Ten thousand jobs that all fire in the same minute: nothing is lost, and each event costs little.
#[test]
fn ten_thousand_jobs_take_their_turns() {
    let names: Vec<String> = (0..10_000).map(|n| format!("job_{n:05}")).collect();
    let jobs = names.iter().map(|n| queueing(n)).collect();
    let mut table = table(config(4, jobs));
    let mut runs = 0;
    let mut running: Vec<JobName> = Vec::new();
    let mut actions = table.handle(DaemonEvent::Tick, at("10:01:00"));
    loop {
        running.extend(actions.drain(..).filter_map(|action| match action {
            Action::Start(start) => Some(start.job),
            _ => None,
        }));
        let Some(job) = running.pop() else { break };
        runs += 1;
        actions = table.handle(committed(&job), at("10:01:30"));
    }
    assert_eq!(runs, names.len());
}
