//! Whatever is written, there is an answer.

use proptest::prelude::*;

use super::{JOB, SERVERS, env, file, read_all};
use crate::config::keys::KEYS;

fn toml_ish() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        "(daemon|servers|jobs|table|set|retry|guard|mode|conninfo|tables|signal|after|cron|every)",
        "[a-z_.\"'é ]{0,6}",
    ];
    let path = prop::collection::vec(name, 1..5).prop_map(|names| names.join("."));
    let value = prop_oneof![
        Just("'a.b'".to_owned()),
        Just("['a.*', 'a']".to_owned()),
        Just("{ max = 1, x = [] }".to_owned()),
        "-?[0-9]{1,20}",
        "\"[^\"\\n\\\\]{0,12}\"",
        ".{0,8}",
    ];
    let line = prop_oneof![
        path.clone().prop_map(|path| format!("[{path}]")),
        (path, value).prop_map(|(path, value)| format!("{path} = {value}")),
    ];
    prop::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(text in toml_ish(), name in "[A-Z_]{0,20}", value in ".{0,10}") {
        let name = format!("TABLEFERRY__{name}");
        let request = env(&[(&name, &value)]);
        let _ = read_all(vec![file("t.toml", &text)], &request);
    }

    #[test]
    fn no_value_of_a_job_makes_it_panic(at in 0..KEYS.len(), value in ".{0,12}") {
        let key = &KEYS[at];
        let path = key.path
            .replace("<server>", "shop").replace("<job>", "orders")
            .replace("<relation>", "'a.b'").replace("<column>", "c");
        let mut request = env(&[]);
        request.overrides = vec![(path, value)];
        let _ = read_all(vec![file("t.toml", &format!("{SERVERS}{JOB}"))], &request);
    }
}
