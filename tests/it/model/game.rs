//! Plays one game: changes, events and runs in turns.

use std::time::Duration;

use super::case::{Game, Kind};
use super::dml;
use super::events;
use super::reading::{self, Rows};
use super::tally::Tally;
use super::world::{Replicated, World};
use crate::support::dice::Dice;
use crate::support::{Connection, Outcome, PATIENCE, job_between};

/// Plays a game to its end, or to the first violation, which it describes.
pub fn play(
    dice: &mut Dice,
    game: &Game,
    replicated: Option<&Replicated>,
    tally: &mut Tally,
) -> Result<(), String> {
    tally.games += 1;
    let mut world = World::new(dice, game, replicated);
    if let Some(servers) = replicated {
        servers.standby.catch_up(&servers.primary);
    }
    for turn in 0..=game.turns {
        let is_last = turn == game.turns;
        world.note(format!("-- turn {turn}"));
        let played = play_turn(dice, game, replicated, tally, &mut world, (turn, is_last));
        played.map_err(|why| format!("{}\n{why}", world.log.join("\n")))?;
    }
    Ok(())
}

/// What happens while a run goes on.
enum Meanwhile {
    Nothing,
    /// A transaction of the source that is open commits.
    Commits,
    /// Other sessions write to the target.
    Writes,
}

fn play_turn(
    dice: &mut Dice,
    game: &Game,
    replicated: Option<&Replicated>,
    tally: &mut Tally,
    world: &mut World<'_>,
    (turn, is_last): (u64, bool),
) -> Result<(), String> {
    world.end_long(dice, if is_last { u64::MAX } else { turn });
    if dice.once_in(3) {
        world.pause(!is_last && !world.is_paused);
    }
    for is_source in [true, false] {
        world.change(dice, game, is_source);
        if !is_last && dice.once_in(4) {
            world.begin_long(dice, game, turn, is_source);
        }
    }
    if game.kind == Kind::Events && dice.percent(60) {
        events::event(dice, game, world, turn);
    }
    let from_standby = replicated.is_some() && dice.percent(70);
    if is_last {
        world.pause(false);
    }
    if let Some(servers) = replicated.filter(|_| !world.is_paused) {
        servers.standby.catch_up(&servers.primary);
    }
    let meanwhile = match dice.below(6) {
        0 if !is_last => Meanwhile::Commits,
        1 if !is_last => Meanwhile::Writes,
        _ => Meanwhile::Nothing,
    };
    if dice.once_in(12) {
        another_job(game, world);
    }
    let compare = game.compare(dice);
    world.note(format!(
        "run, compare and workers: {compare:?}{}{}",
        if from_standby {
            ", from the standby"
        } else {
            ""
        },
        match meanwhile {
            Meanwhile::Nothing => "",
            Meanwhile::Commits => ", and a transaction commits",
            Meanwhile::Writes => ", and others write",
        }
    ));
    run(
        dice,
        game,
        tally,
        world,
        (compare, from_standby),
        &meanwhile,
    )
}

/// Another job writes some of the rows.
fn another_job(game: &Game, world: &mut World<'_>) {
    let other = Game {
        filter: "a < 3",
        scope: "",
        mode: "merge",
        format: "auto",
        ..*game
    };
    let jobs = other.job(("full", 1)).replace("jobs.j", "jobs.k");
    let from = world.source_conninfo(false);
    let outcome =
        job_between(&from, &world.db.target.conninfo(), &jobs).run(&["run", "k", "--json"]);
    world.note(format!("job k: exit {:?}", outcome.code));
}

fn run(
    dice: &mut Dice,
    game: &Game,
    tally: &mut Tally,
    world: &mut World<'_>,
    (compare, from_standby): ((&str, u64), bool),
    meanwhile: &Meanwhile,
) -> Result<(), String> {
    let from = world.source_conninfo(from_standby);
    let source = Connection::open(&from);
    let columns = world.columns(game);
    let condition = game.condition();
    let target = |condition: &str| reading::rows(&world.db.target, game, &columns, condition);
    let given = || reading::rows(&source, game, &columns, condition);
    let unmarked = game.unmarked();
    let before = target(unmarked);
    let outside = target(&format!("({condition}) IS NOT TRUE AND {unmarked}"));
    let first = given();
    let job = job_between(&from, &world.db.target.conninfo(), &game.job(compare));
    let mut arguments = vec!["run", "j", "--json"];
    match dice.below(15) {
        0 => arguments.push("--full"),
        1 => arguments.push("--dry-run"),
        _ => {}
    }
    let is_rehearsal = arguments.contains(&"--dry-run");
    let mut others = Vec::new();
    let committing = world.db.source.connect();
    if let Meanwhile::Commits = meanwhile {
        committing.sql("SET lock_timeout = '40ms'; BEGIN");
        for sql in dml::body(dice, game.shape) {
            others.push(sql.clone());
            if committing.try_sql(&sql).is_err() {
                committing.sql("ROLLBACK; BEGIN");
                break;
            }
        }
    }
    let running = job.spawn(&arguments);
    match meanwhile {
        Meanwhile::Nothing => {}
        Meanwhile::Commits => {
            std::thread::sleep(Duration::from_millis(dice.below(80)));
            committing.sql("COMMIT");
        }
        Meanwhile::Writes => {
            let writer = world.db.target.connect();
            writer.sql("SET lock_timeout = '40ms'");
            for _ in 0..20 {
                let sql = dml::statement(dice, game.shape);
                others.push(format!("{sql} {:?}", writer.try_sql(&sql).err()));
                std::thread::sleep(Duration::from_millis(dice.below(6)));
            }
        }
    }
    let outcome = running.wait(PATIENCE);
    let after = reading::rows(&world.db.target, game, &columns, unmarked);
    let second = match meanwhile {
        Meanwhile::Commits => given(),
        Meanwhile::Nothing | Meanwhile::Writes => first.clone(),
    };
    let kept = |world: &World<'_>| reading::pairs(&world.db.target);
    let verdict = match meanwhile {
        // What others write is put right by the next run.
        Meanwhile::Writes => ended(tally, &outcome, is_rehearsal).and_then(|_| kept(world)),
        Meanwhile::Nothing | Meanwhile::Commits => {
            let owed = [&first, &second].map(|given| reading::owed(game, given, &before, &outside));
            let calm = matches!(meanwhile, Meanwhile::Nothing) && !world.is_open(false);
            let may_fail = !calm || world.has_trigger || world.standby.is_some();
            judge(
                tally,
                &outcome,
                (is_rehearsal, may_fail),
                (&before, &after),
                &owed,
                game.marks,
            )
        }
    };
    for sql in others {
        world.note(format!("meanwhile: {sql}"));
    }
    let way = outcome
        .reports
        .first()
        .map(|report| report["tables"][0]["compare"].clone());
    world.note(format!("exit {:?}, {way:?}", outcome.code));
    verdict.map_err(|why| format!("{why}\n{outcome}"))
}

/// Whether the run committed. Other ends than a refusal are violations.
fn ended(tally: &mut Tally, outcome: &Outcome, is_rehearsal: bool) -> Result<bool, String> {
    let report = outcome.reports.first();
    let said = report
        .and_then(|report| report["outcome"].as_str())
        .unwrap_or("nothing");
    match (outcome.code, said) {
        (Some(0), "committed") if !is_rehearsal => {
            tally.committed(outcome);
            Ok(true)
        }
        (Some(0), _) if is_rehearsal => Ok(false),
        (Some(1), "rolled_back") => {
            let why = report.and_then(|report| report["error"]["message"].as_str());
            tally.refused(why.ok_or("the run does not say why it failed")?);
            Ok(false)
        }
        other => Err(format!("the run ended with {other:?}")),
    }
}

fn judge(
    tally: &mut Tally,
    outcome: &Outcome,
    (is_rehearsal, may_fail): (bool, bool),
    (before, after): (&Rows, &Rows),
    owed: &[Rows; 2],
    marks: bool,
) -> Result<(), String> {
    if !ended(tally, outcome, is_rehearsal)? {
        if !is_rehearsal && !may_fail {
            return Err("nothing kept the run from it".to_owned());
        }
        return reading::compare(before, after)
            .map_err(|why| format!("the run changed the target: {why}"));
    }
    tally.judged += 1;
    let wrong = reading::compare(&owed[0], after);
    // A transaction that commits meanwhile is in the snapshot or not.
    if wrong.is_err() && reading::compare(&owed[1], after).is_err() {
        return wrong;
    }
    reading::counts(outcome, (before, after), marks)
}
