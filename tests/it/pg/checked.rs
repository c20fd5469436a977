//! A query that must answer: no row, a row too many, NULL and a negative number are errors that name it.

use rstest::rstest;
use tableferry::error::{ErrorKind, Phase};

use super::open;
use crate::support;

#[rstest]
#[case("SELECT 7::int8", Ok(7))]
#[case(
    "SELECT 7::int8 WHERE false",
    Err("the query for the answer gave no row")
)]
#[case(
    "VALUES (1::int8), (2)",
    Err("the query for the answer gave 2 rows instead of one")
)]
#[case(
    "SELECT NULL::int8",
    Err("the query for the answer gave no such value in column 1")
)]
#[case(
    "SELECT 'x'::text",
    Err("the query for the answer gave no such value in column 1")
)]
#[case(
    "SELECT -1::int8",
    Err("the query for the answer gave a negative number in column 1")
)]
#[tokio::test]
async fn what_is_missing_is_never_taken_for_zero(
    #[case] sql: &str,
    #[case] expected: Result<u64, &str>,
) {
    let db = support::databases("checked");
    let session = open(&db.source.conninfo()).await.unwrap();

    let answer = async {
        let row = session.one_row(Phase::Gate, "the answer", sql, &[]).await?;
        row.count(0)
    };

    match (answer.await, expected) {
        (Ok(count), Ok(expected)) => assert_eq!(count, expected),
        (Err(error), Err(message)) => {
            assert_eq!(error.message(), message);
            let place = (error.kind(), error.phase(), error.server());
            assert_eq!(place, (ErrorKind::Bug, Phase::Gate, Some("shop")));
        }
        (answer, _) => panic!("{answer:?}"),
    }
}

#[tokio::test]
async fn a_row_may_be_missing_where_that_has_a_meaning() {
    let db = support::databases("checked_any");
    let session = open(&db.source.conninfo()).await.unwrap();
    let ask = async |sql| {
        session
            .row_if_any(Phase::Gate, "the answer", sql, &[])
            .await
    };

    assert!(ask("SELECT 1 WHERE false").await.unwrap().is_none());
    let row = ask("SELECT NULL::text, 3").await.unwrap().unwrap();
    assert_eq!(row.get::<Option<String>>(0).unwrap(), None);
    assert_eq!(row.index(1, 4).unwrap(), 3);
    assert_eq!(row.index(1, 3).unwrap_err().kind(), ErrorKind::Bug);
    assert!(ask("VALUES (1), (2)").await.is_err());
}
