//! How many connections a run takes, and how many workers there are for them.

use rstest::rstest;

use super::{JOB, SERVERS, read};
use crate::config::connections::Connections;

#[rstest]
#[case("swap", "workers = 3", 3, "")]
#[case(
    "merge",
    "workers = 4",
    3,
    "t.toml:10: jobs.orders.workers: 4 workers take 5 connections to server `mart`, whose \
       `max_connections` is 4: only 3 will work"
)]
#[case(
    "upsert",
    "atomic = false\nworkers = 3",
    2,
    "t.toml:11: jobs.orders.workers: 3 workers take 5 connections to server `mart`, \
       whose `max_connections` is 4: only 2 will work"
)]
#[case::one_transaction("append", "workers = 9", 9, "")]
fn there_are_as_many_workers_as_connections(
    #[case] mode: &str,
    #[case] more: &str,
    #[case] workers: u32,
    #[case] said: &str,
) {
    let job = JOB.replace("truncate", mode);
    let config = read(&format!("{SERVERS}{job}{more}")).unwrap();
    assert_eq!(config.jobs["orders"].workers, workers);
    let expected: Vec<&str> = [said].into_iter().filter(|said| !said.is_empty()).collect();
    assert_eq!(super::said(&config), expected);
}

#[rstest]
#[case(
    "shop",
    2,
    9,
    2,
    "4 workers take 4 connections to server `shop`, whose `max_connections` is 2: only 2 will work"
)]
#[case(
    "shop",
    1,
    1,
    1,
    "4 workers take 5 connections to server `mart`, whose `max_connections` is 1: only 1 will work"
)]
#[case(
    "mart",
    9,
    8,
    3,
    "4 workers take 9 connections to server `mart`, whose `max_connections` is 8: only 3 will work"
)]
fn the_server_with_fewer_connections_decides(
    #[case] source: &str,
    #[case] of_shop: u32,
    #[case] of_mart: u32,
    #[case] workers: u32,
    #[case] said: &str,
) {
    let text = format!(
        "[servers.shop]\nconninfo = 'host=a'\nmax_connections = {of_shop}\n\
         [servers.mart]\nconninfo = 'host=b'\nmax_connections = {of_mart}\n\
         [jobs.j]\nsource = '{source}'\ntarget = 'mart'\nmode = 'merge'\nworkers = 4\n\
         [jobs.j.table.'a.b']\nsource = 'a.c'\n"
    );
    let config = read(&text).unwrap();
    assert_eq!(config.jobs["j"].workers, workers);
    assert_eq!(
        super::said(&config),
        [format!("t.toml:11: jobs.j.workers: {said}")]
    );
}

#[rstest]
#[case("append", "workers = 4", (1, 1))]
#[case("truncate", "atomic = false", (1, 2))]
#[case("swap", "workers = 1", (1, 1))]
#[case("swap", "workers = 3", (3, 4))]
#[case("merge", "workers = 2\natomic = false", (2, 4))]
fn a_run_takes_these_connections(
    #[case] mode: &str,
    #[case] more: &str,
    #[case] expected: (u32, u32),
) {
    let config = read(&format!("{SERVERS}{}{more}", JOB.replace("truncate", mode))).unwrap();
    let Connections { source, target } = config.jobs["orders"].connections();
    assert_eq!((source, target), expected);
}
